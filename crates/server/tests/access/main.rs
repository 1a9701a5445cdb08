//! Who may do what: every route of the router with every kind of caller, sessions, and what a
//! caller who is restricted sees.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod login;
mod oidc;
#[path = "../parts/mod.rs"]
mod parts;
mod server;
mod view;

use std::time::Duration;

use deeptrace_server::access::token::NewToken;
use deeptrace_server::access::{ROUTES, Role, Services, token};

use server::{Server, router_rows, rules};

#[test]
fn every_route_has_its_row_and_every_row_its_route() {
    let server = Server::start(rules());
    let router = router_rows(&server.store, &server.admin);
    assert!(router.len() > 20, "axum shows its routes in another way now: {router:?}");
    let table: Vec<(String, String)> =
        ROUTES.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    for (method, path) in &router {
        assert!(
            table.contains(&(method.clone(), path.clone())),
            "{method} {path} has no row, so nobody may call it: add one to ROUTES in \
             crates/server/src/access/table.rs, run ./x docs, and have its handler take a `View` \
             where it answers with spans"
        );
    }
    for (method, path) in &table {
        assert!(
            router.contains(&(method.clone(), path.clone())),
            "{method} {path} is in ROUTES (crates/server/src/access/table.rs) and no route: remove it"
        );
    }
}

/// Paths of the page's files are no part of the API.
fn is_page(path: &str) -> bool {
    path == "/" || path.ends_with(".html") || path.ends_with(".svg") || path.starts_with("/assets/")
}

#[test]
fn the_description_of_the_api_has_the_routes_of_the_table() {
    let text = include_str!("../../src/openapi.json");
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys();
        described.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    let rows = ROUTES.iter().filter(|row| !is_page(row.path));
    let mut rows: Vec<_> = rows.map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    rows.sort();
    described.sort();
    assert_eq!(described, rows, "crates/server/src/openapi.json and ROUTES name the same routes");
}

/// `./x docs` has it write the table of `docs/access.md` anew.
#[test]
fn the_page_about_access_has_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (begin, end) = ("<!-- made of ROUTES by ./x docs -->\n", "<!-- end -->\n");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut table =
        "| route | role | restricted to services | what |\n|---|---|---|---|\n".to_owned();
    for row in ROUTES.iter().filter(|row| !is_page(row.path)) {
        let role = row.role.map_or("everybody", Role::as_str);
        let narrows = if row.narrows { "yes" } else { "no" };
        table +=
            &format!("| `{} {}` | {role} | {narrows} | {} |\n", row.method, row.path, row.about);
    }
    let made = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(file, made).unwrap();
    } else {
        assert!(text == made, "docs/access.md is not what ROUTES says: run ./x docs and commit it");
    }
}

/// A path that a client can ask, for one that varies.
fn path(pattern: &str) -> String {
    let parts = pattern.split('/').map(|part| match part.starts_with('{') {
        true => "0123456789abcdef",
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn each_route_with_each_caller() {
    let server = Server::start(rules());
    let expiring = |length: &str| NewToken {
        name: "soon".to_owned(),
        role: Role::Admin,
        services: Services::ALL,
        expires_in: Some(length.to_owned()),
    };
    let expired = token::create(&*server.store, expiring("1ms")).unwrap().token;
    std::thread::sleep(Duration::from_millis(2));
    let revoked = token::create(&*server.store, expiring("1h")).unwrap();
    token::revoke(&*server.store, &revoked.about.id).unwrap();
    let valid = server.token(Role::Admin, &[]);
    let wrong = format!("{}0", &valid[..valid.len() - 1]);
    let wrong = if wrong == valid { format!("{}1", &valid[..valid.len() - 1]) } else { wrong };
    let bearers = Role::ALL.map(|role| (role, server.token(role, &[])));
    let mut asked = 0;
    for row in ROUTES {
        let (line, path) = (format!("{} {}", row.method, row.path), path(row.path));
        let mut check = |who: &str, token: Option<&str>, refused: Option<u16>| {
            let answer = match token {
                Some(token) => server.bear(row.method, &path, token, ""),
                None => server.ask(row.method, &path, &[], ""),
            };
            let is_refusal = [401, 403].contains(&answer.status);
            match refused {
                Some(status) => assert_eq!(answer.status, status, "{line} as {who}: {answer:?}"),
                // Said of the credentials that it was sent, not of whether it may be called.
                None if row.path == "/login" && row.method == "POST" => {}
                None => assert!(!is_refusal, "{line} as {who}: {answer:?}"),
            }
            asked += 1;
        };
        let unless_open = row.role.map(|_| 401);
        check("nobody", None, unless_open);
        check("expired", Some(&expired), unless_open);
        check("revoked", Some(&revoked.token), unless_open);
        check("wrong", Some(&wrong), unless_open);
        check("nonsense", Some("nonsense"), unless_open);
        check("the admin token", Some(server.admin.as_str()), None);
        for (role, token) in &bearers {
            let may = row.role.is_none_or(|needed| role.may(needed));
            check(role.as_str(), Some(token), (!may).then_some(403));
        }
    }
    assert_eq!(asked, ROUTES.len() * 11);
}

#[test]
fn where_nobody_has_to_say_who_they_are_reading_is_free_and_changing_is_not() {
    let server = Server::start(deeptrace_server::access::Rules { is_required: false, ..rules() });
    for row in ROUTES {
        let status = server.ask(row.method, &path(row.path), &[], "").status;
        let is_free = match row.role {
            None | Some(Role::Viewer | Role::Analyst | Role::Agent) => true,
            Some(Role::Operator | Role::Admin) => false,
        };
        if row.path == "/login" && row.method == "POST" {
            continue;
        }
        assert_eq!(status != 401, is_free, "{} {}: {status}", row.method, row.path);
    }
    // Who says who they are is who they say, not more.
    let viewer = server.token(Role::Viewer, &[]);
    assert_eq!(server.bear("GET", "/config", &viewer, "").status, 403);
}

#[test]
fn a_route_that_does_not_narrow_refuses_who_is_restricted() {
    let server = Server::start(rules());
    let restricted = server.token(Role::Admin, &["cart"]);
    for row in ROUTES.iter().filter(|row| row.role != Some(Role::Agent)) {
        let status = server.bear(row.method, &path(row.path), &restricted, "").status;
        if row.role.is_some() {
            assert_eq!(status == 403, !row.narrows, "{} {}: {status}", row.method, row.path);
        }
    }
}

#[test]
fn users_and_tokens_are_managed_over_the_api() {
    let server = Server::start(rules());
    let admin = server.admin.as_str();
    let made = server.bear("POST", "/users", admin, r#"{"name": "anna", "role": "analyst"}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let password = made.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 24);
    assert_eq!(server.log_in("anna", &password).status, 200);
    let again = server.bear("POST", "/users", admin, r#"{"name": "anna", "role": "admin"}"#);
    assert_eq!(again.json()["error"]["code"], "CONFLICT");
    let bad: &[&str] = &[
        r#"{"name": "a/b", "role": "admin"}"#,
        r#"{"name": "", "role": "admin"}"#,
        r#"{"name": "eve", "role": "agent"}"#,
        r#"{"name": "eve", "role": "admin", "password": "short"}"#,
        r#"{"name": "eve", "role": "admin", "services": []}"#,
        r#"{"name": "eve", "role": "king"}"#,
    ];
    for body in bad {
        let status = server.bear("POST", "/users", admin, body).status;
        assert!([400, 422].contains(&status), "{body}: {status}");
    }
    let users = server.bear("GET", "/users", admin, "").json();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert!(!users.to_string().contains("argon2"), "{users}");
    assert_eq!(server.bear("DELETE", "/users/anna", admin, "").status, 200);
    assert_eq!(server.bear("DELETE", "/users/anna", admin, "").status, 404);
    assert_eq!(server.log_in("anna", &password).status, 401);

    let body = r#"{"name": "ci", "role": "viewer", "expires_in": "30d", "services": ["cart"]}"#;
    let created = server.bear("POST", "/tokens", admin, body).json();
    let (id, text) = (created["id"].as_str().unwrap(), created["token"].as_str().unwrap());
    assert_eq!(server.bear("GET", "/traces", text, "").status, 200);
    let listed = server.bear("GET", "/tokens", admin, "").text;
    assert!(listed.contains(id) && !listed.contains(&text[20..]), "{listed}");
    assert_eq!(server.bear("DELETE", &format!("/tokens/{id}"), admin, "").status, 200);
    assert_eq!(server.bear("GET", "/traces", text, "").status, 401);
}

#[test]
fn who_asks_too_often_has_to_wait() {
    let server = Server::start(deeptrace_server::access::Rules { requests_per_s: 1, ..rules() });
    let (one, other) = (server.token(Role::Viewer, &[]), server.token(Role::Viewer, &[]));
    let statuses: Vec<u16> =
        (0..4).map(|_| server.bear("GET", "/openapi.json", &one, "").status).collect();
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let refused = (0..4)
        .map(|_| server.bear("GET", "/openapi.json", &one, ""))
        .find(|answer| answer.status == 429)
        .unwrap();
    assert_eq!(refused.json()["error"]["code"], "TOO_MANY_REQUESTS");
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(server.bear("GET", "/openapi.json", &other, "").status, 200);
}
