//! What an exporter wrote is read again: all that its format has.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod spans;

use std::sync::Arc;

use deeptrace_export::{Format, Framing, ReadError, TABLE, format, recognise};
use deeptrace_model::{LINKED_SPANS, TraceId, TraceSpan, Value};

use spans::{child, export, root};

fn read(format: &Format, mut bytes: &[u8]) -> Result<Vec<TraceSpan>, ReadError> {
    let mut spans = Vec::new();
    (format.read)(&mut bytes, &mut |span| {
        spans.push(span);
        Ok(())
    })?;
    Ok(spans)
}

/// What comes back of a span in that format.
fn expected(format: &str, original: &TraceSpan) -> TraceSpan {
    let mut placed = original.clone();
    if format != "json" {
        let span = Arc::make_mut(&mut placed.span);
        (span.request_payload, span.response_payload) = Default::default();
    }
    placed
}

#[test]
fn what_was_written_is_read_in_every_format() {
    for format in TABLE {
        for framing in [Framing::Document, Framing::Lines] {
            let originals = [root(), child()];
            let bytes = export(format.name, framing, &originals);
            assert_eq!(recognise(&bytes).map(|it| it.name), Some(format.name));
            let spans = read(format, &bytes).unwrap();
            assert_eq!(spans.len(), 2, "{}", format.name);
            for (read, original) in spans.iter().zip(&originals) {
                let expected = expected(format.name, original);
                let is_exact = !matches!(format.name, "jaeger" | "zipkin");
                let (span, told) = (&read.span, &expected.span);
                let clear = |link: &TraceSpan| {
                    let mut link = link.link.clone();
                    if let Some(link) = &mut link {
                        link.candidates = 1;
                        if !is_exact {
                            link.child_start.0 -= link.child_start.0 % 1000;
                        }
                    }
                    link
                };
                assert_eq!(read.parent, expected.parent);
                assert_eq!(clear(read), clear(&expected), "{}", format.name);
                assert_eq!((span.id, span.kind, &span.name), (told.id, told.kind, &told.name));
                assert_eq!((&span.service, &span.protocol), (&told.service, &told.protocol));
                assert_eq!(
                    (span.status, &span.status_message),
                    (told.status, &told.status_message)
                );
                assert_eq!((span.request_size, span.response_size), (78, 112));
                assert_eq!((&span.unknown, span.truncated), (&told.unknown, told.truncated));
                assert_eq!(span.lost_events, told.lost_events);
                assert_eq!(span.request_payload, told.request_payload, "{}", format.name);
                let trace = span.trace_context.unwrap().trace;
                assert_eq!(trace, TraceId(0xabc));
                let grain = if is_exact { 1 } else { 1000 };
                assert_eq!(span.start.0 / grain, told.start.0 / grain);
                assert!(told.end.0.abs_diff(span.end.0) <= grain, "{}", format.name);
                for (name, value) in told.all_attributes().iter() {
                    let found = span.attributes.get(name);
                    let as_text = |value: &Value| match value {
                        Value::Text(text) => text.to_string(),
                        Value::Int(number) => number.to_string(),
                        Value::Float(number) => number.to_string(),
                        Value::Bool(yes) => yes.to_string(),
                        Value::Texts(texts) if format.name == "jaeger" => {
                            serde_json::to_string(texts).unwrap()
                        }
                        Value::Texts(texts) => texts.join(","),
                    };
                    match format.name {
                        "json" | "otlp" | "otlp-protobuf" => {
                            assert_eq!(found, Some(value), "{name}")
                        }
                        _ => assert_eq!(found.map(as_text), Some(as_text(value)), "{name}"),
                    }
                }
            }
        }
    }
}

/// A span of an SDK with all that OTLP has for it.
const OF_SDK: &str = r#"{"resourceSpans": [{
    "resource": {"attributes": [
        {"key": "service.name", "value": {"stringValue": "orders"}},
        {"key": "team", "value": {"stringValue": "shop"}}]},
    "scopeSpans": [{"scope": {"name": "orders-lib", "version": "1.2"}, "spans": [{
        "traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0000000000000007",
        "traceState": "vendor=1", "name": "place", "kind": 1,
        "startTimeUnixNano": "1000", "endTimeUnixNano": "3000",
        "events": [{"timeUnixNano": "2000", "name": "retry"}],
        "links": [{"traceId": "100102030405060708090a0b0c0d0e0f", "spanId": "0000000000000009"}],
        "droppedEventsCount": 4, "status": {"code": 1}}]}]}]}"#;

#[test]
fn what_an_sdk_told_leaves_otlp_as_it_came() {
    for format in TABLE.iter().filter(|format| format.name.starts_with("otlp")) {
        let otlp = deeptrace_export::format("otlp").unwrap();
        let mut spans = read(otlp, OF_SDK.as_bytes()).unwrap();
        // Once more by way of the format.
        spans = read(format, &export(format.name, Framing::Document, &spans)).unwrap();
        let written = export("otlp", Framing::Document, &spans);
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let resource = &written["resourceSpans"][0];
        let names = resource["resource"]["attributes"].as_array().unwrap().iter();
        assert_eq!(names.map(|it| &it["key"]).collect::<Vec<_>>(), ["service.name", "team"]);
        let scope = &resource["scopeSpans"][0];
        assert_eq!(
            (&scope["scope"]["name"], &scope["scope"]["version"]),
            (&"orders-lib".into(), &"1.2".into())
        );
        let span = &scope["spans"][0];
        assert_eq!(span["traceState"], "vendor=1");
        assert_eq!(span["events"][0]["name"], "retry");
        assert_eq!(span["links"][0]["spanId"], "0000000000000009");
        assert_eq!(span["status"]["code"], 1);
        let dropped = spans[0].span.attributes.get("otel.dropped_events_count");
        assert_eq!(dropped, Some(&Value::Int(4)));
    }
}

#[test]
fn causes_of_ours_are_causes_again() {
    let mut placed = root();
    let ids = Value::Texts(vec!["00000000000000b2".to_owned()]);
    Arc::make_mut(&mut placed.span).attributes.push((LINKED_SPANS.into(), ids.clone()));
    let bytes = export("otlp", Framing::Document, &[placed]);
    let spans = read(format("otlp").unwrap(), &bytes).unwrap();
    assert_eq!(spans[0].span.attributes.get(LINKED_SPANS), Some(&ids));
}

#[test]
fn json_that_was_read_is_written_alike() {
    for framing in [Framing::Document, Framing::Lines] {
        let first = export("json", framing, &[root(), child()]);
        let spans = read(format("json").unwrap(), &first).unwrap();
        let again = export("json", framing, &spans);
        assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(first).unwrap());
    }
}

#[test]
fn several_documents_and_none_are_read() {
    for format in TABLE {
        let one = export(format.name, Framing::Document, &[root()]);
        let spans = read(format, &[&one[..], &one[..]].concat()).unwrap();
        assert_eq!(spans.len(), 2, "{}", format.name);
        let none = export(format.name, Framing::Document, &[]);
        assert_eq!(read(format, &none).unwrap(), []);
        assert_eq!(read(format, b"").unwrap(), []);
    }
}

#[test]
fn what_is_cut_or_something_else_is_an_error_and_no_panic() {
    for format in TABLE {
        let bytes = export(format.name, Framing::Document, &[root(), child()]);
        let cut_at = (1..bytes.len() - 2).step_by(7);
        for len in cut_at {
            let read = read(format, &bytes[..len]);
            let is_whole = read.as_ref().is_ok_and(|spans| spans.len() == 2);
            assert!(read.is_err() || is_whole, "{}: {len} of {}", format.name, bytes.len());
        }
        assert!(read(format, b"these are no spans").is_err(), "{}", format.name);
    }
    let json = format("json").unwrap();
    let text = String::from_utf8(export("json", Framing::Lines, &[root()])).unwrap();
    for (from, to) in [
        ("\"00000000000000a1\"", "\"0000000000000000\""),
        ("\"00000000000000a1\"", "\"+0000000000000a1\""),
        ("\"00000000000000000000000000000abc\"", "\"xyz\""),
        ("\"kind\":\"server\"", "\"kind\":\"waiter\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(read(json, changed.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn whoever_takes_can_stop() {
    for format in TABLE {
        let bytes = export(format.name, Framing::Document, &[root(), child()]);
        let mut taken = 0;
        let stopped = (format.read)(&mut &bytes[..], &mut |_| {
            taken += 1;
            Err("full".into())
        });
        assert!(matches!(stopped, Err(ReadError::Stopped(_))), "{}", format.name);
        assert_eq!(taken, 1);
    }
}
