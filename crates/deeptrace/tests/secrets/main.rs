//! No secret leaves: every case of `corpus/secrets` goes through all stages, in every cut, and what
//! comes out at each end (spans, store, API, export, text, recordings, log lines) is searched for its
//! secrets in every form. Without redaction they are found, so that the search is known to work.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

mod case;
mod ends;
mod needle;
#[expect(dead_code, reason = "these tests need a part of what the parsers' tests need")]
#[path = "../../../protocol/tests/table/session/mod.rs"]
mod session;

use deeptrace_agent::config::Config;
use deeptrace_agent::pipeline::{Correlation, Options, Pipeline};
use deeptrace_agent::redacting::Redacting;
use deeptrace_agent::sink::Batch;
use deeptrace_model::{BootTime, Duration, Event, Span};
use deeptrace_protocol::TABLE;
use deeptrace_redact::Rules;

use case::{Case, cases};
use needle::Needle;
use session::Delivery;

/// What is configured where something is.
const CONFIGURED: &str = r#"
[agents.capture]
exclude_payloads = ["excluded-*"]
filter_headers = ["X-Tenant"]
mask_patterns = ["password", "ssn", "credit_card"]
mask_card_numbers = true
mask_email_addresses = true

[storage]
span_retention_days = 3650
"#;

/// The rules of a file.
fn rules(text: &str) -> Rules {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeptrace.toml");
    std::fs::write(&path, text).unwrap();
    let config: Config = deeptrace::config::validate(&path).unwrap().agent;
    config.redaction
}

fn options(rules: &Rules, max_payload_size: usize) -> Options {
    let correlation = Correlation { link_wait: Duration(0), ..Correlation::default() };
    Options { max_payload_size, correlation, handlers: Vec::new(), rules: rules.clone() }
}

/// What the pipeline makes of events.
fn spans(options: Options, feed: impl FnOnce(&mut dyn FnMut(&Event<'_>))) -> Batch {
    let mut pipeline = Pipeline::new(options);
    let mut batch = Batch::default();
    feed(&mut |event| pipeline.feed(event, &mut batch, &mut |_| {}));
    pipeline.tick(BootTime(1_000_000_000_000), &mut batch, &mut |_| {});
    batch
}

/// With attributes by name: which of them are shared, and so come first, depends on what came before.
fn sorted(mut spans: Vec<Span>) -> Vec<Span> {
    for span in &mut spans {
        let mut attributes: Vec<_> = span.attributes.iter().cloned().collect();
        attributes.sort_by(|one, other| one.0.cmp(&other.0));
        span.attributes = attributes.into();
    }
    spans
}

fn bytes(batch: &Batch) -> Vec<u8> {
    let mut bytes = postcard::to_allocvec(&batch.spans).unwrap();
    for span in &batch.spans {
        bytes.extend_from_slice(format!("{span:?}\n").as_bytes());
    }
    bytes
}

/// The events of a case, as bytes of a recording that is not compressed.
fn recorded(case: &Case, deliveries: &[Delivery]) -> Vec<u8> {
    let mut bytes = Vec::new();
    case.events(deliveries, &mut |event| bytes.extend(postcard::to_allocvec(event).unwrap()));
    bytes
}

/// The same, redacted; and the events read back.
fn redacted(case: &Case, rules: &Rules, deliveries: &[Delivery]) -> Vec<Vec<u8>> {
    let mut redacting = Redacting::new(options(rules, 512));
    let mut events = Vec::new();
    let mut write = |event: &Event<'_>| events.push(postcard::to_allocvec(event).unwrap());
    case.events(deliveries, &mut |event| redacting.feed(event, &mut |_| {}, &mut write));
    redacting.tick(BootTime(1_000_000_000_000), &mut |_| {}, &mut write);
    events
}

fn needles(case: &Case) -> Vec<Needle> {
    case.secrets.iter().map(|secret| Needle::new(secret)).collect()
}

/// Panics if a secret of `case` is in `bytes`.
fn search(case: &Case, needles: &[Needle], bytes: &[u8], place: &str) {
    for (needle, secret) in needles.iter().zip(&case.secrets) {
        if let Some(form) = needle.find(bytes) {
            let (secret, text) = (secret.escape_ascii(), bytes.escape_ascii());
            panic!("{}: {secret} ({form}) in {place}:\n{text}", case.name);
        }
    }
}

#[test]
fn the_secrets_are_there_before() {
    let none = Rules::default();
    for case in cases() {
        let deliveries = case.session().deliveries();
        let bytes = if case.is_always {
            recorded(&case, &deliveries)
        } else {
            let feed = |sink: &mut dyn FnMut(&Event<'_>)| case.events(&deliveries, sink);
            bytes(&spans(options(&none, 512), feed))
        };
        for (needle, secret) in needles(&case).iter().zip(&case.secrets) {
            assert!(needle.find(&bytes).is_some(), "{}: no {}", case.name, secret.escape_ascii());
        }
    }
}

/// Protocols that carry nothing that must not leave, and why.
const WITHOUT_SECRETS: &[(&str, &str)] = &[
    ("dns", "names and addresses are all it tells"),
    ("tls", "a hand-shake tells names and versions; what is under it is of another protocol"),
];

#[test]
fn every_protocol_has_a_case() {
    let mut spoken = BTreeSet::new();
    for case in cases() {
        let session = case.session();
        let mut deliveries = session.deliveries();
        // What ends is forgotten.
        deliveries.retain(|delivery| !matches!(delivery, Delivery::Close(_)));
        let (out, stage) = session.run(&deliveries);
        spoken.extend(out.messages.iter().map(|message| message.protocol));
        spoken.extend(stage.connections().filter_map(|(_, name)| name));
    }
    for row in TABLE {
        let is_without = WITHOUT_SECRETS.iter().any(|(name, _)| *name == row.name);
        assert_ne!(spoken.contains(row.name), is_without, "{}", row.name);
    }
}

#[test]
fn no_secret_is_in_a_span_and_the_rest_is() {
    let (none, configured) = (rules(""), rules(CONFIGURED));
    for case in cases() {
        let deliveries = case.session().deliveries();
        let needles = needles(&case);
        let all = [&none, &configured].into_iter().skip(usize::from(!case.is_always));
        for rules in all {
            for size in [512, 16_384, 64, 0] {
                let feed = |sink: &mut dyn FnMut(&Event<'_>)| case.events(&deliveries, sink);
                let batch = spans(options(rules, size), feed);
                search(&case, &needles, &bytes(&batch), "a span");
                let text = format!("{:?}", batch.spans);
                let text = text.replace('\\', "");
                let kept = bytes(&batch);
                for keeps in case.keeps.iter().filter(|_| size >= 512) {
                    let is_kept = text.contains(keeps)
                        || memchr::memmem::find(&kept, keeps.as_bytes()).is_some();
                    assert!(is_kept, "{}: {keeps} is lost in\n{text}", case.name);
                }
            }
        }
    }
}

#[test]
fn no_cut_lets_a_secret_through() {
    let (none, configured) = (rules(""), rules(CONFIGURED));
    for case in cases() {
        let needles = needles(&case);
        let all = [&none, &configured].into_iter().skip(usize::from(!case.is_always));
        for rules in all {
            // Most cuts change nothing.
            let mut seen = BTreeSet::new();
            for deliveries in case.variants() {
                let feed = |sink: &mut dyn FnMut(&Event<'_>)| case.events(&deliveries, sink);
                let batch = spans(options(rules, 512), feed);
                let bytes = postcard::to_allocvec(&batch.spans).unwrap();
                if seen.insert(deeptrace_model::hash_bytes(&bytes)) {
                    search(&case, &needles, &bytes, "a cut span");
                }
            }
        }
    }
}

#[test]
fn a_redacted_recording_has_no_secret_and_gives_the_same_spans() {
    let (none, configured) = (rules(""), rules(CONFIGURED));
    for case in cases() {
        let deliveries = case.session().deliveries();
        let rules = if case.is_always { &none } else { &configured };
        let events = redacted(&case, rules, &deliveries);
        search(&case, &needles(&case), &events.concat(), "a recording");
        let live = spans(options(rules, 512), |sink| case.events(&deliveries, sink));
        let replayed = spans(options(rules, 512), |sink| {
            for bytes in &events {
                sink(&postcard::from_bytes(bytes).unwrap());
            }
        });
        let (mut replayed_spans, live_spans) = (sorted(replayed.spans), sorted(live.spans));
        for (replayed, live) in replayed_spans.iter_mut().zip(&live_spans) {
            // Which answer belongs to which request is not known there: more of them are masked.
            let (more, less) = (&replayed.response_payload, &live.response_payload);
            let is_masked = more.len() == less.len() && more.iter().all(|byte| *byte == b'*');
            assert!(more == less || is_masked, "{}: {more:?} {less:?}", case.name);
            replayed.response_payload = live.response_payload.clone();
        }
        assert_eq!(replayed_spans, live_spans, "{}", case.name);
        assert_eq!(replayed.links, live.links, "{}", case.name);
    }
}

/// A recording may come from anywhere.
#[test]
fn messages_of_a_broken_recording_are_survived() {
    let configured = rules(CONFIGURED);
    for case in cases().iter().filter(|case| case.name.starts_with("redis")) {
        let events = redacted(case, &configured, &case.session().deliveries());
        for (index, event) in events.iter().enumerate() {
            for at in (0..event.len()).step_by(3) {
                let mut broken = event.clone();
                broken[at] ^= 0xff;
                let Ok(broken) = postcard::from_bytes(&broken) else { continue };
                spans(options(&configured, 512), |sink| {
                    events[..index].iter().for_each(|e| sink(&postcard::from_bytes(e).unwrap()));
                    sink(&broken);
                    events[index..].iter().for_each(|e| sink(&postcard::from_bytes(e).unwrap()));
                });
            }
        }
    }
}
