//! Ingest: batches from the pipeline go through a bounded queue to one thread that writes them to
//! the store, at most [`FLUSH`] after they came. When the store refuses (a full disk), batches wait
//! within a bound; beyond it the oldest are dropped, counted, and told by a gap in the store once
//! it takes something again.

mod commit;

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_model::{Gap, GapCause, Missed, Span};
use deeptrace_store::{Batch, Store, StoreError};
use tokio::sync::broadcast;

pub use commit::NotTaken;
use commit::{Committing, Item};

use crate::clock;
use crate::metrics::Metrics;

/// After which what came is written.
const FLUSH: Duration = Duration::from_millis(250);
/// Spans after which what came is written at once.
const FLUSH_SPANS: usize = 4_096;
/// Batches between the pipeline and the writer.
const QUEUE_MAX: usize = 64;
/// Bytes of spans that wait while the store refuses.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Between two attempts while the store refuses: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Spans dropped in one go, and the rest after that.
const PIECE_SPANS: usize = 512;
const PIECE_REST: Duration = Duration::from_micros(200);
/// Memory of written spans that is kept to be used again: batches, and spans of one.
const ROOMS_MAX: usize = 2;
const ROOM_SPANS_MAX: usize = 2 * FLUSH_SPANS;
/// Batches that a live listener may be behind before it loses some.
const LIVE_MAX: usize = 64;

/// Where spans come in. Cloned, it is the same.
#[derive(Clone)]
pub struct Ingest {
    queue: SyncSender<Item>,
    shared: Arc<Shared>,
}

/// The thread that writes.
pub struct Writer {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    live: broadcast::Sender<Arc<Batch>>,
    metrics: Metrics,
    counts: Counts,
    /// What the queue could not take, until the writer puts it into the store.
    missed: Mutex<Missed>,
    error: Mutex<Option<String>>,
    /// Memory of spans that were written.
    rooms: Mutex<Vec<Vec<Span>>>,
    /// Nothing of worth comes any more: write what came, and end.
    is_ending: AtomicBool,
    /// Bytes of spans for whose commit somebody waits.
    committing: AtomicUsize,
}

#[derive(Default)]
struct Counts {
    /// Not taken at the door; taken and not written, both for whoever sent it to try again.
    refused: AtomicU64,
    returned: AtomicU64,
    received: AtomicU64,
    written: AtomicU64,
    links: AtomicU64,
    batches: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
}

impl Ingest {
    /// Starts the writer of `store`. If the agent is in this process and was away since the last
    /// heartbeat of this boot, that is written as a gap first: from that on, or from so long before as `agent`
    /// says that its spans may have waited in it.
    pub fn start(
        store: Arc<dyn Store>,
        agent: Option<Duration>,
    ) -> std::io::Result<(Self, Writer)> {
        let (queue, batches) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            live: broadcast::Sender::new(LIVE_MAX),
            metrics: Metrics::default(),
            counts: Counts::default(),
            missed: Mutex::default(),
            error: Mutex::default(),
            rooms: Mutex::default(),
            is_ending: AtomicBool::new(false),
            committing: AtomicUsize::new(0),
        });
        let mut work = Work {
            store,
            shared: Arc::clone(&shared),
            waiting: VecDeque::new(),
            committing: Committing::default(),
            missed: Missed::default(),
            is_gentle: agent.is_some(),
            retry: None,
        };
        if let Some(held) = agent {
            work.note_absence(held);
        }
        let thread = std::thread::Builder::new()
            .name("deeptrace-store".to_owned())
            .spawn(move || work.run(&batches))?;
        let writer = Writer { thread, shared: Arc::clone(&shared) };
        Ok((Self { queue, shared }, writer))
    }

    /// Takes a batch; never waits. What the queue cannot take is dropped, counted, and becomes a
    /// gap.
    pub fn send(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        self.shared.counts.received.fetch_add(batch.spans.len() as u64, Relaxed);
        let item = Item { batch, waits: None };
        if let Err(
            TrySendError::Full(Item { batch, .. }) | TrySendError::Disconnected(Item { batch, .. }),
        ) = self.queue.try_send(item)
        {
            self.shared.counts.dropped.fetch_add(batch.spans.len() as u64, Relaxed);
            self.shared.missed.lock().unwrap_or_else(PoisonError::into_inner).merge(missed(&batch));
        }
    }

    /// Takes a batch if there is room for it and the store works; else gives it back, for a caller who can
    /// try again. Never waits.
    pub fn offer(&self, batch: Batch) -> Result<(), Batch> {
        if self.error().is_some() {
            return Err(batch);
        }
        let spans = batch.spans.len() as u64;
        match self.queue.try_send(Item { batch, waits: None }) {
            Ok(()) => {
                self.shared.counts.received.fetch_add(spans, Relaxed);
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(item.batch),
        }
    }

    /// Memory of spans that were written, to be used again; empty.
    pub fn room(&self) -> Vec<Span> {
        self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Batches as they are written, from now on.
    pub fn live(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.shared.live.subscribe()
    }

    /// What was counted of the spans that were written.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Why the store refuses now; `None` while it does not.
    pub fn error(&self) -> Option<String> {
        self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let counts = &self.shared.counts;
        out("ingest_spans_total", counts.received.load(Relaxed));
        out("ingest_written_spans_total", counts.written.load(Relaxed));
        out("ingest_written_links_total", counts.links.load(Relaxed));
        out("ingest_batches_total", counts.batches.load(Relaxed));
        out("ingest_dropped_spans_total", counts.dropped.load(Relaxed));
        out(
            "ingest_refused_spans_total",
            counts.refused.load(Relaxed) + counts.returned.load(Relaxed),
        );
        out("ingest_store_errors_total", counts.failures.load(Relaxed));
        out("ingest_waiting_bytes", counts.waiting.load(Relaxed));
        out("live_listeners", self.shared.live.receiver_count() as u64);
    }
}

impl Writer {
    /// Waits until everything that came before is written, as far as the store takes it.
    pub fn finish(self) {
        self.shared.is_ending.store(true, Release);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes to the store has panicked");
        }
    }
}

/// What the thread works on.
struct Work {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    waiting: VecDeque<Batch>,
    /// What is to be committed at once, and who waits for it.
    committing: Committing,
    missed: Missed,
    /// Whether a watched application may be on the same processor.
    is_gentle: bool,
    /// While the store refuses: when to try again, and how long to wait then.
    retry: Option<(Instant, Duration)>,
}

impl Work {
    fn run(mut self, batches: &Receiver<Item>) {
        let mut collected = Batch::default();
        let mut flush_at = Instant::now() + FLUSH;
        let mut duties_at = Instant::now();
        loop {
            // Asked before the queue: what was sent before the end is in it by then.
            let is_ending = self.shared.is_ending.load(Acquire);
            let received = batches.recv_timeout(flush_at.saturating_duration_since(Instant::now()));
            let ended = match received {
                Ok(_) => false,
                Err(RecvTimeoutError::Timeout) => is_ending,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            match received {
                Ok(Item { batch, waits: None }) => join(&mut collected, batch),
                Ok(Item { batch, waits: Some(waits) }) => self.committing.push(batch, waits),
                Err(_) => {}
            }
            let is_full = collected.spans.len().max(self.committing.spans) >= FLUSH_SPANS;
            if ended || Instant::now() >= flush_at || is_full {
                self.commit();
                self.keep(std::mem::take(&mut collected));
                self.write(ended);
                flush_at = Instant::now() + FLUSH;
            }
            if ended {
                return;
            }
            if Instant::now() >= duties_at {
                duties_at = Instant::now() + self.duties();
            }
        }
    }

    /// Puts a batch behind those that wait, and drops the oldest beyond the bound.
    fn keep(&mut self, batch: Batch) {
        let dropped =
            std::mem::take(&mut *self.shared.missed.lock().unwrap_or_else(PoisonError::into_inner));
        self.missed.merge(dropped);
        if !batch.is_empty() {
            self.waiting.push_back(batch);
        }
        // Only what the store refused waits for long enough to be counted.
        if self.retry.is_none() {
            return;
        }
        let mut waiting: usize = self.waiting.iter().map(bytes).sum();
        while waiting > WAITING_BYTES_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            waiting -= bytes(&oldest);
            self.shared.counts.dropped.fetch_add(oldest.spans.len() as u64, Relaxed);
            self.missed.merge(missed(&oldest));
        }
        self.shared.counts.waiting.store(waiting as u64, Relaxed);
    }

    /// Writes what waits, the oldest first, as far as the store takes it.
    fn write(&mut self, is_last: bool) {
        if self.retry.is_some_and(|(at, _)| Instant::now() < at) && !is_last {
            return;
        }
        while let Some(mut batch) = self.waiting.pop_front() {
            let gap = self.missed.gap(GapCause::StoreFull);
            batch.gaps.extend(gap.clone());
            if let Err(error) = self.store.write(&batch) {
                if gap.is_some() {
                    batch.gaps.pop();
                }
                if matches!(error, StoreError::Unfit { .. }) {
                    // It will never be taken, and must not keep out what comes behind it.
                    tracing::error!(%error, spans = batch.spans.len(), "spans are dropped");
                    self.shared.counts.failures.fetch_add(1, Relaxed);
                    self.shared.counts.dropped.fetch_add(batch.spans.len() as u64, Relaxed);
                    self.missed.merge(missed(&batch));
                    continue;
                }
                self.waiting.push_front(batch);
                self.refused(&error.to_string());
                return;
            }
            if let Some(gap) = gap {
                batch.gaps.pop();
                tracing::warn!(spans = gap.events, "spans were dropped while the store refused");
            }
            self.missed = Missed::default();
            self.written(batch);
        }
        self.shared.counts.waiting.store(0, Relaxed);
    }

    fn refused(&mut self, error: &str) {
        self.shared.counts.failures.fetch_add(1, Relaxed);
        let wait = match self.retry {
            None => {
                tracing::error!(error, "the store refuses; trying again");
                RETRY.0
            }
            Some((_, wait)) => (wait * 2).min(RETRY.1),
        };
        self.retry = Some((Instant::now() + wait, wait));
        *self.shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    fn works_again(&mut self) {
        if self.retry.take().is_some() {
            tracing::info!("the store works again");
            *self.shared.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn written(&mut self, batch: Batch) {
        self.works_again();
        let counts = &self.shared.counts;
        counts.batches.fetch_add(1, Relaxed);
        counts.written.fetch_add(batch.spans.len() as u64, Relaxed);
        counts.links.fetch_add(batch.links.len() as u64, Relaxed);
        self.shared.metrics.add(&batch, Instant::now());
        if self.shared.live.receiver_count() > 0 {
            // Fails only when the last listener has just left.
            let _ = self.shared.live.send(Arc::new(batch));
            return;
        }
        let mut room = batch.spans;
        self.clear(&mut room);
        let mut rooms = self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() < ROOMS_MAX && room.capacity() <= ROOM_SPANS_MAX {
            rooms.push(room);
        }
    }

    /// Drops spans. Beside a watched application in pieces of some 50 µs, unless more is waiting than
    /// there is time for.
    fn clear(&self, spans: &mut Vec<Span>) {
        let counts = &self.shared.counts;
        let settled = counts.written.load(Relaxed)
            + counts.dropped.load(Relaxed)
            + counts.returned.load(Relaxed);
        let is_behind =
            counts.received.load(Relaxed).saturating_sub(settled) > 2 * FLUSH_SPANS as u64;
        while self.is_gentle && !is_behind && spans.len() > PIECE_SPANS {
            spans.truncate(spans.len() - PIECE_SPANS);
            std::thread::sleep(PIECE_REST);
        }
        spans.clear();
    }

    /// Heartbeat, retention and merging; returns after which they are due again.
    fn duties(&mut self) -> Duration {
        let now = clock::now();
        let maintained = self.store.heartbeat(now).and_then(|()| self.store.maintain(now));
        if maintained.is_ok() && self.waiting.is_empty() {
            // Nothing here would find out: whoever waits elsewhere is let in again.
            self.works_again();
        }
        match maintained {
            Ok(maintained) if maintained.more => FLUSH,
            Ok(_) => Duration::from_secs(1),
            Err(error) => {
                tracing::debug!(%error, "the store could not be maintained");
                RETRY.1
            }
        }
    }

    /// The agent was away between the last heartbeat of this boot and now.
    fn note_absence(&mut self, held: Duration) {
        let now = clock::now();
        let last = self.store.last_alive().ok().flatten();
        let Some(last) = last.filter(|last| *last >= clock::booted()) else { return };
        if now.since(last) > deeptrace_model::Duration::from_secs(2) {
            let cause = GapCause::AgentDown;
            let held = deeptrace_model::Duration(held.as_nanos() as u64);
            let gap = Gap { from: last.minus(held), to: now, cause, events: 0, bytes: 0 };
            self.keep(Batch { gaps: vec![gap], ..Batch::default() });
        }
    }
}

/// The spans of a batch, as dropped.
fn missed(batch: &Batch) -> Missed {
    let mut missed = Missed::default();
    batch.spans.iter().for_each(|span| missed.add(span));
    missed
}

fn join(all: &mut Batch, more: Batch) {
    if all.is_empty() {
        *all = more;
    } else {
        all.spans.extend(more.spans);
        all.links.extend(more.links);
        all.gaps.extend(more.gaps);
    }
}

/// What a batch takes in memory, roughly.
fn bytes(batch: &Batch) -> usize {
    batch.spans.iter().map(Span::memory).sum::<usize>()
        + size_of_val(batch.links.as_slice())
        + size_of_val(batch.gaps.as_slice())
}
