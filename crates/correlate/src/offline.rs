//! Offline correlation: spans of many processes, by start, in windows; answers out.
//!
//! A window is as many spans as are held at once, or as the time given holds. Within it processes are
//! taken upstream first, so that requests of one trace that meet in a process are known as such. The
//! last part of a window is decided with the next one, and requests that are still open go over into
//! it with their calls. So memory is bounded by the window, whatever the size of the input.

mod exchange;
mod order;
mod repair;
mod view;

use std::collections::BTreeMap;

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Row};
use crate::observation::{Answer, Observation, Side};

/// How to correlate.
#[derive(Clone, Copy)]
pub struct Options {
    /// A row of [`TABLE`](crate::TABLE).
    pub algorithm: &'static Row,
    /// Spans that are held at once.
    pub spans_max: usize,
    /// Nanoseconds after which a window ends although there is room; zero: never.
    pub window: i64,
}

/// Part of a window that is decided with the next one.
const LATER: usize = 10;
/// Spans without which a window does not end by time: too little would be learned from it.
const SPANS_MIN: usize = 4096;
/// Processes that are remembered from window to window; beyond, all are learned anew.
const PROCESSES_MAX: usize = 16_384;

/// A span that is held, with what is known of it.
struct Held {
    seen: Observation,
    /// Place in the input.
    place: u64,
    is_decided: bool,
    parent: Option<(u64, Method, f32)>,
    /// First span of its trace, as far as that is known.
    root: u64,
}

/// Correlates spans.
pub struct Offline {
    options: Options,
    held: Vec<Held>,
    place: u64,
    /// When the last window was cut.
    cut: i64,
    algorithms: BTreeMap<u64, Box<dyn Algorithm>>,
    shed: u64,
}

impl Offline {
    /// Nothing held.
    pub fn new(options: Options) -> Self {
        let algorithms = BTreeMap::new();
        Self { options, held: Vec::new(), place: 0, cut: i64::MIN, algorithms, shed: 0 }
    }

    /// Takes a span. Spans come by start; one that comes out of order by more than the window may
    /// remain without a parent.
    pub fn feed(&mut self, seen: Observation, out: &mut Vec<Answer>) {
        let (root, start) = (seen.id, seen.start);
        let place = self.place;
        self.place += 1;
        self.held.push(Held { seen, place, is_decided: false, parent: None, root });
        let since = start.saturating_sub(self.cut.max(self.held[0].seen.start));
        let is_over = self.options.window > 0 && since >= self.options.window;
        if self.held.len() >= self.options.spans_max.max(64)
            || is_over && self.held.len() >= SPANS_MIN
        {
            self.decide(false, out);
        }
    }

    /// Decides all that is held.
    pub fn finish(&mut self, out: &mut Vec<Answer>) {
        self.decide(true, out);
    }

    /// Spans that were let go before their calls could be decided.
    pub fn shed(&self) -> u64 {
        self.shed
    }

    fn decide(&mut self, is_last: bool, out: &mut Vec<Answer>) {
        self.held.sort_by_key(|held| {
            let seen = &held.seen;
            (seen.start, seen.end, seen.side == Side::Sent, seen.class, seen.process)
        });
        let cut = if is_last { i64::MAX } else { self.cut_time() };
        repair::repair(&mut self.held);
        let exchanges = exchange::Exchanges::new(&self.held);
        if self.algorithms.len() > PROCESSES_MAX {
            self.algorithms.clear();
        }
        for process in order::upstream_first(&self.held, &exchanges) {
            exchanges.arrive(&process.requests, &mut self.held, cut);
            let view = view::View::new(&self.held, &process);
            let make = self.options.algorithm.make;
            let algorithm = self.algorithms.entry(process.key).or_insert_with(make);
            let guesses = algorithm.infer(&view.window);
            view.assign(&guesses, &mut self.held, cut);
        }
        self.emit(cut, out);
        self.let_go(cut);
        self.cut = cut;
    }

    /// The start of the first undecided span that is left for the next window.
    fn cut_time(&self) -> i64 {
        let undecided: Vec<i64> =
            self.held.iter().filter(|held| !held.is_decided).map(|held| held.seen.start).collect();
        undecided.get(undecided.len() - undecided.len() / LATER).copied().unwrap_or(i64::MAX)
    }

    /// Answers for what starts before `cut`, in the order of the input.
    fn emit(&mut self, cut: i64, out: &mut Vec<Answer>) {
        let is_due = |held: &&mut Held| !held.is_decided && held.seen.start < cut;
        let mut due: Vec<(u64, Answer)> = Vec::new();
        for held in self.held.iter_mut().filter(is_due) {
            held.is_decided = true;
            let (parent, method, confidence) = match held.parent {
                Some((parent, method, confidence)) => (Some(parent), Some(method), confidence),
                None => (None, None, 0.0),
            };
            due.push((held.place, Answer { id: held.seen.id, parent, method, confidence }));
        }
        due.sort_unstable_by_key(|(place, _)| *place);
        out.extend(due.into_iter().map(|(_, answer)| answer));
    }

    /// Keeps what the next window needs: what is undecided, what is open, and the calls of that.
    fn let_go(&mut self, cut: i64) {
        let is_open = |held: &Held| !held.is_decided || held.seen.end >= cut;
        let open: std::collections::BTreeSet<u64> =
            self.held.iter().filter(|held| is_open(held)).map(|held| held.seen.id).collect();
        let belongs = |held: &Held| held.parent.is_some_and(|(parent, ..)| open.contains(&parent));
        self.held.retain(|held| is_open(held) || belongs(held));
        // Requests that never end must not fill the window.
        let mut over = self.held.len().saturating_sub(self.options.spans_max.max(64) / 2);
        let shed = &mut self.shed;
        self.held.retain(|held| {
            let goes = over > 0 && held.is_decided;
            over -= usize::from(goes);
            *shed += u64::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests;
