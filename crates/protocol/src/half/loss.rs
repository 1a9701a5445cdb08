//! Loss: what becomes of the messages of a half when bytes are missing, or no more come.

use deeptrace_model::{Incomplete, Touch};

use super::{Half, Stop, Work};
use crate::open_message::OpenMessage;
use crate::{Input, Parser, Verdict};

impl Half {
    /// Bytes from the last call up to `to` are missing for good. Returns whether the parser is
    /// still in step.
    pub(crate) fn skip_gap(
        &mut self,
        parser: &mut dyn Parser,
        work: &mut Work<'_>,
        to: u64,
    ) -> bool {
        self.lost_events = self.lost_events.saturating_add(1);
        if !self.synced {
            self.restart(to, false);
            return false;
        }
        if self.at < to {
            self.lose(parser, work, Incomplete::Lost);
            // It is missing before the next message too.
            self.lost_events = self.lost_events.max(1);
            self.restart(to, false);
            return false;
        }
        let lost = std::mem::take(&mut self.lost_events);
        let passed = self.passing.and_then(|s| self.open.iter_mut().find(|o| o.stream == s));
        match (&mut self.ending, passed) {
            (Some(ending), _) => ending.1.lost_events += lost,
            (None, Some(open)) => open.lost_events += lost,
            (None, None) => self.lost_events = lost,
        }
        if self.at == to {
            self.passing = None;
            if let Some((draft, message)) = self.ending.take().map(|ending| *ending) {
                self.give(work, draft, message, Some(Incomplete::Lost));
            }
        }
        true
    }

    /// The open message is over, and its end was not told.
    pub(crate) fn overtake(&mut self, parser: &mut dyn Parser, work: &mut Work<'_>) {
        if self.synced {
            self.lose(parser, work, Incomplete::Lost);
            self.restart(self.next.unwrap_or(self.at), false);
        }
    }

    /// The end of a call was not copied and the parser wants it.
    pub(super) fn lose_cut(
        &mut self,
        parser: &mut dyn Parser,
        work: &mut Work<'_>,
        touch: Touch,
        end: u64,
    ) -> Stop {
        work.counters.cut += 1;
        let known = parser.lost(work.from);
        match known {
            Some(draft) => {
                let rest = std::mem::take(&mut self.pending);
                let mut message = self.take_open(draft.stream, &touch);
                message.add(&rest, end.saturating_sub(self.at), touch, work.who.payload_max);
                message.truncated = true;
                self.give(work, Box::new(draft), message, None);
            }
            None => work.counters.lost_messages += 1,
        }
        work.counters.lost_messages += self.open.len() as u64;
        self.restart(end, false);
        Stop::Drained
    }

    /// The direction is at its end, or bytes are missing: gives out what is known of the messages
    /// that were under way.
    fn lose(&mut self, parser: &mut dyn Parser, work: &mut Work<'_>, why: Incomplete) {
        if let Some((draft, mut message)) = self.ending.take().map(|ending| *ending) {
            self.cut_short(&mut message, why);
            self.give(work, draft, message, Some(why));
        }
        let mut whole = None;
        if !self.pending.is_empty() {
            // A parser tells, or remembers, what it can of bytes that will never grow.
            let input = Input { bytes: &self.pending, from: work.from, is_last: true };
            if let Verdict::Done { draft, .. } = parser.parse(input) {
                whole = Some(draft);
            }
        }
        let begun = parser.lost(work.from).map(Box::new);
        if let Some(draft) = whole.or(begun) {
            let begun = self.open.iter().any(|open| open.stream == draft.stream);
            if begun || !self.pending.is_empty() {
                let rest = std::mem::take(&mut self.pending);
                let touch = self.marks.last().map_or(Touch::default(), |mark| mark.1);
                let mut message = self.take_open(draft.stream, &touch);
                if !rest.is_empty() {
                    message.add(&rest, rest.len() as u64, touch, work.who.payload_max);
                }
                self.cut_short(&mut message, why);
                self.give(work, draft, message, Some(why));
            }
        }
        work.counters.lost_messages += self.open.len() as u64;
        self.open.clear();
        self.passing = None;
    }

    /// A message that got no further than the last call, whatever it announced.
    fn cut_short(&self, message: &mut OpenMessage, why: Incomplete) {
        if why == Incomplete::Lost {
            message.lost_events = message.lost_events.saturating_add(1);
        } else if let Some(next) = self.next {
            message.size = message.size.min(next.saturating_sub(message.start));
        }
    }

    /// Nobody will ever know how it goes on.
    pub(crate) fn abandon(&mut self, parser: &mut dyn Parser, work: &mut Work<'_>) {
        if self.synced && !self.ended {
            self.lose(parser, work, Incomplete::Lost);
            self.restart(self.next.unwrap_or(0), false);
        }
    }

    /// The stream ended, in order (`errno` zero) or not.
    pub(crate) fn end(&mut self, parser: &mut dyn Parser, work: &mut Work<'_>, errno: u16) {
        if std::mem::replace(&mut self.ended, true) || !self.synced {
            return;
        }
        let whole = if errno == 0 && self.ending.is_none() { parser.end(work.from) } else { None };
        if let Some(draft) = whole
            && let Some(index) = self.open.iter().position(|open| open.stream == draft.stream)
        {
            let mut message = self.open.remove(index);
            self.cut_short(&mut message, Incomplete::Closed(0));
            self.give(work, Box::new(draft), message, None);
        }
        self.lose(parser, work, Incomplete::Closed(errno));
        self.synced = false;
    }
}
