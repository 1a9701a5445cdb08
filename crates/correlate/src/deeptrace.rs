//! Several weak signs added up: similar values in payloads, delays, and endpoints that are busy together
//! (DeepTrace, SIGCOMM 2025).
//!
//! Each sign is scaled to what it spans in this process and weighted by its variance, as published.
//! Fields are words rather than runs of seven letters, and delays are counted in log time rather than
//! by kernels; sizes are not used.

use deeptrace_model::Method;
use rustc_hash::FxHashMap;

use crate::algorithm::{Algorithm, Call, Guess, Request, Row, Window, each_call};

pub(crate) const ROW: Row = Row {
    name: "deeptrace",
    title: "similar fields, delays and endpoints busy together, by variance (SIGCOMM 2025)",
    make: || Box::new(DeepTrace),
};

struct DeepTrace;

/// Fields, delay to the call, delay after it, endpoints.
type Signs = [f32; 4];

/// Spans over which it is counted how busy an endpoint is.
const SLICE: usize = 100;

impl Algorithm for DeepTrace {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let fields = Fields::new(window);
        let affinity = affinity(window);
        let delays = Delays::new(window);
        let mut candidates: Vec<Vec<(usize, Signs)>> = Vec::with_capacity(window.calls.len());
        each_call(window, |call, open| {
            let signs = |number: &usize| {
                let request = &window.requests[*number];
                let pair = (request.class, call.class);
                let [before, after] = delays.probability(request, call);
                let together = affinity.get(&pair).copied().unwrap_or(0.0);
                (*number, [fields.similarity(request, call), before, after, together])
            };
            candidates.push(open.iter().map(signs).collect());
            None
        });
        let scale = Scale::new(candidates.iter().flatten().map(|(_, signs)| *signs));
        let guess = |candidates: &Vec<(usize, Signs)>| {
            let scored = candidates.iter().map(|(number, signs)| (scale.score(signs), *number));
            let total: f32 = scored.clone().map(|(score, _)| score).sum();
            let (score, request) = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
            let confidence =
                if total > 0.0 { score / total } else { 1.0 / candidates.len() as f32 };
            Some(Guess { request, method: Method::Inferred, confidence })
        };
        candidates.iter().map(guess).collect()
    }
}

/// How rare each value is.
struct Fields(FxHashMap<u64, f32>);

impl Fields {
    fn new(window: &Window) -> Self {
        let mut spans: FxHashMap<u64, f32> = FxHashMap::default();
        let of_requests = window.requests.iter().flat_map(|request| &request.tokens);
        for token in of_requests.chain(window.calls.iter().flat_map(|call| &call.tokens)) {
            *spans.entry(*token).or_default() += 1.0;
        }
        let all = (window.requests.len() + window.calls.len()) as f32;
        Self(spans.into_iter().map(|(token, some)| (token, (all / (1.0 + some)).ln())).collect())
    }

    /// Cosine of the two spans' values, weighted by rarity.
    fn similarity(&self, request: &Request, call: &Call) -> f32 {
        let weight = |token: &u64| self.0.get(token).map_or(0.0, |rarity| rarity * rarity);
        let norm = |tokens: &[u64]| tokens.iter().map(weight).sum::<f32>().sqrt();
        let both = request.tokens.iter().filter(|token| call.tokens.binary_search(token).is_ok());
        let norms = norm(&request.tokens) * norm(&call.tokens);
        if norms > 0.0 { both.map(weight).sum::<f32>() / norms } else { 0.0 }
    }
}

/// Cosine of how busy two endpoints are, slice by slice.
fn affinity(window: &Window) -> FxHashMap<(u64, u64), f32> {
    let mut starts: Vec<(i64, bool, u64)> = Vec::new();
    starts.extend(window.requests.iter().map(|request| (request.start, false, request.class)));
    starts.extend(window.calls.iter().map(|call| (call.start, true, call.class)));
    starts.sort_unstable();
    let mut busy: FxHashMap<(bool, u64), FxHashMap<usize, f32>> = FxHashMap::default();
    for (number, (_, is_call, class)) in starts.iter().enumerate() {
        *busy.entry((*is_call, *class)).or_default().entry(number / SLICE).or_default() += 1.0;
    }
    let norm = |counts: &FxHashMap<usize, f32>| {
        let mut counts: Vec<f32> = counts.values().copied().collect();
        counts.sort_unstable_by(f32::total_cmp);
        counts.iter().map(|count| count * count).sum::<f32>().sqrt()
    };
    let mut affinity = FxHashMap::default();
    for ((_, class), served) in busy.iter().filter(|((is_call, _), _)| !is_call) {
        for ((_, called), sent) in busy.iter().filter(|((is_call, _), _)| *is_call) {
            let mut both: Vec<(usize, f32)> = served
                .iter()
                .filter_map(|(slice, count)| Some((*slice, count * sent.get(slice)?)))
                .collect();
            both.sort_unstable_by_key(|(slice, _)| *slice);
            let product: f32 = both.iter().map(|(_, product)| product).sum();
            affinity.insert((*class, *called), product / (norm(served) * norm(sent)).max(1e-6));
        }
    }
    affinity
}

/// Delays before and after a call by pair of endpoints: over all candidates, each for its share.
struct Delays {
    counts: [FxHashMap<(u64, u64, u32), f32>; 2],
    totals: FxHashMap<(u64, u64), f32>,
    tick: i64,
}

impl Delays {
    fn new(window: &Window) -> Self {
        let (counts, totals) = Default::default();
        let mut delays = Self { counts, totals, tick: window.tick.max(500) };
        each_call(window, |call, open| {
            for number in open {
                let request = &window.requests[*number];
                let (share, pair) = (1.0 / open.len() as f32, (request.class, call.class));
                *delays.totals.entry(pair).or_default() += share;
                let bins = delays.bins(request, call);
                for (counts, bin) in delays.counts.iter_mut().zip(bins) {
                    *counts.entry((pair.0, pair.1, bin)).or_default() += share;
                }
            }
            None
        });
        delays
    }

    fn bins(&self, request: &Request, call: &Call) -> [u32; 2] {
        let bin = |apart: i64| (((apart + self.tick) as f32).log2() * 4.0) as u32;
        [bin(call.start - request.start), bin(request.end.saturating_sub(call.end).min(1 << 60))]
    }

    fn probability(&self, request: &Request, call: &Call) -> [f32; 2] {
        let pair = (request.class, call.class);
        let total = self.totals.get(&pair).copied().unwrap_or(1.0);
        let bins = self.bins(request, call);
        [0, 1].map(|side| {
            let count = self.counts[side].get(&(pair.0, pair.1, bins[side]));
            count.copied().unwrap_or(0.0) / total
        })
    }
}

/// What each sign spans, and its weight.
struct Scale {
    least: Signs,
    span: Signs,
    weight: Signs,
}

impl Scale {
    fn new(all: impl Iterator<Item = Signs> + Clone) -> Self {
        let (mut least, mut most) = ([f32::MAX; 4], [f32::MIN; 4]);
        for signs in all.clone() {
            for (at, sign) in signs.iter().enumerate() {
                least[at] = least[at].min(*sign);
                most[at] = most[at].max(*sign);
            }
        }
        let span = [0, 1, 2, 3].map(|at| (most[at] - least[at]).max(1e-10));
        let (mut sums, mut squares, mut count) = ([0.0_f64; 4], [0.0_f64; 4], 0.0);
        for signs in all {
            for at in 0..4 {
                let scaled = f64::from((signs[at] - least[at]) / span[at]);
                sums[at] += scaled;
                squares[at] += scaled * scaled;
            }
            count += 1.0;
        }
        let variance = [0, 1, 2, 3].map(|at| {
            let mean = sums[at] / f64::max(count, 1.0);
            (squares[at] / f64::max(count, 1.0) - mean * mean).max(0.0) as f32
        });
        let total: f32 = variance.iter().sum::<f32>().max(1e-10);
        Self { least, span, weight: variance.map(|variance| variance / total) }
    }

    fn score(&self, signs: &Signs) -> f32 {
        (0..4).map(|at| self.weight[at] * (signs[at] - self.least[at]) / self.span[at]).sum()
    }
}
