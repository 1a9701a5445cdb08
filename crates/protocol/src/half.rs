//! Half: one direction of a connection, from placed calls to messages.
//!
//! Bytes of a call are parsed where they lie; only what the parser could not use yet is copied.
//! Bytes inside an announced length are passed over by position, whether they were copied or not.

mod apart;
mod loss;
mod records;

use deeptrace_model::{Incomplete, Message, MessageRole, Touch};

use self::records::Records;
use crate::counters::Counters;
use crate::open_message::{OpenMessage, Who};
use crate::payloads::Payloads;
use crate::reorder::Piece;
use crate::{Draft, Input, Parser, Side, Verdict};

/// Bytes a parser may ask to have together (see [`Verdict::More`]), and one call.
const PENDING_MAX: usize = 64 * 1024 + 64 * 1024;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Half {
    /// Position after the last call; `None` before the first.
    pub(crate) next: Option<u64>,
    /// Whether the parser knows where it is.
    pub(crate) synced: bool,
    /// Events missing before the next message.
    pub(crate) lost_events: u32,
    /// Messages given out since the protocol was guessed.
    pub(crate) finished: u64,
    /// Whether the stream has ended.
    pub(crate) ended: bool,
    /// Whether all bytes since a known start of the protocol are still there to be parsed.
    pub(crate) fresh: bool,
    /// Capture copies nothing before this position.
    pub(crate) skip_asked: u64,
    /// Position of the next byte for the parser, perhaps beyond `next`.
    at: u64,
    /// Copies of bytes from `at` on that wait for more.
    pending: Vec<u8>,
    /// Where calls begin whose bytes are in `pending`.
    marks: Vec<(u64, Touch)>,
    /// Of plaintext: where its records are on the wire.
    records: Records,
    open: Vec<OpenMessage>,
    /// A message that is known and whose announced end, `at`, was not reached.
    ending: Option<Box<(Box<Draft>, OpenMessage)>>,
    /// Stream of the open message that lasts until `at`.
    passing: Option<u64>,
}

/// What a half needs of its connection.
pub(crate) struct Work<'a> {
    pub(crate) who: Who,
    pub(crate) from: Side,
    pub(crate) open_max: usize,
    pub(crate) counters: &'a mut Counters,
    pub(crate) payloads: &'a mut Payloads,
    #[expect(clippy::vec_box, reason = "moving a message is moving a pointer")]
    pub(crate) messages: &'a mut Vec<Box<Message>>,
}

/// Why the parser stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All bytes are used, or wait.
    Drained,
    /// It does not know these bytes.
    NotMine,
    /// Another protocol follows at [`Half::at`].
    Switch,
}

impl Half {
    /// Position of the next byte for the parser.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Whether a message of `stream` has begun and was not given out.
    pub(crate) fn is_busy(&self, stream: u64) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.0.stream == stream)
            || self.open.iter().any(|open| open.stream == stream)
    }

    /// The parser goes on at `at`; what waited is forgotten.
    pub(crate) fn restart(&mut self, at: u64, synced: bool) {
        self.at = at;
        self.synced = synced;
        self.pending.clear();
        self.marks.clear();
        self.open.clear();
        self.ending = None;
        self.passing = None;
    }

    /// The byte of plaintext at `start` is at `position` on the wire.
    pub(crate) fn note_record(&mut self, start: u64, position: u32) {
        let needed = if self.pending.is_empty() { self.at } else { self.at.min(start) };
        self.records.add(start, position, needed);
    }

    /// Where the next byte for the parser is, in the stream and on the wire.
    fn place(&self) -> (u64, u64) {
        (self.at, self.records.position(self.at).unwrap_or(self.at))
    }

    /// Keeps the bytes of a call for recognition; they start at `at` if they are the first.
    pub(crate) fn keep(&mut self, piece: &Piece<'_>) {
        if self.pending.is_empty() {
            self.at = piece.start;
        }
        self.marks.push((piece.start, piece.touch));
        self.pending.extend_from_slice(piece.bytes);
    }

    /// What [`keep`](Self::keep) kept.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.pending
    }

    /// Forgets what [`keep`](Self::keep) kept.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
        self.marks.clear();
        self.fresh = false;
    }

    /// Parses what [`keep`](Self::keep) kept.
    pub(crate) fn replay(&mut self, parser: &mut dyn Parser, work: &mut Work<'_>) -> Stop {
        let Some((_, touch)) = self.marks.last().copied() else { return Stop::Drained };
        let end = self.at + self.pending.len() as u64;
        self.run_pending(parser, work, &touch, end, false)
    }

    /// Takes the next call. It starts where the last one ended, or there was a gap and
    /// [`skip_gap`](Self::skip_gap) was called.
    pub(crate) fn feed(
        &mut self,
        parser: &mut dyn Parser,
        work: &mut Work<'_>,
        piece: &Piece<'_>,
    ) -> Stop {
        let rest;
        let mut piece = piece;
        let end = piece.end();
        if self.at > piece.start {
            self.pass(piece, work);
            if self.at >= end {
                return Stop::Drained;
            }
            rest = piece.trimmed(self.at - piece.start);
            piece = &rest;
        }
        let is_cut = (piece.bytes.len() as u64) < piece.len;
        if is_cut && piece.bytes.is_empty() && self.pending.is_empty() {
            return self.lose_cut(parser, work, piece.touch, end);
        }
        if !self.pending.is_empty() {
            self.marks.push((piece.start, piece.touch));
            self.pending.extend_from_slice(piece.bytes);
            return self.run_pending(parser, work, &piece.touch, end, is_cut);
        }
        let (used, stop) = self.run(parser, work, piece.bytes, &piece.touch, end, is_cut);
        match stop {
            Ran::Stop(stop) => stop,
            Ran::Cut => self.lose_cut(parser, work, piece.touch, end),
            Ran::Waits => {
                self.pending.extend_from_slice(&piece.bytes[used..]);
                self.marks.push((piece.start, piece.touch));
                Stop::Drained
            }
        }
    }

    /// Parses `pending`, whose last bytes came with the call `touch` that ends at `end`.
    fn run_pending(
        &mut self,
        parser: &mut dyn Parser,
        work: &mut Work<'_>,
        touch: &Touch,
        end: u64,
        is_cut: bool,
    ) -> Stop {
        let mut bytes = std::mem::take(&mut self.pending);
        let (used, ran) = self.run(parser, work, &bytes, touch, end, is_cut);
        bytes.drain(..used);
        self.pending = bytes;
        match ran {
            Ran::Waits if self.pending.len() <= PENDING_MAX => {
                let passed = self.marks.iter().take_while(|mark| mark.0 <= self.at).count();
                self.marks.drain(..passed.saturating_sub(1));
                Stop::Drained
            }
            Ran::Waits => Stop::NotMine,
            Ran::Cut => self.lose_cut(parser, work, *touch, end),
            Ran::Stop(stop) => {
                self.pending.clear();
                self.marks.clear();
                stop
            }
        }
    }

    /// Parses `bytes`, which start at `at`, until none are left; returns how many were used.
    fn run(
        &mut self,
        parser: &mut dyn Parser,
        work: &mut Work<'_>,
        bytes: &[u8],
        touch: &Touch,
        end: u64,
        is_cut: bool,
    ) -> (usize, Ran) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let input = Input { bytes: rest, from: work.from, is_last: is_cut };
            let taken = match parser.parse(input) {
                Verdict::More => {
                    let ran = if is_cut { Ran::Cut } else { Ran::Waits };
                    if is_cut {
                        self.keep_rest(rest, *touch);
                    }
                    return (bytes.len() - rest.len(), ran);
                }
                Verdict::NotMine
                | Verdict::Skip(0)
                | Verdict::Stray(0)
                | Verdict::Part { len: 0, .. }
                | Verdict::Done { len: 0, .. } => {
                    return (bytes.len() - rest.len(), Ran::Stop(Stop::NotMine));
                }
                Verdict::Switch => {
                    return (bytes.len() - rest.len(), Ran::Stop(Stop::Switch));
                }
                Verdict::Skip(len) => self.in_call(len, end),
                Verdict::Stray(len) => {
                    work.counters.stray_answers += 1;
                    len
                }
                Verdict::Part { len, stream } => {
                    let len = self.in_call(len, end);
                    let len = len.min(Verdict::ENDLESS.saturating_sub(self.at)).max(1);
                    self.extend(work, rest, len, stream, touch, end);
                    len
                }
                Verdict::Done { len, draft } => {
                    let len = len.min(Verdict::ENDLESS.saturating_sub(self.at)).max(1);
                    self.finish(work, rest, len, draft, touch, end);
                    len
                }
            };
            self.at = self.at.saturating_add(taken).min(Verdict::ENDLESS);
            let seen = usize::try_from(taken).map_or(rest.len(), |n| n.min(rest.len()));
            rest = &rest[seen..];
        }
        let ran = if self.at < end { Ran::Cut } else { Ran::Stop(Stop::Drained) };
        (bytes.len(), ran)
    }

    /// The length that a verdict gives, where the last call ends at `end`.
    fn in_call(&self, len: u64, end: u64) -> u64 {
        if len == Verdict::CALL { end - self.at } else { len }
    }

    /// The end of a call is missing and `rest` of it was not enough: it waits to be lost with the
    /// message it belongs to.
    fn keep_rest(&mut self, rest: &[u8], touch: Touch) {
        if self.marks.is_empty() {
            self.marks.push((self.at, touch));
        }
        if self.pending.is_empty() {
            self.pending.extend_from_slice(rest);
        }
    }

    /// The call that moved the byte at `position`.
    fn touch_at(&self, position: u64, current: &Touch) -> Touch {
        let mark = self.marks.iter().rev().find(|mark| mark.0 <= position);
        mark.map_or(*current, |mark| mark.1)
    }

    /// `len` bytes at `at` belong to the open message of `stream`.
    fn extend(
        &mut self,
        work: &mut Work<'_>,
        rest: &[u8],
        len: u64,
        stream: u64,
        touch: &Touch,
        end: u64,
    ) {
        let seen = &rest[..usize::try_from(len).map_or(rest.len(), |n| n.min(rest.len()))];
        let last = self.touch_at(self.at.saturating_add(len - 1).min(end - 1), touch);
        let payload_max = work.who.payload_max;
        if let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) {
            open.add(seen, len, last, payload_max);
        } else {
            if self.open.len() >= work.open_max {
                self.open.remove(0);
                work.counters.open_full += 1;
            }
            let first = self.touch_at(self.at, touch);
            let lost = std::mem::take(&mut self.lost_events);
            let mut open = OpenMessage::new(stream, self.place(), first, lost);
            open.add(seen, len, last, payload_max);
            self.open.push(open);
        }
        self.passing = (self.at.saturating_add(len) > end).then_some(stream);
    }

    /// `len` bytes at `at` complete the message of `draft`.
    fn finish(
        &mut self,
        work: &mut Work<'_>,
        rest: &[u8],
        len: u64,
        draft: Box<Draft>,
        touch: &Touch,
        end: u64,
    ) {
        let seen = &rest[..usize::try_from(len).map_or(rest.len(), |n| n.min(rest.len()))];
        if self.open.is_empty() && self.marks.is_empty() && self.at.saturating_add(len) <= end {
            let lost = std::mem::take(&mut self.lost_events);
            let mut message = OpenMessage::new(draft.stream, self.place(), *touch, lost);
            self.note_loss(&draft, &mut message);
            self.finished += 1;
            work.counters.messages += 1;
            let message = message.finish_whole(seen, len, draft, &work.who, work.payloads);
            return work.messages.push(message);
        }
        let mut message = self.take_open(draft.stream, touch);
        let last_byte = self.at.saturating_add(len - 1);
        let last = self.touch_at(last_byte.min(end - 1), touch);
        message.add(seen, len, last, work.who.payload_max);
        if last_byte < end {
            self.give(work, draft, message, None);
        } else {
            self.ending = Some(Box::new((draft, message)));
        }
    }

    /// The open message of `stream`, or a new one at `at`.
    fn take_open(&mut self, stream: u64, touch: &Touch) -> OpenMessage {
        if let Some(index) = self.open.iter().position(|open| open.stream == stream) {
            return self.open.remove(index);
        }
        let first = self.touch_at(self.at, touch);
        OpenMessage::new(stream, self.place(), first, std::mem::take(&mut self.lost_events))
    }

    fn give(
        &mut self,
        work: &mut Work<'_>,
        draft: Box<Draft>,
        mut message: OpenMessage,
        end: Option<Incomplete>,
    ) {
        self.note_loss(&draft, &mut message);
        self.finished += 1;
        work.counters.messages += 1;
        work.messages.push(message.finish(draft, &work.who, work.payloads, end));
    }

    fn note_loss(&mut self, draft: &Draft, message: &mut OpenMessage) {
        message.lost_events = message.lost_events.max(u32::from(draft.skips));
        if draft.interim || draft.role == MessageRole::OneWay {
            // They are paired with nothing: what is paired next must tell as well.
            self.lost_events = self.lost_events.max(message.lost_events);
        }
    }

    /// A call lies, in whole or in its front, where the parser does not look.
    fn pass(&mut self, piece: &Piece<'_>, work: &mut Work<'_>) {
        let open = match (&mut self.ending, self.passing) {
            (Some(ending), _) => Some(&mut ending.1),
            (None, Some(stream)) => self.open.iter_mut().find(|open| open.stream == stream),
            (None, None) => None,
        };
        if let Some(open) = open {
            // What lasts until `at` has all its bytes before `at`.
            let before = self.at - piece.start;
            let len =
                usize::try_from(before).map_or(piece.bytes.len(), |n| n.min(piece.bytes.len()));
            open.last = piece.touch;
            open.see(open.size.saturating_sub(before), &piece.bytes[..len], work.who.payload_max);
        }
        if self.at <= piece.end() {
            self.passing = None;
            if let Some((draft, message)) = self.ending.take().map(|ending| *ending) {
                self.give(work, draft, message, None);
            }
        }
    }
}

/// What [`Half::run`] ended with.
enum Ran {
    Stop(Stop),
    /// The parser wants more than is there, and more will come.
    Waits,
    /// The parser wants more than is there, and it was not copied.
    Cut,
}
