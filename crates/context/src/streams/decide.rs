//! Decide: what is known of streams that ended, told to the flow or as decided.

use deeptrace_model::{BootTime, Duration, EvidenceKind, SpanId, UnitId};

use super::{Bound, Stream, Streams};
use crate::flow::{Decided, Flow};

/// A call that no rule explained until then is left to inference.
const PATIENCE: Duration = Duration::from_secs(2);
/// Stamps are taken at the end of calls.
const SLACK: Duration = Duration::from_millis(1);
/// How sure each rule is.
const GAP: f32 = 0.97;
const ROUND: f32 = 0.97;
const BALANCE: f32 = 0.985;

impl Streams {
    /// Tells what is known of streams that ended until `until`.
    pub(super) fn tell(&mut self, until: BootTime, flow: &mut Flow, out: &mut Vec<Decided>) {
        let ended: Vec<(SpanId, Stream)> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.is_told && stream.end.is_some_and(|end| end <= until))
            .map(|(span, stream)| (*span, *stream))
            .collect();
        for (span, stream) in ended {
            let is_over = stream.end.is_some_and(|end| end <= until.minus(PATIENCE));
            if stream.is_request || !stream.is_task {
                let vote =
                    if stream.is_request { Vote::None } else { self.vote(span, &stream, until) };
                match vote {
                    Vote::For(parent, kind, confidence) => {
                        out.push(Decided { call: span, parent, kind, confidence });
                        self.streams.remove(&span);
                        flow.counted(true);
                    }
                    Vote::Against => {
                        self.streams.remove(&span);
                        flow.counted(false);
                    }
                    Vote::None if is_over && (!stream.is_request || !stream.is_task) => {
                        self.streams.remove(&span);
                        if !stream.is_request {
                            flow.counted(false);
                        }
                    }
                    Vote::None => {}
                }
            }
            if stream.is_task && stream.is_shared {
                self.bind(span, &stream, flow);
                self.streams.remove(&span);
                self.bound.remove(&span);
            }
        }
    }

    /// Tells the flow in which unit a stream of tasks happened.
    fn bind(&mut self, span: SpanId, stream: &Stream, flow: &mut Flow) {
        let bound = self.bound.get(&span).copied();
        let is_own = |unit: UnitId| !self.roles.is_carrier(unit);
        let Some(end) = stream.end else { return };
        if stream.is_request {
            if let Some(bound) = bound {
                flow.owned(span, bound.unit, (bound.time, end.max(bound.time)));
            }
            return;
        }
        let sender = Some(stream.writer).filter(|unit| is_own(*unit));
        let Some(sender) = sender.or(bound.map(|bound| bound.unit)) else { return };
        flow.sent(span, sender, stream.since);
        let reader = bound
            .or_else(|| is_own(stream.reader).then_some(Bound { unit: stream.reader, time: end }));
        if let Some(reader) = reader {
            flow.received(span, reader.unit, reader.time.max(stream.since));
        }
    }

    fn vote(&self, call: SpanId, stream: &Stream, until: BootTime) -> Vote {
        let is_request =
            |span: &SpanId| self.streams.get(span).is_some_and(|stream| stream.is_request);
        let balanced = self.balance.of(call).filter(is_request);
        let gap = stream.gap.filter(|(_, count)| self.gaps.is_usual(*count)).map(|gap| gap.0);
        let votes = [
            (gap, EvidenceKind::Thread, GAP),
            (balanced, EvidenceKind::Turn, BALANCE),
            (self.rounds.of(call), EvidenceKind::Turn, ROUND),
        ];
        let mut said = votes.iter().filter_map(|(vote, ..)| *vote);
        let Some(first) = said.next() else { return Vote::None };
        if said.any(|other| other != first) {
            return Vote::Against;
        }
        let Some(request) = self.streams.get(&first) else { return Vote::Against };
        let Some(answered) = request.end.filter(|end| *end <= until) else { return Vote::None };
        let is_within = request.since <= stream.since
            && stream.end.is_some_and(|end| end <= answered.plus(SLACK));
        if !is_within {
            return Vote::Against;
        }
        let best = votes.iter().find(|(vote, ..)| vote.is_some());
        let (_, kind, confidence) = best.copied().unwrap_or(votes[0]);
        Vote::For(first, kind, confidence)
    }
}

enum Vote {
    For(SpanId, EvidenceKind, f32),
    /// Two rules differ, or what they say cannot be.
    Against,
    None,
}
