//! `deeptrace correlate` on small files: links, scores, and what is wrong with bad ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `a` serves a request every 10 ms for 8 ms, and calls `b` in the middle of it.
fn write_set(folder: &Path) {
    let (mut spans, mut truth) = (String::new(), String::from("id,trace,parent,flags\n"));
    for trace in 0..50_u64 {
        let (id, start) = (3 * trace, 1_000_000_000 + trace * 10_000_000);
        let rows = [("a", "S", 0, 8, ""), ("a", "C", 2, 6, "b"), ("b", "S", 3, 5, "a")];
        for (nth, (service, kind, from, to, peer)) in (0_u64..).zip(rows) {
            let (from, to) = (start + from * 1_000_000, start + to * 1_000_000);
            let exchange = if nth > 0 { format!(r#","xid":{trace}"#) } else { String::new() };
            writeln!(
                spans,
                r#"{{"id":{},"svc":"{service}","kind":"{kind}","start":{from},"end":{to},"peer":"{peer}"{exchange}}}"#,
                id + nth
            )
            .unwrap();
            let parent = if nth == 0 { -1 } else { (id + nth) as i64 - 1 };
            writeln!(truth, "{},{trace},{parent},", id + nth).unwrap();
        }
    }
    fs::write(folder.join("spans.jsonl"), spans).unwrap();
    fs::write(folder.join("truth.csv"), truth).unwrap();
}

fn correlate(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
    command.current_dir(folder).arg("correlate").args(arguments).output().unwrap()
}

#[test]
fn every_algorithm_writes_links_and_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    for algorithm in ["auto", "fifo", "wap5"] {
        let links =
            format!("--algorithm {algorithm} --input spans.jsonl --output {algorithm}.jsonl");
        let done = correlate(folder.path(), &links);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let written = fs::read_to_string(folder.path().join(format!("{algorithm}.jsonl"))).unwrap();
        let lines: Vec<serde_json::Value> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 150);
        assert_eq!((&lines[0]["parent"], &lines[0]["method"]), (&().into(), &().into()));
        assert_eq!((&lines[1]["parent"], &lines[1]["algorithm"]), (&0.into(), &algorithm.into()));
        assert_eq!((&lines[2]["parent"], &lines[2]["method"]), (&1.into(), &"connection".into()));
        let scored = correlate(
            folder.path(),
            &format!("--input spans.jsonl --format json --eval-links {algorithm}.jsonl truth.csv"),
        );
        let scores: serde_json::Value = serde_json::from_slice(&scored.stdout).unwrap();
        assert_eq!((&scores["links"], &scores["trace"]), (&50.into(), &1.0.into()), "{scores}");
    }
}

#[test]
fn published_restrictions_are_for_an_evaluation_of_what_was_published() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let published = "--input spans.jsonl --format json --eval truth.csv --published";
    for algorithm in ["fifo", "wap5", "traceweaver"] {
        let done = correlate(folder.path(), &format!("{published} --algorithm {algorithm}"));
        let scores: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&scores["links"], &scores["trace"]), (&50.into(), &1.0.into()), "{scores}");
    }
    let auto = correlate(folder.path(), published);
    let said = String::from_utf8_lossy(&auto.stderr).into_owned();
    assert!(!auto.status.success() && said.contains("fifo, wap5, traceweaver"), "{said}");
    let without = correlate(folder.path(), "--input spans.jsonl --output l --published");
    assert!(!without.status.success());
}

#[test]
fn scores_come_with_what_it_took_and_are_the_same_twice() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let arguments = "--input spans.jsonl --features timing --format json --eval truth.csv";
    let scores = || -> serde_json::Value {
        let mut all: serde_json::Value =
            serde_json::from_slice(&correlate(folder.path(), arguments).stdout).unwrap();
        assert!(all["peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "{all}");
        assert!(all["cpu_seconds"].as_f64().unwrap() > 0.0, "{all}");
        all["cpu_seconds"] = ().into();
        all["peak_memory_bytes"] = ().into();
        all
    };
    assert_eq!(scores(), scores());
    // Nothing is so sure that it is told at this confidence.
    let none = correlate(folder.path(), "--input spans.jsonl --min-confidence 1 --eval truth.csv");
    let text = String::from_utf8_lossy(&none.stdout).into_owned();
    assert!(text.contains("coverage"), "{text}");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let cases = [
        ("{}\n", "bad.jsonl, line 1: missing field"),
        ("{\"id\":1,\"kind\":\"X\",\"start\":1,\"end\":2}\n", "kind is \"S\" or \"C\", not \"X\""),
        ("{\"id\":1,\"kind\":\"S\",\"start\":1,\"end\":2}\nspan\n", "bad.jsonl, line 2"),
    ];
    for (text, said) in cases {
        fs::write(folder.path().join("bad.jsonl"), text).unwrap();
        let failed = correlate(folder.path(), "--input bad.jsonl --output -");
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(failed.status.code() == Some(1) && error.contains(said), "{error}");
    }
    let refused = correlate(folder.path(), "--input spans.jsonl");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--output <LINKS>"));
    let twice = correlate(folder.path(), "--input - --eval truth.csv");
    assert!(String::from_utf8_lossy(&twice.stderr).contains("reads the spans twice"));
}
