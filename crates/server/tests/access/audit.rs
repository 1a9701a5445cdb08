//! The audit log of a server: what becomes a line, and what is found when lines are tampered with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deeptrace_server::access::Role;
use deeptrace_server::audit::{Anchor, Auditor, Draft, Keeping, Report, note, verify};
use deeptrace_store::{Expected, Mode, Options, Store};
use serde_json::Value;

use crate::server::{Server, rules};

const PASSWORD: &str = "correct horse battery";

/// All lines, once there are so many.
fn lines(server: &Server, least: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let answer = server.bear("GET", "/audit?limit=1000", server.admin.as_str(), "").json();
        let lines = answer["lines"].as_array().unwrap().clone();
        if lines.len() >= least {
            return lines;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn whole(store: &dyn Store) -> Report {
    let report = verify(store, &[]).unwrap();
    assert!(report.is_whole, "{report:?}");
    report
}

#[test]
fn each_access_and_each_change_is_a_line_without_what_was_searched_for() {
    let server = Server::start_audited(rules());
    server.user("anna", Role::Viewer, PASSWORD);
    let viewer = server.token(Role::Viewer, &[]);
    server.bear("GET", "/traces?service=secret-service&limit=5", &viewer, "");
    server.bear("GET", "/traces?service=secret-service", &viewer, "");
    server.bear("DELETE", "/users/nobody", &viewer, "");
    server.ask("GET", "/traces/00000000000000ab", &[], "");
    server.log_in("anna", PASSWORD);
    server.log_in("anna", "guess guess");
    server.bear("GET", "/health", &viewer, "");
    let body = r#"{"name": "otto", "role": "operator"}"#;
    server.bear("POST", "/users", server.admin.as_str(), body);

    let lines = lines(&server, 7);
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            format!("{} {} {}", line["who"], line["action"], line["result"]).replace('"', "")
        })
        .filter(|line| !line.contains("/audit"))
        .collect();
    let token = format!("token:t-viewer#{}", &viewer[3..19]);
    let expected = [
        format!("{token} GET /traces 200"),
        format!("{token} GET /traces 200"),
        format!("{token} DELETE /users/nobody 403"),
        "anonymous GET /traces/00000000000000ab 401".to_owned(),
        "anonymous POST /login 200".to_owned(),
        "anonymous POST /login 401".to_owned(),
        "admin-token POST /users 201".to_owned(),
    ];
    // A change is written at once, before reads that came earlier.
    for line in &expected {
        let count = |all: &[String]| all.iter().filter(|other| *other == line).count();
        assert_eq!(count(&told), count(&expected), "{line}: {told:?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:?}");
    let of = |action: &str| {
        let found = lines.iter().find(|line| line["action"] == action);
        found.unwrap_or_else(|| panic!("{action}: {lines:?}"))
    };
    let search = of("GET /traces");
    assert_eq!(search["details"]["limit"], "5");
    let hash = search["details"]["service"].as_str().unwrap();
    assert_eq!(hash.len(), 16);
    let again = lines.iter().rfind(|line| line["action"] == "GET /traces").unwrap();
    assert_eq!(again["details"]["service"], hash, "equal values have equal hashes");
    assert_eq!(of("POST /login")["details"]["user"], "anna");
    assert_eq!(of("POST /users")["details"]["user"], "otto operator");
    assert_eq!(of("GET /traces")["from"], "127.0.0.1");
    let all = Value::from(lines.clone()).to_string();
    assert!(!all.contains("secret-service") && !all.contains(PASSWORD) && !all.contains(&viewer));
    whole(&*server.store);
}

#[test]
fn pages_of_the_log_hold_each_line_once() {
    let server = Server::start_audited(rules());
    for _ in 0..9 {
        server.bear("GET", "/traces", server.admin.as_str(), "");
    }
    lines(&server, 9);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/audit?limit=2&end=-0s&cursor={cursor}");
        let page = server.bear("GET", &path, server.admin.as_str(), "").json();
        let page_lines = page["lines"].as_array().unwrap();
        assert!(page_lines.len() <= 2);
        seen.extend(page_lines.iter().map(|line| line["seq"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) if seen.len() < 9 => cursor = next.to_owned(),
            _ => break,
        }
    }
    let expected: Vec<u64> = (1..=seen.len() as u64).collect();
    assert_eq!(seen, expected);
    assert!(seen.len() >= 9);
    let other = server.bear("GET", "/audit?who=user:nobody", server.admin.as_str(), "").json();
    assert_eq!(other["lines"], serde_json::json!([]));
}

/// A chain of twelve lines, four in a group, of the writer `w`.
fn chain() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path().join("data"));
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    for group in 0..3 {
        let auditor =
            Auditor::start(Arc::clone(&store), "w".to_owned(), Keeping::default(), None).unwrap();
        (0..4).for_each(|line| auditor.add(draft(&format!("GET /traces/{group}{line}"))));
        auditor.finish();
    }
    (folder, store)
}

fn draft(action: &str) -> Draft {
    Draft {
        time_unix_nano: deeptrace_server::clock::now().0,
        who: "user:anna".to_owned(),
        action: action.to_owned(),
        from: "127.0.0.1".to_owned(),
        result: "200".to_owned(),
        details: std::collections::BTreeMap::new(),
    }
}

/// What may be done to the lines of a group, each with its end.
type Spoil = fn(&mut Vec<String>);

#[test]
fn a_changed_removed_or_moved_line_is_found() {
    let cases: &[(&str, &str, Spoil, &str)] = &[
        ("nothing", "audit/w/0000000000000005", |_| {}, ""),
        (
            "changed",
            "audit/w/0000000000000005",
            |lines| lines[1] = lines[1].replace("anna", "otto"),
            "line 6 was changed",
        ),
        (
            "no line",
            "audit/w/0000000000000005",
            |lines| lines[1] = "x\n".to_owned(),
            "line 6 was changed",
        ),
        (
            "removed in the middle",
            "audit/w/0000000000000005",
            |lines| drop(lines.remove(2)),
            "lines 7 to 7 were removed",
        ),
        ("reordered", "audit/w/0000000000000005", |lines| lines.swap(1, 2), "were removed"),
        (
            "moved back",
            "audit/w/0000000000000005",
            |lines| lines.swap(0, 1),
            "begins with another line",
        ),
        (
            "twice",
            "audit/w/0000000000000005",
            |lines| lines.insert(2, lines[1].clone()),
            "reordered",
        ),
        ("a whole group", "audit/w/0000000000000005", Vec::clear, "lines 5 to 8 were removed"),
        ("the first group", "audit/w/0000000000000001", Vec::clear, "lines 1 to 4 were cut off"),
        ("the last group", "audit/w/0000000000000009", Vec::clear, "lines 9 to 12 were cut off"),
        (
            "the last line",
            "audit/w/0000000000000009",
            |lines| drop(lines.pop()),
            "lines 12 to 12 were cut off",
        ),
    ];
    for (what, group, spoil, problem) in cases {
        let (_folder, store) = chain();
        assert_eq!(whole(&*store).writers[0].lines, 12);
        let body = store.document(group).unwrap().unwrap().body;
        let body = String::from_utf8(body).unwrap();
        let mut lines: Vec<String> = body.split_inclusive('\n').map(str::to_owned).collect();
        spoil(&mut lines);
        let body = (!lines.is_empty()).then(|| lines.concat().into_bytes());
        store.put_document(group, body.as_deref(), Expected::Any).unwrap();
        let report = verify(&*store, &[]).unwrap();
        let problems = &report.writers[0].problems;
        assert_eq!(report.is_whole, problem.is_empty(), "{what}: {problems:?}");
        assert_eq!(problems.is_empty(), problem.is_empty(), "{what}: {problems:?}");
        let is_told = problem.is_empty() || problems.iter().any(|told| told.contains(problem));
        assert!(is_told, "{what}: {problems:?}");
    }
}

/// Whoever can write the store can cut the tail and the ends alike, or make a chain anew; an anchor
/// that lies elsewhere tells.
#[test]
fn an_anchor_tells_of_a_tail_that_was_cut_off_with_its_end_and_of_a_chain_made_anew() {
    let (_folder, store) = chain();
    let anchor: Anchor = whole(&*store).writers[0].anchor.clone().unwrap().parse().unwrap();
    assert!(verify(&*store, std::slice::from_ref(&anchor)).unwrap().is_whole);

    let ends = store.document("audit-ends/w").unwrap().unwrap().body;
    let mut ends: Value = serde_json::from_slice(&ends).unwrap();
    ends["last_seq"] = 8.into();
    store.put_document("audit-ends/w", Some(ends.to_string().as_bytes()), Expected::Any).unwrap();
    store.put_document("audit/w/0000000000000009", None, Expected::Any).unwrap();
    assert!(verify(&*store, &[]).unwrap().is_whole, "nothing in the store tells");
    let report = verify(&*store, std::slice::from_ref(&anchor)).unwrap();
    assert!(report.writers[0].problems[0].contains("cut off"), "{report:?}");

    let (_folder, other) = chain();
    let report = verify(&*other, std::slice::from_ref(&anchor)).unwrap();
    assert!(report.writers[0].problems[0].contains("is not the one of the anchor"), "{report:?}");
    let (_folder, empty) = chain();
    for document in empty.documents("audit", None, 100).unwrap() {
        empty.put_document(&document.name, None, Expected::Any).unwrap();
    }
    assert!(!verify(&*empty, &[anchor]).unwrap().is_whole);
}

#[test]
fn a_chain_goes_on_after_a_start_and_two_processes_may_write_it() {
    let (_folder, store) = chain();
    let start =
        || Auditor::start(Arc::clone(&store), "w".to_owned(), Keeping::default(), None).unwrap();
    let (one, other) = (start(), start());
    for line in 0..5 {
        one.add(draft(&format!("GET /one/{line}")));
        other.add(draft(&format!("GET /other/{line}")));
        std::thread::sleep(Duration::from_millis(10));
    }
    one.finish();
    other.finish();
    let report = whole(&*store);
    assert_eq!((report.writers.len(), report.writers[0].lines), (1, 22));
}

/// Whoever died between writing a group and its ends has lost nothing.
#[test]
fn ends_that_lag_behind_are_found_again() {
    let (_folder, store) = chain();
    let before = store.document("audit-ends/w").unwrap().unwrap().body;
    let auditor =
        Auditor::start(Arc::clone(&store), "w".to_owned(), Keeping::default(), None).unwrap();
    auditor.add(draft("GET /late"));
    auditor.finish();
    store.put_document("audit-ends/w", Some(&before), Expected::Any).unwrap();
    assert_eq!(whole(&*store).writers[0].lines, 13);
    let auditor =
        Auditor::start(Arc::clone(&store), "w".to_owned(), Keeping::default(), None).unwrap();
    auditor.add(draft("GET /later"));
    auditor.finish();
    assert_eq!(whole(&*store).writers[0].lines, 14);
}

#[test]
fn commands_leave_lines_that_the_server_takes_in() {
    let server = Server::start_audited(rules());
    note(&server.folder(), draft("deeptrace export")).unwrap();
    note(&server.folder(), draft("deeptrace traces")).unwrap();
    let begun = Instant::now();
    // Who asks leaves lines as well.
    let has = |found: &[Value], action: &str| found.iter().any(|line| line["action"] == action);
    loop {
        let found = lines(&server, 2);
        if has(&found, "deeptrace export") && has(&found, "deeptrace traces") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{found:?}");
    }
    // It is emptied after its lines are in the store.
    let begun = Instant::now();
    while std::fs::metadata(server.folder().join("audit.spool")).unwrap().len() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "what was taken in is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    whole(&*server.store);
}
