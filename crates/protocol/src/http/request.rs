//! Requests: RFC 9112 §3, named and described after OpenTelemetry's HTTP conventions.

use deeptrace_model::{Attributes, Value};
use memchr::memchr;

use super::head::Fields;
use crate::Draft;
use crate::template::path_template;
use crate::web::meaning::{self, Asking, Wanted};
use crate::web::{METHODS, hide_secrets, host_and_port, path_and_query, text};

/// Longest method that is believed of a protocol that lets everybody make up their own.
const METHOD_MAX: usize = 20;

/// A request line.
pub(super) struct Line<'a> {
    pub(super) method: &'a [u8],
    target: &'a [u8],
    /// Where the target begins.
    target_at: usize,
    minor: u8,
    /// Length with its end.
    pub(super) len: usize,
}

/// The first line, `None` if its end is not there, an error if it is not one of HTTP.
pub(super) fn line(bytes: &[u8]) -> Option<Result<Line<'_>, ()>> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    Some(split(line).map(|parts| Line { len: end + 1, ..parts }).ok_or(()))
}

fn split(line: &[u8]) -> Option<Line<'_>> {
    let method = &line[..memchr(b' ', line)?];
    let rest = &line[method.len() + 1..];
    let target = rest.strip_suffix(b" HTTP/1.1").or_else(|| rest.strip_suffix(b" HTTP/1.0"))?;
    let is_target = !target.is_empty() && !target.iter().any(|byte| *byte <= b' ');
    (is_method(method) && is_target).then(|| Line {
        method,
        target,
        target_at: method.len() + 1,
        minor: line[line.len() - 1] - b'0',
        len: 0,
    })
}

/// Whether a request starts here: its whole line, or as much of it as leaves no doubt.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    match line(bytes) {
        Some(line) => line.is_ok(),
        None => {
            let known = METHODS.iter().find(|method| bytes.starts_with(method.as_bytes()));
            known.is_some_and(|method| {
                let target = &bytes[method.len()..];
                target.starts_with(b" /") || target.starts_with(b" http://")
            })
        }
    }
}

/// Whether more bytes can make this a request line.
pub(super) fn may_become_start(bytes: &[u8]) -> bool {
    match memchr(b' ', bytes) {
        Some(space) => is_method(&bytes[..space]),
        None => bytes.len() <= METHOD_MAX && bytes.iter().all(is_method_byte),
    }
}

fn is_method(method: &[u8]) -> bool {
    (1..=METHOD_MAX).contains(&method.len()) && method.iter().all(is_method_byte)
}

/// A token (RFC 9110 §5.6.2) as methods are made of them.
fn is_method_byte(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')
}

/// What a request says, and who wants to see its body.
pub(super) fn draft(line: &Line<'_>, fields: &Fields<'_>, bytes: &[u8]) -> (Draft, Option<Wanted>) {
    let target = Target::of(line.target, line.method == b"CONNECT");
    let known = METHODS.iter().find(|method| method.as_bytes() == line.method);
    let method = known.copied().unwrap_or("_OTHER");
    // OpenTelemetry: a method that is not known is named `HTTP`.
    let named = if known.is_some() { method } else { "HTTP" };
    let path = text(target.path);
    let name =
        if path.is_empty() { named.into() } else { [named, " ", &path_template(&path)].concat() };
    let mut draft = Draft::request(name);
    let mut attributes = Attributes::with_capacity(10);
    attributes.push(("http.request.method".into(), method.into()));
    if known.is_none() {
        attributes.push(("http.request.method_original".into(), text(line.method).into()));
    }
    if !path.is_empty() {
        attributes.push(("url.path".into(), path.into()));
    }
    draft.redact.clone_from(&fields.redact);
    if let Some(query) = target.query {
        let at = line.target_at + offset(line.target, query);
        attributes.push(("url.query".into(), hide_secrets(query, at, &mut draft.redact).into()));
    }
    attributes.push(("url.scheme".into(), target.scheme.into()));
    if let Some((host, port)) = target.authority.or(fields.host).and_then(host_and_port) {
        attributes.push(("server.address".into(), text(host).into()));
        attributes.extend(port.map(|port| ("server.port".into(), Value::Int(port))));
    }
    if let Some(agent) = fields.user_agent {
        attributes.push(("user_agent.original".into(), text(agent).into()));
    }
    if let Some(length) = fields.length {
        attributes.push(("http.request.body.size".into(), Value::Int(length as i64)));
    }
    attributes.push(("network.protocol.name".into(), "http".into()));
    let version = if line.minor == 0 { "1.0" } else { "1.1" };
    attributes.push(("network.protocol.version".into(), version.into()));
    draft.attributes = attributes;
    draft.trace_context = fields.trace.context();
    let wanted = meaning::ask(
        &Asking {
            method: line.method,
            path: target.path,
            query: target.query,
            host: target.authority.or(fields.host),
            user_agent: fields.user_agent,
            words: fields.words,
        },
        &mut draft,
    );
    if let Some(user) = target.user {
        let at = offset(bytes, user);
        draft.redact.push(at..at + user.len());
    }
    (draft, wanted)
}

/// Where a part lies in its whole.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// A request target, taken apart (RFC 9112 §3.2).
#[derive(Default)]
struct Target<'a> {
    scheme: &'static str,
    authority: Option<&'a [u8]>,
    /// Name and password before the host.
    user: Option<&'a [u8]>,
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    fn of(target: &'a [u8], is_connect: bool) -> Self {
        if is_connect {
            return Self { scheme: "http", authority: Some(target), ..Self::default() };
        }
        let http = target.strip_prefix(b"http://").map(|rest| ("http", rest));
        let https = || target.strip_prefix(b"https://").map(|rest| ("https", rest));
        let Some((scheme, rest)) = http.or_else(https) else {
            return Self { scheme: "http", ..Self::path_and_query(target) };
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority.iter().rposition(|byte| *byte == b'@');
        let path = if path.is_empty() { b"/" } else { path };
        Self {
            scheme,
            authority: Some(user.map_or(authority, |at| &authority[at + 1..])),
            user: user.map(|at| &authority[..at]),
            ..Self::path_and_query(path)
        }
    }

    fn path_and_query(target: &'a [u8]) -> Self {
        let (path, query) = path_and_query(target);
        Self { path, query, ..Self::default() }
    }
}
