//! Pins: the time in which a unit worked for one request, because it wrote the answer.
//!
//! A unit whose times overlap works for several requests at once: it is a loop, and no pin of it holds.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, Duration, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Pins of a unit; beyond, the oldest goes.
const PINS_MAX: usize = 256;
/// Units that may lie among those that are needed, beside as many as these.
const UNITS_SPARE: usize = 64;
/// A unit whose times overlapped is not believed for so long.
const LOOP_MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Pins {
    units: FxHashMap<UnitId, Unit>,
    /// The latest answer.
    now: BootTime,
    /// How many were left when unneeded ones were last taken out.
    kept: usize,
}

#[derive(Debug, Default)]
struct Unit {
    /// By start.
    times: VecDeque<(BootTime, BootTime, SpanId)>,
    overlapped: Option<BootTime>,
    used: BootTime,
}

impl Unit {
    /// Whether it works for one request after the other, as far as is known at `now`.
    fn is_believed(&self, now: BootTime) -> bool {
        self.overlapped.is_none_or(|at| at < now.minus(LOOP_MEMORY))
    }
}

impl Pins {
    /// `unit` wrote the answer to `request`, which was open during `time`.
    pub(super) fn add(&mut self, unit: UnitId, time: (BootTime, BootTime), request: SpanId) {
        let (start, end) = time;
        let known = self.units.entry(unit).or_default();
        known.used = end;
        self.now = self.now.max(end);
        let overlaps = |other: &(BootTime, BootTime, SpanId)| other.1 > start && other.0 < end;
        if known.times.iter().rev().take(8).any(overlaps) {
            known.overlapped = Some(end);
        }
        if known.times.len() >= PINS_MAX {
            known.times.pop_front();
        }
        let at = known.times.partition_point(|other| other.0 <= start);
        known.times.insert(at, (start, end, request));
    }

    /// `unit` works for several requests at once.
    pub(super) fn refuse(&mut self, unit: UnitId, time: BootTime) {
        let known = self.units.entry(unit).or_default();
        (known.overlapped, known.used) = (Some(time), time);
        self.now = self.now.max(time);
    }

    /// For which request `unit` worked at `time`.
    pub(super) fn at(&self, unit: UnitId, time: BootTime) -> Option<SpanId> {
        let known = self.units.get(&unit).filter(|known| known.is_believed(self.now))?;
        let after = known.times.partition_point(|(start, ..)| *start <= time);
        let (_, end, request) = known.times.get(after.checked_sub(1)?)?;
        (*end >= time).then_some(*request)
    }

    /// Whether `unit` has requests of its own.
    pub(super) fn is_owner(&self, unit: UnitId) -> bool {
        self.units.get(&unit).is_some_and(|known| known.is_believed(self.now))
    }

    /// Forgets pins that ended before `time`, and in the end the units.
    pub(super) fn expire(&mut self, time: BootTime) {
        let unused = time.minus(LOOP_MEMORY);
        self.units.retain(|_, unit| {
            while unit.times.front().is_some_and(|(_, end, _)| *end < time) {
                unit.times.pop_front();
            }
            unit.used >= unused
        });
        self.kept = self.units.len();
    }

    /// The same where that is worth a look at each unit: there may be thousands of them, and answers as many a
    /// second.
    pub(super) fn trim(&mut self, time: BootTime) {
        if time == BootTime(u64::MAX) {
            self.units.clear();
            self.kept = 0;
        } else if self.units.len() > 2 * self.kept + UNITS_SPARE {
            self.expire(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_pinned_until_it_has_two_requests_at_once() {
        let mut pins = Pins::default();
        let at = |pins: &Pins, time| pins.at(UnitId(1), BootTime(time));
        pins.add(UnitId(1), (BootTime(10), BootTime(20)), SpanId(1));
        pins.add(UnitId(1), (BootTime(30), BootTime(40)), SpanId(2));
        assert_eq!(
            [5, 10, 20, 25, 35].map(|time| at(&pins, time)),
            [None, Some(SpanId(1)), Some(SpanId(1)), None, Some(SpanId(2))]
        );
        pins.add(UnitId(1), (BootTime(35), BootTime(50)), SpanId(3));
        assert_eq!(at(&pins, 15), None);
        assert!(!pins.is_owner(UnitId(1)));
        pins.add(UnitId(2), (BootTime(51), BootTime(51).plus(LOOP_MEMORY)), SpanId(4));
        assert!(pins.is_owner(UnitId(1)));
    }

    #[test]
    fn units_that_come_and_go_are_forgotten() {
        let mut pins = Pins::default();
        for number in 0..10_000 {
            let time = BootTime(0).plus(Duration(number * 1_000_000_000));
            pins.add(UnitId(number), (time, time), SpanId(number));
            pins.trim(time);
            assert_eq!(pins.at(UnitId(number), time), Some(SpanId(number)));
        }
        assert!(pins.units.len() <= 3 * UNITS_SPARE + 3 * 61, "{}", pins.units.len());
        pins.trim(BootTime(u64::MAX));
        assert!(pins.units.is_empty());
    }
}
