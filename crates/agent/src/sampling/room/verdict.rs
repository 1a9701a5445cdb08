//! Verdict: when a fragment is kept or dropped, and what follows from that.

use std::cmp::Reverse;

use deeptrace_model::{BootTime, Duration, GapCause, Missed};

use super::{KEPT_FOR, KEYS_MAX, LIFE_WAITS, LINK_SLACK, PUBLISH_MAX, Room, bytes};
use crate::sampling::fragment::{Entry, Fragment, Names, claim};
use crate::sampling::relay::Reach;

impl Room {
    /// How long claims are waited for.
    pub(super) fn hearing(&self) -> Duration {
        Duration(self.sampling.wait.0 / 4)
    }

    /// Whether an agent that sees the caller has said so, of this exchange or lately of another one on the
    /// connection.
    pub(super) fn is_claimed(&mut self, entry: &Entry, now: BootTime) -> bool {
        if entry.is_claimed || !entry.is_receiver {
            return entry.is_claimed;
        }
        let connection = entry.connection.0;
        if entry.keys.iter().any(|key| self.heard.contains(claim(*key))) {
            self.watched.insert(connection, (), now);
            return true;
        }
        self.watched.contains(connection)
    }

    pub(super) fn schedule(&mut self, at: usize, due: BootTime) {
        if let Some(fragment) = self.fragments.get_mut(at)
            && due < fragment.due
        {
            fragment.due = due;
            self.due.push(Reverse((due, at, fragment.number)));
        }
    }

    /// Decides on a fragment, or says when it is looked at again.
    pub(super) fn look(&mut self, at: usize, now: BootTime) {
        let (hearing, wait) = (self.hearing(), self.sampling.wait);
        let Some(fragment) = self.fragments.get_mut(at) else { return };
        fragment.due = BootTime(u64::MAX);
        if fragment.is_kept {
            let end = fragment.last.plus(KEPT_FOR);
            if end <= now {
                self.forget(at);
            } else {
                self.schedule(at, end);
            }
            return;
        }
        let entry = fragment.entry().copied();
        let (first, last) = (fragment.first, fragment.last);
        let heard_at = entry.map_or(now, |entry| entry.arrived.plus(hearing));
        let (is_known, may_draw) = match entry {
            Some(entry) if entry.is_receiver => (true, heard_at <= now),
            Some(entry) => (entry.is_root, entry.is_root),
            None => (false, false),
        };
        if let Some(entry) = entry
            && may_draw
            && entry.is_drawn
        {
            if !self.is_claimed(&entry, now) {
                self.keep(at, now);
                return;
            }
            // Asked once: claims are forgotten.
            let fragment = self.fragments.get_mut(at);
            if let Some(entry) = fragment.and_then(|it| it.entry_of(entry.id)) {
                entry.is_claimed = true;
            }
        }
        // A call whose link is still to come waits for that as well.
        let patience = if is_known {
            wait
        } else {
            wait.max(Duration(self.link_wait.0.saturating_add(LINK_SLACK.0)))
        };
        let life = Duration(wait.0.saturating_mul(LIFE_WAITS));
        let end = last.plus(patience).min(first.plus(life));
        if end <= now {
            let spans = self.drop(at, now).spans;
            let count =
                if is_known { &mut self.counts.sampled_out } else { &mut self.counts.undecided };
            *count += spans;
            return;
        }
        if may_draw
            && let Some(fragment) = self.fragments.get_mut(at)
            && !std::mem::replace(&mut fragment.is_refused, true)
        {
            self.refused.push_back((at, fragment.number));
        }
        self.schedule(at, if is_known && !may_draw { heard_at.min(end) } else { end });
    }

    /// The fragment is kept: what waits goes on, and the others are told.
    pub(super) fn keep(&mut self, at: usize, now: BootTime) {
        let Some(fragment) = self.fragments.get_mut(at) else { return };
        if !std::mem::replace(&mut fragment.is_kept, true) {
            fragment.entries.retain(|entry| !entry.is_receiver);
        }
        let doors = std::mem::take(&mut fragment.doors);
        let slots = std::mem::take(&mut fragment.spans);
        self.ready.links.append(&mut fragment.links);
        let unchecked = fragment.keys[fragment.checked.min(fragment.keys.len())..].to_vec();
        fragment.checked = fragment.keys.len();
        self.counts.kept += slots.len() as u64;
        for span in slots.into_iter().filter_map(|slot| self.spans.try_remove(slot)) {
            self.bytes -= bytes(&span);
            self.ready.spans.push(span);
        }
        for key in unchecked {
            if let Some(missed) = self.dropped.take(key) {
                self.late(missed);
            }
        }
        for key in doors {
            if !self.heard.contains(key) {
                self.tell(key);
            }
        }
        self.schedule(at, now.plus(KEPT_FOR));
    }

    /// Drops what waits. What it was is remembered, for a verdict that comes late.
    pub(super) fn drop(&mut self, at: usize, now: BootTime) -> Missed {
        let mut missed = Missed::default();
        let Some(fragment) = self.forget(at) else { return missed };
        let mut keys = fragment.parents();
        for span in fragment.spans.into_iter().filter_map(|slot| self.spans.try_remove(slot)) {
            self.bytes -= bytes(&span);
            missed.add(&span);
            let names = Names::of(&span);
            keys.extend([names.id, names.exchange[0], names.trace]);
        }
        for key in keys.into_iter().filter(|key| *key != 0 && missed.spans > 0) {
            self.dropped.insert(key, missed, now);
        }
        missed
    }

    pub(super) fn forget(&mut self, at: usize) -> Option<Fragment> {
        let fragment = self.fragments.try_remove(at)?;
        for key in &fragment.keys {
            self.keys.remove(key);
        }
        Some(fragment)
    }

    /// Whether a fragment would be kept if nothing more were heard.
    pub(super) fn is_drawn(&mut self, at: usize, now: BootTime) -> bool {
        let entry = self.fragments.get(at).and_then(Fragment::entry).copied();
        entry.is_some_and(|entry| entry.is_drawn && !self.is_claimed(&entry, now))
    }

    /// A fragment with more spans than a trace can have ends here; what follows is another.
    pub(super) fn close(&mut self, at: usize, now: BootTime) {
        if self.is_drawn(at, now) {
            self.keep(at, now);
            self.forget(at);
        } else {
            self.counts.sampled_out += self.drop(at, now).spans;
        }
    }

    /// While it is too full, first goes what only others could still keep, then what is due next.
    pub(super) fn make_room(&mut self, now: BootTime) {
        while self.bytes > self.sampling.bytes_max || self.keys.len() > KEYS_MAX {
            let Some(at) = self.victim() else { return };
            self.counts.forgotten += u64::from(self.fragments.get(at).is_some_and(|it| it.is_kept));
            let missed = self.drop(at, now);
            self.full.merge(missed);
        }
    }

    fn victim(&mut self) -> Option<usize> {
        while let Some(refused) = self.refused.pop_front() {
            if self.waits(refused) {
                return Some(refused.0);
            }
        }
        while let Some(Reverse((_, at, number))) = self.due.pop() {
            if self.fragments.get(at).is_some_and(|it| it.number == number) {
                return Some(at);
            }
        }
        None
    }

    /// Whether this is still a fragment that waits for others.
    pub(super) fn waits(&self, (at, number): (usize, u64)) -> bool {
        let is_one = |it: &Fragment| it.number == number && it.is_refused && !it.is_kept;
        self.fragments.get(at).is_some_and(is_one)
    }

    /// A part of a trace that is kept was dropped before that was known.
    pub(super) fn late(&mut self, missed: Missed) {
        self.counts.late += 1;
        let gap = missed.gap(GapCause::SampledOut);
        if self.ready.gaps.last() != gap.as_ref() {
            self.ready.gaps.extend(gap);
        }
    }

    pub(super) fn tell(&mut self, key: u64) {
        if self.reach == Reach::Alone {
            return;
        }
        if self.publish.len() < PUBLISH_MAX {
            self.publish.push(key);
            self.counts.published += 1;
        } else {
            self.counts.unpublished += 1;
        }
    }
}
