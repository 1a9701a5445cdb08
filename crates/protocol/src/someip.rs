//! SOME/IP over UDP and TCP (AUTOSAR PRS "SOME/IP Protocol Specification", §4 of R22-11): a header
//! of 16 bytes with service, method, length, client, session, versions, type and return code.
//!
//! A response repeats service, method, client and session; the stream is the session and a hash of
//! the others. Methods have numbers only. Notifications of events are one-way, sent by the server.
//! Service discovery and the magic cookies of TCP are skipped. Of a message in segments (SOME/IP-TP)
//! the first counts as the message, the others are skipped. Assumed: what counts sessions does not
//! send the same one twice before it is answered.

use deeptrace_model::{MessageRole, Text, Transport, Value};

use crate::reader::Reader;
use crate::remote_call;
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "someip",
    title: "SOME/IP over UDP and TCP",
    transports: &[Transport::Udp, Transport::Tcp],
    ports: &[30509, 30490],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("service, method, client and session"),
        errors: "a return code other than E_OK",
        context: "",
        tls: "",
        limits: &[
            "methods have numbers, no names",
            "service discovery is passed over; of segmented messages the first counts",
        ],
    },
    recognise,
    parser: || Box::new(SomeIp),
};

/// Bytes of the header that the length counts.
const COUNTED: u32 = 8;
/// The longest message that is believed.
const LENGTH_MAX: u32 = 1 << 26;
/// Messages of a call that are looked at before it is believed.
const LOOK_MAX: usize = 16;
/// Bytes of a header, and what a call holds at least that filled its buffer.
const HEADER: usize = 16;
const BUFFER_MIN: usize = 1024;
/// Flag of the type: a segment.
const SEGMENT: u8 = 0x20;
/// Highest bit of a method: an event.
const EVENT: u16 = 0x8000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    OneWay,
    Notification,
    Response,
    Error,
    /// Discovery, a cookie, or a segment that is not the first.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    kind: Kind,
    service: u16,
    method: u16,
    client: u16,
    session: u16,
    interface: u8,
    code: u8,
    len: u64,
}

enum Front {
    Message(Message),
    More,
    NotMine,
}

impl Message {
    fn read(bytes: &[u8]) -> Front {
        match Self::fields(bytes) {
            Some(Some(message)) => Front::Message(message),
            Some(None) => Front::NotMine,
            None => Front::More,
        }
    }

    /// `None` if there are too few, `Some(None)` if they can't be a header.
    fn fields(bytes: &[u8]) -> Option<Option<Self>> {
        let mut reader = Reader::new(bytes);
        let (service, method, length) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let (client, session) = (reader.u16()?, reader.u16()?);
        let (version, interface) = (reader.u8()?, reader.u8()?);
        let (word, code) = (reader.u8()?, reader.u8()?);
        let mut message = Self {
            kind: Kind::Other,
            service,
            method,
            client,
            session,
            interface,
            code,
            len: u64::from(length) + 8,
        };
        let is_believable = version == 1 && (COUNTED..=LENGTH_MAX).contains(&length);
        let is_segment = word & SEGMENT != 0;
        let kind = match word & !SEGMENT {
            0x00 => Kind::Request,
            0x01 => Kind::OneWay,
            0x02 => Kind::Notification,
            0x80 => Kind::Response,
            0x81 => Kind::Error,
            _ => return Some(None),
        };
        if service == u16::MAX {
            let is_known = method == 0x8100 || (matches!(method, 0 | 0x8000) && length == COUNTED);
            return Some((is_believable && is_known).then_some(message));
        }
        let is_answer = matches!(kind, Kind::Response | Kind::Error);
        let is_event = kind == Kind::Notification;
        // Only what answers has a code; the codes end at 0x5e.
        let is_told = if is_answer { code <= 0x5e } else { code == 0 };
        if !is_believable || !is_told || (method & EVENT != 0) != is_event || service == 0 {
            return Some(None);
        }
        let is_first = match is_segment {
            // The offset of this segment, and whether more follow.
            true => length > COUNTED + 4 && reader.u32()? >> 4 == 0,
            false => true,
        };
        message.kind = if is_first { kind } else { Kind::Other };
        Some(Some(message))
    }

    fn side(&self) -> Option<Side> {
        match self.kind {
            Kind::Request | Kind::OneWay => Some(Side::Client),
            Kind::Response | Kind::Error | Kind::Notification => Some(Side::Server),
            Kind::Other => None,
        }
    }

    fn stream(&self) -> u64 {
        let mut name = [0; 6];
        for (at, number) in [self.service, self.method, self.client].into_iter().enumerate() {
            name[at * 2..at * 2 + 2].copy_from_slice(&number.to_be_bytes());
        }
        u64::from(remote_call::tag(&name)) << 16 | u64::from(self.session)
    }

    fn draft(&self) -> Draft {
        let mut draft = match self.kind {
            Kind::Response | Kind::Error => self.response(),
            _ => self.request(),
        };
        draft.stream = self.stream();
        draft
    }

    fn request(&self) -> Draft {
        let [service, method] = [self.service, self.method].map(|number| format!("0x{number:04x}"));
        let mut draft = remote_call::request("someip", &service, &method);
        let version = Value::from(i64::from(self.interface));
        draft.attributes.push(("someip.interface.version".into(), version));
        if self.kind != Kind::Request {
            draft.role = MessageRole::OneWay;
        }
        draft
    }

    fn response(&self) -> Draft {
        let word = match code_name(self.code) {
            Some(name) => Text::new_static(name),
            None => format!("0x{:02x}", self.code).into(),
        };
        let is_error = self.code != 0 || self.kind == Kind::Error;
        let outcome = match (is_error, self.code) {
            (false, _) => Ok(()),
            // An error message without a code.
            (true, 0) => Err((Text::new_static("_OTHER"), None)),
            (true, _) => Err((word.clone(), None)),
        };
        let mut draft = remote_call::response(outcome);
        remote_call::set_status_code(&mut draft, word);
        draft
    }
}

/// Return codes, §4.2.6; those from 0x20 on are of the service.
fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "E_OK",
        0x01 => "E_NOT_OK",
        0x02 => "E_UNKNOWN_SERVICE",
        0x03 => "E_UNKNOWN_METHOD",
        0x04 => "E_NOT_READY",
        0x05 => "E_NOT_REACHABLE",
        0x06 => "E_TIMEOUT",
        0x07 => "E_WRONG_PROTOCOL_VERSION",
        0x08 => "E_WRONG_INTERFACE_VERSION",
        0x09 => "E_MALFORMED_MESSAGE",
        0x0a => "E_WRONG_MESSAGE_TYPE",
        0x0b => "E_E2E_REPEATED",
        0x0c => "E_E2E_WRONG_SEQUENCE",
        0x0d => "E_E2E",
        0x0e => "E_E2E_NOT_AVAILABLE",
        0x0f => "E_E2E_NO_NEW_DATA",
        _ => return None,
    })
}

/// Messages must fill a datagram to the byte; on a stream the last may go on in the next call.
fn recognise(head: &Head<'_>) -> Recognition {
    let (mut at, mut side) = (0u64, None);
    let is_cut = head.bytes.len() < head.call_len;
    for _ in 0..LOOK_MAX {
        let rest = usize::try_from(at).ok().and_then(|at| head.bytes.get(at..));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
        match Message::read(rest) {
            Front::Message(message) => {
                let told = message.side();
                // One end of a socket may ask and answer, but not in one call.
                if told.is_some_and(|told| side.is_some_and(|side| side != told)) {
                    return Recognition::No;
                }
                side = side.or(told);
                at += message.len;
            }
            Front::More if at > 0 && (is_cut || head.transport.is_stream()) => break,
            Front::More | Front::NotMine => return Recognition::No,
        }
    }
    let Some(side) = side.or(head.from) else { return Recognition::No };
    let is_too_long = at > head.call_len as u64 && !head.transport.is_stream();
    // What goes on in the next call was read header first, or filled a buffer.
    let is_begun = at > head.call_len as u64 && begins_alone(head.bytes, at);
    let is_odd = is_begun && head.call_len != HEADER && head.call_len < BUFFER_MIN;
    if is_too_long || is_odd || !head.may_be_from(side) {
        return Recognition::No;
    }
    if at == head.call_len as u64 { Recognition::Yes(side) } else { Recognition::Maybe(side) }
}

/// Whether the message that ends at `end` begins with these bytes.
fn begins_alone(bytes: &[u8], end: u64) -> bool {
    matches!(Message::read(bytes), Front::Message(message) if message.len == end)
}

/// Keeps nothing: ids and lengths are in every header.
struct SomeIp;

impl Parser for SomeIp {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let message = match Message::read(input.bytes) {
            Front::Message(message) => message,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        match message.side() {
            None => Verdict::Skip(message.len),
            Some(side) if side != input.from => Verdict::NotMine,
            Some(_) => Verdict::Done { len: message.len, draft: Box::new(message.draft()) },
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match Message::read(bytes) {
            Front::Message(message) => message.side().is_none_or(|side| side == from),
            Front::More | Front::NotMine => false,
        }
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: u16, length: u32, kind: u8, code: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0x29];
        bytes.extend(method.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 1, 0, 0xab, 1, 1, kind, code]);
        bytes.resize(length as usize + 8, 0);
        bytes
    }

    fn says(bytes: &[u8], transport: Transport) -> Recognition {
        let call_len = bytes.len();
        let head = Head { bytes, call_len, transport, from: None, server_port: None };
        (PROTOCOL.recognise)(&head)
    }

    #[test]
    fn datagrams_are_filled_to_the_byte() {
        let request = message(0x5004, 8, 0, 0);
        assert_eq!(says(&request, Transport::Udp), Recognition::Yes(Side::Client));
        let two = [&request[..], &message(0x5005, 20, 0, 0)].concat();
        assert_eq!(says(&two, Transport::Udp), Recognition::Yes(Side::Client));
        let long = [&request[..], b"x"].concat();
        assert_eq!(says(&long, Transport::Udp), Recognition::No);
        let short = &message(0x5004, 20, 0, 0)[..20];
        assert_eq!(says(short, Transport::Udp), Recognition::No);
        assert_eq!(says(short, Transport::Tcp), Recognition::No);
        assert_eq!(says(&short[..HEADER], Transport::Tcp), Recognition::Maybe(Side::Client));
        let mixed = [&request[..], &message(0x5004, 8, 0x80, 0)].concat();
        assert_eq!(says(&mixed, Transport::Udp), Recognition::No);
    }

    #[test]
    fn what_is_no_message() {
        // A request with a code, to an event; an event to a method; a type, a length, a code.
        for (method, length, kind, code) in [
            (0x5004, 8, 0, 1),
            (0xd004, 8, 0, 0),
            (0x5004, 8, 2, 0),
            (0x5004, 8, 3, 0),
            (0x5004, 7, 0, 0),
            (0x5004, 8, 0x80, 0x5f),
        ] {
            let bytes = message(method, length, kind, code);
            assert!(
                !matches!(Message::read(&bytes), Front::Message(_)),
                "{method:x} {kind} {code}"
            );
        }
    }

    #[test]
    fn only_the_first_segment_counts() {
        let mut segment = message(0x5004, 8 + 4 + 16, 0x20, 0);
        segment[19] = 1;
        let kind = |bytes: &[u8]| match Message::read(bytes) {
            Front::Message(message) => Some(message.kind),
            _ => None,
        };
        assert_eq!(kind(&segment), Some(Kind::Request));
        segment[19] = 0x10;
        assert_eq!(kind(&segment), Some(Kind::Other));
    }
}
