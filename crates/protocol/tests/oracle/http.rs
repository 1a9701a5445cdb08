//! HTTP/1.1 (RFC 9112) beside the crate `httparse`: heads are its, bodies follow from their fields.

use deeptrace_model::{Message, MessageRole, Transport};
use deeptrace_protocol::Side;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::session::Session;
use crate::told::{Calls, attribute, config, each, ours, same, session, streams, theirs};

/// Sessions of which the crate does not read all, and why.
const OTHERS: &[(&str, &str)] = &[
    ("bad_request", "what the server refuses is no request"),
    ("connect", "a tunnel has no heads"),
    ("upgrade", "what follows is another protocol"),
];

fn says(message: &Message) -> String {
    match message.role {
        MessageRole::Response => attribute(message, "http.response.status_code"),
        _ => {
            let method = attribute(message, "http.request.method_original");
            let method = match method.is_empty() {
                true => attribute(message, "http.request.method"),
                false => method,
            };
            format!("{method} {}", attribute(message, "url.path"))
        }
    }
}

/// Bytes of a body in chunks (RFC 9112 §7.1), with what is after the last.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let parsed = httparse::parse_chunk_size(bytes.get(at..)?).ok()?;
        let httparse::Status::Complete((line, size)) = parsed else { return None };
        at += line;
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let trailers = httparse::parse_headers(bytes.get(at..)?, &mut fields).ok()?;
            let httparse::Status::Complete((len, _)) = trailers else { return None };
            return Some(at + len);
        }
        at += size as usize + 2;
    }
}

/// Bytes of a body by the fields of its head (RFC 9112 §6.3); `None`: all that come.
fn body(fields: &[httparse::Header<'_>], bytes: &[u8], is_request: bool) -> Option<usize> {
    let field = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    if field("transfer-encoding").is_some_and(|field| field.value.ends_with(b"chunked")) {
        // More than is there, where it does not end.
        return Some(chunked(bytes).unwrap_or(bytes.len() + 1));
    }
    match field("content-length") {
        Some(field) => std::str::from_utf8(field.value).ok()?.parse().ok(),
        None if is_request => Some(0),
        None => None,
    }
}

/// What the crate tells of both directions.
fn theirs_of(session: &Session) -> Vec<crate::told::Told> {
    let [client, server] = streams(session);
    let mut methods = std::collections::VecDeque::new();
    let mut told = theirs(Side::Client, &client, |bytes| {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(head) = request.parse(bytes).ok()? else { return None };
        let (method, target) = (request.method?, request.path?);
        methods.push_back(method.to_owned());
        // What is asked of a proxy names the server first (RFC 9112 §3.2.2).
        let target = match target.strip_prefix("http://") {
            Some(after) => after.split_at(after.find('/')?).1,
            None => target,
        };
        let path = target.split('?').next().unwrap_or_default();
        let len = head + body(request.headers, &bytes[head..], true)?;
        Some((len, Some(format!("{method} {path}"))))
    });
    told.extend(theirs(Side::Server, &server, |bytes| {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(head) = response.parse(bytes).ok()? else { return None };
        let code = response.code?;
        let is_final = code >= 200;
        let method = if is_final { methods.pop_front() } else { None };
        let is_bare = !is_final || matches!(code, 204 | 304) || method.as_deref() == Some("HEAD");
        let rest = &bytes[head..];
        let len =
            if is_bare { 0 } else { body(response.headers, rest, false).unwrap_or(rest.len()) };
        Some((head + len, Some(code.to_string())))
    }));
    told
}

fn check(name: &str, session: &Session) {
    same(name, &ours(session, says), &theirs_of(session));
}

#[test]
fn the_corpus_is_read_alike() {
    each("http", OTHERS, 10, check);
}

/// Fields that say nothing of the body, spelt in all ways that are allowed (RFC 9110 §5.5, §5.6.3).
fn fields() -> impl Strategy<Value = String> {
    let field =
        ("[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", "[ \t]{0,3}", "([!-~]([ -~]{0,20}[!-~])?)?");
    vec(field, 0..6).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, space, value)| format!("{name}:{space}{value}\r\n"))
            .collect()
    })
}

/// The end of a head, and a body.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let known = vec(any::<u8>(), 0..80).prop_map(|body| {
        [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
    });
    let extension = prop_oneof![Just(""), Just(";a=b"), Just(";c=\"d;e\"")];
    let chunks = vec((vec(any::<u8>(), 1..40), extension, any::<bool>()), 0..5);
    let chunked = (chunks, any::<bool>()).prop_map(|(chunks, has_trailer)| {
        let mut bytes = b"transfer-encoding:chunked\r\n\r\n".to_vec();
        for (chunk, extension, is_upper) in chunks {
            let size = match is_upper {
                true => format!("{:X}", chunk.len()),
                false => format!("0{:x}", chunk.len()),
            };
            bytes
                .extend([size.as_bytes(), extension.as_bytes(), b"\r\n", &chunk, b"\r\n"].concat());
        }
        bytes.extend_from_slice(if has_trailer { b"0\r\nx-sum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
        bytes
    });
    prop_oneof![known, chunked]
}

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "HEAD"];

fn exchanges() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let path = "/[a-zA-Z0-9._~/%@:-]{0,30}(\\?[a-z]{1,4}=[a-z0-9]{0,8})?";
    let code = prop_oneof![200u16..204, 205u16..304, 400u16..600];
    let request = (select(METHODS), path, fields(), bodies());
    (request, (code, "[A-Za-z ]{0,12}", fields(), bodies())).prop_map(|(request, response)| {
        let (method, path, fields, body) = request;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}");
        let asked = [head.as_bytes(), &body].concat();
        let (code, reason, fields, body) = response;
        let head = format!("HTTP/1.1 {code} {reason}\r\n{fields}");
        let end = memchr::memmem::find(&body, b"\r\n\r\n").map_or(body.len(), |at| at + 4);
        let body = if method == "HEAD" { &body[..end] } else { &body[..] };
        (asked, [head.as_bytes(), body].concat())
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_exchanges_are_read_alike(
        exchanges in vec(exchanges(), 1..6),
        is_pipelined: bool,
        cuts in vec(any::<u16>(), 0..24),
    ) {
        let mut calls: Calls = Vec::new();
        for (request, response) in exchanges {
            calls.extend([(Side::Client, request), (Side::Server, response)]);
        }
        if is_pipelined {
            calls.sort_by_key(|(from, _)| *from);
        }
        check("whole", &session(8080, Transport::Tcp, &calls, &[]));
        check("cut", &session(8080, Transport::Tcp, &calls, &cuts));
    }
}
