//! The Span JSON, byte for byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod spans;

use std::sync::Arc;

use deeptrace_export::{Framing, TABLE};
use deeptrace_model::{LINKED_SPANS, TraceSpan, Value};
use expect_test::expect;

use spans::{child, export, root};

fn text(framing: Framing, spans: &[TraceSpan]) -> String {
    String::from_utf8(export("json", framing, spans)).unwrap()
}

#[test]
fn lines_are_as_promised() {
    expect![[r#"
        {"trace_id":"00000000000000000000000000000abc","span_id":"00000000000000a1","parent_span_id":null,"kind":"server","name":"GET /users/{id}","service":"users","start_time_unix_nano":1700000000000000001,"end_time_unix_nano":1700000000002000001,"duration_ns":2000000,"status":"ok","status_message":null,"protocol":"http","attributes":{"url.path":"/users/7","http.response.status_code":200,"some.flag":true,"some.ratio":0.25,"some.list":["a","b\""],"thread.id":11,"deeptrace.time_to_first_byte_ns":1},"request_size":78,"response_size":112,"link":null,"links":[],"request_payload":"GET /users/7 HTTP/1.1\r\n","response_payload":{"base64":"gAD/"},"unknown":["rpc.method"],"truncated":true,"lost_events":2}
        {"trace_id":"00000000000000000000000000000abc","span_id":"00000000000000b2","parent_span_id":"00000000000000a1","kind":"client","name":"GET","service":"users","start_time_unix_nano":1700000000001000000,"end_time_unix_nano":1700000000002000001,"duration_ns":1000001,"status":"unset","status_message":"connection reset","protocol":"redis","attributes":{"thread.id":11,"deeptrace.time_to_first_byte_ns":1},"request_size":78,"response_size":112,"link":{"method":"thread","relation":"child","confidence":0.9,"algorithm":"auto"},"links":[],"request_payload":"GET /users/7 HTTP/1.1\r\n","response_payload":"","unknown":[],"truncated":false,"lost_events":0}
    "#]].assert_eq(&text(Framing::Lines, &[root(), child()]));
}

#[test]
fn an_array_is_valid_with_any_number_of_spans() {
    for spans in [vec![], vec![root()], vec![root(), child()]] {
        let text = text(Framing::Document, &spans);
        let values: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(values.len(), spans.len());
        assert!(text.ends_with("]\n"), "{text}");
    }
}

#[test]
fn names_of_formats_are_unique() {
    let mut names: Vec<_> = TABLE.iter().map(|format| format.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn spans_whose_items_were_taken_are_further_causes() {
    let mut placed = root();
    let ids = Value::Texts(vec!["00000000000000b2".into()]);
    Arc::make_mut(&mut placed.span).attributes.push((LINKED_SPANS.into(), ids));
    let text = text(Framing::Lines, &[placed]);
    let links = r#""links":[{"span_id":"00000000000000b2","method":"queue","relation":"follows","confidence":1.0,"algorithm":"item"}]"#;
    assert!(text.contains(links), "{text}");
}
