//! Params: the meta-variables of a request (specification §3.4, RFC 3875 §4.1), and what they tell.

use std::ops::Range;

use deeptrace_model::Value;

use super::record::STREAM_WAIT_MAX;
use crate::Draft;
use crate::template::path_template;
use crate::trace_context::TraceHeaders;

/// Bytes of a record before its content.
const HEADER: usize = 8;

/// Bytes of all parameters of a request that are looked at.
const PARAMS_MAX: usize = 2 * STREAM_WAIT_MAX;

/// Bytes of a value that go into an attribute.
const TEXT_MAX: usize = 2048;

/// Meta-variables whose values are never kept, beside those that [`is_secret`] tells.
const SECRET: &[&[u8]] = &[
    b"HTTP_AUTHORIZATION",
    b"REDIRECT_HTTP_AUTHORIZATION",
    b"HTTP_PROXY_AUTHORIZATION",
    b"HTTP_COOKIE",
    b"PHP_AUTH_DIGEST",
];

/// Query parameters whose values are never kept (OpenTelemetry, `url.query`).
const SECRET_QUERY: &[&str] = &["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// The parameters of one request.
#[derive(Default)]
pub(super) struct Params {
    bytes: Vec<u8>,
    /// Where content of each record lies in `bytes`, and in the message.
    pieces: Vec<(usize, usize)>,
    is_cut: bool,
}

impl Params {
    /// Content of a record that begins at `at` in the message.
    pub(super) fn add(&mut self, content: &[u8], is_whole: bool, at: usize) {
        if self.is_cut {
            return;
        }
        let room = PARAMS_MAX - self.bytes.len();
        self.pieces.push((self.bytes.len(), at + HEADER));
        self.bytes.extend_from_slice(&content[..content.len().min(room)]);
        self.is_cut = !is_whole || content.len() > room || self.pieces.len() >= PARAMS_MAX / 64;
    }

    /// Where a byte of `bytes` lies in the message.
    fn position(&self, at: usize) -> usize {
        let piece = self.pieces.iter().rev().find(|piece| piece.0 <= at);
        piece.map_or(at, |piece| piece.1 + (at - piece.0))
    }

    /// The request; `None` if nothing is known of it, when it is `lost`.
    pub(super) fn draft(&self, id: u16, lost: bool) -> Option<Draft> {
        if self.bytes.is_empty() && lost {
            return None;
        }
        let mut variables = Variables::default();
        let mut redact = Vec::new();
        let mut at = 0;
        while let Some((name, value)) = pair(&self.bytes, at) {
            let there = value.start.min(self.bytes.len())..value.end.min(self.bytes.len());
            let is_there = there == value;
            let name = &self.bytes[name];
            if is_secret(name) {
                // Of a value that is cut nothing behind it is kept.
                let end = if is_there { self.position(value.end - 1) + 1 } else { usize::MAX };
                redact.push(self.position(value.start)..end);
            } else if is_there {
                variables.take(name, &self.bytes[there], self.position(value.start), &mut redact);
            }
            at = value.end;
        }
        let mut draft = variables.draft();
        redact.retain(|range| range.start < range.end);
        draft.redact = redact;
        draft.stream = u64::from(id);
        draft.truncated = self.is_cut;
        Some(draft)
    }
}

/// Name and value at `at`; the value may end after the bytes.
fn pair(bytes: &[u8], at: usize) -> Option<(Range<usize>, Range<usize>)> {
    let (name_len, at) = length(bytes, at)?;
    let (value_len, at) = length(bytes, at)?;
    let name = at..at.checked_add(name_len)?;
    bytes.get(name.clone())?;
    let value = name.end..name.end.checked_add(value_len)?;
    Some((name, value))
}

/// A length of one or four bytes, and where it ends.
fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((usize::from(first), at + 1));
    }
    let rest = bytes.get(at + 1..at + 4)?;
    let len = u32::from_be_bytes([first & 0x7f, rest[0], rest[1], rest[2]]);
    Some((len as usize, at + 4))
}

fn is_secret(name: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[b"PASSWORD", b"PASSWD", b"AUTH_PW", b"SECRET", b"TOKEN", b"API_KEY"];
    let has = |word: &&[u8]| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret)) || WORDS.iter().any(has)
}

/// What is told of a request.
#[derive(Default)]
struct Variables {
    method: String,
    uri: String,
    query: String,
    script: String,
    script_name: String,
    scheme: String,
    server: String,
    port: Option<i64>,
    agent: String,
    length: Option<i64>,
    trace: TraceHeaders,
}

impl Variables {
    fn take(&mut self, name: &[u8], value: &[u8], at: usize, redact: &mut Vec<Range<usize>>) {
        let text = || String::from_utf8_lossy(&value[..value.len().min(TEXT_MAX)]).into_owned();
        let number = || std::str::from_utf8(value).ok()?.parse::<u32>().ok().map(i64::from);
        match name {
            b"REQUEST_METHOD" => self.method = text(),
            b"REQUEST_URI" => {
                self.uri = text();
                if let Some(mark) = value.iter().position(|byte| *byte == b'?')
                    && hide_secrets(&self.uri[self.uri.find('?').unwrap_or(0)..]).is_some()
                {
                    redact.push(at + mark + 1..at + value.len());
                }
            }
            b"QUERY_STRING" => {
                self.query = text();
                if let Some(hidden) = hide_secrets(&self.query) {
                    self.query = hidden;
                    redact.push(at..at + value.len());
                }
            }
            b"SCRIPT_FILENAME" => self.script = text(),
            b"SCRIPT_NAME" => self.script_name = text(),
            b"REQUEST_SCHEME" => self.scheme = text(),
            b"SERVER_NAME" => self.server = text(),
            b"SERVER_PORT" => self.port = number(),
            b"HTTP_USER_AGENT" => self.agent = text(),
            b"CONTENT_LENGTH" => self.length = number(),
            _ => {
                if let Some(header) = name.strip_prefix(b"HTTP_") {
                    let header: Vec<u8> =
                        header.iter().map(|b| if *b == b'_' { b'-' } else { *b }).collect();
                    self.trace.header(&header, value);
                }
            }
        }
    }

    fn draft(self) -> Draft {
        let uri = if self.uri.is_empty() { self.script_name } else { self.uri };
        let path = uri.split('?').next().unwrap_or_default().to_owned();
        let is_method = (1..=20).contains(&self.method.len())
            && self.method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        let method = if is_method { self.method } else { String::new() };
        let name = match (method.as_str(), path_template(&path)) {
            ("", path) if path.is_empty() => "FastCGI".to_owned(),
            ("", path) => path,
            (method, path) => format!("{method} {path}").trim_end().to_owned(),
        };
        let mut draft = Draft::request(name);
        let mut text = |key: &'static str, value: String| {
            if !value.is_empty() {
                draft.attributes.push((key.into(), value.into()));
            }
        };
        text("http.request.method", method);
        text("url.path", path);
        text("url.query", self.query);
        text("url.scheme", self.scheme);
        // `_` is nginx's word for no name.
        text("server.address", if self.server == "_" { String::new() } else { self.server });
        text("user_agent.original", self.agent);
        text("deeptrace.fastcgi.script", self.script);
        text("network.protocol.name", "fastcgi".to_owned());
        let mut number = |key: &'static str, value: Option<i64>| {
            draft.attributes.extend(value.map(|value| (key.into(), Value::Int(value))));
        };
        number("server.port", self.port);
        number("http.request.body.size", self.length);
        draft.trace_context = self.trace.context();
        draft
    }
}

/// The query with secret values hidden; `None` if there are none.
fn hide_secrets(query: &str) -> Option<String> {
    let query = query.strip_prefix('?').unwrap_or(query);
    let mut has_secret = false;
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, _)) if SECRET_QUERY.contains(&name) => {
                has_secret = true;
                format!("{name}=REDACTED")
            }
            _ => part.to_owned(),
        })
        .collect();
    has_secret.then(|| parts.join("&"))
}
