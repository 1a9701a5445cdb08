//! Apache Thrift (`doc/specs/thrift-rpc.md`, `thrift-binary-protocol.md`,
//! `thrift-compact-protocol.md`, `HeaderFormat.md` of its sources): binary protocol with and without
//! version, compact protocol; without frames, in frames, in header frames (THeader).
//!
//! A message without a frame has no length: its end is found by walking its fields (`walk.rs`). Of
//! a framed one only the first [`WINDOW`] bytes are looked at. An answer has its call's sequence
//! number and name; many clients number all calls zero, which are then answered in order, one by
//! one. A declared exception has no name on the wire, only the number of its field: its first text
//! is taken for its message. Behind a multiplexed call (`Service:method`) the answer names the
//! method only. A transform (compression) hides name, kind and outcome: such a call is taken for one
//! that is answered. Over UDP a datagram is one message (Jaeger's clients send `emitBatch` so).
//! Assumed: clients don't answer and servers don't call.

mod head;
mod walk;

use deeptrace_model::{MessageRole, SpanStatus, Text, Transport};

use crate::due::{Answers, Due};
use crate::remote_call::{self, tag};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use head::{Encoding, Front, Kind, Miss};
use walk::{Facts, Walk, Walker};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "thrift",
    title: "Apache Thrift (binary, compact; framed, unframed, header)",
    transports: &[Transport::Tcp, Transport::UnixStream, Transport::Udp],
    ports: &[9090],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::Mixed("sequence id, or in order where all calls have the same"),
        errors: "an exception, declared or not",
        context: "headers of THeader",
        tls: "",
        limits: &[
            "a declared exception has no name on the wire",
            "transformed (compressed) headers hide name and outcome",
        ],
    },
    recognise,
    parser: || Box::<Thrift>::default(),
};

/// Bytes of a framed message, after its header, that are looked at.
const WINDOW: usize = 1024;
/// The longest message without a frame that is believed.
const MESSAGE_MAX: u64 = 1 << 30;

fn recognise(head: &Head<'_>) -> Recognition {
    let Ok(front) = head::read(head.bytes) else { return Recognition::No };
    let Some(side) = side(&front, head.from) else { return Recognition::No };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    let is_whole = match (front.len, front.head) {
        (Some(len), _) => len == head.call_len as u64,
        (None, Some(message)) => {
            let mut walker = Walker::new(&message);
            match walker.walk(&head.bytes[front.body..], true) {
                Walk::NotMine => return Recognition::No,
                Walk::End(len) => front.body as u64 + len == head.call_len as u64,
                Walk::Part(_) | Walk::More => false,
            }
        }
        (None, None) => false,
    };
    if !head.transport.is_stream() && !is_whole && head.bytes.len() == head.call_len {
        return Recognition::No;
    }
    let is_long = front.len.is_some_and(|len| len > head.call_len as u64);
    match front.head.map(|message| message.encoding) {
        None | Some(Encoding::Strict) => Recognition::Yes(side),
        Some(Encoding::Compact) if is_whole => Recognition::Yes(side),
        Some(Encoding::Compact) => Recognition::Maybe(side),
        Some(Encoding::Old) if is_whole || is_long => Recognition::Maybe(side),
        Some(Encoding::Old) => Recognition::No,
    }
}

/// Who sends this; a transform hides it.
fn side(front: &Front<'_>, from: Option<Side>) -> Option<Side> {
    let told = front.head.map(|message| match message.kind.is_answer() {
        true => Side::Server,
        false => Side::Client,
    });
    told.or(from)
}

/// A message without a frame that is being walked.
struct Open {
    name: Text,
    kind: Kind,
    ids: Ids,
    walker: Walker,
    len: u64,
    is_stray: bool,
}

/// What answers have of their calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    /// Zero where the sequence number is.
    stream: u64,
    /// Of the method; zero where it is not known.
    tag: u16,
}

impl Ids {
    fn of(front: &Front<'_>) -> Self {
        let tag = front.head.map_or(0, |message| tag(method(message.name)));
        let stream = match (front.header, front.head) {
            // A transform may hide the name of one message and not of the other.
            (Some(header), _) => u64::from(header.sequence),
            (None, Some(message)) if message.sequence != 0 => {
                u64::from(tag) << 32 | u64::from(message.sequence)
            }
            _ => 0,
        };
        Self { stream, tag }
    }
}

/// A name without the service that it is multiplexed by.
fn method(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b':').next().unwrap_or(name)
}

#[derive(Default)]
struct Thrift {
    open: [Option<Open>; 2],
    /// Methods of the calls that are numbered zero.
    due: Due<u16>,
}

impl Parser for Thrift {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if let Some(open) = self.open[input.from as usize].take() {
            return self.go_on(open, &input);
        }
        let front = match head::read(input.bytes) {
            Ok(front) => front,
            Err(Miss::More) => return Verdict::More,
            Err(Miss::NotMine) => return Verdict::NotMine,
        };
        if side(&front, Some(input.from)) != Some(input.from) {
            return Verdict::NotMine;
        }
        match (front.len, front.head) {
            (Some(len), _) => self.framed(&front, len, &input),
            (None, Some(message)) => self.unframed(&front, &message, &input),
            (None, None) => Verdict::NotMine,
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        let front = head::read(bytes).ok();
        front.is_some_and(|front| side(&front, Some(from)) == Some(from))
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let open = self.open[from as usize].take();
        let open = open.filter(|open| !open.is_stray);
        let draft = open.and_then(|open| {
            let mut draft = draft(&open.name, Some(open.kind), from, &Facts::default());
            if from == Side::Server {
                draft.status = SpanStatus::Unset;
                self.answer(&mut draft, open.ids)?;
            }
            draft.stream = open.ids.stream;
            Some(draft)
        });
        self.due.lost(from);
        draft
    }

    fn quiet(&mut self) {
        self.due.quiet();
    }
}

impl Thrift {
    fn framed(&mut self, front: &Front<'_>, len: u64, input: &Input<'_>) -> Verdict {
        let most = usize::try_from(len).map_or(usize::MAX, |len| len.min(front.body + WINDOW));
        if input.bytes.len() < most && !input.is_last {
            return Verdict::More;
        }
        let fields = input.bytes.get(front.body..most.min(input.bytes.len())).unwrap_or_default();
        let mut facts = Facts::default();
        if let Some(message) = front.head.filter(|message| message.kind.is_answer()) {
            let mut walker = Walker::new(&message);
            if walker.walk(fields, true) == Walk::NotMine {
                return Verdict::NotMine;
            }
            facts = walker.facts;
        }
        let name = front
            .head
            .map_or(Text::default(), |message| String::from_utf8_lossy(message.name).into());
        let mut draft = draft(&name, front.head.map(|message| message.kind), input.from, &facts);
        draft.trace_context = front.header.and_then(|header| header.trace_context);
        draft.truncated = input.bytes.len() < most;
        self.finish(draft, Ids::of(front), len)
    }

    fn unframed(&mut self, front: &Front<'_>, head: &head::Head<'_>, input: &Input<'_>) -> Verdict {
        let ids = Ids::of(front);
        let is_answer = head.kind.is_answer();
        let mut open = Open {
            name: String::from_utf8_lossy(head.name).into(),
            kind: head.kind,
            ids,
            walker: Walker::new(head),
            len: front.body as u64,
            is_stray: is_answer && ids.stream == 0 && self.due.is_stray(),
        };
        // A datagram is all there is, and must be given as one message.
        let fields = input.bytes.get(front.body..).unwrap_or_default();
        if input.is_last
            && let Walk::End(len) = open.walker.walk(fields, true)
        {
            let draft = draft(&open.name, Some(open.kind), input.from, &open.walker.facts);
            return self.finish(draft, ids, open.len + len);
        }
        open.walker = Walker::new(head);
        self.part(open, input.from, front.body as u64)
    }

    /// `len` more bytes belong to a message without a frame.
    fn part(&mut self, open: Open, from: Side, len: u64) -> Verdict {
        let (stream, is_stray) = (open.ids.stream, open.is_stray);
        self.open[from as usize] = Some(open);
        if is_stray { Verdict::Skip(len) } else { Verdict::Part { len, stream } }
    }

    fn go_on(&mut self, mut open: Open, input: &Input<'_>) -> Verdict {
        match open.walker.walk(input.bytes, input.is_last) {
            Walk::NotMine => Verdict::NotMine,
            Walk::More => {
                self.open[input.from as usize] = Some(open);
                Verdict::More
            }
            Walk::Part(len) => {
                open.len = open.len.saturating_add(len);
                if open.len > MESSAGE_MAX {
                    return Verdict::NotMine;
                }
                self.part(open, input.from, len)
            }
            Walk::End(len) => {
                let draft = draft(&open.name, Some(open.kind), input.from, &open.walker.facts);
                self.finish(draft, open.ids, len)
            }
        }
    }

    fn finish(&mut self, mut draft: Draft, ids: Ids, len: u64) -> Verdict {
        draft.stream = ids.stream;
        if draft.role == MessageRole::Request && ids.stream == 0 {
            self.due.ask(ids.tag);
        }
        if draft.role == MessageRole::Response && self.answer(&mut draft, ids).is_none() {
            return Verdict::Stray(len);
        }
        Verdict::Done { len, draft: Box::new(draft) }
    }

    /// Whether it is known what a response answers.
    fn answer(&mut self, draft: &mut Draft, ids: Ids) -> Option<()> {
        if ids.stream != 0 {
            return Some(());
        }
        match self.due.answer() {
            Answers::Stray => return None,
            Answers::To(tag) if tag != ids.tag && tag != 0 && ids.tag != 0 => {
                // Something between was not seen.
                self.due.lost(Side::Server);
                return None;
            }
            Answers::To(_) | Answers::Unseen => {}
        }
        draft.skips = self.due.skips();
        Some(())
    }
}

/// What a message says; `kind` is not known where a transform hides it.
fn draft(name: &str, kind: Option<Kind>, from: Side, facts: &Facts) -> Draft {
    match kind {
        Some(Kind::Reply) => match facts.first {
            Some(field) if field != 0 => {
                let text = facts.text.clone();
                let text = text.unwrap_or_else(|| format!("declared exception, field {field}"));
                remote_call::response(Err((Text::new_static("exception"), Some(text))))
            }
            _ => remote_call::response(Ok(())),
        },
        Some(Kind::Exception) => {
            let word = exception(facts.code.unwrap_or_default());
            let mut draft =
                remote_call::response(Err((Text::new_static(word), facts.text.clone())));
            remote_call::set_status_code(&mut draft, word);
            draft
        }
        None if from == Side::Server => Draft::response(SpanStatus::Unset),
        Some(Kind::Call | Kind::OneWay) | None => {
            let (service, method) = name.rsplit_once(':').unwrap_or(("", name));
            let mut draft = remote_call::request("thrift", service, method);
            if kind == Some(Kind::OneWay) {
                draft.role = MessageRole::OneWay;
            }
            draft
        }
    }
}

/// Types of `TApplicationException` (`thrift-rpc.md`).
fn exception(code: i64) -> &'static str {
    match code {
        1 => "UNKNOWN_METHOD",
        2 => "INVALID_MESSAGE_TYPE",
        3 => "WRONG_METHOD_NAME",
        4 => "BAD_SEQUENCE_ID",
        5 => "MISSING_RESULT",
        6 => "INTERNAL_ERROR",
        7 => "PROTOCOL_ERROR",
        8 => "INVALID_TRANSFORM",
        9 => "INVALID_PROTOCOL",
        10 => "UNSUPPORTED_CLIENT_TYPE",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests;
