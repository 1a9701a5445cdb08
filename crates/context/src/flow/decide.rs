//! Decide: what the passes say of a call, strongest first, each only as far as it agreed with what is
//! stronger in this process lately.

use deeptrace_model::{BootTime, Duration, EvidenceKind, SpanId, UnitKind};

use super::passes::{Backward, Found, Held};
use super::{Call, Decided, Flow};

/// Stamps are taken at the end of calls.
const SLACK: Duration = Duration::from_millis(1);
/// How sure each kind is at best.
const PINNED: f32 = 0.995;
const COPIED: f32 = 0.99;
const RESULT: f32 = 0.985;
const HANDED: f32 = 0.98;
/// Share of cases in which weaker evidence must have agreed with stronger, and of how many at least.
const AGREED_MIN: f32 = 0.97;
const CASES_MIN: f32 = 20.0;
/// Results with one call for each with several, from which on only the last call of a result is believed.
const SINGLE_MIN: f32 = 1.5;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 2000.0;

/// How weaker evidence did beside stronger, and how many calls a result has.
#[derive(Debug, Default)]
pub(super) struct Trust {
    forward: Agreement,
    at_request: Agreement,
    one: f32,
    several: f32,
}

#[derive(Debug, Default)]
struct Agreement {
    agreed: f32,
    all: f32,
}

impl Agreement {
    fn count(&mut self, agreed: bool) {
        self.agreed += f32::from(u8::from(agreed));
        self.all += 1.0;
        if self.all > COUNT_MAX {
            self.agreed /= 2.0;
            self.all /= 2.0;
        }
    }

    /// The share that agreed; `None`: too few, or too seldom.
    fn share(&self) -> Option<f32> {
        let share = self.agreed / self.all.max(1.0);
        (self.all >= CASES_MIN && share >= AGREED_MIN).then_some(share)
    }
}

impl Trust {
    fn is_single(&self) -> bool {
        self.one >= SINGLE_MIN * self.several
    }

    fn count(&mut self, calls: u32) {
        *(if calls == 1 { &mut self.one } else { &mut self.several }) += 1.0;
        if self.one + self.several > COUNT_MAX {
            self.one /= 2.0;
            self.several /= 2.0;
        }
    }
}

impl Flow {
    /// Who a call was made for. Hand-overs count only where they are `believed`.
    pub(super) fn choose(
        &mut self,
        span: SpanId,
        call: &Call,
        backward: &Backward,
        believed: bool,
    ) -> Option<Decided> {
        let decided =
            |parent, kind, confidence| Some(Decided { call: span, parent, kind, confidence });
        let forward = call.forward.filter(|held| {
            held.1 >= Held::Runtime && self.begins_in(held.0, call.start)
                || self.contains(held.0, call)
        });
        match call.pinned {
            // Whether a thread is a unit was asked before: it was not believed.
            Some((_, UnitKind::Thread)) => return None,
            Some((pinned, _)) if self.contains(pinned, call) => {
                return decided(pinned, EvidenceKind::Coroutine, PINNED);
            }
            _ => {}
        }
        if !believed {
            return None;
        }
        if let Some((request, Held::Exact)) = forward {
            return decided(request, EvidenceKind::Coroutine, COPIED);
        }
        let find = |side: &rustc_hash::FxHashMap<SpanId, Found>| {
            side.get(&span).copied().filter(|found| self.contains(found.request, call))
        };
        let (response, request) = (find(&backward.at_response), find(&backward.at_request));
        self.learn(forward, response, request, backward);
        let last = |found: Option<Found>| found.filter(|found| found.is_last);
        if let Some(found) = last(response) {
            return decided(found.request, EvidenceKind::Wake, RESULT);
        }
        if let Some((request, Held::Runtime)) = forward {
            return decided(request, EvidenceKind::Coroutine, HANDED);
        }
        if response.is_none()
            && let Some(found) = last(request)
            && let Some(share) = self.trust.at_request.share()
        {
            return decided(found.request, EvidenceKind::Wake, RESULT * share);
        }
        let weak = response.or(request).map(|found| found.request);
        let forward = forward.map(|held| held.0);
        match (weak, forward) {
            (Some(weak), Some(forward)) if weak == forward => {
                decided(weak, EvidenceKind::Wake, HANDED)
            }
            (Some(weak), None) if !self.trust.is_single() => {
                decided(weak, EvidenceKind::Wake, RESULT * 0.9)
            }
            (None, Some(forward)) => {
                let share = self.trust.forward.share()?;
                decided(forward, EvidenceKind::Wake, HANDED * share)
            }
            _ => None,
        }
    }

    /// Holds weaker evidence against stronger.
    fn learn(
        &mut self,
        forward: Option<(SpanId, Held)>,
        response: Option<Found>,
        request: Option<Found>,
        backward: &Backward,
    ) {
        let Some(strong) = response.filter(|found| found.is_last) else { return };
        if let Some((forward, Held::Weak)) = forward {
            self.trust.forward.count(forward == strong.request);
        }
        if let Some(request) = request.filter(|found| found.is_last) {
            self.trust.at_request.count(request.request == strong.request);
        }
        if let Some(calls) = strong.result.and_then(|result| backward.results.get(result)) {
            self.trust.count(*calls);
        }
    }

    fn begins_in(&self, request: SpanId, time: BootTime) -> bool {
        self.requests.get(&request).is_some_and(|request| request.start <= time)
    }

    /// Whether the call lies within the request.
    fn contains(&self, request: SpanId, call: &Call) -> bool {
        let Some(request) = self.requests.get(&request) else { return false };
        let ends = match (request.end, call.end) {
            (Some(end), Some(returned)) => returned <= end.plus(SLACK),
            _ => true,
        };
        request.start <= call.start && ends
    }
}
