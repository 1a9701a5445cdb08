//! The formats of others: expected text, and what those read who keep the definitions.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod spans;

use deeptrace_export::Framing;
use expect_test::expect;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::Value;

use spans::{child, export, root};

fn text(format: &str) -> String {
    String::from_utf8(export(format, Framing::Document, &[root(), child()])).unwrap()
}

#[test]
fn otlp_is_what_the_definitions_say_in_both_encodings() {
    let spans = [root(), child()];
    let document = export("otlp", Framing::Document, &spans);
    let json: TracesData = serde_json::from_slice(&document).unwrap();
    let line: TracesData = serde_json::from_slice(&export("otlp", Framing::Lines, &spans)).unwrap();
    let binary =
        TracesData::decode(&export("otlp-protobuf", Framing::Document, &spans)[..]).unwrap();
    assert_eq!(json, binary);
    assert_eq!(line, binary);
    let spans = &binary.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    assert_eq!(binary.resource_spans.len(), 1, "one process is one resource");
}

#[test]
fn otlp_is_as_written_down() {
    expect![[r#"
        {"resourceSpans":[
        {"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"users"}}],"droppedAttributesCount":0,"entityRefs":[]},"scopeSpans":[{"scope":{"name":"deeptrace","version":"0.1.0","attributes":[],"droppedAttributesCount":0},"spans":[{"traceId":"00000000000000000000000000000abc","spanId":"00000000000000a1","traceState":"","parentSpanId":"","flags":257,"name":"GET /users/{id}","kind":2,"startTimeUnixNano":"1700000000000000001","endTimeUnixNano":"1700000000002000001","attributes":[{"key":"url.path","value":{"stringValue":"/users/7"}},{"key":"http.response.status_code","value":{"intValue":"200"}},{"key":"some.flag","value":{"boolValue":true}},{"key":"some.ratio","value":{"doubleValue":0.25}},{"key":"some.list","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b\""}]}}},{"key":"thread.id","value":{"intValue":"11"}},{"key":"deeptrace.time_to_first_byte_ns","value":{"intValue":"1"}},{"key":"deeptrace.protocol","value":{"stringValue":"http"}},{"key":"deeptrace.request.size","value":{"intValue":"78"}},{"key":"deeptrace.response.size","value":{"intValue":"112"}},{"key":"deeptrace.unknown","value":{"arrayValue":{"values":[{"stringValue":"rpc.method"}]}}},{"key":"deeptrace.truncated","value":{"boolValue":true}},{"key":"deeptrace.lost_events","value":{"intValue":"2"}}],"droppedAttributesCount":0,"events":[],"droppedEventsCount":0,"links":[],"droppedLinksCount":0,"status":null},{"traceId":"00000000000000000000000000000abc","spanId":"00000000000000b2","traceState":"","parentSpanId":"00000000000000a1","flags":257,"name":"GET","kind":3,"startTimeUnixNano":"1700000000001000000","endTimeUnixNano":"1700000000002000001","attributes":[{"key":"thread.id","value":{"intValue":"11"}},{"key":"deeptrace.time_to_first_byte_ns","value":{"intValue":"1"}},{"key":"error.type","value":{"stringValue":"no_response"}},{"key":"deeptrace.protocol","value":{"stringValue":"redis"}},{"key":"deeptrace.request.size","value":{"intValue":"78"}},{"key":"deeptrace.response.size","value":{"intValue":"112"}},{"key":"deeptrace.link.method","value":{"stringValue":"thread"}},{"key":"deeptrace.link.confidence","value":{"doubleValue":0.9}},{"key":"deeptrace.link.algorithm","value":{"stringValue":"auto"}}],"droppedAttributesCount":0,"events":[],"droppedEventsCount":0,"links":[],"droppedLinksCount":0,"status":{"message":"connection reset","code":2}}],"schemaUrl":""}],"schemaUrl":""}
        ]}
    "#]].assert_eq(&text("otlp"));
}

#[test]
fn jaeger_is_as_written_down() {
    expect![[r#"
        {"data":[
        {"traceID":"00000000000000000000000000000abc","spans":[{"traceID":"00000000000000000000000000000abc","spanID":"00000000000000a1","flags":1,"operationName":"GET /users/{id}","references":[],"startTime":1700000000000000,"duration":2000,"tags":[{"key":"span.kind","type":"string","value":"server"},{"key":"url.path","type":"string","value":"/users/7"},{"key":"http.response.status_code","type":"int64","value":200},{"key":"some.flag","type":"bool","value":true},{"key":"some.ratio","type":"float64","value":0.25},{"key":"some.list","type":"string","value":"[\"a\",\"b\\\"\"]"},{"key":"thread.id","type":"int64","value":11},{"key":"deeptrace.time_to_first_byte_ns","type":"int64","value":1},{"key":"deeptrace.protocol","type":"string","value":"http"},{"key":"deeptrace.request.size","type":"int64","value":78},{"key":"deeptrace.response.size","type":"int64","value":112},{"key":"deeptrace.unknown","type":"string","value":"[\"rpc.method\"]"},{"key":"deeptrace.truncated","type":"bool","value":true},{"key":"deeptrace.lost_events","type":"int64","value":2},{"key":"otel.scope.name","type":"string","value":"deeptrace"},{"key":"otel.scope.version","type":"string","value":"0.1.0"}],"logs":[],"processID":"p1"},{"traceID":"00000000000000000000000000000abc","spanID":"00000000000000b2","flags":1,"operationName":"GET","references":[{"refType":"CHILD_OF","traceID":"00000000000000000000000000000abc","spanID":"00000000000000a1"}],"startTime":1700000000001000,"duration":1000,"tags":[{"key":"span.kind","type":"string","value":"client"},{"key":"thread.id","type":"int64","value":11},{"key":"deeptrace.time_to_first_byte_ns","type":"int64","value":1},{"key":"error.type","type":"string","value":"no_response"},{"key":"deeptrace.protocol","type":"string","value":"redis"},{"key":"deeptrace.request.size","type":"int64","value":78},{"key":"deeptrace.response.size","type":"int64","value":112},{"key":"deeptrace.link.method","type":"string","value":"thread"},{"key":"deeptrace.link.confidence","type":"float64","value":0.9},{"key":"deeptrace.link.algorithm","type":"string","value":"auto"},{"key":"otel.scope.name","type":"string","value":"deeptrace"},{"key":"otel.scope.version","type":"string","value":"0.1.0"},{"key":"error","type":"bool","value":true},{"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"otel.status_description","type":"string","value":"connection reset"}],"logs":[],"processID":"p1"}],"processes":{"p1":{"serviceName":"users","tags":[]}}}
        ]}
    "#]].assert_eq(&text("jaeger"));
}

#[test]
fn zipkin_is_as_written_down() {
    expect![[r#"
        [
        {"traceId":"00000000000000000000000000000abc","id":"00000000000000a1","kind":"SERVER","name":"GET /users/{id}","timestamp":1700000000000000,"duration":2000,"localEndpoint":{"serviceName":"users"},"tags":{"deeptrace.lost_events":"2","deeptrace.protocol":"http","deeptrace.request.size":"78","deeptrace.response.size":"112","deeptrace.time_to_first_byte_ns":"1","deeptrace.truncated":"true","deeptrace.unknown":"rpc.method","http.response.status_code":"200","service.name":"users","some.flag":"true","some.list":"a,b\"","some.ratio":"0.25","thread.id":"11","url.path":"/users/7"}},
        {"traceId":"00000000000000000000000000000abc","id":"00000000000000b2","parentId":"00000000000000a1","kind":"CLIENT","name":"GET","timestamp":1700000000001000,"duration":1000,"localEndpoint":{"serviceName":"users"},"tags":{"deeptrace.link.algorithm":"auto","deeptrace.link.confidence":"0.9","deeptrace.link.method":"thread","deeptrace.protocol":"redis","deeptrace.request.size":"78","deeptrace.response.size":"112","deeptrace.time_to_first_byte_ns":"1","error":"connection reset","error.type":"no_response","service.name":"users","thread.id":"11"}}
        ]
    "#]].assert_eq(&text("zipkin"));
}

#[test]
fn a_document_without_spans_is_valid() {
    for format in deeptrace_export::TABLE.iter().filter(|it| it.media_type == "application/json") {
        let bytes = export(format.name, Framing::Document, &[]);
        assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "{}", format.name);
    }
}
