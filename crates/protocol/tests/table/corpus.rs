//! Every session of the corpus against what is written beside it; `UPDATE_EXPECT=1` rewrites.

use std::fs;

use deeptrace_model::Incomplete;
use deeptrace_protocol::TABLE;

use crate::session::Session;
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

#[test]
fn what_is_under_way_when_events_end_is_given_out() {
    let session =
        Session::parse("open accepted tcp 80\nC \"GET /one HTTP/1.1\\r\\nHost: a\\r\\n\"\n");
    let (mut out, mut stage) = session.run(&session.deliveries());
    assert!(out.messages.is_empty());
    stage.end(&mut out);
    let [message] = &out.messages[..] else { panic!("{} messages", out.messages.len()) };
    assert_eq!((message.name.as_str(), message.incomplete), ("GET /one", Some(Incomplete::Lost)));
    stage.end(&mut out);
    assert_eq!(out.messages.len(), 1, "an end comes once");
}
