//! Gaps: losses that follow each other closely, as one record for the store.

use deeptrace_model::{BootTime, Clock, Duration, Gap, GapCause, LossCause};

/// Losses closer than this are one gap: a full ring buffer reports itself many times.
const MERGE: Duration = Duration::from_secs(1);

/// The gap that is open now, and what was lost so far.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    open: Option<Open>,
    /// Events lost since the start, so that a span knows how many were lost during its life.
    pub lost_total: u64,
}

#[derive(Debug)]
struct Open {
    from: BootTime,
    to: BootTime,
    cause: GapCause,
    events: u64,
}

impl Gaps {
    /// `count` events are missing between `before`, the last event that was seen, and `time`.
    pub fn lost(
        &mut self,
        before: BootTime,
        time: BootTime,
        cause: LossCause,
        count: u64,
    ) -> Option<Lost> {
        let cause = match cause {
            // The call is there, only its bytes are not: the message says so (`truncated`).
            LossCause::CopyFailed | LossCause::Shed => return None,
            LossCause::Paused => GapCause::Paused,
            LossCause::RingFull | LossCause::MapFull | LossCause::Source => GapCause::RingFull,
        };
        self.lost_total += count;
        let closed = match &mut self.open {
            Some(open) if open.cause == cause && before.since(open.to) < MERGE => {
                open.to = open.to.max(time);
                open.events += count;
                None
            }
            open => open.replace(Open { from: before.min(time), to: time, cause, events: count }),
        };
        Some(Lost(closed))
    }

    /// The gap that ended before `now`, if one did.
    pub fn ended(&mut self, now: BootTime, clock: &Clock) -> Option<Gap> {
        let ended = self.open.as_ref().is_some_and(|open| now.since(open.to) >= MERGE);
        if ended { self.open.take().map(|open| open.gap(clock)) } else { None }
    }

    /// The gap that is open now.
    pub fn finish(&mut self, clock: &Clock) -> Option<Gap> {
        self.open.take().map(|open| open.gap(clock))
    }
}

/// A loss that was taken in, with the earlier gap that it closed.
#[derive(Debug)]
pub(crate) struct Lost(Option<Open>);

impl Lost {
    /// The earlier gap.
    pub fn closed(self, clock: &Clock) -> Option<Gap> {
        self.0.map(|open| open.gap(clock))
    }
}

impl Open {
    fn gap(self, clock: &Clock) -> Gap {
        Gap {
            from: clock.wall(self.from),
            to: clock.wall(self.to),
            cause: self.cause,
            events: self.events,
            bytes: 0,
        }
    }
}
