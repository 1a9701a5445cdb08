//! Inference where nothing was observed: every second (`window_size`) the algorithm looks at what a process
//! did, with all that was observed as given, and answers for the calls that have a guess only.
//!
//! Where all is observed nothing is kept and nothing asked.
//!
//! Its answers are links of a later generation than the guess. Some observed calls are asked as if they
//! were not: how often the answer is right there, at this confidence, is how sure the others are
//! (`tried.rs`).

use deeptrace_model::{BootTime, Duration, Link, Method, Span, SpanId, hash_bytes, hash64};
use rustc_hash::FxHashMap;

use crate::AUTO;
use crate::algorithm::{Algorithm, Call, Request, Row, Window};
use crate::tried::Tried;

/// Requests and calls of a window, each: what is more keeps its guess.
const HELD_MAX: usize = 1024;
/// Calls without which too little is learned.
const CALLS_MIN: usize = 50;
/// Windows without a guess, after which nothing is kept any more.
const GOES_ON: u32 = 10;
/// Above the generation of what is settled later; links of stored spans that are correlated again are
/// above this.
pub const GENERATION: u32 = 2;

/// A request, as far as it is known.
struct Served {
    span: SpanId,
    request: Request,
}

/// A call with its link.
struct Linked {
    call: Call,
    link: Link,
    is_observed: bool,
}

/// What a process did of late.
pub(crate) struct Inferred {
    row: &'static Row,
    algorithm: Box<dyn Algorithm>,
    requests: Vec<Served>,
    calls: Vec<Linked>,
    tried: Tried,
    until: Option<BootTime>,
    /// Windows for which it goes on, although none had a guess.
    goes_on: u32,
    /// Whether something is missing of this window: what was open when it began, or more than fits.
    is_cut: bool,
    has_guess: bool,
    /// Guesses that stayed guesses because too much happened.
    pub(crate) passed_over: u64,
}

impl Inferred {
    pub(crate) fn new(row: &'static Row) -> Self {
        Self {
            row,
            algorithm: (row.make)(),
            requests: Vec::new(),
            calls: Vec::new(),
            tried: Tried::default(),
            until: None,
            goes_on: 0,
            is_cut: true,
            has_guess: false,
            passed_over: 0,
        }
    }

    /// A request was read.
    pub(crate) fn opened(&mut self, span: SpanId, start: BootTime, unit: u64) {
        if self.goes_on == 0 {
            return;
        }
        if self.requests.len() >= HELD_MAX {
            self.is_cut = true;
            return;
        }
        let units = [Some(unit), None];
        let request = Request { start: time(start), end: i64::MAX, units, ..Request::default() };
        self.requests.push(Served { span, request });
    }

    /// It was answered.
    pub(crate) fn closed(&mut self, span: &Span, end: BootTime) {
        if self.goes_on == 0 {
            return;
        }
        // The latest are the likeliest.
        let Some(served) = self.requests.iter_mut().rev().find(|it| it.span == span.id) else {
            return;
        };
        served.request.end = time(end);
        served.request.class = class(span);
        served.request.units[1] = last_unit(span);
    }

    /// A call was linked; `is_observed`: by more than a guess.
    pub(crate) fn linked(&mut self, call: Call, link: &Link, is_observed: bool) {
        self.has_guess |= !is_observed && link.candidates > 1;
        if self.goes_on == 0 {
            return;
        }
        if self.calls.len() >= HELD_MAX {
            self.is_cut = true;
            self.passed_over += u64::from(!is_observed);
            return;
        }
        self.calls.push(Linked { call, link: link.clone(), is_observed });
    }

    /// Answers, once a window is over. Calls from `undecided` on are still to be linked.
    pub(crate) fn tick(
        &mut self,
        now: BootTime,
        undecided: BootTime,
        window: Duration,
        out: &mut Vec<Link>,
    ) {
        let until = *self.until.get_or_insert(now.plus(window));
        if now < until {
            return;
        }
        self.until = Some(now.plus(window));
        if self.goes_on == 0 {
            // Nothing was kept so far: the first window lacks what is open now.
            self.goes_on = u32::from(self.has_guess) * GOES_ON;
            (self.has_guess, self.is_cut) = (false, true);
            return;
        }
        if self.has_guess && self.calls.len() >= CALLS_MIN {
            if self.is_cut {
                let guesses = self.calls.iter().filter(|it| !it.is_observed).count();
                self.passed_over += guesses as u64;
            } else {
                self.answer(out);
            }
        }
        self.goes_on = if self.has_guess { GOES_ON } else { self.goes_on - 1 };
        (self.has_guess, self.is_cut) = (false, false);
        self.calls.clear();
        let since = time(undecided.min(now));
        self.requests.retain(|served| served.request.end >= since);
    }

    fn answer(&mut self, out: &mut Vec<Link>) {
        self.requests.sort_by_key(|served| (served.request.start, served.request.end));
        self.calls.sort_by_key(|it| (it.call.start, it.call.end));
        let numbers: FxHashMap<SpanId, usize> =
            self.requests.iter().enumerate().map(|(at, served)| (served.span, at)).collect();
        let observed = |it: &Linked| it.link.parent.filter(|_| it.is_observed);
        let is_tried = |at: usize| Tried::is_asked(at as u64);
        let call = |(at, it): (usize, &Linked)| {
            let known = observed(it).filter(|_| !is_tried(at));
            let known = known.and_then(|parent| numbers.get(&parent).copied());
            Call { known, ..it.call.clone() }
        };
        let served = self.requests.iter().zip(0..);
        let request =
            |(served, meeting): (&Served, u32)| Request { meeting, ..served.request.clone() };
        let calls = self.calls.iter().enumerate().map(call).collect();
        let window = Window::new(served.map(request).collect(), calls);
        let guesses = self.algorithm.infer(&window);
        let found = |at: usize| {
            let guess = guesses.get(at).copied().flatten()?;
            Some((self.requests[guess.request].span, guess.confidence))
        };
        for (at, it) in self.calls.iter().enumerate().filter(|(at, _)| is_tried(*at)) {
            // Alone there is nothing to be wrong about.
            if let (Some(parent), Some((said, sure))) = (observed(it), found(at))
                && it.link.candidates > 1
            {
                self.tried.learn(sure, said == parent);
            }
        }
        for (at, it) in self.calls.iter().enumerate() {
            if it.is_observed || it.link.candidates < 2 {
                continue;
            }
            let Some((parent, sure)) = found(at) else { continue };
            let confidence = self.tried.confidence(sure, it.link.candidates);
            // Whoever chose an algorithm wants its answers, also where another is surer.
            if confidence > it.link.confidence || self.row != AUTO {
                let (generation, parent) = (GENERATION, Some(parent));
                out.push(Link {
                    parent,
                    confidence,
                    generation,
                    is_final: true,
                    method: Method::Inferred,
                    algorithm: self.row.name.into(),
                    ..it.link.clone()
                });
            }
        }
    }
}

/// The call of a span, as the model sees it.
pub(crate) fn call(span: &Span, end: BootTime) -> Call {
    Call {
        start: time(span.request[0].time),
        end: time(end),
        class: class(span),
        callee: hash_bytes(span.protocol.as_bytes()),
        units: [Some(span.request[0].tid.0.into()), last_unit(span)],
        tokens: Vec::new(),
        known: None,
    }
}

/// Whether nothing was observed.
pub(crate) fn is_guess(link: &Link) -> bool {
    link.method == Method::Inferred
}

/// Whoever wrote the answer.
pub(crate) fn last_unit(span: &Span) -> Option<u64> {
    span.response.map(|[_, last]| last.tid.0.into())
}

/// What is asked for: protocol and name.
pub(crate) fn class(span: &Span) -> u64 {
    hash64(&[hash_bytes(span.protocol.as_bytes()), hash_bytes(span.name.as_bytes())])
}

fn time(time: BootTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
