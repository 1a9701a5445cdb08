//! bRPC's own protocol, baidu_std (`docs/cn/baidu_std.md` and `baidu_rpc_meta.proto` of its
//! sources): `PRPC`, length of the body, length of the `RpcMeta` at the body's front, big-endian.
//!
//! The correlation id pairs; a response has no name. Frames of streaming RPC (`STRM`), which go over
//! the same connection, are skipped. The trace ids of bRPC's own `rpcz` are none of W3C's and are
//! left alone; trace headers are read from the user fields. Authentication data is not kept.

use std::ops::Range;

use deeptrace_model::Transport;

use crate::reader::Reader;
use crate::remote_call::{self, is_name};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support,
    TraceHeaders, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "brpc",
    title: "bRPC (baidu_std)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[8000],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("correlation id"),
        errors: "an error code",
        context: "user fields",
        tls: "",
        limits: &["frames of streaming RPC are passed over"],
    },
    recognise,
    parser: || Box::new(Brpc),
};

const HEADER: usize = 12;
/// The longest body that is believed.
const BODY_MAX: u32 = 1 << 30;
/// The longest `RpcMeta` that is believed.
const META_MAX: u32 = 16 * 1024;

/// Header of a frame.
#[derive(Clone, Copy, Debug)]
struct Header {
    is_stream: bool,
    len: u64,
    /// Bytes with the meta data.
    wanted: usize,
}

enum Front {
    Header(Header),
    More,
    NotMine,
}

impl Header {
    fn read(bytes: &[u8]) -> Front {
        let magic = &bytes[..bytes.len().min(4)];
        let is_stream = b"STRM".starts_with(magic);
        if !is_stream && !b"PRPC".starts_with(magic) {
            return Front::NotMine;
        }
        let mut reader = Reader::new(bytes.get(4..).unwrap_or_default());
        let Some((body, meta)) = reader.u32().zip(reader.u32()) else { return Front::More };
        if body > BODY_MAX || meta > META_MAX || meta > body || meta == 0 {
            return Front::NotMine;
        }
        let wanted = HEADER + meta as usize;
        Front::Header(Self { is_stream, len: u64::from(body) + HEADER as u64, wanted })
    }
}

/// A field of a message of protocol buffers.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads fields one after the other; stops at the first that is none.
fn fields<'a>(bytes: &'a [u8]) -> impl Iterator<Item = (u64, Field<'a>, usize)> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        let tag = reader.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(reader.varint()?),
            1 => Field::Bytes(reader.take(8)?),
            2 => {
                let len = usize::try_from(reader.varint()?).ok()?;
                Field::Bytes(reader.take(len)?)
            }
            5 => Field::Bytes(reader.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, field, reader.at()))
    })
}

/// `RpcMeta`.
#[derive(Default)]
struct Meta<'a> {
    /// Service and method.
    request: Option<(&'a [u8], &'a [u8])>,
    /// Code and text of an error.
    response: Option<(i32, &'a [u8])>,
    correlation: u64,
    headers: TraceHeaders,
    /// Where the authentication data is.
    secret: Option<Range<usize>>,
    is_whole: bool,
}

impl<'a> Meta<'a> {
    fn read(bytes: &'a [u8], len: usize) -> Self {
        let mut meta = Self::default();
        let mut end = 0;
        for (number, field, at) in fields(bytes) {
            match (number, field) {
                (1, Field::Bytes(bytes)) => meta.request = Some(names(bytes)),
                (2, Field::Bytes(bytes)) => meta.response = Some(outcome(bytes)),
                (4, Field::Number(id)) => meta.correlation = id,
                (7, Field::Bytes(secret)) => meta.secret = Some(at - secret.len()..at),
                (9, Field::Bytes(entry)) => {
                    let (name, value) = names(entry);
                    meta.headers.header(name, value);
                }
                _ => {}
            }
            end = at;
        }
        meta.is_whole = end == len;
        meta
    }

    /// Who sends this, if it says so.
    fn side(&self) -> Option<Side> {
        match (&self.request, &self.response) {
            (Some((service, method)), None) => {
                (is_name(service) && is_name(method)).then_some(Side::Client)
            }
            (None, Some(_)) => Some(Side::Server),
            _ => None,
        }
    }
}

/// Texts in fields 1 and 2.
fn names(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut names: (&[u8], &[u8]) = (b"", b"");
    for field in fields(bytes) {
        match field {
            (1, Field::Bytes(text), _) => names.0 = text,
            (2, Field::Bytes(text), _) => names.1 = text,
            _ => {}
        }
    }
    names
}

/// `RpcResponseMeta`: a 32-bit code, of which a negative one is written with 64, and a text.
fn outcome(bytes: &[u8]) -> (i32, &[u8]) {
    let mut outcome: (i32, &[u8]) = (0, b"");
    for field in fields(bytes) {
        match field {
            (1, Field::Number(code), _) => outcome.0 = code as u32 as i32,
            (2, Field::Bytes(text), _) => outcome.1 = text,
            _ => {}
        }
    }
    outcome
}

/// What there is of the meta data.
fn meta_of<'a>(header: &Header, bytes: &'a [u8]) -> Meta<'a> {
    let there = bytes.get(HEADER..bytes.len().min(header.wanted)).unwrap_or_default();
    Meta::read(there, header.wanted - HEADER)
}

fn recognise(head: &Head<'_>) -> Recognition {
    let Front::Header(header) = Header::read(head.bytes) else { return Recognition::No };
    if header.is_stream {
        return Recognition::No;
    }
    let Some(side) = meta_of(&header, head.bytes).side() else { return Recognition::No };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    Recognition::Yes(side)
}

/// Keeps nothing: ids and lengths are in every frame.
struct Brpc;

impl Parser for Brpc {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let header = match Header::read(input.bytes) {
            Front::Header(header) => header,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        if header.is_stream {
            return Verdict::Skip(header.len);
        }
        // Without its id, which comes last, a message is nobody's.
        if input.bytes.len() < header.wanted {
            return Verdict::More;
        }
        let meta = meta_of(&header, input.bytes);
        if !meta.is_whole || meta.side() != Some(input.from) {
            return Verdict::NotMine;
        }
        let mut draft = match (meta.request, meta.response) {
            (Some((service, method)), _) => {
                let [service, method] = [service, method].map(String::from_utf8_lossy);
                remote_call::request("brpc", &service, &method)
            }
            (None, response) => {
                response.map_or_else(|| response_of(0, b""), |(code, text)| response_of(code, text))
            }
        };
        draft.stream = meta.correlation;
        draft.trace_context = meta.headers.context();
        draft.redact.extend(meta.secret.map(|at| HEADER + at.start..HEADER + at.end));
        Verdict::Done { len: header.len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match Header::read(bytes) {
            Front::Header(header) => {
                header.is_stream || meta_of(&header, bytes).side() == Some(from)
            }
            Front::More | Front::NotMine => false,
        }
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

fn response_of(code: i32, text: &[u8]) -> Draft {
    if code == 0 {
        let mut draft = remote_call::response(Ok(()));
        remote_call::set_status_code(&mut draft, "0");
        return draft;
    }
    let number = code.to_string();
    let kind = error_name(code).map_or_else(|| number.as_str().into(), Into::into);
    let mut draft = remote_call::response(Err((kind, Some(remote_call::message(text)))));
    remote_call::set_status_code(&mut draft, number);
    draft
}

/// `errno.proto` of the sources.
fn error_name(code: i32) -> Option<&'static str> {
    Some(match code {
        1001 => "ENOSERVICE",
        1002 => "ENOMETHOD",
        1003 => "EREQUEST",
        1004 => "ERPCAUTH",
        1005 => "ETOOMANYFAILS",
        1006 => "EPCHANFINISH",
        1007 => "EBACKUPREQUEST",
        1008 => "ERPCTIMEDOUT",
        1009 => "EFAILEDSOCKET",
        1010 => "EHTTP",
        1011 => "EOVERCROWDED",
        1014 => "EEOF",
        1016 => "ESSL",
        1018 => "EREJECT",
        2001 => "EINTERNAL",
        2002 => "ERESPONSE",
        2003 => "ELOGOFF",
        2004 => "ELIMIT",
        2005 => "ECLOSE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(meta: &[u8], payload: usize) -> Vec<u8> {
        let lengths = [meta.len() + payload, meta.len()].map(|len| (len as u32).to_be_bytes());
        [b"PRPC", &lengths.concat()[..], meta, &vec![b'x'; payload]].concat()
    }

    fn parse(bytes: &[u8], from: Side) -> Verdict {
        Brpc.parse(Input { bytes, from, is_last: true })
    }

    #[test]
    fn authentication_is_not_kept() {
        let meta = b"\x0a\x06\x0a\x01S\x12\x01M\x20\x05\x3a\x06secret";
        let Verdict::Done { len, draft } = parse(&frame(meta, 3), Side::Client) else {
            panic!("no request")
        };
        assert_eq!((len, draft.stream, draft.name.as_str()), (12 + 18 + 3, 5, "S/M"));
        assert_eq!(draft.redact.first(), Some(&(12 + 12..12 + 18)));
    }

    #[test]
    fn errors_by_name_and_by_number() {
        for (meta, kind, code) in [
            (&b"\x12\x03\x08\xe9\x07\x20\x05"[..], "ENOSERVICE", "1001"),
            (b"\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x05", "-1", "-1"),
        ] {
            let Verdict::Done { draft, .. } = parse(&frame(meta, 0), Side::Server) else {
                panic!("no response")
            };
            let text = |key| draft.attributes.get(key).and_then(|value| value.as_text());
            assert_eq!(text("error.type"), Some(kind));
            assert_eq!(text("rpc.response.status_code"), Some(code));
        }
    }

    #[test]
    fn what_is_no_frame() {
        let response = frame(b"\x12\0\x20\x05", 0);
        assert!(matches!(parse(&response, Side::Client), Verdict::NotMine));
        assert!(matches!(parse(&frame(b"\x12\0\x20\x05\xff", 0), Side::Server), Verdict::NotMine));
        assert!(matches!(parse(&frame(b"\x20\x05", 0), Side::Server), Verdict::NotMine));
        assert!(matches!(parse(b"PRPC\0\0\0\x01\0\0\0\x02", Side::Server), Verdict::NotMine));
        assert!(matches!(parse(b"PRPD", Side::Server), Verdict::NotMine));
    }
}
