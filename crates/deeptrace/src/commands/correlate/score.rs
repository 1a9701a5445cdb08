//! How right links are. Scored are calls whose true parent is a request of their process, and calls
//! that no request caused: of those "no parent" is the right answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use deeptrace_correlate::Side;
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::source::each_line;

/// Confidence of a sure answer.
const SURE: f32 = 0.9;
/// Bins of the calibration error and of the reliability.
const BINS: usize = 10;
/// Samples for its interval.
const SAMPLES: usize = 200;

/// Scores, as shares of one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scores {
    /// Calls that are scored.
    pub links: u64,
    /// Of them, those that more than one request of the process contains in time.
    pub ambiguous_share: f64,
    /// Right among those.
    pub ambiguous_link: f64,
    /// Right among all.
    pub link: f64,
    /// By service.
    pub services: BTreeMap<String, f64>,
    /// Requests whose calls are exactly right.
    pub request: f64,
    /// Traces all of whose links are right, and that got no foreign call.
    pub trace: f64,
    /// Right among the answered.
    pub precision: f64,
    /// Answered among those with a parent.
    pub coverage: f64,
    /// The same two of answers said with 0.9 and more.
    pub sure_precision: f64,
    /// See `sure_precision`.
    pub sure_coverage: f64,
    /// Expected calibration error in ten bins.
    pub calibration_error: f64,
    /// Of 95 of 100 samples.
    pub calibration_interval: [f64; 2],
    /// What was said against what was right, in ten steps of confidence; steps without links are left out.
    pub reliability: Vec<Step>,
}

/// Answers of about the same confidence.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Step {
    /// How many.
    pub links: u64,
    /// Their mean confidence.
    pub said: f64,
    /// Right among them.
    pub right: f64,
}

struct Seen {
    side: Side,
    process: u64,
    service: u32,
    start: i64,
    end: i64,
}

#[derive(Deserialize)]
struct Link {
    id: u64,
    parent: Option<u64>,
    #[serde(default)]
    confidence: f32,
}

/// A call with what is true and what was said.
struct Scored {
    call: u64,
    truth: Option<u64>,
    said: Option<u64>,
    confidence: f32,
}

impl Scored {
    fn is_right(&self) -> bool {
        self.truth == self.said
    }
}

/// Compares `links` of `spans` with `truth`; of the calls only `some`, if those are given.
pub fn score(
    spans: &Path,
    links: &Path,
    truth: &Path,
    some: Option<&HashSet<u64>>,
) -> Result<Scores> {
    let mut services: Vec<String> = Vec::new();
    let mut seen: HashMap<u64, Seen> = HashMap::new();
    each_line(spans, |line| {
        let record: Record<'_> = serde_json::from_str(line)?;
        let name = record.svc.as_deref().unwrap_or("unknown");
        let service = services.iter().position(|known| known == name).unwrap_or_else(|| {
            services.push(name.to_owned());
            services.len() - 1
        }) as u32;
        let (start, end) = (record.start, record.end.max(record.start));
        let it = Seen { side: record.side()?, process: record.process(), service, start, end };
        if seen.insert(record.id, it).is_some() {
            bail!("id {} is not the only one", record.id);
        }
        Ok(())
    })?;
    let mut said: HashMap<u64, Link> = HashMap::new();
    each_line(links, |line| {
        let link: Link = serde_json::from_str(line)?;
        said.insert(link.id, link);
        Ok(())
    })?;
    let (mut scored, mut traces) = (Vec::new(), HashMap::new());
    each_truth(truth, |id, trace, truth| {
        traces.insert(id, trace);
        let Some(call) = seen.get(&id).filter(|it| it.side == Side::Sent) else { return };
        if some.is_some_and(|some| !some.contains(&id)) {
            return;
        }
        let served_here = |it: &Seen| it.side == Side::Served && it.process == call.process;
        if truth.is_none_or(|parent| seen.get(&parent).is_some_and(served_here)) {
            let link = said.get(&id);
            scored.push(Scored {
                call: id,
                truth,
                said: link.and_then(|link| link.parent),
                confidence: link.map_or(0.0, |link| link.confidence),
            });
        }
    })?;
    scored.sort_by_key(|it: &Scored| it.call);
    Ok(scores(&seen, &services, &scored, &traces))
}

/// Hands each line of a truth file to `take`: span, trace, and parent if there is one.
pub fn each_truth(path: &Path, mut take: impl FnMut(u64, i64, Option<u64>)) -> Result<()> {
    each_line(path, |line| {
        if line.starts_with("id,") {
            return Ok(());
        }
        let mut fields = line.split(',');
        let mut number = |name: &str| -> Result<i64> {
            let field = fields.next().with_context(|| format!("no {name}"))?;
            field.parse().with_context(|| format!("{name} is a number, not \"{field}\""))
        };
        let (id, trace, parent) = (number("id")? as u64, number("trace")?, number("parent")?);
        take(id, trace, u64::try_from(parent).ok());
        Ok(())
    })
}

fn scores(
    seen: &HashMap<u64, Seen>,
    services: &[String],
    scored: &[Scored],
    traces: &HashMap<u64, i64>,
) -> Scores {
    let ambiguous = ambiguous(seen, scored);
    let right = |it: &&Scored| it.is_right();
    let among = |wanted: &dyn Fn(&Scored) -> bool| {
        let all = scored.iter().filter(|it| wanted(it)).count();
        share(scored.iter().filter(|it| wanted(it)).filter(right).count(), all)
    };
    let mut wrong_requests: BTreeSet<u64> = BTreeSet::new();
    let mut wrong_traces: BTreeSet<i64> = BTreeSet::new();
    for it in scored.iter().filter(|it| !it.is_right()) {
        for request in [it.truth, it.said].into_iter().flatten() {
            wrong_requests.insert(request);
            wrong_traces.extend(traces.get(&request));
        }
    }
    let requests: Vec<u64> = seen
        .iter()
        .filter(|(id, it)| it.side == Side::Served && traces.contains_key(id))
        .map(|(id, _)| *id)
        .collect();
    let all_traces: BTreeSet<i64> =
        requests.iter().filter_map(|request| traces.get(request)).copied().collect();
    let with_parent = scored.iter().filter(|it| it.truth.is_some()).count();
    let from = |least: f32| {
        let answered = scored.iter().filter(|it| it.said.is_some() && it.confidence >= least);
        let found = answered.clone().filter(|it| it.truth.is_some()).count();
        let precision = share(answered.clone().filter(right).count(), answered.count());
        (precision, share(found, with_parent))
    };
    let ((precision, coverage), (sure_precision, sure_coverage)) = (from(0.0), from(SURE));
    let mut by_service = BTreeMap::new();
    for (number, name) in (0_u32..).zip(services) {
        let is_here = |it: &Scored| seen[&it.call].service == number;
        if scored.iter().any(is_here) {
            by_service.insert(name.clone(), among(&is_here));
        }
    }
    let (calibration_error, calibration_interval) = calibration(scored);
    let step = |[said, right, links]: [f64; 3]| Step {
        links: links as u64,
        said: said / links,
        right: right / links,
    };
    let all_steps = steps(scored.iter().filter(|it| it.said.is_some())).into_iter();
    let reliability = all_steps.filter(|[.., links]| *links > 0.0).map(step).collect();
    Scores {
        links: scored.len() as u64,
        ambiguous_share: share(ambiguous.len(), scored.len()),
        ambiguous_link: among(&|it| ambiguous.contains(&it.call)),
        link: among(&|_| true),
        services: by_service,
        request: share(
            requests.iter().filter(|request| !wrong_requests.contains(request)).count(),
            requests.len(),
        ),
        trace: share(
            all_traces.iter().filter(|trace| !wrong_traces.contains(trace)).count(),
            all_traces.len(),
        ),
        precision,
        coverage,
        sure_precision,
        sure_coverage,
        calibration_error,
        calibration_interval,
        reliability,
    }
}

/// Calls that more than one request of their process contains.
fn ambiguous(seen: &HashMap<u64, Seen>, scored: &[Scored]) -> BTreeSet<u64> {
    let mut processes: BTreeMap<u64, Vec<(i64, bool, u64)>> = BTreeMap::new();
    for (id, it) in seen.iter().filter(|(_, it)| it.side == Side::Served) {
        processes.entry(it.process).or_default().push((it.start, false, *id));
    }
    for it in scored {
        let call = &seen[&it.call];
        processes.entry(call.process).or_default().push((call.start, true, it.call));
    }
    let mut found = BTreeSet::new();
    for mut moments in processes.into_values() {
        moments.sort_unstable();
        let mut open: Vec<i64> = Vec::new();
        for (time, is_call, id) in moments {
            let end = seen[&id].end;
            if is_call {
                open.retain(|open| *open >= time);
                if open.iter().filter(|open| **open >= end).count() > 1 {
                    found.insert(id);
                }
            } else {
                open.push(end);
            }
        }
    }
    found
}

/// Expected calibration error of what was answered, and its interval by sampling again.
fn calibration(scored: &[Scored]) -> (f64, [f64; 2]) {
    let answered: Vec<&Scored> = scored.iter().filter(|it| it.said.is_some()).collect();
    if answered.is_empty() {
        return (0.0, [0.0; 2]);
    }
    let error = expected_error(answered.iter().copied());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pick = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        answered[(random % answered.len() as u64) as usize]
    };
    let mut errors: Vec<f64> =
        (0..SAMPLES).map(|_| expected_error((0..answered.len()).map(|_| pick()))).collect();
    errors.sort_unstable_by(f64::total_cmp);
    (error, [errors[SAMPLES / 40], errors[SAMPLES - 1 - SAMPLES / 40]])
}

fn expected_error<'a>(answered: impl Iterator<Item = &'a Scored>) -> f64 {
    let steps = steps(answered);
    let all: f64 = steps.iter().map(|[.., links]| links).sum();
    steps.iter().map(|[said, right, _]| f64::abs(said - right)).sum::<f64>() / f64::max(all, 1.0)
}

/// Sums by confidence: what was said, what was right, and how many there are.
fn steps<'a>(answered: impl Iterator<Item = &'a Scored>) -> [[f64; 3]; BINS] {
    let mut steps = [[0.0; 3]; BINS];
    for it in answered {
        let step = &mut steps[((it.confidence * BINS as f32) as usize).min(BINS - 1)];
        step[0] += f64::from(it.confidence);
        step[1] += f64::from(u8::from(it.is_right()));
        step[2] += 1.0;
    }
    steps
}

fn share(some: usize, all: usize) -> f64 {
    if all == 0 { 1.0 } else { some as f64 / all as f64 }
}
