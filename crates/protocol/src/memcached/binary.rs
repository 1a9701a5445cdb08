//! Binary protocol: a header of 24 bytes with all lengths (`protocol-binary.txt`).

use std::ops::RangeInclusive;

use deeptrace_model::{MessageRole, SpanStatus, Text};

use super::request::{Request, Response};
use crate::due::Due;
use crate::{Draft, Head, Input, Recognition, Side, Verdict};

const HEADER: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
const BODY_MAX: u32 = 1 << 30;
const KEY_MAX: usize = 250;

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Always,
    /// A get: on a hit. It waits for a command that is always answered.
    Hit,
    /// A change: on an error.
    Failure,
    /// Many responses, of which the last is empty.
    Many,
}

struct Operation {
    code: u8,
    verb: &'static str,
    answer: Answer,
    /// Length of a request's extras.
    extras: RangeInclusive<u8>,
    has_key: bool,
}

const fn row(
    code: u8,
    verb: &'static str,
    answer: Answer,
    extras: RangeInclusive<u8>,
    has_key: bool,
) -> Operation {
    Operation { code, verb, answer, extras, has_key }
}

const OPERATIONS: &[Operation] = &[
    row(0x00, "get", Answer::Always, 0..=0, true),
    row(0x01, "set", Answer::Always, 8..=8, true),
    row(0x02, "add", Answer::Always, 8..=8, true),
    row(0x03, "replace", Answer::Always, 8..=8, true),
    row(0x04, "delete", Answer::Always, 0..=0, true),
    row(0x05, "increment", Answer::Always, 20..=20, true),
    row(0x06, "decrement", Answer::Always, 20..=20, true),
    row(0x07, "quit", Answer::Always, 0..=0, false),
    row(0x08, "flush", Answer::Always, 0..=4, false),
    row(0x09, "get", Answer::Hit, 0..=0, true),
    row(0x0a, "noop", Answer::Always, 0..=0, false),
    row(0x0b, "version", Answer::Always, 0..=0, false),
    row(0x0c, "get", Answer::Always, 0..=0, true),
    row(0x0d, "get", Answer::Hit, 0..=0, true),
    row(0x0e, "append", Answer::Always, 0..=0, true),
    row(0x0f, "prepend", Answer::Always, 0..=0, true),
    row(0x10, "stat", Answer::Many, 0..=0, false),
    row(0x11, "set", Answer::Failure, 8..=8, true),
    row(0x12, "add", Answer::Failure, 8..=8, true),
    row(0x13, "replace", Answer::Failure, 8..=8, true),
    row(0x14, "delete", Answer::Failure, 0..=0, true),
    row(0x15, "increment", Answer::Failure, 20..=20, true),
    row(0x16, "decrement", Answer::Failure, 20..=20, true),
    row(0x17, "quit", Answer::Failure, 0..=0, false),
    row(0x18, "flush", Answer::Failure, 0..=4, false),
    row(0x19, "append", Answer::Failure, 0..=0, true),
    row(0x1a, "prepend", Answer::Failure, 0..=0, true),
    row(0x1b, "verbosity", Answer::Always, 4..=4, false),
    row(0x1c, "touch", Answer::Always, 4..=4, true),
    row(0x1d, "gat", Answer::Always, 4..=4, true),
    row(0x1e, "gat", Answer::Hit, 4..=4, true),
    row(0x20, "sasl_list_mechs", Answer::Always, 0..=0, false),
    row(0x21, "sasl_auth", Answer::Always, 0..=0, true),
    row(0x22, "sasl_step", Answer::Always, 0..=0, true),
    row(0x23, "gat", Answer::Always, 4..=4, true),
    row(0x24, "gat", Answer::Hit, 4..=4, true),
];

/// A header at the front of some bytes.
struct Packet<'a> {
    operation: &'static Operation,
    /// Bytes with the header.
    len: u64,
    /// Of a response.
    status: u16,
    body_len: u32,
    /// What is there of the key.
    key: &'a [u8],
}

enum Front<'a> {
    Packet(Packet<'a>),
    More,
    NotMine,
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8], from: Side, is_last: bool) -> Front<'a> {
        let Some(header) = bytes.get(..HEADER) else { return Front::More };
        let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let magic = if from == Side::Client { REQUEST } else { RESPONSE };
        let operation = OPERATIONS.iter().find(|operation| operation.code == header[1]);
        let Some(operation) = operation.filter(|_| header[0] == magic && header[5] == 0) else {
            return Front::NotMine;
        };
        let (key_len, extras_len) = (usize::from(short(2)), usize::from(header[4]));
        let has_room = (key_len + extras_len) as u64 <= u64::from(body_len);
        if !has_room || body_len > BODY_MAX || key_len > KEY_MAX || !operation.allows(header, from)
        {
            return Front::NotMine;
        }
        let wanted = HEADER + extras_len + key_len;
        if bytes.len() < wanted && !is_last {
            return Front::More;
        }
        let key = bytes.get(wanted - key_len..wanted).unwrap_or_default();
        let len = u64::from(body_len) + HEADER as u64;
        Front::Packet(Packet { operation, len, status: short(6), body_len, key })
    }
}

impl Operation {
    /// Whether lengths and status are such as this operation has.
    fn allows(&self, header: &[u8], from: Side) -> bool {
        let has_key = header[2] != 0 || header[3] != 0;
        match from {
            Side::Client => self.extras.contains(&header[4]) && (has_key || !self.has_key),
            Side::Server => {
                let status = u16::from_be_bytes([header[6], header[7]]);
                header[4] <= 4 && matches!(status, 0..=0x0b | 0x20 | 0x21 | 0x81..=0x86)
            }
        }
    }
}

/// The binary protocol's side of a connection.
#[derive(Default)]
pub(super) struct Binary {
    /// Quiet gets that wait for a command that is always answered.
    group: Option<Request>,
    pub(super) due: Due<()>,
    response: Option<Response>,
    /// The open response answers something that is not known.
    is_stray: bool,
}

impl Binary {
    pub(super) fn parse(&mut self, input: &Input<'_>) -> Verdict {
        match Packet::read(input.bytes, input.from, input.is_last) {
            Front::More => Verdict::More,
            Front::NotMine => Verdict::NotMine,
            Front::Packet(packet) if input.from == Side::Client => self.request(&packet),
            Front::Packet(packet) => self.answer(&packet),
        }
    }

    fn request(&mut self, packet: &Packet<'_>) -> Verdict {
        let operation = packet.operation;
        let mut request = self.group.take().unwrap_or_default();
        let is_group = !request.is_empty();
        if !(is_group && operation.verb == "noop") {
            let text = [operation.verb.as_bytes(), b" ", packet.key].concat();
            let keys = u32::from(!packet.key.is_empty());
            request.add(operation.verb, keys, text.trim_ascii_end());
        }
        let is_quiet = operation.answer == Answer::Failure;
        if operation.answer == Answer::Hit || (is_quiet && is_group) {
            self.group = Some(request);
            return Verdict::Part { len: packet.len, stream: 0 };
        }
        let draft = if is_quiet { Draft::one_way("") } else { Draft::request("") };
        if !is_quiet {
            self.due.ask(());
        }
        let mut draft = request.describe(draft);
        if operation.verb.starts_with("sasl") {
            draft.redact.push(HEADER..usize::MAX);
        }
        Verdict::Done { len: packet.len, draft: Box::new(draft) }
    }

    fn answer(&mut self, packet: &Packet<'_>) -> Verdict {
        let operation = packet.operation;
        if operation.answer == Answer::Failure {
            let mut response = Response::default();
            response.take_status(packet.status);
            let mut draft = response.describe(SpanStatus::Ok);
            draft.role = MessageRole::OneWay;
            draft.name = Text::new_static(operation.verb);
            if self.response.is_none() {
                return Verdict::Done { len: packet.len, draft: Box::new(draft) };
            }
        }
        if self.response.is_none() {
            self.is_stray = self.due.is_stray();
        }
        let response = self.response.get_or_insert_default();
        if matches!(operation.verb, "get" | "gat") {
            response.is_get = true;
            response.values = response.values.saturating_add(u32::from(packet.status == 0));
        }
        response.take_status(packet.status);
        let is_more = operation.answer == Answer::Many && packet.status == 0 && packet.body_len > 0;
        if is_more || matches!(operation.answer, Answer::Hit | Answer::Failure) {
            return match self.is_stray {
                true => Verdict::Skip(packet.len),
                false => Verdict::Part { len: packet.len, stream: 0 },
            };
        }
        let response = self.response.take().unwrap_or_default();
        if self.is_stray {
            self.due.heard();
            return Verdict::Stray(packet.len);
        }
        let _ = self.due.answer();
        let mut draft = response.describe(SpanStatus::Ok);
        draft.skips = self.due.skips();
        if operation.verb.starts_with("sasl") {
            draft.redact.push(HEADER..usize::MAX);
        }
        Verdict::Done { len: packet.len, draft: Box::new(draft) }
    }

    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                self.due.lost(from);
                self.group.take().map(|group| group.describe(Draft::request("")))
            }
            Side::Server => {
                let response = self.response.take().filter(|_| !self.is_stray);
                let draft = response.map(|response| {
                    let _ = self.due.answer();
                    let draft = response.describe(SpanStatus::Unset);
                    Draft { skips: self.due.skips(), ..draft }
                });
                self.due.lost(from);
                draft
            }
        }
    }
}

impl Response {
    /// Response statuses of `protocol-binary.txt`; absent, present and not stored are outcomes.
    fn take_status(&mut self, status: u16) {
        let (text, is_error) = match status {
            0x00 | 0x21 => return,
            0x01 => ("key not found", false),
            0x02 => ("key exists", false),
            0x03 => ("value too large", true),
            0x04 => ("invalid arguments", true),
            0x05 => ("item not stored", false),
            0x06 => ("increment or decrement of a value that is no number", true),
            0x20 => ("authentication error", true),
            0x81 => ("unknown command", true),
            0x82 => ("out of memory", true),
            0x83 => ("not supported", true),
            0x84 => ("internal error", true),
            0x85 => ("busy", true),
            0x86 => ("temporary failure", true),
            _ => ("error", true),
        };
        if is_error || self.code.is_none() {
            self.code = Some(format!("0x{status:04x}"));
        }
        if is_error {
            self.error.get_or_insert_with(|| text.to_owned());
        }
    }
}

/// Whether the call is the binary protocol's: made of whole packets, or the start of one.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let side = if head.bytes.first() == Some(&REQUEST) { Side::Client } else { Side::Server };
    let mut at = 0usize;
    let mut is_whole = false;
    while let Some(rest) = head.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Packet::read(rest, side, true) {
            Front::Packet(packet) => {
                let end = at as u64 + packet.len;
                is_whole = end == head.call_len as u64;
                at = usize::try_from(end).unwrap_or(usize::MAX);
            }
            Front::More if at > 0 => break,
            _ => return Recognition::No,
        }
    }
    if is_whole { Recognition::Yes(side) } else { Recognition::Maybe(side) }
}

/// Whether a packet may start here.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    matches!(Packet::read(bytes, from, true), Front::Packet(_))
}
