//! Inference where nothing was observed: every second the chain model looks at what a process did, with
//! all that was observed as given, and answers for the calls that have a guess only.
//!
//! Where all is observed nothing is kept and nothing asked.
//!
//! Its answers are links of a later generation than the guess. Some observed calls are asked as if they
//! were not: how often the answer is right there, at this confidence, is how sure the others are.

use deeptrace_model::{BootTime, Duration, Link, Method, Span, SpanId, hash_bytes, hash64};
use rustc_hash::FxHashMap;

use crate::algorithm::{Algorithm, Call, Request, Window};
use crate::chain::{Chain, Ingredients};

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(1);
/// Requests and calls of a window, each: what is more keeps its guess.
const HELD_MAX: usize = 1024;
/// Calls without which too little is learned.
const CALLS_MIN: usize = 50;
/// Windows without a guess, after which nothing is kept any more.
const GOES_ON: u32 = 10;
/// One of so many observed calls is asked.
const ASKED: usize = 4;
/// Steps of confidence.
const STEPS: usize = 10;
/// Examples that weigh as much as what the model itself says.
const PRIOR: f32 = 4.0;
/// What the model says is believed so much without any example.
const UNTRIED: f32 = 0.9;
/// Counts are halved when they reach this, so that a deploy is forgotten.
const COUNT_MAX: f32 = 500.0;
/// Above the generation of what is settled later.
const GENERATION: u32 = 2;

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
    chain: Chain,
    requests: Vec<Served>,
    calls: Vec<Linked>,
    /// Answers that were right, of all, by confidence.
    tried: [(f32, f32); STEPS],
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
    pub(crate) fn new() -> Self {
        Self {
            chain: Chain::new(Ingredients::ALL),
            requests: Vec::new(),
            calls: Vec::new(),
            tried: [(0.0, 0.0); STEPS],
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
    pub(crate) fn tick(&mut self, now: BootTime, undecided: BootTime, out: &mut Vec<Link>) {
        let until = *self.until.get_or_insert(now.plus(WINDOW));
        if now < until {
            return;
        }
        self.until = Some(now.plus(WINDOW));
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
        let is_tried = |at: usize| at.is_multiple_of(ASKED);
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
        let guesses = self.chain.infer(&window);
        let found = |at: usize| {
            let guess = guesses.get(at).copied().flatten()?;
            Some((self.requests[guess.request].span, guess.confidence))
        };
        for (at, it) in self.calls.iter().enumerate().filter(|(at, _)| is_tried(*at)) {
            // Alone there is nothing to be wrong about.
            if let (Some(parent), Some((said, sure))) = (observed(it), found(at))
                && it.link.candidates > 1
            {
                let (right, all) = &mut self.tried[step(sure)];
                *right += f32::from(u8::from(said == parent));
                *all += 1.0;
                if *all > COUNT_MAX {
                    (*right, *all) = (*right / 2.0, *all / 2.0);
                }
            }
        }
        for (at, it) in self.calls.iter().enumerate() {
            if it.is_observed || it.link.candidates < 2 {
                continue;
            }
            let Some((parent, sure)) = found(at) else { continue };
            let confidence = self.confidence(sure);
            if confidence > it.link.confidence {
                let (generation, parent) = (GENERATION, Some(parent));
                out.push(Link {
                    parent,
                    confidence,
                    generation,
                    is_final: true,
                    method: Method::Inferred,
                    ..it.link.clone()
                });
            }
        }
    }

    /// How sure an answer is of which the model says this.
    fn confidence(&self, said: f32) -> f32 {
        let (right, all) = self.tried[step(said)];
        ((right + PRIOR * UNTRIED * said) / (all + PRIOR)).clamp(0.0, 1.0)
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

fn last_unit(span: &Span) -> Option<u64> {
    span.response.map(|[_, last]| last.tid.0.into())
}

fn class(span: &Span) -> u64 {
    hash64(&[hash_bytes(span.protocol.as_bytes()), hash_bytes(span.name.as_bytes())])
}

fn time(time: BootTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn step(confidence: f32) -> usize {
    ((confidence * STEPS as f32) as usize).min(STEPS - 1)
}
