//! AMQP 0-9-1: methods of a channel are answered in their order; messages follow the method that
//! carries them, in frames of the same channel.

use std::collections::{BTreeMap, VecDeque};

use deeptrace_model::{SpanStatus, Value};

use super::content::Header;
use super::frame::{self, Frame, Front};
use super::method::{self, Arguments, Id, Kind, Method};
use super::told::{describe, destination, fail, routing_key, settle};
use super::{attribute, is_temporary, text};
use crate::due::{Answers, Due};
use crate::{Draft, Head, Input, Recognition, Side, Verdict};

/// Channels of a connection that are followed (RabbitMQ's `channel_max` is 2047).
const CHANNELS_MAX: usize = 2048;
/// Consumers whose queue is remembered.
const CONSUMERS_MAX: usize = 256;

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    id: Id,
    queue: String,
}

/// A message whose bodies are under way.
#[derive(Debug)]
struct Content {
    draft: Draft,
    /// Bytes that are missing; `None` before the header.
    left: Option<u64>,
    /// It answers something that is not known.
    is_stray: bool,
}

#[derive(Debug, Default)]
struct Channel {
    due: Due<Asked>,
    /// Of the client and the server.
    contents: [Option<Content>; 2],
}

/// The 0-9-1 side of a connection.
#[derive(Debug, Default)]
pub(super) struct Classic {
    channels: BTreeMap<u16, Channel>,
    /// Channel, tag and queue, oldest first.
    consumers: VecDeque<(u16, Vec<u8>, String)>,
    /// Bytes were lost: what is due on a channel that was not seen open is not known.
    was_lost: bool,
}

impl Classic {
    pub(super) fn parse(&mut self, input: &Input<'_>) -> Verdict {
        let frame = match Frame::read(input.bytes, input.is_last) {
            Front::Frame(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        match frame.kind {
            frame::HEARTBEAT => Verdict::Skip(frame.len),
            frame::METHOD => self.method(&frame, input.from),
            _ => self.content(&frame, input.from),
        }
    }

    /// The channel, unless there are too many.
    fn channel(&mut self, number: u16) -> Option<&mut Channel> {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&number) {
            return None;
        }
        let was_lost = self.was_lost;
        Some(self.channels.entry(number).or_insert_with(|| {
            let mut channel = Channel::default();
            if was_lost {
                channel.due.lost(Side::Client);
                channel.due.lost(Side::Server);
            }
            channel
        }))
    }

    fn method(&mut self, frame: &Frame<'_>, from: Side) -> Verdict {
        let Some((id, rest)) = method_id(frame.payload) else { return Verdict::More };
        let Some(method) = Method::find(id, from) else { return Verdict::NotMine };
        let arguments = Arguments::read(method.fields, rest);
        if arguments.is_none() && !frame.is_cut {
            return Verdict::NotMine;
        }
        let is_cut = arguments.is_none();
        let arguments = arguments.unwrap_or_default();
        let number = frame.channel;
        let Some(channel) = self.channel(number) else { return Verdict::Skip(frame.len) };
        if channel.contents[from as usize].is_some() {
            // Nothing may come between a message's frames.
            return Verdict::NotMine;
        }
        let mut verdict = match method.kind {
            Kind::Noise => self.noise(method, number, frame.len),
            Kind::Request => self.request(method, &arguments, number, frame.len),
            Kind::Answer(to) => self.answer(to, &arguments, number, frame.len),
            Kind::Content | Kind::ContentAnswer(_) => {
                self.carry(method, &arguments, number, from, frame.len)
            }
            Kind::Settle => settle(method, &arguments, from, frame.len),
            Kind::Close => self.close(method, &arguments, number, from, frame.len),
        };
        if let Verdict::Done { draft, .. } = &mut verdict {
            draft.stream = u64::from(number);
            draft.truncated = is_cut;
            if method.is_secret() {
                draft.redact.push(11..usize::MAX);
            }
        }
        verdict
    }

    fn noise(&mut self, method: &Method, number: u16, len: u64) -> Verdict {
        if method.id.0 == method::CHANNEL_CLASS {
            match method.id.1 {
                // A channel begins, and nothing is due on it.
                10 => drop(self.channels.insert(number, Channel::default())),
                41 => self.forget(number),
                _ => {}
            }
        }
        Verdict::Skip(len)
    }

    fn forget(&mut self, number: u16) {
        self.channels.remove(&number);
        self.consumers.retain(|consumer| consumer.0 != number);
    }

    fn request(&mut self, method: &Method, told: &Arguments<'_>, number: u16, len: u64) -> Verdict {
        let queue = text(told.queue);
        let draft = if told.is_no_wait {
            if method.id == method::CONSUME {
                self.learn(number, told.consumer_tag, queue.clone());
            }
            Draft::one_way("")
        } else {
            if let Some(channel) = self.channel(number) {
                channel.due.ask(Asked { id: method.id, queue: queue.clone() });
            }
            Draft::request("")
        };
        let is_get = method.id == method::GET;
        let shown = Some(queue.as_str()).filter(|queue| is_get && !is_temporary(queue));
        let mut draft = describe(draft, method.name, shown);
        if is_get {
            attribute(&mut draft, "messaging.operation.type", "receive");
        }
        destination(&mut draft, if told.queue.is_empty() { told.exchange } else { told.queue });
        routing_key(&mut draft, told);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    /// What the answer to `to` answers.
    fn answered(&mut self, to: Id, number: u16) -> Answers<(Asked, bool)> {
        let Some(channel) = self.channel(number) else { return Answers::Stray };
        let mut is_late = false;
        loop {
            match channel.due.next() {
                Answers::To(asked) if asked.id == to => {}
                Answers::To(_) => {
                    // Its answer is lost.
                    is_late = true;
                    let _ = channel.due.answer();
                    continue;
                }
                Answers::Unseen if is_late => return Answers::Stray,
                Answers::Stray => {
                    channel.due.heard();
                    return Answers::Stray;
                }
                Answers::Unseen => {}
            }
            return match channel.due.answer() {
                Answers::To(asked) => Answers::To((asked, channel.due.skips() || is_late)),
                Answers::Unseen => Answers::Unseen,
                Answers::Stray => Answers::Stray,
            };
        }
    }

    fn answer(&mut self, to: Id, told: &Arguments<'_>, number: u16, len: u64) -> Verdict {
        let mut draft = Draft::response(SpanStatus::Ok);
        match self.answered(to, number) {
            Answers::To((asked, skips)) => {
                draft.skips = skips;
                if to == method::CONSUME {
                    self.learn(number, told.consumer_tag, asked.queue);
                }
            }
            Answers::Unseen => {}
            Answers::Stray => return Verdict::Stray(len),
        }
        destination(&mut draft, told.queue);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn learn(&mut self, number: u16, tag: &[u8], queue: String) {
        if self.consumers.len() >= CONSUMERS_MAX {
            self.consumers.pop_front();
        }
        self.consumers.push_back((number, tag.to_vec(), queue));
    }

    /// A method whose message follows.
    fn carry(
        &mut self,
        method: &Method,
        told: &Arguments<'_>,
        number: u16,
        from: Side,
        len: u64,
    ) -> Verdict {
        let mut is_stray = false;
        let mut draft = match method.kind {
            Kind::ContentAnswer(to) => {
                let mut draft = Draft::response(SpanStatus::Ok);
                match self.answered(to, number) {
                    Answers::To((_, skips)) => draft.skips = skips,
                    Answers::Unseen => {}
                    Answers::Stray => is_stray = true,
                }
                routing_key(&mut draft, told);
                draft
            }
            _ => self.item(method, told, number),
        };
        if let Some(tag) = told.delivery_tag {
            let tag = Value::Int(tag as i64);
            draft.attributes.push(("messaging.rabbitmq.message.delivery_tag".into(), tag));
        }
        draft.stream = u64::from(number);
        if let Some(channel) = self.channel(number) {
            channel.contents[from as usize] = Some(Content { draft, left: None, is_stray });
        }
        match is_stray {
            true => Verdict::Skip(len),
            false => Verdict::Part { len, stream: u64::from(number) },
        }
    }

    /// A message that is published, delivered or returned.
    fn item(&self, method: &Method, told: &Arguments<'_>, number: u16) -> Draft {
        let is_same = |consumer: &&(u16, Vec<u8>, String)| {
            consumer.0 == number && consumer.1 == told.consumer_tag
        };
        let queue = match method.id {
            method::DELIVER => self.consumers.iter().rev().find(is_same).map(|it| it.2.as_str()),
            // The default exchange's keys are names of queues.
            _ => std::str::from_utf8(told.routing_key).ok().filter(|_| told.exchange.is_empty()),
        };
        let exchange = text(told.exchange);
        let shown = queue.unwrap_or(&exchange);
        let shown = Some(shown).filter(|shown| !shown.is_empty() && !is_temporary(shown));
        let mut draft = describe(Draft::one_way(""), method.name, shown);
        let kind = if method.id == method::PUBLISH { "send" } else { "receive" };
        attribute(&mut draft, "messaging.operation.type", kind);
        // Exchange, routing key and queue, as far as they differ.
        let key = text(told.routing_key);
        let mut parts = vec![exchange.as_str()];
        for part in [key.as_str(), queue.unwrap_or_default()] {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.retain(|part| !part.is_empty());
        destination(&mut draft, parts.join(":").as_bytes());
        routing_key(&mut draft, told);
        if let (method::RETURN, Some(reply)) = (method.id, told.reply) {
            fail(&mut draft, reply);
        }
        draft
    }

    /// A content header or a body.
    fn content(&mut self, frame: &Frame<'_>, from: Side) -> Verdict {
        let (len, stream) = (frame.len, u64::from(frame.channel));
        let slot = self.channels.get_mut(&frame.channel).map(|it| &mut it.contents[from as usize]);
        let Some((slot, content)) = slot.and_then(|slot| {
            let content = slot.take()?;
            Some((slot, content))
        }) else {
            // Its method is lost.
            return Verdict::Skip(len);
        };
        let mut content = content;
        let left = match (frame.kind, content.left) {
            (frame::HEADER, None) => {
                let Some(header) = Header::read(frame.payload) else {
                    *slot = Some(content);
                    return Verdict::More;
                };
                header.describe(&mut content.draft);
                content.draft.truncated |= frame.is_cut;
                header.body_size
            }
            (frame::BODY, Some(left)) if frame.size <= left => left - frame.size,
            _ => return Verdict::NotMine,
        };
        match (left, content.is_stray) {
            (0, true) => Verdict::Stray(len),
            (0, false) => Verdict::Done { len, draft: Box::new(content.draft) },
            (_, is_stray) => {
                content.left = Some(left);
                *slot = Some(content);
                if is_stray { Verdict::Skip(len) } else { Verdict::Part { len, stream } }
            }
        }
    }

    /// The channel or connection ends; an error answers the method that it complains of.
    fn close(
        &mut self,
        method: &Method,
        told: &Arguments<'_>,
        number: u16,
        from: Side,
        len: u64,
    ) -> Verdict {
        let reply = told.reply.filter(|reply| reply.0 >= 300);
        let mut draft = describe(Draft::one_way(""), method.name, None);
        if let Some(channel) = self.channels.get_mut(&number).filter(|_| from == Side::Server) {
            let complaint = (told.shorts[0], told.shorts[1]);
            // Who is refused is told no method.
            let is_any = number == 0;
            let answers = match channel.due.next() {
                Answers::To(asked) => is_any || asked.id == complaint,
                _ => false,
            };
            if answers && reply.is_some() {
                let _ = channel.due.answer();
                draft = Draft::response(SpanStatus::Error);
                draft.skips = channel.due.skips();
            }
        }
        if method.id.0 == method::CHANNEL_CLASS {
            self.forget(number);
        }
        let Some(reply) = reply else { return Verdict::Skip(len) };
        fail(&mut draft, reply);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        self.was_lost = true;
        let mut known = None;
        for channel in self.channels.values_mut() {
            channel.due.lost(from);
            let content = channel.contents[from as usize].take();
            let content = content.filter(|content| !content.is_stray);
            known = known.or(content.map(|content| content.draft));
        }
        known
    }

    pub(super) fn quiet(&mut self) {
        self.channels.values_mut().for_each(|channel| channel.due.quiet());
    }
}

fn method_id(payload: &[u8]) -> Option<(Id, &[u8])> {
    let (id, rest) = payload.split_at_checked(4)?;
    let short = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    Some(((short(0), short(2)), rest))
}

/// Whether the call is made of frames, of which the first is a method.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let sides = match head.from {
        Some(side) => vec![side],
        None => vec![Side::Client, Side::Server],
    };
    let mut able = sides.into_iter().filter(|side| chain(head.bytes, *side));
    match (able.next(), able.next()) {
        (Some(side), None) => Recognition::Yes(side),
        (Some(side), Some(_)) => Recognition::Maybe(side),
        (None, _) => Recognition::No,
    }
}

fn chain(bytes: &[u8], from: Side) -> bool {
    if !is_start(from, bytes) || bytes.first() != Some(&frame::METHOD) {
        return false;
    }
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Frame::read(rest, true) {
            Front::Frame(frame) if frame.is_cut => break,
            Front::Frame(frame) => {
                let id = method_id(frame.payload).map(|it| it.0);
                let is_known = id.is_some_and(|id| Method::find(id, from).is_some());
                if frame.kind == frame::METHOD && !is_known {
                    return false;
                }
                at = at.saturating_add(usize::try_from(frame.len).unwrap_or(usize::MAX));
            }
            Front::More => break,
            Front::NotMine => return false,
        }
    }
    true
}

/// Whether a whole frame starts here that `from` may send.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    Frame::whole(bytes).is_some_and(|frame| match frame.kind {
        frame::METHOD => method_id(frame.payload).is_some_and(|(id, rest)| {
            Method::find(id, from).is_some_and(|m| Arguments::read(m.fields, rest).is_some())
        }),
        _ => true,
    })
}
