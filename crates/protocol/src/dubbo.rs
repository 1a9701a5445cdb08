//! Dubbo's own protocol (`dubbo-protocol.md` of its specifications): a header of 16 bytes with
//! magic, flags, status, id and length, and a body in one of many serialisations.
//!
//! Read are Hessian 2 and fastjson2's JSONB (the defaults), Kryo's texts and fastjson's lines; of a
//! call in another one only id, length and outcome are known. Attachments come behind the
//! arguments, which would need their classes: trace context is sought, not walked to, in the first
//! [`WINDOW`] bytes. For the same reason an exception has its class, and its message only where
//! that is the first field. Heartbeats and other events are skipped; both sides send them, so they
//! don't tell who is the server. Servers may call back; their calls are requests like any other.

mod body;

use deeptrace_model::{MessageRole, Text, Transport};

use crate::reader::Reader;
use crate::remote_call;
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "dubbo",
    title: "Dubbo (magic 0xdabb; Hessian 2, fastjson, Kryo)",
    transports: &[Transport::Tcp],
    ports: &[20880],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id"),
        errors: "a status other than OK, an exception",
        context: "attachments",
        tls: "",
        limits: &[
            "serialisations other than Hessian 2, JSONB, Kryo and fastjson: only id, length and outcome",
        ],
    },
    recognise,
    parser: || Box::new(Dubbo),
};

const HEADER: usize = 16;
const MAGIC: u16 = 0xdabb;
/// The longest body that is believed.
const BODY_MAX: u32 = 1 << 28;
/// Bytes of a message that are looked at.
const WINDOW: usize = 8 * 1024;

/// In the stream of calls of the server.
const CALLBACK: u64 = 1 << 63;

/// Header of a message.
#[derive(Clone, Copy, Debug)]
struct Header {
    is_request: bool,
    wants_answer: bool,
    is_event: bool,
    serialisation: u8,
    status: u8,
    id: u64,
    len: u64,
}

enum Front {
    Header(Header),
    More,
    NotMine,
}

impl Header {
    fn read(bytes: &[u8]) -> Front {
        let magic = MAGIC.to_be_bytes();
        if !bytes.starts_with(&magic[..bytes.len().min(2)]) {
            return Front::NotMine;
        }
        let mut reader = Reader::new(bytes);
        let mut fields = || {
            let (_magic, flags, status) = (reader.u16()?, reader.u8()?, reader.u8()?);
            Some((flags, status, reader.u64()?, reader.u32()?))
        };
        let Some((flags, status, id, length)) = fields() else { return Front::More };
        let header = Self {
            is_request: flags & 0x80 != 0,
            wants_answer: flags & 0x40 != 0,
            is_event: flags & 0x20 != 0,
            serialisation: flags & 0x1f,
            status,
            id,
            len: u64::from(length) + HEADER as u64,
        };
        let has_status =
            if header.is_request { status == 0 } else { status_name(status).is_some() };
        if has_status && length <= BODY_MAX && header.serialisation != 0 {
            Front::Header(header)
        } else {
            Front::NotMine
        }
    }
}

/// Statuses of a response (`Response` of the sources).
fn status_name(status: u8) -> Option<&'static str> {
    Some(match status {
        20 => "OK",
        25 => "SERIALIZATION_ERROR",
        30 => "CLIENT_TIMEOUT",
        31 => "SERVER_TIMEOUT",
        35 => "CHANNEL_INACTIVE",
        40 => "BAD_REQUEST",
        50 => "BAD_RESPONSE",
        60 => "SERVICE_NOT_FOUND",
        70 => "SERVICE_ERROR",
        80 => "SERVER_ERROR",
        90 => "CLIENT_ERROR",
        100 => "SERVER_THREADPOOL_EXHAUSTED_ERROR",
        105 => "SERIALIZATION_ERROR",
        _ => return None,
    })
}

fn recognise(head: &Head<'_>) -> Recognition {
    let Front::Header(header) = Header::read(head.bytes) else { return Recognition::No };
    let side = match (header.is_event, header.is_request) {
        (true, _) => match head.from {
            Some(side) => side,
            None => return Recognition::No,
        },
        (false, true) => Side::Client,
        (false, false) => Side::Server,
    };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    Recognition::Yes(side)
}

/// Keeps nothing: ids and lengths are in every header.
struct Dubbo;

impl Parser for Dubbo {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let header = match Header::read(input.bytes) {
            Front::Header(header) => header,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        if header.is_event {
            return Verdict::Skip(header.len);
        }
        let most = usize::try_from(header.len).map_or(WINDOW, |len| len.min(WINDOW));
        if input.bytes.len() < most && !input.is_last {
            return Verdict::More;
        }
        let bytes = &input.bytes[..input.bytes.len().min(most)];
        let body = bytes.get(HEADER..).unwrap_or_default();
        let mut draft =
            if header.is_request { request(&header, body) } else { response(&header, body) };
        // Both sides number their own calls.
        let is_callback = header.is_request == (input.from == Side::Server);
        draft.stream = header.id ^ if is_callback { CALLBACK } else { 0 };
        draft.truncated = bytes.len() < most;
        Verdict::Done { len: header.len, draft: Box::new(draft) }
    }

    fn is_start(&self, _: Side, bytes: &[u8]) -> bool {
        matches!(Header::read(bytes), Front::Header(_))
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

fn request(header: &Header, body: &[u8]) -> Draft {
    let call = body::call(header.serialisation, body);
    let mut draft = match &call {
        Some(call) => remote_call::request("dubbo", &call.service, &call.method),
        None => remote_call::request("dubbo", "", ""),
    };
    if let Some(version) = call.map(|call| call.version).filter(|version| !version.is_empty()) {
        draft.attributes.push(("dubbo.service.version".into(), version.into()));
    }
    draft.trace_context = body::trace_context(body);
    if !header.wants_answer {
        draft.role = MessageRole::OneWay;
    }
    draft
}

fn response(header: &Header, body: &[u8]) -> Draft {
    let word = status_name(header.status).unwrap_or("_OTHER");
    let outcome = if header.status == 20 {
        match body::thrown(header.serialisation, body) {
            Some((class, text)) => Err((class, text)),
            None => Ok(()),
        }
    } else {
        Err((Text::new_static(word), body::text(header.serialisation, body)))
    };
    let mut draft = remote_call::response(outcome);
    remote_call::set_status_code(&mut draft, word);
    draft
}

#[cfg(test)]
mod tests;
