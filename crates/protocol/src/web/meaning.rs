//! Meaning: what a request of HTTP asks in the words of an interface that is spoken over it, and what
//! the answer says in them. One file a detector; the table has their order.
//!
//! A detector says yes only to what nobody else sends: a client that names itself, a signature that
//! names a service, a body that is of one kind only. A path alone never tells.

use deeptrace_model::{Attribute, Text};

use super::{elasticsearch, genai, graphql, jsonrpc, s3, soap};
use crate::Draft;

/// Bytes of a request's and of a response's body that are looked at.
pub(crate) const REQUEST_MAX: usize = 2 * 1024;
pub(crate) const RESPONSE_MAX: usize = 16 * 1024;

/// One interface.
pub(super) struct Detector {
    /// What the head of a request tells.
    pub(super) head: fn(&Asking<'_>) -> Found,
    /// What its body tells, after the head said [`Found::InBody`].
    pub(super) body: fn(Note, &[u8]) -> Option<Meaning>,
    /// Adds what the body of a response tells.
    pub(super) answer: Option<fn(&[u8], &mut Draft)>,
}

/// All detectors, in the order in which they are asked: those that the head tells first.
const TABLE: &[Detector] = &[
    elasticsearch::DETECTOR,
    s3::DETECTOR,
    soap::DETECTOR,
    // By path and body.
    genai::DETECTOR,
    // By body.
    jsonrpc::DETECTOR,
    graphql::DETECTOR,
];

/// A request's head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: Option<&'a [u8]>,
    /// With its port, if it has one.
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) words: Words<'a>,
}

impl<'a> Asking<'a> {
    /// The value of a parameter of the query, as written; empty where it has none.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        let pairs = self.query?.split(|byte| *byte == b'&');
        let mut values = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes()));
        values.find_map(|rest| match rest {
            [] => Some(&rest[..0]),
            [b'=', value @ ..] => Some(value),
            _ => None,
        })
    }
}

/// Fields that detectors look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Words<'a> {
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) authorization: Option<&'a [u8]>,
    pub(crate) soap_action: Option<&'a [u8]>,
    /// `anthropic-version`, `x-elastic-client-meta`, `x-amz-copy-source` are there.
    pub(crate) has_anthropic_version: bool,
    pub(crate) has_elastic_meta: bool,
    pub(crate) has_copy_source: bool,
    /// The body is compressed.
    pub(crate) is_encoded: bool,
    /// Of a response: `x-elastic-product`, `x-amz-request-id`.
    pub(crate) elastic_product: Option<&'a [u8]>,
    pub(crate) aws_request_id: Option<&'a [u8]>,
}

impl<'a> Words<'a> {
    /// Takes a field, if it is one of these; `name` in any case.
    pub(crate) fn field(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            10 if is(b"soapaction") => self.soap_action = Some(value),
            12 if is(b"content-type") => self.content_type = Some(value),
            13 if is(b"authorization") => self.authorization = Some(value),
            16 if is(b"content-encoding") => {
                self.is_encoded = !value.eq_ignore_ascii_case(b"identity");
            }
            16 if is(b"x-amz-request-id") => self.aws_request_id = Some(value),
            17 if is(b"anthropic-version") => self.has_anthropic_version = true,
            17 if is(b"x-amz-copy-source") => self.has_copy_source = true,
            17 if is(b"x-elastic-product") => self.elastic_product = Some(value),
            21 if is(b"x-elastic-client-meta") => self.has_elastic_meta = true,
            _ => {}
        }
    }

    /// Whether a field of this name, in small letters, is one of these.
    pub(crate) fn has(name: &[u8]) -> bool {
        const NAMES: &[&[u8]] = &[
            b"soapaction",
            b"content-type",
            b"authorization",
            b"content-encoding",
            b"x-amz-request-id",
            b"anthropic-version",
            b"x-amz-copy-source",
            b"x-elastic-product",
            b"x-elastic-client-meta",
        ];
        NAMES.contains(&name)
    }

    /// Whether the body is JSON that can be read.
    pub(crate) fn is_json(&self) -> bool {
        let kind = self.content_type.and_then(|kind| kind.split(|byte| *byte == b';').next());
        let kind = kind.unwrap_or_default().trim_ascii();
        let is_json = kind.len() >= 5 && kind[kind.len() - 4..].eq_ignore_ascii_case(b"json");
        is_json && !self.is_encoded
    }
}

/// What a detector says of a head.
#[derive(Debug)]
pub(super) enum Found {
    No,
    /// The body will tell.
    InBody(Note),
    Yes(Meaning),
}

/// What a detector keeps of a head until it has the body.
pub(super) type Note = [&'static str; 2];

/// What a request means.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// The name, where the conventions have one.
    pub(super) name: Option<Text>,
    pub(super) attributes: Vec<Attribute>,
}

/// Detectors that want the body of a request, with what they keep of its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted([Option<Note>; TABLE.len()]);

/// The row of a detector that reads the response, too.
pub(crate) type Row = u8;

/// What a request's head tells is added to `draft`; detectors that want the body are returned.
pub(crate) fn ask(asking: &Asking<'_>, draft: &mut Draft) -> Option<Wanted> {
    let mut wanted = Wanted::default();
    for (detector, slot) in TABLE.iter().zip(&mut wanted.0) {
        match (detector.head)(asking) {
            Found::No => {}
            Found::InBody(note) => *slot = Some(note),
            Found::Yes(meaning) => {
                meaning.add_to(draft);
                return None;
            }
        }
    }
    wanted.0.iter().any(Option::is_some).then_some(wanted)
}

/// What a request's body tells is added to `draft`; who reads the response is returned.
pub(crate) fn ask_body(wanted: Wanted, body: &[u8], draft: &mut Draft) -> Option<Row> {
    for (row, (detector, note)) in TABLE.iter().zip(wanted.0).enumerate() {
        if let Some(meaning) = note.and_then(|note| (detector.body)(note, body)) {
            meaning.add_to(draft);
            return detector.answer.and(Row::try_from(row).ok());
        }
    }
    None
}

/// What a response's head tells is added to `draft`.
pub(crate) fn answer(words: &Words<'_>, draft: &mut Draft) {
    if words.elastic_product == Some(b"Elasticsearch") {
        draft.attributes.push(("db.system.name".into(), "elasticsearch".into()));
    }
    if let Some(id) = words.aws_request_id {
        draft.attributes.push(("aws.request_id".into(), super::text(id).into()));
    }
}

/// What a response's body tells is added to `draft`.
pub(crate) fn answer_body(row: Row, body: &[u8], draft: &mut Draft) {
    if let Some(answer) = TABLE.get(usize::from(row)).and_then(|detector| detector.answer) {
        answer(body, draft);
    }
}

impl Meaning {
    pub(super) fn add(&mut self, name: &'static str, value: &str) {
        self.attributes.push((name.into(), value.to_owned().into()));
    }

    fn add_to(self, draft: &mut Draft) {
        if let Some(name) = self.name {
            draft.name = name;
        }
        draft.attributes.extend(self.attributes);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a request gives: its name and attributes, as one line.
    pub(in crate::web) fn meant(method: &str, target: &str, fields: &str, body: &str) -> String {
        let (path, query) = crate::web::path_and_query(target.as_bytes());
        let mut asking = Asking { method: method.as_bytes(), path, query, ..Asking::default() };
        for line in fields.lines() {
            let (name, value) = line.trim().split_once(": ").expect("a field");
            match name {
                "host" => asking.host = Some(value.as_bytes()),
                "user-agent" => asking.user_agent = Some(value.as_bytes()),
                _ => asking.words.field(name.as_bytes(), value.as_bytes()),
            }
        }
        let mut draft = Draft::request("HTTP");
        let wanted = ask(&asking, &mut draft);
        if let Some(wanted) = wanted {
            ask_body(wanted, body.as_bytes(), &mut draft);
        }
        line(&draft)
    }

    /// Name and attributes.
    pub(in crate::web) fn line(draft: &Draft) -> String {
        let one = |attribute: &Attribute| match attribute.1.as_text() {
            Some(text) => format!(" {}={text}", attribute.0),
            None => format!(" {}={}", attribute.0, attribute.1.as_int().unwrap_or_default()),
        };
        draft.name.to_string() + &draft.attributes.iter().map(one).collect::<String>()
    }

    #[test]
    fn ordinary_requests_mean_nothing_more() {
        let json = "content-type: application/json";
        for (method, target, fields, body) in [
            ("GET", "/search?q=x", "host: shop", ""),
            ("GET", "/items/_search", "user-agent: curl/8", ""),
            ("POST", "/api/search", json, r#"{"query": "shoes", "size": 10}"#),
            ("POST", "/api/search", json, r#"{"query": "query for shoes {red}"}"#),
            ("POST", "/graphql", json, r#"{"query": 7}"#),
            ("POST", "/rpc", json, r#"{"method": "add", "params": []}"#),
            ("POST", "/rpc", json, r#"{"jsonrpc": "2.0", "result": 7}"#),
            ("POST", "/chat/completions", json, r#"{"text": "hello"}"#),
            ("POST", "/v1/messages", json, r#"{"model": "m", "messages": []}"#),
            ("POST", "/embeddings", json, r#"{"input": "x"}"#),
            ("PUT", "/bucket/key", "authorization: Bearer x", ""),
            (
                "PUT",
                "/t/k",
                "authorization: AWS4-HMAC-SHA256 Credential=A/2/r/dynamodb/aws4_request",
                "",
            ),
            ("POST", "/x", "content-type: text/xml", "<a/>"),
        ] {
            assert_eq!(meant(method, target, fields, body), "HTTP", "{method} {target}");
        }
    }
}
