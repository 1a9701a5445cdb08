//! Room: where spans wait until it is known whether their trace is kept. No I/O, no clock.
//!
//! What belongs together on this host ([`Fragment`]) is found by links, by exchanges of which both sides are
//! here, and by the application's trace ids. One host decides on a trace: the one where it begins.
//! - A span without a parent on this host draws by its rate, unless another agent claims its exchange: that one
//!   sees the caller, so the verdict comes from there. Claims come with the caller's span; a quarter of the
//!   wait is time enough for them. A connection of which one exchange was claimed has its other end at that
//!   agent, so that claims that are lost do not have parts of traces drawn.
//! - A fragment that is kept publishes the keys by which other hosts know it. Whoever has a fragment with one of
//!   them keeps it and publishes its others: the verdict spreads up and down.
//! - An error or a slow span keeps its fragment, whatever was drawn.
//! - What nobody has kept when the wait is over is dropped.
//!
//! Every mistake of this errs towards whole traces: a claim that is lost keeps a trace too much, not a part of
//! one. A part that was dropped before its trace was kept elsewhere is told of by a gap.

mod verdict;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use deeptrace_model::{
    BootTime, Clock, Duration, Gap, GapCause, Link, Method, Missed, Span, SpanId,
};
use rustc_hash::FxHashMap;
use slab::Slab;

use super::fragment::{Entry, Fragment, Names, claim};
use super::rates::{Randomness, Sampling};
use super::recent::Recent;
use super::relay::Reach;
use crate::sink::Batch;

/// Keys that lead to fragments, at most.
const KEYS_MAX: usize = 1 << 19;
/// Spans of one fragment, at most: as many as a trace can have.
const FRAGMENT_MAX: usize = 10_000;
/// Keys of one fragment that is kept, at most: an application may give everything the same trace id.
const FRAGMENT_KEYS_MAX: usize = 4 * FRAGMENT_MAX;
/// What a span's place in a fragment takes in memory, roughly.
const PLACE_BYTES: usize = 512;
/// Keys of other agents, and of what was dropped, that are remembered: each of two generations.
const HEARD_MAX: usize = 1 << 18;
/// Keys that wait to be published.
const PUBLISH_MAX: usize = 1 << 16;
/// How long what was kept is remembered after its last span: a request that nobody answers is a span after 60 s.
const KEPT_FOR: Duration = Duration::from_secs(90);
/// How long is remembered what was heard, and what was dropped, at least: a server may go on for so long after its
/// caller gave up.
const REMEMBERED: Duration = Duration::from_secs(60);
/// A fragment that does not end is closed after so many waits.
const LIFE_WAITS: u64 = 6;
/// A guess of a parent is believed when nothing better came for so long.
const GUESS_SETTLES: Duration = Duration::from_secs(3);
/// How much later than `link_wait` a link may come.
const LINK_SLACK: Duration = Duration::from_secs(1);
/// How long a connection is known to be watched at its other end, after the last claim, at least.
const WATCHED_FOR: Duration = Duration::from_secs(60);
/// For how long nobody may notice that the others are not heard: pings find that out.
const UNNOTICED: Duration = Duration::from_secs(10);
/// How long the room stands still while the other agents cannot be heard; after that each decides alone.
const APART_MAX: Duration = Duration::from_secs(60);

/// Spans that wait, and what is known of those that were let go.
pub(super) struct Room {
    sampling: Sampling,
    /// A call has its link, or none is coming, after this.
    link_wait: Duration,
    keys: FxHashMap<u64, usize>,
    fragments: Slab<Fragment>,
    number: u64,
    spans: Slab<Span>,
    bytes: usize,
    /// When fragments are to be looked at: time, place, number.
    due: BinaryHeap<Reverse<(BootTime, usize, u64)>>,
    /// What only others can still keep, oldest first: makes room first.
    refused: VecDeque<(usize, u64)>,
    /// Guesses that may still be replaced: when they are believed, child, parent.
    guesses: VecDeque<(BootTime, SpanId, SpanId)>,
    heard: Recent<()>,
    dropped: Recent<Missed>,
    /// Connections of which another agent was heard to see the other end.
    watched: Recent<()>,
    publish: Vec<u64>,
    /// Dropped since the last tick because there was no room.
    full: Missed,
    ready: Batch,
    reach: Reach,
    /// Since when the others are not heard.
    apart: Option<Clock>,
    ticked: BootTime,
    /// For how long it stood still in all.
    stood: Duration,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    kept: u64,
    sampled_out: u64,
    undecided: u64,
    full: u64,
    late: u64,
    forgotten: u64,
    heard: u64,
    published: u64,
    unpublished: u64,
}

impl Room {
    pub(super) fn new(sampling: Sampling, link_wait: Duration) -> Self {
        Self {
            heard: Recent::new(sampling.wait.max(REMEMBERED), HEARD_MAX),
            dropped: Recent::new(sampling.wait.max(REMEMBERED), HEARD_MAX),
            watched: Recent::new(WATCHED_FOR, HEARD_MAX),
            sampling,
            link_wait,
            keys: FxHashMap::default(),
            fragments: Slab::new(),
            number: 0,
            spans: Slab::new(),
            bytes: 0,
            due: BinaryHeap::new(),
            refused: VecDeque::new(),
            guesses: VecDeque::new(),
            publish: Vec::new(),
            full: Missed::default(),
            ready: Batch::default(),
            reach: Reach::Alone,
            apart: None,
            ticked: BootTime(0),
            stood: Duration(0),
            counts: Counts::default(),
        }
    }

    /// What waits is judged by other rates from now on.
    pub(super) fn set(&mut self, sampling: Sampling, link_wait: Duration) {
        self.heard.set_span(sampling.wait.max(REMEMBERED));
        self.dropped.set_span(sampling.wait.max(REMEMBERED));
        (self.sampling, self.link_wait) = (sampling, link_wait);
    }

    /// Takes what the pipeline has finished; the spans' memory stays with `batch`.
    pub(super) fn feed(&mut self, batch: &mut Batch, clock: Clock) {
        let now = self.local(clock.boot);
        batch.spans.drain(..).for_each(|span| self.span(span, now));
        batch.roots.drain(..).for_each(|id| self.root(id, now));
        batch.links.drain(..).for_each(|link| self.link(link, now));
        self.ready.gaps.append(&mut batch.gaps);
    }

    /// Another agent keeps a trace with this key, or claims it.
    pub(super) fn hear(&mut self, key: u64, clock: Clock) {
        let now = self.local(clock.boot);
        self.counts.heard += 1;
        self.heard.insert(key, (), now);
        if let Some(at) = self.keys.get(&key).copied() {
            self.keep(at, now);
        } else if let Some(missed) = self.dropped.take(key) {
            self.late(missed);
        }
    }

    /// Looks at what is due. To be called a few times a second, with how well the others are heard.
    pub(super) fn tick(&mut self, clock: Clock, reach: Reach) {
        self.reached(clock, reach);
        let now = self.local(clock.boot);
        while let Some((due, child, parent)) = self.guesses.front().copied()
            && due <= now
        {
            self.guesses.pop_front();
            let at = self.keys.get(&child.0);
            // Otherwise something better came meanwhile, or it was dropped.
            if at.and_then(|at| self.fragments.get_mut(*at)?.entry_of(child)).is_some() {
                self.join(child, parent, now);
            }
        }
        while let Some(Reverse((due, at, number))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            // Others were merged away, forgotten, or are looked at earlier.
            if self.fragments.get(at).is_some_and(|it| it.number == number && it.due == due) {
                self.look(at, now);
            }
        }
        while self.refused.front().is_some_and(|it| !self.waits(*it)) {
            self.refused.pop_front();
        }
        let full = std::mem::take(&mut self.full);
        self.counts.full += full.spans;
        self.ready.gaps.extend(full.gap(GapCause::BufferFull));
    }

    /// What may go on.
    pub(super) fn ready(&mut self) -> &mut Batch {
        &mut self.ready
    }

    /// How often they are to be told: seldom enough to be cheap, often enough that a verdict gets through a
    /// dozen hosts before the wait is over.
    pub(super) fn publish_every(&self) -> Duration {
        Duration(self.sampling.wait.0 / 20)
    }

    /// What the other agents are to be told.
    pub(super) fn publish(&mut self) -> &mut Vec<u64> {
        &mut self.publish
    }

    /// Keeps all that waits: from now on nothing is dropped.
    pub(super) fn open(&mut self, clock: Clock) {
        let now = self.local(clock.boot);
        let all: Vec<usize> = self.fragments.iter().map(|(at, _)| at).collect();
        all.into_iter().for_each(|at| self.keep(at, now));
    }

    /// The agent ends: each draws now, whoever might still have been heard.
    pub(super) fn end(&mut self, clock: Clock) {
        let now = self.local(clock.boot);
        let all: Vec<usize> = self.fragments.iter().map(|(at, _)| at).collect();
        let mut missed = Missed::default();
        for at in all {
            if self.is_drawn(at, now) {
                self.keep(at, now);
            } else {
                missed.merge(self.drop(at, now));
            }
        }
        self.counts.undecided += missed.spans;
        if self.reach != Reach::Alone {
            self.ready.gaps.extend(missed.gap(GapCause::SampledOut));
        }
    }

    /// Tells each counter with its value since the start.
    pub(super) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let counts = &self.counts;
        out("sampling_kept_spans_total", counts.kept);
        out("sampling_sampled_out_spans_total", counts.sampled_out);
        out("sampling_undecided_spans_total", counts.undecided);
        // Dropped although it might have been kept, as the name says to whoever adds these up.
        out("sampling_dropped_full_spans_total", counts.full);
        out("sampling_late_parts_total", counts.late);
        out("sampling_forgotten_fragments_total", counts.forgotten);
        out("sampling_heard_keys_total", counts.heard);
        out("sampling_published_keys_total", counts.published);
        out("sampling_unpublished_keys_total", counts.unpublished);
        out("sampling_waiting_spans", self.spans.len() as u64);
        out("sampling_waiting_bytes", self.bytes as u64);
        out("sampling_fragments", self.fragments.len() as u64);
        out("sampling_apart", u64::from(self.apart.is_some()));
    }

    /// The room's own time, which stands still while the others cannot be heard.
    fn local(&self, now: BootTime) -> BootTime {
        now.minus(self.stood)
    }

    fn reached(&mut self, clock: Clock, reach: Reach) {
        let passed = clock.boot.since(self.ticked);
        self.ticked = clock.boot;
        self.reach = reach;
        match (reach, self.apart) {
            (Reach::Apart, None) => self.apart = Some(clock),
            (Reach::Apart, Some(since)) if clock.boot.since(since.boot) <= APART_MAX => {
                self.stood.0 += passed.0;
            }
            (Reach::Apart, Some(since)) => {
                // From now on it goes on alone, and says so.
                self.unheard(since, clock);
                self.apart = Some(Clock { boot: since.boot, ..clock });
            }
            (_, Some(since)) => {
                self.unheard(since, clock);
                self.apart = None;
            }
            (Reach::Joined { has_missed: true }, None) => self.unheard(clock, clock),
            _ => {}
        }
    }

    /// Verdicts may be missing since then: of whatever waited, and waits.
    fn unheard(&mut self, since: Clock, until: Clock) {
        if self.fragments.is_empty() {
            return;
        }
        let from = since.wall.minus(UNNOTICED).minus(self.sampling.wait);
        let (to, cause) = (until.wall, GapCause::SampledOut);
        self.ready.gaps.push(Gap { from, to, cause, events: 0, bytes: 0 });
    }

    fn span(&mut self, span: Span, now: BootTime) {
        let names = Names::of(&span);
        let is_receiver = span.kind.is_receiver();
        let has_other_side = names.exchange.iter().any(|key| self.keys.contains_key(key));
        let is_new_trace = names.trace != 0 && !self.keys.contains_key(&names.trace);
        let at = self.place(names.all(), now);
        let bits = Randomness::of(&span);
        let entry = Entry {
            id: span.id,
            keys: names.exchange,
            is_receiver,
            connection: span.connection,
            is_root: false,
            is_claimed: false,
            is_drawn: self.sampling.keeps(&span, bits),
            start: span.start,
            arrived: now,
        };
        let is_wanted = self.sampling.always_keeps(&span);
        let is_heard = names.all().any(|key| self.heard.contains(key));
        self.bytes += bytes(&span);
        let slot = self.spans.insert(span);
        let Some(fragment) = self.fragments.get_mut(at) else { return };
        fragment.last = now;
        fragment.spans.push(slot);
        if has_other_side && !fragment.is_kept {
            fragment.joined(names.exchange);
        }
        // Once it is kept nothing is drawn; that calls have no link yet is asked all the same.
        if !(is_receiver && (has_other_side || fragment.is_kept)) {
            fragment.entries.push(entry);
        }
        if is_new_trace {
            fragment.doors.push(names.trace);
        }
        let is_door = names.is_remote && !has_other_side;
        if is_door {
            fragment.doors.push(names.exchange[0]);
        }
        let (spans, keys) = (fragment.spans.len(), fragment.keys.len());
        if fragment.is_kept || is_wanted || is_heard {
            self.keep(at, now);
            if keys > FRAGMENT_KEYS_MAX {
                // What follows of it is kept all the same.
                self.heard.insert(names.trace, (), now);
                self.forget(at);
            }
            return;
        }
        if is_door && !is_receiver && self.sampling.may_keep(bits) {
            self.tell(claim(names.exchange[0]));
        }
        if spans > FRAGMENT_MAX {
            self.close(at, now);
        } else {
            self.schedule(at, now.plus(self.hearing()));
        }
        self.make_room(now);
    }

    /// The fragment to which these keys lead, of all that they lead to.
    fn place(&mut self, keys: impl Iterator<Item = u64>, now: BootTime) -> usize {
        let (mut at, mut new) = (None, [0; 4]);
        let mut news = new.iter_mut();
        for key in keys {
            match (self.keys.get(&key).copied(), at) {
                (Some(other), Some(one)) => at = Some(self.merge(one, other, now)),
                (Some(other), None) => at = Some(other),
                (None, _) => news.by_ref().take(1).for_each(|place| *place = key),
            }
        }
        let at = at.unwrap_or_else(|| {
            self.number += 1;
            self.fragments.insert(Fragment::new(self.number, now))
        });
        if let Some(fragment) = self.fragments.get_mut(at) {
            for key in new.into_iter().filter(|key| *key != 0) {
                self.keys.insert(key, at);
                fragment.keys.push(key);
            }
        }
        at
    }

    /// Makes one of two; the smaller one moves.
    fn merge(&mut self, one: usize, other: usize, now: BootTime) -> usize {
        let len = |at: usize| self.fragments.get(at).map_or(0, |it| it.keys.len());
        let (into, from) = if len(one) >= len(other) { (one, other) } else { (other, one) };
        if one == other {
            return one;
        }
        let Some(gone) = self.fragments.try_remove(from) else { return into };
        for key in &gone.keys {
            self.keys.insert(*key, into);
        }
        if let Some(fragment) = self.fragments.get_mut(into) {
            fragment.absorb(gone);
            self.schedule(into, now.plus(self.hearing()));
        }
        into
    }

    /// Nothing on this host caused this call.
    fn root(&mut self, id: SpanId, now: BootTime) {
        let Some(at) = self.keys.get(&id.0).copied() else { return };
        let Some(fragment) = self.fragments.get_mut(at) else { return };
        if let Some(entry) = fragment.entry_of(id) {
            entry.is_root = true;
            fragment.last = now;
            self.schedule(at, now);
        }
    }

    fn link(&mut self, link: Link, now: BootTime) {
        let (child, parent) = (link.child, link.parent);
        let Some(at) = self.keys.get(&child.0).copied() else {
            // It was dropped. A parent that is kept, now or later, tells of that.
            if let Some(parent) = parent.filter(|parent| self.keys.contains_key(&parent.0)) {
                self.join(child, parent, now);
            }
            return;
        };
        let is_guess = link.method == Method::Inferred && link.generation == 0;
        match self.fragments.get_mut(at) {
            Some(fragment) if !fragment.is_kept => fragment.links.push(link),
            _ => self.ready.links.push(link),
        }
        match parent {
            Some(parent) if is_guess && self.guesses.len() < KEYS_MAX => {
                self.guesses.push_back((now.plus(GUESS_SETTLES), child, parent));
            }
            Some(parent) => self.join(child, parent, now),
            None => {}
        }
    }

    /// `child` and `parent` are of one trace.
    fn join(&mut self, child: SpanId, parent: SpanId, now: BootTime) {
        let at = self.place([child.0, parent.0].into_iter(), now);
        let Some(fragment) = self.fragments.get_mut(at) else { return };
        fragment.has_parent(child);
        fragment.last = now;
        if fragment.is_kept {
            self.keep(at, now);
        } else {
            self.schedule(at, now.plus(self.hearing()));
        }
    }
}

/// What a span that waits takes in memory, roughly.
fn bytes(span: &Span) -> usize {
    PLACE_BYTES + span.memory()
}
