//! The parser of a connection that a handler has recognised.

use deeptrace_model::{MessageRole, SpanStatus, Text, Value};

use super::Handler;
use crate::asked::{Asked, Named};
use crate::due::Due;
use crate::metadata::{ATTRIBUTES_MAX, Kind};
use crate::{Draft, Input, Parser, ProtocolMetadata, Side, Verdict};

/// Bytes that wait for more (see [`Verdict::More`]).
const WAITING_MAX: usize = 64 * 1024;

/// Bytes of a text; what is longer is cut.
const TEXT_MAX: usize = 1024;

pub(super) struct Handled {
    handler: Handler,
    /// What each side waits for.
    waiting: [Waiting; 2],
}

/// The requests of one side that are not answered yet: in order, and by their ids.
#[derive(Default)]
struct Waiting {
    due: Due<()>,
    asked: Asked<()>,
}

impl Handled {
    pub(super) fn new(handler: Handler) -> Self {
        Self { handler, waiting: Default::default() }
    }

    fn request(&mut self, from: Side, metadata: ProtocolMetadata) -> Verdict {
        let waiting = &mut self.waiting[from as usize];
        match metadata.id {
            Some(id) => waiting.asked.ask(id, ()),
            None => waiting.due.ask(()),
        }
        self.done(metadata, MessageRole::Request)
    }

    fn response(&mut self, from: Side, metadata: ProtocolMetadata) -> Verdict {
        let len = metadata.length as u64;
        let waiting = &mut self.waiting[from.opposite() as usize];
        let skips = match metadata.id {
            Some(id) => match waiting.asked.answer(id) {
                Named::To { skips, .. } => skips,
                Named::Early => false,
                Named::Stray => return Verdict::Stray(len),
            },
            None if waiting.due.is_stray() => {
                waiting.due.heard();
                return Verdict::Stray(len);
            }
            None => {
                let _ = waiting.due.answer();
                waiting.due.skips()
            }
        };
        let verdict = self.done(metadata, MessageRole::Response);
        match verdict {
            Verdict::Done { len, draft } => {
                Verdict::Done { len, draft: Box::new(Draft { skips, ..*draft }) }
            }
            other => other,
        }
    }

    fn done(&self, metadata: ProtocolMetadata, role: MessageRole) -> Verdict {
        let mut bound = Bound { cuts: metadata.dropped };
        let mut draft = match role {
            MessageRole::Request => Draft::request(bound.text(metadata.name)),
            MessageRole::OneWay => Draft::one_way(bound.text(metadata.name)),
            MessageRole::Response => Draft::response(SpanStatus::Ok),
        };
        draft.stream = metadata.id.unwrap_or(0);
        if role != MessageRole::Response {
            let name = self.handler.name();
            draft.attributes.push(("network.protocol.name".into(), name.into()));
        }
        if let Some((kind, message)) = metadata.error {
            draft.status = SpanStatus::Error;
            draft.attributes.push(("error.type".into(), bound.text(kind).into()));
            let message = Some(message).filter(|text| !text.is_empty());
            draft.status_message = message.map(|text| bound.text(text.into()).into());
        }
        for (name, value) in metadata.attributes {
            let name = bound.text(name);
            if draft.attributes.get(&name).is_none() {
                draft.attributes.push((name.to_string().into(), bound.value(value)));
            }
        }
        draft.trace_context = metadata.headers.context();
        draft.redact = metadata.secrets;
        self.handler.count_cuts(bound.cuts);
        Verdict::Done { len: metadata.length as u64, draft: Box::new(draft) }
    }
}

impl Parser for Handled {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let metadata = self.handler.ask(input.bytes);
        if self.handler.is_off() {
            return Verdict::Switch;
        }
        let needs_length = !matches!(metadata.kind, Kind::NeedMore | Kind::NotMine);
        if needs_length && metadata.length == 0 {
            return Verdict::NotMine;
        }
        match metadata.kind {
            Kind::Request => self.request(input.from, metadata),
            Kind::Response => self.response(input.from, metadata),
            Kind::OneWay => self.done(metadata, MessageRole::OneWay),
            Kind::Skip => Verdict::Skip(metadata.length as u64),
            Kind::NeedMore if input.bytes.len() < WAITING_MAX => Verdict::More,
            Kind::NeedMore | Kind::NotMine => Verdict::NotMine,
        }
    }

    fn is_start(&self, _: Side, bytes: &[u8]) -> bool {
        // One that is switched off gives its connections up when it is asked to parse.
        self.handler.is_off()
            || (self.handler.detects(bytes) && self.handler.ask(bytes).kind != Kind::NotMine)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let own = &mut self.waiting[from as usize];
        own.due.lost(Side::Client);
        own.asked.lost_requests();
        let other = &mut self.waiting[from.opposite() as usize];
        other.due.lost(Side::Server);
        other.asked.lost_answers();
        None
    }

    fn quiet(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.due.quiet());
    }
}

/// Holds what a message says to its limits, and counts what is cut.
struct Bound {
    cuts: u64,
}

impl Bound {
    fn text(&mut self, text: Text) -> Text {
        if text.len() <= TEXT_MAX {
            return text;
        }
        self.cuts += 1;
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text[..end].into()
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::Texts(mut texts) => {
                self.cuts += texts.len().saturating_sub(ATTRIBUTES_MAX) as u64;
                texts.truncate(ATTRIBUTES_MAX);
                let cut = texts.into_iter().map(|text| self.text(text.into()).into());
                Value::Texts(cut.collect())
            }
            other => other,
        }
    }
}
