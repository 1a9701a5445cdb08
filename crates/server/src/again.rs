//! Again: stored spans go through an algorithm once more, a piece at a time, and its links are written
//! beside the old ones, of a higher generation.
//!
//! What was observed stays: those calls are given to the algorithm as known, their links are left alone,
//! and whatever is written has the weakest rank (`inferred`). One of four observed calls is asked all the
//! same: how often the answer is right there is how sure the others are. The same spans give the same
//! answers, so a second run writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use deeptrace_correlate::{
    Answer, LIVE_GENERATION, Observation, Offline, OfflineOptions, Row, Side, Tried,
};
use deeptrace_model::{Duration, Link, Method, Relation, Span, SpanId, WallTime};
use deeptrace_store::{Batch, Filter, LinkKey, LinkLookup, Store, StoreError, Window};
use serde::{Deserialize, Serialize};

/// Spans that the algorithm sees at once, about twenty megabytes.
const SPANS_MAX: usize = 32_768;
/// Spans read at once; a piece of time that holds more is halved.
const PIECE_SPANS_MAX: usize = 4_096;
/// The first piece of time, the least and the longest.
const PIECE: Duration = Duration::from_secs(1);
const PIECE_MIN: Duration = Duration::from_millis(1);
const PIECE_MAX: Duration = Duration::from_secs(600);
/// Requests that began so long before the start may have made calls after it; longer ones are not seen.
const LEAD: Duration = Duration::from_secs(10);
/// Calls whose links are looked up together, and links that each may have.
const LOOKED_UP: usize = 256;
const LINKS_EACH_MAX: usize = 64;
/// Stamps of a span may differ so much between its records.
const SLACK: Duration = Duration::from_secs(1);
/// Processes whose answers are measured by themselves; beyond, all are measured anew.
const PROCESSES_MAX: usize = 16_384;
/// A confidence that differs by less is the same.
const SAME: f32 = 1e-3;

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Calls that start in it get new links.
    pub window: Window,
    /// Who answers.
    pub algorithm: &'static Row,
}

/// How far it is, and what was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Share of the time that was read, 0 to 1.
    pub progress: f64,
    /// Spans that were read.
    pub span_count: u64,
    /// Calls that start in the window.
    pub call_count: u64,
    /// Of them, those whose parent was observed: left alone.
    pub observed_count: u64,
    /// Links that were written.
    pub link_count: u64,
    /// Answers that are as they were.
    pub unchanged_count: u64,
    /// Calls for which the algorithm has no answer.
    pub unanswered_count: u64,
    /// Observed calls that were asked all the same, and answers that were right.
    pub tried_count: u64,
    /// See `tried_count`.
    pub right_count: u64,
    /// Milliseconds that held more spans than are read at once: of these some were left out.
    pub left_out_count: u64,
}

/// A call that waits for its answer.
struct Asked {
    process: u64,
    start: WallTime,
    best: Option<Link>,
    is_wanted: bool,
}

/// The work in progress.
struct Again<'a> {
    store: &'a dyn Store,
    plan: Plan,
    offline: Offline,
    asked: HashMap<u64, Asked>,
    tried: BTreeMap<u64, Tried>,
    answers: Vec<Answer>,
    done: Done,
}

/// Correlates the stored spans of `plan` again. `watch` is told after each piece how far it is, and may
/// break off; what was written until then stays. Holds a bounded number of spans.
pub fn correlate(
    store: &dyn Store,
    plan: Plan,
    watch: &mut dyn FnMut(&Done) -> ControlFlow<()>,
) -> Result<Done, StoreError> {
    let options = OfflineOptions { algorithm: plan.algorithm, spans_max: SPANS_MAX, window: 0 };
    let offline = Offline::new(options);
    let (asked, tried) = (HashMap::new(), BTreeMap::new());
    let done = Done::default();
    let mut again = Again { store, plan, offline, asked, tried, answers: Vec::new(), done };
    let Some((begin, end)) = again.stored()? else {
        again.done.progress = 1.0;
        return Ok(again.done);
    };
    let (mut from, mut length) = (begin, PIECE);
    while from <= end {
        let to = from.plus(length).min(end);
        let (spans, is_whole) = piece(store, Window { from, to })?;
        if !is_whole && length > PIECE_MIN {
            length = Duration((length.0 / 2).max(PIECE_MIN.0));
            continue;
        }
        again.done.left_out_count += u64::from(!is_whole);
        // Those that SDKs reported name their parents, and have no calls to be correlated.
        let seen = spans.iter().rev().filter(|span| !span.is_reported());
        again.read(seen.map(|span| &**span))?;
        if spans.len() < PIECE_SPANS_MAX / 4 {
            length = Duration((length.0 * 2).min(PIECE_MAX.0));
        }
        from = to.plus(Duration(1));
        let all = end.since(begin).0.max(1) as f64;
        again.done.progress = (to.since(begin).0 as f64 / all).min(1.0);
        if watch(&again.done).is_break() {
            return Ok(again.done);
        }
    }
    again.offline.finish(&mut again.answers);
    again.write()?;
    again.done.progress = 1.0;
    Ok(again.done)
}

/// Spans that start in the window, the newest first, and whether these are all of them.
fn piece(store: &dyn Store, window: Window) -> Result<(Vec<Arc<Span>>, bool), StoreError> {
    let filter = Filter::in_window(window);
    let (mut spans, mut after) = (Vec::new(), None);
    loop {
        // A page may be short of its limit and yet have a next one.
        let page = store.scan(&filter, after, PIECE_SPANS_MAX - spans.len())?;
        spans.extend(page.spans);
        match page.next {
            None => return Ok((spans, true)),
            Some(_) if spans.len() >= PIECE_SPANS_MAX => return Ok((spans, false)),
            next => after = next,
        }
    }
}

impl Again<'_> {
    /// The time that is wanted, as far as anything is stored of it.
    fn stored(&self) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        let stats = self.store.stats()?;
        let (Some(oldest), Some(newest)) = (stats.oldest, stats.newest) else { return Ok(None) };
        let begin = self.plan.window.from.minus(LEAD).max(oldest);
        let end = self.plan.window.to.min(newest);
        Ok((begin <= end).then_some((begin, end)))
    }

    /// Takes spans, by start.
    fn read<'s>(&mut self, spans: impl Iterator<Item = &'s Span>) -> Result<(), StoreError> {
        let mut seen: Vec<(Observation, WallTime)> = Vec::new();
        for span in spans {
            self.done.span_count += 1;
            seen.extend(Observation::of_span(span).map(|it| (it, span.start)));
        }
        let mut best = self.best_links(&seen)?;
        for (mut it, start) in seen {
            if it.side == Side::Sent {
                let best = best.remove(&SpanId(it.id));
                let is_wanted = self.plan.window.contains(start);
                let known = best.as_ref().filter(|link| is_observed(link));
                self.done.call_count += u64::from(is_wanted);
                self.done.observed_count += u64::from(is_wanted && known.is_some());
                let known = known.and_then(|link| link.parent).map(|parent| parent.0);
                it.known = known.filter(|_| !Tried::is_asked(it.id));
                self.asked.insert(it.id, Asked { process: it.process, start, best, is_wanted });
            }
            self.offline.feed(it, &mut self.answers);
        }
        self.write()
    }

    /// The best link of each call that has one.
    fn best_links(
        &self,
        seen: &[(Observation, WallTime)],
    ) -> Result<HashMap<SpanId, Link>, StoreError> {
        let calls: Vec<LinkLookup> = seen
            .iter()
            .filter(|(it, _)| it.side == Side::Sent)
            .map(|(it, start)| LinkLookup {
                key: LinkKey::Child(SpanId(it.id)),
                window: Window { from: start.minus(SLACK), to: start.plus(SLACK) },
            })
            .collect();
        let mut best: HashMap<SpanId, Link> = HashMap::new();
        for lookups in calls.chunks(LOOKED_UP) {
            for link in self.store.links(lookups, LOOKED_UP * LINKS_EACH_MAX)? {
                match best.get(&link.child) {
                    Some(known) if !link.beats(known) => {}
                    _ => {
                        best.insert(link.child, link);
                    }
                }
            }
        }
        Ok(best)
    }

    /// Learns from what is known, and writes what is new.
    fn write(&mut self) -> Result<(), StoreError> {
        let mut open = Vec::new();
        for answer in self.answers.drain(..) {
            let Some(asked) = self.asked.remove(&answer.id) else { continue };
            let observed = asked.best.as_ref().filter(|link| is_observed(link));
            match observed.map(|link| (link.parent, link.candidates)) {
                None => open.push((answer, asked)),
                // Alone there is nothing to be wrong about.
                Some((parent, candidates)) if candidates > 1 && Tried::is_asked(answer.id) => {
                    let Some(said) = answer.parent else { continue };
                    let is_right = parent == Some(SpanId(said));
                    self.done.tried_count += 1;
                    self.done.right_count += u64::from(is_right);
                    if self.tried.len() >= PROCESSES_MAX && !self.tried.contains_key(&asked.process)
                    {
                        self.tried.clear();
                    }
                    let tried = self.tried.entry(asked.process).or_default();
                    tried.learn(answer.confidence, is_right);
                }
                Some(_) => {}
            }
        }
        let links: Vec<Link> =
            open.into_iter().filter_map(|(answer, asked)| self.link(answer, asked)).collect();
        if links.is_empty() {
            return Ok(());
        }
        let count = links.len() as u64;
        self.store.write(&Batch { links, ..Batch::default() })?;
        self.done.link_count += count;
        Ok(())
    }

    /// The new link of a call, unless it is as the one that it has.
    fn link(&mut self, answer: Answer, asked: Asked) -> Option<Link> {
        if !asked.is_wanted {
            return None;
        }
        let Some(parent) = answer.parent.map(SpanId) else {
            self.done.unanswered_count += 1;
            return None;
        };
        let tried = self.tried.get(&asked.process).cloned().unwrap_or_default();
        let algorithm = self.plan.algorithm.name;
        let candidates = asked.best.as_ref().map_or(1, |best| best.candidates);
        let link = Link {
            child: SpanId(answer.id),
            parent: Some(parent),
            child_start: asked.start,
            method: Method::Inferred,
            relation: Relation::Child,
            confidence: tried.confidence(answer.confidence, candidates),
            algorithm: algorithm.into(),
            candidates,
            generation: asked
                .best
                .as_ref()
                .map_or(0, |best| best.generation)
                .max(LIVE_GENERATION)
                .saturating_add(1),
            is_final: true,
        };
        let is_same = |best: &Link| {
            (best.parent, &*best.algorithm) == (link.parent, algorithm)
                && (best.confidence - link.confidence).abs() < SAME
        };
        if asked.best.as_ref().is_some_and(is_same) {
            self.done.unchanged_count += 1;
            return None;
        }
        Some(link)
    }
}

/// Whether its parent is more than a guess.
fn is_observed(link: &Link) -> bool {
    link.parent.is_some() && link.method != Method::Inferred
}
