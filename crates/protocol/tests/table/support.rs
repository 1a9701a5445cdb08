//! What rows say of themselves, held against what their sessions show.

use std::collections::BTreeMap;

use deeptrace_model::{Message, MessageRole, SpanStatus};
use deeptrace_protocol::{Pairing, Protocol, TABLE};

use crate::session::corpus::entries;

/// What the sessions of a protocol show.
#[derive(Default)]
struct Shown {
    /// Requests and responses without an id, and with one.
    unnamed: u32,
    named: u32,
    errors: u32,
    contexts: u32,
}

impl Shown {
    fn add(&mut self, message: &Message) {
        let is_paired = message.role != MessageRole::OneWay;
        let has_id = message.stream.stream != 0;
        self.unnamed += u32::from(is_paired && !has_id);
        self.named += u32::from(is_paired && has_id);
        self.errors += u32::from(message.status == SpanStatus::Error);
        self.contexts += u32::from(message.trace_context.is_some());
    }
}

/// Rows whose parser reads trace context that no client in their sessions sent: a unit test shows it,
/// or the sessions of what travels inside.
const SHOWN_ELSEWHERE: &[&str] = &["websocket", "http2"];

fn check(row: &Protocol, shown: &Shown) {
    let (support, name) = (&row.support, row.name);
    let is_right = match support.pairing {
        Pairing::InOrder => shown.named == 0 && shown.unnamed > 0,
        Pairing::ById(_) => shown.unnamed == 0 && shown.named > 0,
        Pairing::Mixed(_) => shown.unnamed > 0 && shown.named > 0,
        Pairing::OneWay => shown.unnamed + shown.named == 0,
    };
    assert!(
        is_right,
        "{name}: {:?}, {} with id, {} without",
        support.pairing, shown.named, shown.unnamed
    );
    assert_eq!(support.errors.is_empty(), shown.errors == 0, "{name}: errors");
    if !SHOWN_ELSEWHERE.contains(&name) {
        assert_eq!(support.context.is_empty(), shown.contexts == 0, "{name}: trace context");
    }
}

#[test]
fn rows_say_what_their_sessions_show() {
    let mut shown = BTreeMap::<&str, Shown>::new();
    for entry in entries() {
        let (out, _) = entry.session.run(&entry.session.deliveries());
        for message in &out.messages {
            shown.entry(message.protocol).or_default().add(message);
        }
        let row = TABLE.iter().find(|row| row.name == entry.protocol).unwrap();
        let transport = entry.session.transport;
        assert!(row.transports.contains(&transport), "{}: {transport:?}", entry.path.display());
    }
    for row in TABLE {
        check(row, shown.get(row.name).unwrap_or(&Shown::default()));
    }
}

#[test]
fn rows_are_described_for_people() {
    for row in TABLE {
        let support = row.support;
        assert!(!row.title.is_empty() && !row.transports.is_empty(), "{}", row.name);
        let texts = [support.pairing.as_str(), support.errors, support.context, support.tls];
        for text in texts.iter().chain(support.limits) {
            // They are cells of a table.
            assert!(!text.contains(['|', '\n']) && text.trim() == *text, "{}: {text}", row.name);
        }
    }
}
