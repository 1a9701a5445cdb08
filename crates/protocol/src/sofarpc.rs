//! SOFARPC over Bolt, versions 1 and 2 (`RpcProtocol` and `RpcProtocolV2` of SOFABolt's sources): a
//! header with kind, id and three lengths, then a class name, a header map and the content.
//!
//! Service, method and trace headers are in the map. The content is looked at only for the first
//! two fields of a `SofaResponse` in Hessian, which say whether the call failed. Other uses of Bolt
//! are named by their class. Heartbeats are skipped; they don't tell who is the server.

use deeptrace_model::{MessageRole, Text, TraceContext, Transport};

use crate::reader::Reader;
use crate::remote_call::{self, is_name};
use crate::{
    CopyPolicy, Draft, Head, Input, Parser, Protocol, Recognition, Side, TraceHeaders, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "sofarpc",
    title: "SOFARPC (Bolt 1 and 2)",
    transports: &[Transport::Tcp],
    ports: &[12200],
    copy: CopyPolicy::All,
    recognise,
    parser: || Box::new(SofaRpc),
};

/// The longest content that is believed.
const CONTENT_MAX: u32 = 1 << 28;
const CLASS_MAX: usize = 512;
/// Bytes of a message that are looked at.
const WINDOW: usize = 8 * 1024;
const SOFA_REQUEST: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const SOFA_RESPONSE: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    OneWay,
    Response,
    Heartbeat,
}

/// Header of a message.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: Kind,
    id: u32,
    status: u16,
    /// Bytes before the class name.
    fixed: usize,
    class: usize,
    map: usize,
    len: u64,
}

enum Front {
    Header(Header),
    More,
    NotMine,
}

impl Header {
    fn read(bytes: &[u8]) -> Front {
        match Self::fields(bytes) {
            Some(Some(header)) => Front::Header(header),
            Some(None) => Front::NotMine,
            None => Front::More,
        }
    }

    /// `None` if there are too few, `Some(None)` if they can't be a header.
    fn fields(bytes: &[u8]) -> Option<Option<Self>> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        // Version 2 has a version of its own, and a switch for a checksum at the end.
        let minor = if version == 2 { reader.u8()? } else { 1 };
        if !matches!((version, minor), (1, _) | (2, 1 | 2)) {
            return Some(None);
        }
        let (direction, command) = (reader.u8()?, reader.u16()?);
        let kind = match (direction, command) {
            (0 | 1, 0) => Kind::Heartbeat,
            (1, 1) => Kind::Request,
            (2, 1) => Kind::OneWay,
            (0, 2) => Kind::Response,
            _ => return Some(None),
        };
        let (command_version, id, codec) = (reader.u8()?, reader.u32()?, reader.u8()?);
        let switch = if version == 2 { reader.u8()? } else { 0 };
        if command_version != 1 || codec > 0x1f || switch > 1 {
            return Some(None);
        }
        let status = if direction == 0 { reader.u16()? } else { 0 };
        if direction != 0 {
            let _timeout = reader.u32()?;
        }
        let (class, map) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let content = reader.u32()?;
        let checksum = if minor == 2 && switch == 1 { 4 } else { 0 };
        let fixed = reader.at();
        let name = reader.rest();
        let name = &name[..name.len().min(class)];
        let is_named = match kind {
            Kind::Request | Kind::OneWay => class > 0,
            Kind::Response | Kind::Heartbeat => true,
        };
        let is_mine = is_named
            && class <= CLASS_MAX
            && content <= CONTENT_MAX
            && (name.is_empty() || is_name(name))
            && status_name(status).is_some();
        let len = (fixed + class + map + checksum) as u64 + u64::from(content);
        Some(is_mine.then_some(Self { kind, id, status, fixed, class, map, len }))
    }

    /// Who sends this; heartbeats are of both.
    fn side(&self) -> Option<Side> {
        match self.kind {
            Kind::Request | Kind::OneWay => Some(Side::Client),
            Kind::Response => Some(Side::Server),
            Kind::Heartbeat => None,
        }
    }
}

/// `ResponseStatus` of SOFABolt.
fn status_name(status: u16) -> Option<&'static str> {
    Some(match status {
        0 => "SUCCESS",
        1 => "ERROR",
        2 => "SERVER_EXCEPTION",
        3 => "UNKNOWN",
        4 => "SERVER_THREADPOOL_BUSY",
        5 => "ERROR_COMM",
        6 => "NO_PROCESSOR",
        7 => "TIMEOUT",
        8 => "CLIENT_SEND_ERROR",
        9 => "CODEC_EXCEPTION",
        16 => "CONNECTION_CLOSED",
        17 => "SERVER_SERIAL_EXCEPTION",
        18 => "SERVER_DESERIAL_EXCEPTION",
        _ => return None,
    })
}

fn recognise(head: &Head<'_>) -> Recognition {
    let Front::Header(header) = Header::read(head.bytes) else { return Recognition::No };
    let Some(side) = header.side().or(head.from) else { return Recognition::No };
    if head.from.is_some_and(|from| from != side) {
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
    let outcome = if header.status == 0 {
        let content = bytes.get(header.fixed + header.class + header.map..).unwrap_or_default();
        let error = if class(header, bytes) == SOFA_RESPONSE { failure(content) } else { None };
        match (error, Map::read(header, bytes).is_error) {
            (Some(text), _) => Err((Text::new_static("SOFA_ERROR"), text)),
            (None, true) => Err((Text::new_static("exception"), None)),
            (None, false) => Ok(()),
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

/// The text of a `SofaResponse` that says it is an error. Hessian as SOFA writes it: `O`, the
/// class, the names of its fields; `o`, its number, the values: `isError`, then `errorMsg`.
fn failure(content: &[u8]) -> Option<Option<String>> {
    let mut reader = Reader::new(content);
    let is_definition = reader.u8()? == b'O';
    let len = small(reader.u8()?)?;
    reader.take(len).filter(|_| is_definition)?;
    let fields = small(reader.u8()?)?;
    for index in 0..fields {
        let len = usize::from(reader.u8()?);
        let name = reader.take(len)?;
        let is_known = match index {
            0 => name == b"isError",
            1 => name == b"errorMsg",
            _ => true,
        };
        if !is_known {
            return None;
        }
    }
    let is_object = reader.u8()? == b'o' && small(reader.u8()?).is_some();
    if !is_object || reader.u8()? != b'T' {
        return None;
    }
    let mut message = || {
        let len = match reader.u8()? {
            len @ 0..=0x1f => usize::from(len),
            b'S' => usize::from(reader.u16()?),
            _ => return None,
        };
        let rest = reader.rest();
        Some(remote_call::message(&rest[..rest.len().min(len)]))
    };
    Some(message())
}

/// A number of one byte, 0 to 47.
fn small(byte: u8) -> Option<usize> {
    (0x90..=0xbf).contains(&byte).then(|| usize::from(byte - 0x90))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response of Bolt 1 to call 5 with this content.
    fn sofa_response(status: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x01\0\0\x02\x01\0\0\0\x05\x01".to_vec();
        bytes.extend(status.to_be_bytes());
        bytes.extend(b"\0\x2e\0\0");
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(SOFA_RESPONSE);
        bytes.extend(content);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Draft> {
        match SofaRpc.parse(Input { bytes, from: Side::Server, is_last: true }) {
            Verdict::Done { draft, .. } => Some(*draft),
            _ => None,
        }
    }

    #[test]
    fn an_error_inside_a_success() {
        let content = b"O\x90\x92\x07isError\x08errorMsgo\x90T\x03why";
        let draft = parse(&sofa_response(0, content)).expect("a response");
        assert_eq!((draft.stream, draft.status_message.as_deref()), (5, Some("why")));
        assert_eq!(failure(b"O\x90\x92\x07isError\x08errorMsgo\x90FN"), None);
        assert_eq!(failure(b"O\x90\x92\x07isError\x08errorMsgo\x90TN"), Some(None));
        assert_eq!(failure(b"O\x90\x91\x03agea"), None);
        assert_eq!(failure(b""), None);
    }

    #[test]
    fn headers_that_are_refused() {
        assert!(parse(&sofa_response(18, b"")).is_some());
        // A status that is none.
        assert!(parse(&sofa_response(15, b"")).is_none());
        let whole = sofa_response(0, b"");
        for (at, byte) in [(0, 3), (1, 1), (3, 1), (4, 2), (9, 0x20), (20, 0x07)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(parse(&bytes).is_none(), "{at}");
        }
    }
}
