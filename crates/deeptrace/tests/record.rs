//! `deeptrace record --redact` on real calls of this process: no secret is in the file, and it replays
//! to the spans. Needs root; says SKIPPED elsewhere.
#![cfg(feature = "live")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use deeptrace_capture::live::{CheckStatus, checks};
use deeptrace_capture::recording::Reader;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::Event;

const REQUEST: &str = "POST /users?password=open-sesame HTTP/1.1\r\nHost: a\r\n\
    Authorization: Bearer open-sesame\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n\
    {\"password\":\"open-sesame\",\"city\":\"Ulm\"}  ";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: s=open-sesame\r\nContent-Length: 2\r\n\r\nok";

/// Three exchanges on one connection, both sides in this process.
fn exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let (mut request, mut answer) = (vec![0; REQUEST.len()], vec![0; ANSWER.len()]);
    for _ in 0..3 {
        client.write_all(REQUEST.as_bytes()).unwrap();
        server.read_exact(&mut request).unwrap();
        server.write_all(ANSWER.as_bytes()).unwrap();
        client.read_exact(&mut answer).unwrap();
    }
}

/// Records what this process does; the bytes of all events, and what a replay prints.
fn record(folder: &Path, file: &str, options: &[&str]) -> (Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_deeptrace"))
        .args(["record", "--config", "deeptrace.toml", "--duration", "3s", "--output", file])
        .args(options)
        .current_dir(folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("recording to")), "it does not begin");
    exchange();
    let _ = lines.count();
    assert!(child.wait().unwrap().success());
    let mut reader = Reader::open(&folder.join(file)).unwrap();
    let mut bytes = Vec::new();
    let mut take = |event: &Event<'_>| bytes.extend(postcard::to_allocvec(event).unwrap());
    while reader.poll(&mut take).unwrap() != Progress::End {}
    let out = Command::new(env!("CARGO_BIN_EXE_deeptrace"))
        .args(["replay", "--config", "deeptrace.toml", "--format", "json", file])
        .current_dir(folder)
        .output()
        .unwrap();
    (bytes, String::from_utf8(out.stdout).unwrap())
}

#[test]
fn a_redacted_recording_holds_no_secret_and_replays() {
    if let Some(check) = checks().iter().find(|check| check.status == CheckStatus::Fail) {
        eprintln!("SKIPPED: recordings: {}; {}", check.detail, check.remedy);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[agents.trace]\npids = [{}]\n[agents.capture]\nmask_patterns = [\"password\"]\n",
        std::process::id()
    );
    std::fs::write(folder.path().join("deeptrace.toml"), config).unwrap();
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, b"open-sesame").is_some();
    let (bytes, _) = record(folder.path(), "plain.rec", &[]);
    assert!(has(&bytes), "it is there without --redact");
    let (bytes, replayed) = record(folder.path(), "redacted.rec", &["--redact"]);
    assert!(!has(&bytes) && !has(replayed.as_bytes()));
    let spans = replayed.lines().filter(|line| line.contains("\"name\":\"POST /users\"")).count();
    assert_eq!(spans, 6, "three exchanges, each seen from both sides: {replayed}");
    assert!(replayed.contains("\"url.query\":\"password=***********\""), "{replayed}");
}
