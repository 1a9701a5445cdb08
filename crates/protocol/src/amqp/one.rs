//! AMQP 1.0 (parts 2, 3 and 5): frames with a performative and, in transfers, a piece of a message.
//!
//! A transfer names its link by a handle, which the sender's `attach` tied to an address.

use std::collections::BTreeMap;

use deeptrace_model::{SpanStatus, Text};

use super::sections::Sections;
use super::value::{Fields, Value, Values};
use super::{WINDOW, attribute, is_temporary, text};
use crate::{Draft, Head, Input, Recognition, Side, Verdict};

/// Size, offset of the data, type and channel.
const FRONT: usize = 8;
/// Frames above are not believed, and are told from 0-9-1 by their first byte.
const SIZE_MAX: u32 = 1 << 24;
/// The other type of frames is zero.
const SASL: u8 = 1;
/// Links of a connection whose address is remembered.
const LINKS_MAX: usize = 1024;
/// Transfers under way at once, in each direction.
const OPEN_MAX: usize = 64;

const OPEN: u64 = 0x10;
const BEGIN: u64 = 0x11;
const ATTACH: u64 = 0x12;
const FLOW: u64 = 0x13;
const TRANSFER: u64 = 0x14;
const DISPOSITION: u64 = 0x15;
const DETACH: u64 = 0x16;
const END: u64 = 0x17;
const CLOSE: u64 = 0x18;

/// Who sends on which channel by which handle.
type Link = (Side, u16, u64);

/// The 1.0 side of a connection.
#[derive(Debug, Default)]
pub(super) struct One {
    /// Addresses by the sender's handle.
    links: BTreeMap<Link, String>,
    /// Messages of which more transfers follow.
    open: BTreeMap<Link, Draft>,
    system: Option<&'static str>,
}

/// A frame at the front of some bytes.
struct Frame<'a> {
    kind: u8,
    channel: u16,
    len: u64,
    /// What is there of the body.
    body: &'a [u8],
    is_cut: bool,
}

enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

impl<'a> Frame<'a> {
    fn read(bytes: &'a [u8], is_last: bool) -> Front<'a> {
        let Some(front) = bytes.get(..FRONT) else { return Front::More };
        let size = u32::from_be_bytes([front[0], front[1], front[2], front[3]]);
        let offset = usize::from(front[4]) * 4;
        let len = size as usize;
        let is_right = size < SIZE_MAX && (FRONT..=len).contains(&offset) && front[5] <= SASL;
        if !is_right {
            return Front::NotMine;
        }
        let wanted = len.min(WINDOW);
        let is_cut = bytes.len() < wanted;
        if is_cut && !is_last {
            return Front::More;
        }
        let channel = u16::from_be_bytes([front[6], front[7]]);
        let body = bytes.get(offset..bytes.len().min(wanted)).unwrap_or_default();
        Front::Frame(Self { kind: front[5], channel, len: len as u64, body, is_cut })
    }

    /// The performative's code and fields, and what follows it.
    fn performative(&self) -> Option<(u64, &'a [u8], &'a [u8])> {
        let mut values = Values::new(self.body);
        match values.described()? {
            (Some(code), Value::Many(fields)) => Some((code, fields, values.rest())),
            _ => None,
        }
    }

    fn is_known(&self) -> bool {
        match self.kind {
            SASL => matches!(self.performative(), Some((0x40..=0x44, _, _))),
            _ => matches!(self.performative(), Some((OPEN..=CLOSE, _, _))),
        }
    }
}

impl One {
    pub(super) fn parse(&mut self, input: &Input<'_>) -> Verdict {
        let frame = match Frame::read(input.bytes, input.is_last) {
            Front::Frame(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        // Authentication, of which nothing is kept, and signs of life.
        if frame.kind == SASL || frame.len == FRONT as u64 {
            return Verdict::Skip(frame.len);
        }
        let Some((code, fields, message)) = frame.performative() else {
            return if frame.is_cut { Verdict::Skip(frame.len) } else { Verdict::NotMine };
        };
        let fields = Fields::new(fields);
        match code {
            OPEN => {
                self.product(frame.body, input.from);
                Verdict::Skip(frame.len)
            }
            ATTACH => {
                self.attach(fields, frame.channel, input.from);
                Verdict::Skip(frame.len)
            }
            TRANSFER => self.transfer(&frame, fields, message, input.from),
            DISPOSITION => self.disposition(&frame, fields, input.from),
            DETACH | END | CLOSE => self.end(code, &frame, fields, input.from),
            BEGIN | FLOW => Verdict::Skip(frame.len),
            _ => Verdict::NotMine,
        }
    }

    /// The broker's name for itself, in the properties of its `open`.
    fn product(&mut self, open: &[u8], from: Side) {
        let has = |name: &[u8]| open.windows(name.len()).any(|window| window == name);
        if from == Side::Server {
            self.system = match () {
                () if has(b"RabbitMQ") => Some("rabbitmq"),
                () if has(b"ActiveMQ") || has(b"apache-activemq") => Some("activemq"),
                () => None,
            };
        }
    }

    /// `attach`: name, handle, role, two settle modes, source and target.
    fn attach(&mut self, mut fields: Fields<'_>, channel: u16, from: Side) {
        fields.skip(1);
        let handle = fields.number();
        let is_receiver = fields.is_set();
        fields.skip(2);
        let [source, target] = [fields.next(), fields.next()];
        // The client sends to a target of the broker, and the broker from a source of its own.
        let terminus = if from == Side::Client { target } else { source };
        let Some(link) = handle.filter(|_| !is_receiver).map(|handle| (from, channel, handle))
        else {
            return;
        };
        let address = match terminus {
            Value::Many(list) => Fields::new(list).text().map(text).unwrap_or_default(),
            _ => String::new(),
        };
        if self.links.len() < LINKS_MAX || self.links.contains_key(&link) {
            self.links.insert(link, address);
        }
    }

    /// `transfer`: handle, delivery id, tag, format, settled, more, mode, state, resume, aborted.
    fn transfer(
        &mut self,
        frame: &Frame<'_>,
        mut fields: Fields<'_>,
        message: &[u8],
        from: Side,
    ) -> Verdict {
        let Some(handle) = fields.number() else { return Verdict::NotMine };
        fields.skip(4);
        let has_more = fields.is_set();
        fields.skip(3);
        let is_aborted = fields.is_set();
        let link = (from, frame.channel, handle);
        let mut draft = match self.open.remove(&link) {
            Some(draft) => draft,
            // It goes on with a message whose front is lost.
            None if !frame.is_cut && !Sections::begin(message) => return Verdict::Skip(frame.len),
            None => self.message(link, message),
        };
        draft.truncated |= frame.is_cut;
        if is_aborted {
            draft.status = SpanStatus::Error;
            attribute(&mut draft, "error.type", "aborted");
        }
        let (len, stream) = (frame.len, draft.stream);
        if !has_more || is_aborted {
            return Verdict::Done { len, draft: Box::new(draft) };
        }
        let open = self.open.keys().filter(|link| link.0 == from).count();
        if open >= OPEN_MAX {
            return Verdict::Skip(len);
        }
        self.open.insert(link, draft);
        Verdict::Part { len, stream }
    }

    /// What the first transfer of a message says.
    fn message(&self, link: Link, message: &[u8]) -> Draft {
        let (from, channel, handle) = link;
        let sections = Sections::read(message);
        let (operation, kind) = match from {
            Side::Client => ("send", "send"),
            Side::Server => ("deliver", "receive"),
        };
        let address = self.links.get(&link);
        // A link without an address leaves it to each message.
        let address = match address.map(String::as_str) {
            Some("") => sections.to.map(text),
            address => address.map(str::to_owned),
        };
        let shown = address.as_deref().filter(|address| !is_temporary(address));
        let mut draft = self.describe(operation, kind, shown);
        draft.stream = (u64::from(channel) << 32 | handle & 0xffff_ffff) + 1;
        if let Some(address) = address {
            draft.attributes.push(("messaging.destination.name".into(), address.into()));
        } else if !self.links.contains_key(&link) {
            draft.unknown.push("messaging.destination.name");
        }
        let ids = [
            ("messaging.message.id", sections.message_id),
            ("messaging.message.conversation_id", sections.correlation_id),
        ];
        for (key, id) in ids {
            if let Some(id) = id {
                draft.attributes.push((key.into(), text(id).into()));
            }
        }
        draft.trace_context = sections.headers.context();
        draft
    }

    fn describe(&self, operation: &'static str, kind: &'static str, shown: Option<&str>) -> Draft {
        let mut draft = Draft::one_way(match shown {
            Some(shown) => format!("{operation} {shown}").into(),
            None => Text::new_static(operation),
        });
        attribute(&mut draft, "messaging.system", self.system.unwrap_or("amqp"));
        attribute(&mut draft, "messaging.operation.name", operation);
        if !kind.is_empty() {
            attribute(&mut draft, "messaging.operation.type", kind);
        }
        attribute(&mut draft, "network.protocol.name", "amqp");
        attribute(&mut draft, "network.protocol.version", "1.0");
        draft
    }

    /// `disposition`: role, first, last, settled, state. That a broker accepted is not told.
    fn disposition(&self, frame: &Frame<'_>, mut fields: Fields<'_>, from: Side) -> Verdict {
        let is_receiver = fields.is_set();
        fields.skip(3);
        let (outcome, list) = fields.described();
        let operation = match outcome {
            Some(0x24) if from == Side::Client => "accept",
            Some(0x25) => "reject",
            Some(0x26) => "release",
            Some(0x27) => "modify",
            _ => return Verdict::Skip(frame.len),
        };
        if !is_receiver {
            return Verdict::Skip(frame.len);
        }
        let mut draft = self.describe(operation, "settle", None);
        if from == Side::Server {
            draft.status = SpanStatus::Error;
            let error = match list {
                Value::Many(list) if operation == "reject" => Fields::new(list).next(),
                _ => Value::Null,
            };
            fail(&mut draft, error, operation);
        }
        Verdict::Done { len: frame.len, draft: Box::new(draft) }
    }

    /// `detach` (handle, closed, error), `end` and `close` (error).
    fn end(&mut self, code: u64, frame: &Frame<'_>, mut fields: Fields<'_>, from: Side) -> Verdict {
        let operation = match code {
            DETACH => "detach",
            END => "end",
            _ => "close",
        };
        let mut draft = self.describe(operation, "", None);
        if code == DETACH {
            let link = fields.number().map(|handle| (from, frame.channel, handle));
            if let Some(address) = link.and_then(|link| self.links.remove(&link)) {
                draft.attributes.push(("messaging.destination.name".into(), address.into()));
            }
            fields.skip(1);
        } else if code == END {
            self.links.retain(|link, _| (link.0, link.1) != (from, frame.channel));
        }
        let error = fields.next();
        if !matches!(error, Value::Many(_)) {
            return Verdict::Skip(frame.len);
        }
        draft.status = SpanStatus::Error;
        fail(&mut draft, error, operation);
        Verdict::Done { len: frame.len, draft: Box::new(draft) }
    }

    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        let first = self.open.keys().find(|link| link.0 == from).copied();
        let known = first.and_then(|link| self.open.remove(&link));
        self.open.retain(|link, _| link.0 != from);
        known
    }
}

/// An error: condition and description (part 2 §2.8.14).
fn fail(draft: &mut Draft, error: Value<'_>, otherwise: &'static str) {
    let mut fields = Fields::new(if let Value::Many(list) = error { list } else { &[] });
    let condition = fields.text().map_or_else(|| otherwise.to_owned(), text);
    draft.attributes.push(("error.type".into(), condition.into()));
    draft.status_message = fields.text().map(text).filter(|message| !message.is_empty());
}

/// Whether the call is made of frames.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let mut at = 0usize;
    while let Some(rest) = head.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Frame::read(rest, true) {
            Front::Frame(frame) if frame.is_known() => {
                at = at.saturating_add(usize::try_from(frame.len).unwrap_or(usize::MAX));
            }
            Front::More if at > 0 => break,
            _ => return Recognition::No,
        }
    }
    match head.from {
        Some(side) => Recognition::Yes(side),
        // Both sides speak alike.
        None => Recognition::Maybe(Side::Client),
    }
}

/// Whether a frame with a known performative starts here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    matches!(Frame::read(bytes, true), Front::Frame(frame) if frame.is_known())
}
