//! Pins: the time in which a unit worked for one request, because it wrote the answer.
//!
//! A unit whose times overlap works for several requests at once: it is a loop, and no pin of it holds.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, Duration, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Pins of a unit; beyond, the oldest goes.
const PINS_MAX: usize = 256;
/// A unit whose times overlapped is not believed for so long.
const LOOP_MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Pins {
    units: FxHashMap<UnitId, Unit>,
}

#[derive(Debug, Default)]
struct Unit {
    /// By start.
    times: VecDeque<(BootTime, BootTime, SpanId)>,
    overlapped: Option<BootTime>,
    used: BootTime,
}

impl Pins {
    /// `unit` wrote the answer to `request`, which was open during `time`.
    pub(super) fn add(&mut self, unit: UnitId, time: (BootTime, BootTime), request: SpanId) {
        let (start, end) = time;
        let known = self.units.entry(unit).or_default();
        known.used = end;
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
    }

    /// For which request `unit` worked at `time`.
    pub(super) fn at(&self, unit: UnitId, time: BootTime) -> Option<SpanId> {
        let known = self.units.get(&unit).filter(|known| known.overlapped.is_none())?;
        let after = known.times.partition_point(|(start, ..)| *start <= time);
        let (_, end, request) = known.times.get(after.checked_sub(1)?)?;
        (*end >= time).then_some(*request)
    }

    /// Whether `unit` has requests of its own.
    pub(super) fn is_owner(&self, unit: UnitId) -> bool {
        self.units.get(&unit).is_some_and(|known| known.overlapped.is_none())
    }

    /// Forgets pins that ended before `time`, and in the end the units.
    pub(super) fn expire(&mut self, time: BootTime) {
        let unused = time.minus(LOOP_MEMORY);
        self.units.retain(|_, unit| {
            while unit.times.front().is_some_and(|(_, end, _)| *end < time) {
                unit.times.pop_front();
            }
            if unit.overlapped.is_some_and(|at| at < unused) {
                unit.overlapped = None;
            }
            unit.used >= unused
        });
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
    }
}
