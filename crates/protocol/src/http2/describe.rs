//! What requests and responses say, after OpenTelemetry's conventions for HTTP and for gRPC.

use deeptrace_model::{Attributes, SpanStatus, Value};

use super::fields::Fields;
use super::frame;
use super::stream::Under;
use crate::template::path_template;
use crate::web::meaning::{self, Asking, Row, Wanted};
use crate::web::{METHODS, hide_secrets, host_and_port, path_and_query, text};
use crate::{Draft, grpc};

/// What a request says, and who reads the body of its response.
pub(super) fn request(message: Under, is_grpc: bool, stream: u32) -> (Draft, Option<Row>) {
    let fields = &message.fields;
    let mut draft = if is_grpc { call(fields, message.count.messages()) } else { ask(fields) };
    let wanted = if is_grpc { None } else { meant(fields, &mut draft) };
    let row = wanted.and_then(|wanted| meaning::ask_body(wanted, &message.body, &mut draft));
    draft.stream = u64::from(stream);
    draft.trace_context = fields.trace.context();
    draft.truncated = fields.is_cut;
    draft.redact = message.redact;
    (draft, row)
}

/// What a request's head means; who wants its body is returned.
fn meant(fields: &Fields, draft: &mut Draft) -> Option<Wanted> {
    let (path, query) = fields.path.as_deref().map(path_and_query)?;
    let asking = Asking {
        method: fields.method.as_deref()?,
        path,
        query,
        host: fields.authority.as_deref(),
        user_agent: fields.user_agent.as_deref(),
        words: fields.words(),
    };
    meaning::ask(&asking, draft)
}

/// What a response says; `reset` is the error code with which its stream was reset.
pub(super) fn response(
    message: Under,
    is_grpc: bool,
    stream: u32,
    reset: Option<u32>,
    reader: Option<Row>,
) -> Draft {
    let fields = &message.fields;
    let mut draft = match reset {
        Some(code) => reset_with(code),
        None if is_grpc => outcome(fields, message.count.messages()),
        None => answer(fields),
    };
    if !is_grpc {
        meaning::answer(&fields.words(), &mut draft);
        if let Some(row) = reader {
            meaning::answer_body(row, &message.body, &mut draft);
        }
    }
    if is_grpc {
        draft.protocol = Some(grpc::NAME);
    }
    draft.stream = u64::from(stream);
    // After a loss it may have begun anywhere.
    draft.truncated = fields.is_cut || (fields.status.is_none() && reset.is_none());
    draft.redact = message.redact;
    draft
}

/// A request of HTTP.
fn ask(fields: &Fields) -> Draft {
    let known = |method: &[u8]| METHODS.iter().find(|name| name.as_bytes() == method).copied();
    let method = fields.method.as_deref().map(|method| known(method).unwrap_or("_OTHER"));
    let (path, query) = fields.path.as_deref().map(path_and_query).unwrap_or_default();
    let path = text(path);
    let named = if method == Some("_OTHER") { Some("HTTP") } else { method };
    let name = match named {
        Some(named) if !path.is_empty() => [named, " ", &path_template(&path)].concat(),
        named => named.unwrap_or_default().to_owned(),
    };
    let mut draft = Draft::request(name);
    let mut attributes = Attributes::with_capacity(10);
    if let Some(method) = method {
        attributes.push(("http.request.method".into(), method.into()));
    } else {
        draft.unknown.push("http.request.method");
    }
    if let (Some("_OTHER"), Some(original)) = (method, &fields.method) {
        attributes.push(("http.request.method_original".into(), text(original).into()));
    }
    if !path.is_empty() {
        attributes.push(("url.path".into(), path.into()));
    } else if fields.path.is_none() && fields.has_unknown {
        draft.unknown.push("url.path");
    }
    if let Some(query) = query {
        let query = hide_secrets(query, 0, &mut Vec::new());
        attributes.push(("url.query".into(), query.into()));
    }
    match &fields.scheme {
        Some(scheme) => attributes.push(("url.scheme".into(), text(scheme).into())),
        None if fields.has_unknown => draft.unknown.push("url.scheme"),
        None => {}
    }
    draft.attributes = attributes;
    common(&mut draft, fields);
    if let Some(length) = fields.length {
        draft.attributes.push(("http.request.body.size".into(), Value::Int(length as i64)));
    }
    draft.attributes.push(("network.protocol.name".into(), "http".into()));
    draft.attributes.push(("network.protocol.version".into(), "2".into()));
    draft
}

/// A request of gRPC.
fn call(fields: &Fields, messages: Option<u32>) -> Draft {
    let method = fields.path.as_deref().map(|path| text(path.strip_prefix(b"/").unwrap_or(path)));
    let mut draft = Draft::request(method.as_deref().unwrap_or_default());
    draft.protocol = Some(grpc::NAME);
    draft.attributes.push(("rpc.system.name".into(), "grpc".into()));
    match method {
        Some(method) => draft.attributes.push(("rpc.method".into(), method.into())),
        None => draft.unknown.push("rpc.method"),
    }
    common(&mut draft, fields);
    if let Some(messages) = messages.filter(|count| *count != 1) {
        let key = "deeptrace.rpc.request.messages".into();
        draft.attributes.push((key, Value::Int(i64::from(messages))));
    }
    draft
}

/// What requests of both have.
fn common(draft: &mut Draft, fields: &Fields) {
    if let Some((host, port)) = fields.authority.as_deref().and_then(host_and_port) {
        draft.attributes.push(("server.address".into(), text(host).into()));
        draft.attributes.extend(port.map(|port| ("server.port".into(), Value::Int(port))));
    } else if fields.authority.is_none() && fields.has_unknown {
        draft.unknown.push("server.address");
    }
    match &fields.user_agent {
        Some(agent) => draft.attributes.push(("user_agent.original".into(), text(agent).into())),
        None if fields.has_unknown => draft.unknown.push("user_agent.original"),
        None => {}
    }
}

/// A response of HTTP.
fn answer(fields: &Fields) -> Draft {
    let Some(code) = fields.status else {
        let mut draft = Draft::response(SpanStatus::Unset);
        draft.unknown.push("http.response.status_code");
        return draft;
    };
    let is_error = code >= 500;
    let mut draft = Draft::response(if is_error { SpanStatus::Error } else { SpanStatus::Ok });
    draft.attributes.push(("http.response.status_code".into(), Value::Int(i64::from(code))));
    if is_error {
        draft.attributes.push(("error.type".into(), code.to_string().into()));
    }
    if let Some(length) = fields.length {
        draft.attributes.push(("http.response.body.size".into(), Value::Int(length as i64)));
    }
    draft
}

/// The outcome of a call: its status comes with the trailers, or in the only head. Without one the
/// status of HTTP says what went wrong.
fn outcome(fields: &Fields, messages: Option<u32>) -> Draft {
    let mut draft = match (fields.grpc_status, fields.status) {
        (Some(code), _) => grpc::outcome(code, fields.grpc_message.as_deref()),
        (None, Some(code)) if code != 200 => failed(code.to_string()),
        (None, _) if fields.has_unknown || fields.status.is_none() => {
            let mut draft = Draft::response(SpanStatus::Unset);
            draft.unknown.push("rpc.response.status_code");
            draft
        }
        (None, _) => failed("_OTHER".to_owned()),
    };
    if let Some(messages) = messages.filter(|count| *count > 1) {
        let key = "deeptrace.rpc.response.messages".into();
        draft.attributes.push((key, Value::Int(i64::from(messages))));
    }
    draft
}

fn reset_with(code: u32) -> Draft {
    let name = frame::error_name(code).map_or_else(|| code.to_string(), str::to_owned);
    let mut draft = failed(name.clone());
    draft.status_message = Some(["stream was reset: ", &name].concat());
    draft
}

fn failed(kind: String) -> Draft {
    let mut draft = Draft::response(SpanStatus::Error);
    draft.attributes.push(("error.type".into(), kind.into()));
    draft
}
