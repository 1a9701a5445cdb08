//! Capturing: the thread that owns live capture and the pipeline. It polls, never waits for anybody,
//! and steps down when the agent uses more than it may.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_capture::live::{Hook, Live};
use deeptrace_capture::{Progress, Source, SourceError, host};
use deeptrace_model::{Clock, ConnectionId, Demand, Event, EventBody, EvidenceKind};
use deeptrace_protocol::Handler;

use crate::config::Config;
use crate::control::{Ask, Orders};
use crate::limits::{Governor, Meter, Step};
use crate::live;
use crate::pipeline::{Options, Pipeline};
use crate::sampling::{Relay, Sampler};
use crate::sink::{Batch, Sink};
use crate::status::Status;

/// How long to rest when there is nothing: at first, and after a while of nothing.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(10);
/// How long to rest between two batches although more is there, at most and at least; see [`Pace`].
const PAUSE_MAX: Duration = Duration::from_micros(800);
const PAUSE_MIN: Duration = Duration::from_micros(50);
/// How often the stages may give up on what waits.
const TICK: Duration = Duration::from_millis(100);
/// How often the batch is handed on, and at which size at once.
const FLUSH: Duration = Duration::from_millis(250);
const FLUSH_SPANS: usize = 4096;
/// How often counters are told and the own use is looked at.
const REPORT: Duration = Duration::from_secs(1);
/// Connections that are refused while stepped down all the way; more are followed.
const REFUSED_MAX: usize = 65_536;
/// Bytes copied of a call: by default, which is what heads of HTTP need, and where a protocol asks for
/// everything.
const BYTES: (u32, u32) = (1024, 16_384);
/// The same when stepped down once, and further.
const BYTES_LESS: (u32, u32) = (256, 512);
const BYTES_LEAST: (u32, u32) = (64, 64);

/// The running thread.
pub struct Capturing {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    hook: Hook,
}

/// What the thread needs.
pub struct Parts {
    /// Questions of the API.
    pub orders: Orders,
    /// What the API shows.
    pub status: Arc<Status>,
    /// Where finished spans go.
    pub sink: Box<dyn Sink>,
    /// The way to the other agents.
    pub relay: Box<dyn Relay>,
    /// Protocols beside those of the table.
    pub handlers: Vec<Handler>,
}

impl Capturing {
    /// Starts capture; fails if the kernel does not allow it, leaving nothing behind.
    pub fn start(config: &Config, own_ports: Vec<u16>, parts: Parts) -> Result<Self, SourceError> {
        let config = config.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (ready, opened) = mpsc::channel();
        let failed = |problem: String| SourceError::Kernel {
            problem,
            remedy: "see that the process may start threads".into(),
        };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            // Live capture stays on the thread that opened it.
            let live = live::options(&config, own_ports).and_then(Live::open);
            match live {
                Ok(live) => {
                    let _ = ready.send(Ok(live.hook()));
                    Loop::new(live, &config, parts).run(&stopping);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
        let thread = thread.map_err(|error| failed(format!("cannot start a thread ({error})")))?;
        let hook = opened.recv().map_err(|_| failed("capture ended early".into()))??;
        Ok(Self { thread: Some(thread), stop, hook })
    }

    /// Where in the kernel calls are seen.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Detaches, hands on what is finished, and waits for the end of the thread.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

struct Loop {
    live: Live,
    pipeline: Pipeline,
    status: Arc<Status>,
    orders: Orders,
    sink: Box<dyn Sink>,
    sampler: Sampler,
    governor: Governor,
    meter: Meter,
    batch: Batch,
    demands: Vec<Demand>,
    refused: BTreeSet<ConnectionId>,
    refused_events: u64,
    config: Config,
}

impl Loop {
    fn new(live: Live, config: &Config, parts: Parts) -> Self {
        let Parts { orders, status, sink, relay, handlers } = parts;
        status.capturing(true, live.hook().as_str(), host::clock_now().wall);
        let options = Options {
            max_payload_size: config.max_payload_size as usize,
            correlation: config.correlation,
            handlers,
            rules: config.redaction.clone(),
        };
        let mut pipeline = Pipeline::new(options);
        pipeline.set_unwanted(unwanted(config));
        let sampler = Sampler::new(config.sampling.clone(), config.correlation.link_wait, relay);
        status.held(config.sampling.held());
        Self {
            live,
            pipeline,
            status,
            orders,
            sink,
            sampler,
            governor: Governor::new(config.budget, Meter::processors()),
            meter: Meter::default(),
            batch: Batch::default(),
            demands: Vec::new(),
            refused: BTreeSet::new(),
            refused_events: 0,
            config: config.clone(),
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        let (mut ticked, mut flushed, mut reported) =
            (Instant::now(), Instant::now(), Instant::now());
        let mut rest = REST_MIN;
        let mut pace = Pace::default();
        while !stop.load(Ordering::Relaxed) {
            let (progress, busy) = match self.poll() {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "capture has ended");
                    break;
                }
            };
            let now = Instant::now();
            if now.duration_since(ticked) >= TICK {
                ticked = now;
                self.tick();
            }
            let full = self.batch.spans.len() >= FLUSH_SPANS;
            if full || now.duration_since(flushed) >= FLUSH {
                flushed = now;
                self.flush();
            }
            if now.duration_since(reported) >= REPORT {
                reported = now;
                self.report();
            }
            while let Some(order) = self.orders.try_next() {
                order.answer_with(|ask| self.answer(ask));
            }
            rest = if busy { REST_MIN } else { (rest * 2).min(REST_MAX) };
            match (progress, pace.after(progress)) {
                (Progress::Idle, pause) => std::thread::sleep(if busy { pause } else { rest }),
                (_, pause) if pause >= PAUSE_MIN => std::thread::sleep(pause),
                _ => {}
            }
        }
        self.status.capturing(false, self.live.hook().as_str(), host::clock_now().wall);
        self.tick();
        self.flush();
        self.sampler.end(&mut self.batch, host::clock_now());
        self.status.held(deeptrace_model::Duration(0));
        self.hand_on();
    }

    /// Takes a batch of events through the stages. The flag: there were some.
    fn poll(&mut self) -> Result<(Progress, bool), SourceError> {
        let Self { live, pipeline, batch, demands, refused, refused_events, governor, .. } = self;
        let refusing = governor.step() == Step::FewerConnections;
        let mut events = 0u64;
        let progress = live.poll(&mut |event| {
            events += 1;
            if (refusing || !refused.is_empty()) && is_refused(event, refusing, refused) {
                *refused_events += 1;
                return;
            }
            pipeline.feed(event, batch, &mut |demand| demands.push(demand));
        })?;
        self.pipeline.settle(&mut self.batch);
        for demand in self.demands.drain(..) {
            self.live.demand(demand);
        }
        let Self { live, pipeline, .. } = self;
        pipeline.follows(&mut |ask| live.follow(ask));
        Ok((progress, events > 0))
    }

    fn tick(&mut self) {
        let Self { live, pipeline, batch, .. } = self;
        pipeline.tick(host::boot_time_now(), batch, &mut |demand| live.demand(demand));
    }

    fn flush(&mut self) {
        self.status.spans(&self.batch.spans);
        let clock = if self.sampler.keeps_all() { Clock::default() } else { host::clock_now() };
        self.sampler.pass(&mut self.batch, clock);
        self.hand_on();
    }

    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut spans = self.sink.room();
        // Room that grew step by step would be copied at each.
        spans.reserve(self.batch.spans.len());
        let next = Batch { spans, ..Batch::default() };
        self.sink.send(std::mem::replace(&mut self.batch, next));
    }

    fn report(&mut self) {
        let Self { live, pipeline, refused_events, status, sink, sampler, .. } = self;
        status.count(|out| {
            live.counters(out);
            pipeline.counters(out);
            sampler.counters(out);
            sink.counters(out);
            out("agent_refused_events_total", *refused_events);
        });
        // Without /proc there is nothing to govern by; `doctor` says so.
        let Ok(sample) = self.meter.sample() else { return };
        let change = self.governor.observe(sample);
        self.status.used(self.governor.cpu_share(), sample.memory_bytes);
        if let Some(change) = change {
            tracing::info!(to = change.to.as_str(), "step");
            self.status.stepped(change);
            self.step(change.to);
        }
    }

    fn step(&mut self, step: Step) {
        let (default, max) = match step {
            Step::Full => BYTES,
            Step::LessPayload => BYTES_LESS,
            Step::Metadata | Step::FewerConnections => BYTES_LEAST,
        };
        if let Err(error) = self.live.set_bytes(default, max) {
            tracing::warn!(%error, "cannot change what is copied");
        }
        if step != Step::FewerConnections {
            self.refused.clear();
        }
    }

    fn answer(
        &mut self,
        ask: &Ask,
    ) -> Result<crate::control::Answer, crate::control::ControlError> {
        let answer = live::answer(&mut self.live, ask)?;
        match ask {
            Ask::Capture(is_on) => {
                let now = host::clock_now().wall;
                self.status.capturing(*is_on, self.live.hook().as_str(), now);
            }
            Ask::Apply(config) => {
                self.pipeline.set_correlation(config.correlation);
                self.pipeline.set_unwanted(unwanted(config));
                self.pipeline.set_rules(&config.redaction);
                self.pipeline.set_max_payload_size(config.max_payload_size as usize);
                self.governor.set_budget(config.budget);
                let (sampling, link_wait) = (&config.sampling, config.correlation.link_wait);
                self.sampler.set(sampling, link_wait, host::clock_now(), &mut self.batch);
                self.status.held(config.sampling.held());
                self.config = (**config).clone();
            }
            _ => {}
        }
        Ok(answer)
    }
}

/// Kinds of evidence that are made of socket calls alone, and switched off.
fn unwanted(config: &Config) -> Vec<EvidenceKind> {
    let kinds = [
        ("thread", EvidenceKind::Pin),
        ("thread", EvidenceKind::Thread),
        ("turns", EvidenceKind::Turn),
    ];
    kinds
        .into_iter()
        .filter(|(name, _)| config.evidence.is_off(name))
        .map(|(_, kind)| kind)
        .collect()
}

/// How long to rest between two batches.
///
/// A request on the same processor waits for the batch that is being worked off, so batches are
/// small, and there is a pause between them: as long as the ring buffer is emptied all the same. The
/// pause grows slowly while batches empty it and is halved when one does not, as windows of TCP are
/// (RFC 5681 §3.1).
#[derive(Debug)]
struct Pace {
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { pause: PAUSE_MAX }
    }
}

impl Pace {
    fn after(&mut self, progress: Progress) -> Duration {
        self.pause = match progress {
            Progress::Idle => (self.pause + PAUSE_MIN).min(PAUSE_MAX),
            _ => self.pause / 2,
        };
        self.pause
    }
}

/// Whether an event belongs to a connection that is not followed: one that was opened while there was
/// no room for more.
fn is_refused(event: &Event<'_>, refusing: bool, refused: &mut BTreeSet<ConnectionId>) -> bool {
    match &event.body {
        EventBody::Open(open) if refusing && refused.len() < REFUSED_MAX => {
            refused.insert(open.connection)
        }
        EventBody::Call(call) => refused.contains(&call.connection),
        EventBody::Plaintext(plain) => refused.contains(&plain.call.connection),
        EventBody::Close(close) => refused.remove(&close.connection),
        _ => false,
    }
}
