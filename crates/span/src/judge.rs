//! Judge: whether an answer is an error for the side that the span is of, which a parser does not know
//! (OpenTelemetry's semantic conventions for HTTP and for gRPC).

use std::borrow::Cow;

use deeptrace_model::{Span, SpanKind, SpanStatus, Value};

/// Status codes of gRPC that are errors for the server too (semantic conventions for gRPC, "gRPC
/// status"); all others but `OK` are the client's only.
const GRPC_SERVER_ERRORS: &[&str] =
    &["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// Sets the status of an answered span, and gives an error its `error.type`.
pub(crate) fn judge(span: &mut Span) {
    let code = span.attributes.get("http.response.status_code").and_then(Value::as_int);
    if let Some(code) = code {
        judge_http(span, code);
    } else if span.kind == SpanKind::Server && is_client_error_of_grpc(span) {
        acquit(span);
        span.status_message = None;
    }
    if span.status == SpanStatus::Error && span.attributes.get("error.type").is_none() {
        let other = || {
            let database = span.attributes.get("db.response.status_code");
            database.or_else(|| span.attributes.get("rpc.response.status_code")).cloned()
        };
        let kind = code.map(|code| Value::from(code.to_string())).or_else(other);
        span.attributes.push((Cow::Borrowed("error.type"), kind.unwrap_or("_OTHER".into())));
    }
}

/// 5xx is an error on both sides, 4xx on the client's only. What else succeeds may carry an error
/// of a protocol inside, of which the parser told.
fn judge_http(span: &mut Span, code: i64) {
    let is_error = match code {
        500.. => true,
        400.. => span.kind == SpanKind::Client,
        _ => span.status == SpanStatus::Error,
    };
    if is_error {
        span.status = SpanStatus::Error;
    } else {
        acquit(span);
    }
}

fn acquit(span: &mut Span) {
    span.status = SpanStatus::Ok;
    span.attributes.remove("error.type");
}

fn is_client_error_of_grpc(span: &Span) -> bool {
    let text = |name: &str| span.attributes.get(name).and_then(Value::as_text);
    let code = text("rpc.response.status_code").unwrap_or("OK");
    let is_grpc = text("rpc.system.name") == Some("grpc");
    is_grpc
        && span.status == SpanStatus::Error
        && code != "OK"
        && !GRPC_SERVER_ERRORS.contains(&code)
}
