//! SOFARPC over Bolt, versions 1 and 2 (`RpcProtocol` and `RpcProtocolV2` of SOFABolt's sources): a
//! header with kind, id and three lengths, then a class name, a header map and the content.
//!
//! Service, method and trace headers are in the map, and whether an answer is an exception. The
//! content is looked at only for the first fields of a `SofaResponse` in Hessian: what went wrong.
//! Other uses of Bolt are named by their class. Heartbeats are skipped; they don't tell who is the
//! server.

mod content;
mod header;

use deeptrace_model::{MessageRole, Text, TraceContext, Transport};

use crate::reader::Reader;
use crate::remote_call::{self, is_name};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support,
    TraceHeaders, Verdict,
};

use content::failure;
use header::{CLASS_MAX, Front, Header, Kind, status_name};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "sofarpc",
    title: "SOFARPC (Bolt 1 and 2)",
    transports: &[Transport::Tcp],
    ports: &[12200],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id"),
        errors: "a status other than success, an exception",
        context: "the header map",
        tls: "",
        limits: &["content is not read beyond what went wrong"],
    },
    recognise,
    parser: || Box::new(SofaRpc),
};

/// Bytes of a message that are looked at.
const WINDOW: usize = 8 * 1024;
const SOFA_REQUEST: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const SOFA_RESPONSE: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";

fn recognise(head: &Head<'_>) -> Recognition {
    let Front::Header(header) = Header::read(head.bytes) else { return Recognition::No };
    let Some(side) = header.side().or(head.from) else { return Recognition::No };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    let has_class = header.class > 0 && head.bytes.len() >= header.fixed + header.class;
    let fits = header.len == head.call_len as u64;
    if has_class && header.class > 3 {
        Recognition::Yes(side)
    } else if fits {
        Recognition::Maybe(side)
    } else {
        Recognition::No
    }
}

/// Keeps nothing: ids and lengths are in every header.
struct SofaRpc;

impl Parser for SofaRpc {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let header = match Header::read(input.bytes) {
            Front::Header(header) => header,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        match header.side() {
            None => return Verdict::Skip(header.len),
            Some(side) if side != input.from => return Verdict::NotMine,
            Some(_) => {}
        }
        let most = usize::try_from(header.len).map_or(WINDOW, |len| len.min(WINDOW));
        if input.bytes.len() < most && !input.is_last {
            return Verdict::More;
        }
        let bytes = &input.bytes[..input.bytes.len().min(most)];
        let mut draft = match header.kind {
            Kind::Response => response(&header, bytes),
            _ => request(&header, bytes),
        };
        draft.stream = u64::from(header.id);
        draft.truncated = bytes.len() < most;
        Verdict::Done { len: header.len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match Header::read(bytes) {
            Front::Header(header) => header.side().is_none_or(|side| side == from),
            Front::More | Front::NotMine => false,
        }
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

fn request(header: &Header, bytes: &[u8]) -> Draft {
    let map = Map::read(header, bytes);
    let class = class(header, bytes);
    let other = if class == SOFA_REQUEST { &[][..] } else { class };
    let full = map.service.unwrap_or(other);
    // The interface, then its version.
    let service = full.split(|byte| *byte == b':').next().unwrap_or(full);
    let word = |name: &[u8]| match is_name(name) {
        true => String::from_utf8_lossy(name).into_owned(),
        false => String::new(),
    };
    let method = map.method.map_or(String::new(), word);
    let mut draft = remote_call::request("sofarpc", &word(service), &method);
    if full.len() > service.len() && full.len() <= CLASS_MAX {
        let full = String::from_utf8_lossy(full).into_owned();
        draft.attributes.push(("sofarpc.service.id".into(), full.into()));
    }
    draft.trace_context = map.trace_context;
    if header.kind == Kind::OneWay {
        draft.role = MessageRole::OneWay;
    }
    draft
}

fn response(header: &Header, bytes: &[u8]) -> Draft {
    let word = status_name(header.status).unwrap_or("_OTHER");
    let is_error = Map::read(header, bytes).is_error;
    let outcome = if header.status == 0 {
        let content = bytes.get(header.fixed + header.class + header.map..).unwrap_or_default();
        let is_sofa = class(header, bytes) == SOFA_RESPONSE;
        match if is_sofa { failure(content) } else { None } {
            Some((kind, text)) if is_error || kind == "SOFA_ERROR" => Err((kind, text)),
            _ if is_error => Err((Text::new_static("exception"), None)),
            _ => Ok(()),
        }
    } else {
        Err((Text::new_static(word), None))
    };
    let mut draft = remote_call::response(outcome);
    remote_call::set_status_code(&mut draft, word);
    draft
}

fn class<'a>(header: &Header, bytes: &'a [u8]) -> &'a [u8] {
    bytes.get(header.fixed..header.fixed + header.class).unwrap_or_default()
}

/// What the header map says.
#[derive(Default)]
struct Map<'a> {
    service: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    is_error: bool,
    trace_context: Option<TraceContext>,
}

impl<'a> Map<'a> {
    /// Keys and values, each after a length of four bytes; a negative one is null.
    fn read(header: &Header, bytes: &'a [u8]) -> Self {
        let from = header.fixed + header.class;
        let bytes = bytes.get(from..).unwrap_or_default();
        let mut reader = Reader::new(&bytes[..bytes.len().min(header.map)]);
        let (mut map, mut headers) = (Self::default(), TraceHeaders::default());
        while let Some((key, value)) = text(&mut reader).zip(text(&mut reader)) {
            match key {
                b"sofa_head_target_service" => map.service = Some(value),
                b"service" => map.service = map.service.or(Some(value)),
                b"sofa_head_method_name" => map.method = Some(value),
                b"sofa_head_response_error" => map.is_error = value == b"true",
                _ => headers.header(key, value),
            }
        }
        map.trace_context = headers.context();
        map
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.u32()? {
        u32::MAX => Some(&[]),
        len => reader.take(usize::try_from(len).ok()?),
    }
}

#[cfg(test)]
mod tests;
