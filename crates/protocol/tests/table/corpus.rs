//! Every session of the corpus against what is written beside it; `UPDATE_EXPECT=1` rewrites.

use std::fs;

use deeptrace_protocol::TABLE;

use crate::session::corpus::{describe, entries};

#[test]
fn sessions_give_the_expected_messages() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for entry in entries() {
        let (out, stage) = entry.session.run(&entry.session.deliveries());
        let got = describe(&out, &stage);
        let path = entry.path.with_extension("expect");
        if update {
            fs::write(&path, &got).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("{}\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected (UPDATE_EXPECT=1 rewrites):\n{}", wrong.join("\n"));
}

#[test]
fn a_session_is_recognised_as_its_own_protocol_and_no_other() {
    for entry in entries() {
        let (out, _) = entry.session.run(&entry.session.deliveries());
        for message in &out.messages {
            assert_eq!(message.protocol, entry.protocol, "{}", entry.path.display());
        }
    }
}

#[test]
fn every_protocol_has_sessions_and_every_folder_a_protocol() {
    let folders: Vec<String> = entries().into_iter().map(|entry| entry.protocol).collect();
    for protocol in TABLE {
        assert!(folders.iter().any(|f| f == protocol.name), "no corpus for {}", protocol.name);
    }
    for folder in folders {
        assert!(TABLE.iter().any(|p| p.name == folder), "no protocol {folder}");
    }
}
