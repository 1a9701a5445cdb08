//! Sampling over three hosts: real samplers that hear each other through a relay with delays and faults,
//! on simulated traces. Each case is a mix of traces, a configuration, and what goes wrong.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "sampling/shop.rs"]
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use deeptrace_agent::config::Config;
use deeptrace_agent::sampling::{Reach, Relay, Sampler};
use deeptrace_agent::sink::Batch;
use deeptrace_agent::written::{Agents, Correlation};
use deeptrace_model::{
    BootTime, Clock, Duration, Gap, GapCause, SpanId, TraceContext, TraceId, WallTime,
};
use fastrand::Rng;
use shop::{BOOT, Item, MS, Mix, SECOND, Shop};

const HOSTS: usize = 3;
const TRACES: usize = 2_000;
const SECONDS: u64 = 200;
/// How often a pipeline hands on.
const FLUSH: u64 = 250 * MS;
/// The slack with which a trace looks for gaps.
const SLACK: Duration = Duration::from_secs(1);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// One agent is cut off from the relay, which does not keep for it what it misses.
    Apart {
        host: usize,
        from: u64,
        to: u64,
    },
    /// One agent is killed, and started again.
    Killed {
        host: usize,
        at: u64,
        back: u64,
    },
    /// Other rates from then on, at one agent after the other.
    Changed {
        at: u64,
        config: &'static str,
    },
    /// A share of what is relayed is lost, of which those know who should have heard it.
    Lost {
        share: f64,
    },
}

struct Case {
    name: &'static str,
    config: &'static str,
    mix: Mix,
    fault: Fault,
    /// Share of the traces that are kept although nothing asks for them.
    share: f64,
    by_service: &'static [(&'static str, f64)],
}

const MIX: Mix = Mix { errors: 0.0, slow: 0.0, guesses: 0.0, unanswered: 0.0, long: 0.0 };
const TENTH: &str = "sampling_rate = 0.1";
const WANTED: &str = "sampling_rate = 0.1\nalways_keep = [\"errors\", \"slow:1s\"]";

const CASES: &[Case] = &[
    Case { name: "all", config: "", mix: MIX, fault: Fault::None, share: 1.0, by_service: &[] },
    Case {
        name: "tenth",
        config: TENTH,
        mix: MIX,
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "none",
        config: "sampling_rate = 0.0",
        mix: MIX,
        fault: Fault::None,
        share: 0.0,
        by_service: &[],
    },
    Case {
        name: "guesses that are replaced",
        config: TENTH,
        mix: Mix { guesses: 0.3, ..MIX },
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "calls that were given up",
        config: TENTH,
        mix: Mix { unanswered: 0.02, ..MIX },
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "errors and slow ones kept",
        config: WANTED,
        mix: Mix { errors: 0.01, slow: 0.003, ..MIX },
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "by service",
        config: "sampling_rate = 0.1\nsampling_by_service = { mail = 0.5 }",
        mix: MIX,
        fault: Fault::None,
        share: 0.2,
        by_service: &[("mail", 0.5), ("gate", 0.1)],
    },
    Case {
        name: "traces longer than the wait",
        config: TENTH,
        mix: Mix { long: 0.05, ..MIX },
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "an agent cut off for 20 s",
        config: WANTED,
        mix: Mix { errors: 0.01, ..MIX },
        fault: Fault::Apart { host: 1, from: 80 * SECOND, to: 100 * SECOND },
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "an agent cut off for two minutes",
        config: WANTED,
        mix: Mix { errors: 0.01, ..MIX },
        fault: Fault::Apart { host: 2, from: 60 * SECOND, to: 180 * SECOND },
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "an agent killed",
        config: WANTED,
        mix: Mix { errors: 0.01, ..MIX },
        fault: Fault::Killed { host: 1, at: 90 * SECOND, back: 95 * SECOND },
        share: 0.1,
        by_service: &[],
    },
    Case {
        name: "a rate that falls",
        config: "sampling_rate = 0.5",
        mix: MIX,
        fault: Fault::Changed { at: 100 * SECOND, config: TENTH },
        share: 0.26,
        by_service: &[],
    },
    Case {
        name: "sampling switched on",
        config: "",
        mix: MIX,
        fault: Fault::Changed { at: 150 * SECOND, config: TENTH },
        share: 0.68,
        by_service: &[],
    },
    Case {
        name: "sampling switched off",
        config: TENTH,
        mix: MIX,
        fault: Fault::Changed { at: 150 * SECOND, config: "" },
        share: 0.44,
        by_service: &[],
    },
    Case {
        name: "a tenth of the keys lost",
        config: WANTED,
        mix: Mix { errors: 0.01, ..MIX },
        fault: Fault::Lost { share: 0.1 },
        share: 0.1,
        by_service: &[],
    },
];

/// What agents tell each other.
#[derive(Default)]
struct Hub {
    now: u64,
    inboxes: [Vec<(u64, u64)>; HOSTS],
    has_missed: [bool; HOSTS],
    published: u64,
    rng: Rng,
    fault: Option<Fault>,
}

struct Line {
    host: usize,
    hub: Arc<Mutex<Hub>>,
}

impl Hub {
    fn is_apart(&self, host: usize) -> bool {
        match self.fault {
            Some(Fault::Apart { host: it, from, to }) => {
                it == host && (from..to).contains(&self.now)
            }
            Some(Fault::Killed { host: it, at, back }) => {
                it == host && (at..back).contains(&self.now)
            }
            _ => false,
        }
    }
}

impl Relay for Line {
    fn publish(&mut self, keys: &[u64]) {
        let mut hub = self.hub.lock().unwrap();
        hub.published += keys.len() as u64;
        let lost = match hub.fault {
            Some(Fault::Lost { share }) => share,
            _ => 0.0,
        };
        for host in (0..HOSTS).filter(|host| *host != self.host) {
            if hub.is_apart(host) {
                continue;
            }
            if hub.rng.f64() < lost {
                hub.has_missed[host] = true;
                continue;
            }
            let at = hub.now + hub.rng.u64(50..700) * MS;
            hub.inboxes[host].extend(keys.iter().map(|key| (at, *key)));
        }
    }

    fn receive(&mut self, out: &mut dyn FnMut(u64)) -> Reach {
        let mut hub = self.hub.lock().unwrap();
        if hub.is_apart(self.host) {
            return Reach::Apart;
        }
        let now = hub.now;
        hub.inboxes[self.host].retain(|(at, key)| {
            if *at <= now {
                out(*key);
            }
            *at > now
        });
        Reach::Joined { has_missed: std::mem::take(&mut hub.has_missed[self.host]) }
    }
}

/// What went on to the server.
#[derive(Default)]
struct Stored {
    spans: BTreeSet<SpanId>,
    links: BTreeMap<SpanId, BTreeSet<SpanId>>,
    gaps: Vec<Gap>,
    twice: usize,
    published: u64,
    counters: BTreeMap<&'static str, u64>,
    /// Bytes that waited at all hosts together, at most.
    waiting_max: u64,
}

impl Stored {
    fn take(&mut self, batch: &mut Batch) {
        for span in batch.spans.drain(..) {
            self.twice += usize::from(!self.spans.insert(span.id));
        }
        for link in batch.links.drain(..) {
            self.links.entry(link.child).or_default().extend(link.parent);
        }
        self.gaps.append(&mut batch.gaps);
    }
}

fn meant(config: &str) -> Config {
    let trace = toml::from_str(config).unwrap();
    let agents = Agents { trace, ..Agents::default() };
    Config::new(&agents, &Correlation::default(), &[]).unwrap()
}

fn sampler(config: &str, host: usize, hub: &Arc<Mutex<Hub>>) -> Sampler {
    let config = meant(config);
    let line = Line { host, hub: Arc::clone(hub) };
    Sampler::new(config.sampling, config.correlation.link_wait, Box::new(line))
}

fn clock(now: u64) -> Clock {
    Clock { boot: BootTime(now), wall: WallTime(BOOT + now) }
}

fn run(case: &Case, shop: &Shop) -> Stored {
    let hub = Hub { rng: Rng::with_seed(5), fault: Some(case.fault), ..Hub::default() };
    let hub = Arc::new(Mutex::new(hub));
    let mut samplers: Vec<Sampler> =
        (0..HOSTS).map(|host| sampler(case.config, host, &hub)).collect();
    let mut stored = Stored::default();
    let mut made = shop.made.iter().peekable();
    let end = shop.made.last().unwrap().at + 60 * SECOND;
    let mut batches: [Batch; HOSTS] = Default::default();
    for now in (0..end).step_by(FLUSH as usize) {
        hub.lock().unwrap().now = now;
        while let Some(it) = made.next_if(|it| it.at <= now) {
            let batch = &mut batches[it.host];
            match it.item.clone() {
                Item::Span(span) => batch.spans.push(*span),
                Item::Link(link) => batch.links.push(link),
                Item::Root(id) => batch.roots.push(id),
            }
        }
        for (host, sampler_of) in samplers.iter_mut().enumerate() {
            if let Fault::Killed { host: it, at, back } = case.fault
                && it == host
                && (at..back).contains(&now)
            {
                // What it had is gone, and nothing is seen. The server tells of it by the last heartbeat.
                batches[host] = Batch::default();
                if now < at + FLUSH {
                    let held = meant(case.config).sampling.held();
                    let (from, to) = (WallTime(BOOT + at).minus(held), WallTime(BOOT + back));
                    let cause = GapCause::AgentDown;
                    stored.gaps.push(Gap { from, to, cause, events: 0, bytes: 0 });
                    *sampler_of = sampler(case.config, host, &hub);
                }
                continue;
            }
            if let Fault::Changed { at, config } = case.fault
                && now == at + host as u64 * 2 * SECOND
            {
                let wait = Correlation::default().link_wait_ms;
                let (sampling, wait) = (meant(config).sampling, Duration::from_millis(wait));
                sampler_of.set(&sampling, wait, clock(now), &mut batches[host]);
            }
            sampler_of.pass(&mut batches[host], clock(now));
            stored.take(&mut batches[host]);
        }
        let mut waiting = 0;
        for sampler in &samplers {
            sampler.counters(&mut |name, value| {
                waiting += if name == "sampling_waiting_bytes" { value } else { 0 };
            });
        }
        stored.waiting_max = stored.waiting_max.max(waiting);
    }
    for sampler in &mut samplers {
        let mut batch = Batch::default();
        sampler.counters(&mut |name, value| *stored.counters.entry(name).or_default() += value);
        sampler.end(&mut batch, clock(end));
        stored.take(&mut batch);
    }
    stored.published = hub.lock().unwrap().published;
    stored
}

#[test]
fn one_trace_id_for_everything_takes_no_more_room() {
    let mix = Mix { errors: 0.01, ..MIX };
    let mut shop = Shop::new(9, 8_000, SECONDS, mix);
    let context = TraceContext { trace: TraceId(1), parent: 1 };
    for made in &mut shop.made {
        if let Item::Span(span) = &mut made.item {
            span.trace_context = Some(context);
        }
    }
    let case = Case {
        name: "one id",
        config: WANTED,
        mix,
        fault: Fault::None,
        share: 1.0,
        by_service: &[],
    };
    let stored = run(&case, &shop);
    let all: usize = shop.truths.iter().map(|truth| truth.spans.len()).sum();
    assert_eq!(stored.spans.len(), all);
    // Each host began anew several times.
    assert_eq!(stored.counters["sampling_dropped_full_spans_total"], 0);
    assert!(stored.counters["sampling_fragments"] <= HOSTS as u64, "{:?}", stored.counters);
}

#[test]
fn what_waits_has_a_limit_and_a_gap_tells_what_was_dropped() {
    let shop = Shop::new(11, TRACES, 20, MIX);
    let case = Case {
        name: "full",
        config: "sampling_rate = 0.1\nsampling_buffer_size = 1",
        mix: MIX,
        fault: Fault::None,
        share: 0.1,
        by_service: &[],
    };
    let stored = run(&case, &shop);
    let dropped = stored.counters["sampling_dropped_full_spans_total"];
    let told: u64 = (stored.gaps.iter().filter(|gap| gap.cause == GapCause::BufferFull))
        .map(|gap| gap.events)
        .sum();
    assert!(dropped > 0 && told == dropped, "{dropped} dropped, gaps tell of {told}");
    assert!(stored.waiting_max <= HOSTS as u64 * ((1 << 20) + 4_096), "{}", stored.waiting_max);
}

#[test]
fn traces_are_kept_whole_or_not_at_all() {
    let only = std::env::var("CASE").unwrap_or_default();
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        let shop = Shop::new(7, TRACES, SECONDS, case.mix);
        let stored = run(case, &shop);
        let mut wrong = Vec::new();
        let (mut unwanted, mut kept, mut broken, mut marked) = (0, 0, 0, 0);
        let mut by_service: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (number, truth) in shop.truths.iter().enumerate() {
            let there = truth.spans.iter().filter(|id| stored.spans.contains(id)).count();
            let is_whole = there == truth.spans.len();
            let is_marked = stored
                .gaps
                .iter()
                .any(|gap| gap.from <= truth.to.plus(SLACK) && gap.to >= truth.from.minus(SLACK));
            let is_blind = case.fault != Fault::None;
            if there > 0 && !is_whole {
                broken += 1;
                marked += usize::from(is_marked);
                if !is_marked {
                    wrong.push(format!("trace {number}: {there} of {} spans", truth.spans.len()));
                }
            }
            let is_asked = truth.is_wanted && case.config.contains("always_keep");
            if is_asked && !is_whole && !(is_blind && is_marked) {
                wrong.push(format!("trace {number} has an error or is slow, and is not there"));
            }
            if !is_asked {
                unwanted += 1;
                kept += u64::from(is_whole);
                let row = by_service.entry(truth.root_service).or_default();
                *row = (row.0 + 1, row.1 + u64::from(is_whole));
            }
        }
        let share = kept as f64 / f64::from(unwanted);
        let spans = shop.truths.iter().map(|it| it.spans.len()).sum::<usize>();
        println!(
            "{:40} kept {share:.3}, broken {broken}, marked {marked}, gaps {}, keys/span {:.3}, {:?}",
            case.name,
            stored.gaps.len(),
            stored.published as f64 / spans as f64,
            stored.counters
        );
        // What is broken by a fault is not whole.
        let is_wrong = match case.fault {
            Fault::None => (share - case.share).abs() > 0.02,
            _ => share > case.share + 0.02,
        };
        if is_wrong {
            wrong.push(format!("{share} of the traces are kept, not {}", case.share));
        }
        for (service, expected) in case.by_service {
            let (all, kept) = by_service[service];
            let share = kept as f64 / all as f64;
            if (share - expected).abs() > 0.05 {
                wrong.push(format!("{share} of {service}'s are kept, not {expected}"));
            }
        }
        if case.fault == Fault::None && case.mix.long == 0.0 && broken + stored.gaps.len() > 0 {
            wrong.push(format!("{broken} broken without faults, {} gaps", stored.gaps.len()));
        }
        if stored.twice > 0 {
            wrong.push(format!("{} spans twice", stored.twice));
        }
        let kept: Vec<&SpanId> =
            stored.links.keys().filter(|child| !stored.spans.contains(child)).collect();
        if !kept.is_empty() {
            wrong.push(format!("{} links of spans that are not there", kept.len()));
        }
        assert!(
            wrong.is_empty(),
            "{}: {} wrong: {:#?}",
            case.name,
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }
}
