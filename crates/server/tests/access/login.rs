//! Sessions of browsers.

use std::time::Duration;

use deeptrace_server::access::{Role, Rules, SessionRules};
use serde_json::json;

use crate::server::{Server, rules};

const PASSWORD: &str = "correct horse battery";

#[test]
fn a_user_logs_in_and_out() {
    let server = Server::start(rules());
    server.user("anna", Role::Analyst, PASSWORD);
    let before = server.ask("GET", "/login", &[], "").json();
    assert_eq!(before, json!({"required": true, "caller": null, "oidc": null}));

    let answer = server.log_in("anna", PASSWORD);
    assert_eq!(answer.status, 200, "{answer:?}");
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Secure"), "{set}");
    let cookie = answer.cookie();
    let with_cookie = [("cookie", cookie.as_str())];
    assert_eq!(server.ask("GET", "/traces", &with_cookie, "").status, 200);
    let who = server.ask("GET", "/login", &with_cookie, "").json();
    assert_eq!(
        (&who["caller"]["name"], &who["caller"]["role"]),
        (&json!("anna"), &json!("analyst"))
    );

    let own = format!("http://{}", server.address);
    let log_out = server.ask("POST", "/logout", &[with_cookie[0], ("origin", &own)], "");
    assert_eq!(log_out.status, 200);
    assert!(log_out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(server.ask("GET", "/traces", &with_cookie, "").status, 401);
}

#[test]
fn a_session_is_valid_at_every_server_and_secure_under_tls() {
    let server = Server::start(rules());
    server.user("anna", Role::Analyst, PASSWORD);
    let sessions = SessionRules { is_secure: true, ..rules().sessions };
    let replica = server.replica(Rules { sessions, ..rules() });
    let answer = replica.log_in("anna", PASSWORD);
    assert!(answer.headers["set-cookie"].to_str().unwrap().ends_with("; Secure"));
    let cookie = answer.cookie();
    assert_eq!(server.ask("GET", "/traces", &[("cookie", &cookie)], "").status, 200);
}

#[test]
fn a_change_by_a_session_says_where_it_comes_from() {
    let server = Server::start(rules());
    server.user("otto", Role::Operator, PASSWORD);
    let cookie = server.log_in("otto", PASSWORD).cookie();
    let own = format!("http://{}", server.address);
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", &own)], 200),
    ];
    for (headers, status) in cases {
        let headers: Vec<_> =
            headers.iter().copied().chain([("cookie", cookie.as_str())]).collect();
        let answer = server.ask("POST", "/config/reload", &headers, "");
        assert_eq!(answer.status, *status, "{headers:?}: {answer:?}");
    }
}

#[test]
fn sessions_end_when_they_are_idle_or_old_or_their_user_is_another() {
    let short = |idle: u64, longest: u64| SessionRules {
        idle: Duration::from_millis(idle),
        longest: Duration::from_millis(longest),
        is_secure: false,
    };
    let server = Server::start(rules());
    server.user("anna", Role::Analyst, PASSWORD);
    let cookie = server.log_in("anna", PASSWORD).cookie();
    let ask = |server: &Server| server.ask("GET", "/traces", &[("cookie", &cookie)], "").status;
    assert_eq!(ask(&server), 200);
    std::thread::sleep(Duration::from_millis(5));
    // The same store, by stricter rules.
    assert_eq!(ask(&server.replica(Rules { sessions: short(1, 10_000_000), ..rules() })), 401);

    let server = Server::start(rules());
    server.user("anna", Role::Analyst, PASSWORD);
    let cookie = server.log_in("anna", PASSWORD).cookie();
    let ask = |server: &Server| server.ask("GET", "/traces", &[("cookie", &cookie)], "").status;
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(ask(&server.replica(Rules { sessions: short(10_000_000, 1), ..rules() })), 401);

    let server = Server::start(rules());
    server.user("anna", Role::Admin, PASSWORD);
    let cookie = server.log_in("anna", PASSWORD).cookie();
    server.user("anna", Role::Admin, PASSWORD);
    assert_eq!(server.ask("GET", "/users", &[("cookie", &cookie)], "").status, 401);
}

#[test]
fn whoever_guesses_has_to_wait_and_learns_nothing() {
    let server = Server::start(Rules { logins_per_minute: 3, ..rules() });
    server.user("anna", Role::Analyst, PASSWORD);
    let (known, unknown) =
        (server.log_in("anna", "guess guess"), server.log_in("eve", "guess guess"));
    assert_eq!((known.status, unknown.status), (401, 401));
    assert_eq!(known.text, unknown.text);
    let statuses: Vec<u16> = (0..4).map(|_| server.log_in("anna", "guess guess").status).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let refused = server.log_in("anna", PASSWORD);
    assert_eq!(refused.status, 429, "the right password as well, until it is time");
    assert!(refused.headers.contains_key("retry-after"));
}

#[test]
fn the_page_trades_a_token_for_a_session() {
    let server = Server::start(rules());
    for token in [server.admin.as_str().to_owned(), server.token(Role::Viewer, &[])] {
        let answer = server.ask("GET", &format!("/?token={token}"), &[], "");
        assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (303, "/"));
        let cookie = answer.cookie();
        assert!(!cookie.contains(&token), "the cookie is not the token");
        assert_eq!(server.ask("GET", "/traces", &[("cookie", &cookie)], "").status, 200);
    }
    assert_eq!(server.ask("GET", "/?token=wrong", &[], "").status, 401);
    assert_eq!(server.ask("GET", "/traces?token=x", &[], "").status, 401);
}

#[test]
fn nothing_that_was_shown_once_lies_in_the_folder() {
    let server = Server::start(rules());
    server.user("anna", Role::Analyst, PASSWORD);
    let token = server.token(Role::Viewer, &[]);
    let cookie = server.log_in("anna", PASSWORD).cookie();
    let secret = cookie.rsplit('/').next().unwrap();
    let mut searched = 0;
    for entry in std::fs::read_dir(server.folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        searched += bytes.len();
        for needle in [PASSWORD, &token[20..], secret] {
            let is_there = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!is_there, "a secret lies in the data folder");
        }
    }
    assert!(searched > 1_000);
}
