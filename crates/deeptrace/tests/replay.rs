//! The whole path from recorded kernel events to traces: the same bytes every time, and the spans that
//! are expected.
//!
//! `corpus/recording/shop.rec` are three seconds of the sample application, attached in the middle.
//! `UPDATE_EXPECT=1` rewrites what is expected.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(name)
}

fn replay(file: &str, format: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
    // No file of this host may change the answer.
    command.args(["replay", "--format", format]).arg(corpus(file)).current_dir("/");
    let out = command.output().unwrap();
    assert!(out.status.success(), "{file}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Spans by service, kind, protocol, name, status and how their parent was found.
fn summary(lines: &str) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines.lines() {
        let span: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| span[key].as_str().unwrap_or("-").to_owned();
        let method = span["link"]["method"].as_str().unwrap_or("-");
        let fields = ["service", "kind", "protocol", "name", "status"].map(text);
        *counts.entry(format!("{} {method}", fields.join(" "))).or_default() += 1;
    }
    counts.iter().fold(String::new(), |mut all, (row, count)| {
        writeln!(all, "{count:5} {row}").unwrap();
        all
    })
}

#[test]
fn a_recording_gives_the_same_bytes_twice_and_the_expected_spans() {
    let lines = replay("recording/shop.rec", "json");
    assert_eq!(lines, replay("recording/shop.rec", "json"));
    assert_eq!(replay("recording/shop.rec", "text"), replay("recording/shop.rec", "text"));
    let (summary, path) = (summary(&lines), corpus("recording/shop.expect"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &summary).unwrap();
    }
    assert_eq!(summary, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn captures_give_spans() {
    for (file, name) in [
        ("pcap/http.pcap", "POST"),
        ("pcap/http-sll.pcapng", "GET"),
        ("pcap/postgresql.pcap", "SELECT"),
        ("pcap/memcached.pcapng", "get"),
    ] {
        let lines = replay(file, "json");
        assert_eq!(lines, replay(file, "json"), "{file}");
        assert!(lines.contains(&format!("\"name\":\"{name}")), "{file}: {lines}");
    }
}

#[test]
fn what_cannot_be_replayed_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(corpus("recording/shop.rec")).unwrap();
    for (path, says, spans) in [
        (file("text", b"hello"), "neither a recording", false),
        (file("empty", b""), "neither a recording", false),
        (folder.path().join("absent"), "cannot open", false),
        (file("cut.rec", &whole[..whole.len() / 2]), "cut.rec", true),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
        let out = command.args(["replay", "--format", "json"]).arg(&path).output().unwrap();
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{error}");
        assert!(error.contains(says) && error.trim().lines().count() == 1, "{error}");
        assert_eq!(!out.stdout.is_empty(), spans, "{}", path.display());
    }
}
