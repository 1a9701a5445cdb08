//! Work: what the sender's thread does. Batches in, requests out, and what follows from the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use deeptrace_erase::{Tombstone, strip};
use deeptrace_model::{GapCause, Span};
use deeptrace_wire::{Encoder, MEDIA_TYPE};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::buffer::{Buffer, Parcel};
use super::heartbeat::Teller;
use super::transport::{Outcome, Transport};
use super::{Sending, Shared, erasing, missed_of};
use crate::sink::Batch;

/// Requests at once.
const IN_FLIGHT_MAX: usize = 4;
/// Between two attempts: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Without an answer for so long, what is under way is put on disk as well: a network that swallows
/// packets is noticed by pings only after ten seconds.
const STALLED: Duration = Duration::from_secs(1);
/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How soon the server is told that capture was turned on or off.
const SOON: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the server.
const END: Duration = Duration::from_secs(3);
/// Memory of spans that is kept to be used again: batches, and spans of one.
const ROOMS_MAX: usize = 2;
const ROOM_SPANS_MAX: usize = 8_192;
/// Tombstones that what comes is held against: spans that started before one come within minutes.
const TOMBSTONES_MAX: usize = 64;

pub struct Work {
    encoder: Encoder,
    buffer: Buffer,
    sending: Sending,
    teller: Teller,
    shared: Arc<Shared>,
    /// What is to be erased of what comes.
    tombstones: VecDeque<Tombstone>,
    requests: JoinSet<Outcome>,
    /// The heartbeat that is under way.
    telling: Option<JoinHandle<()>>,
    /// Whether capture was on when the server was last told.
    told_capturing: bool,
    /// What each request carries.
    in_flight: HashMap<Id, Parcel>,
    failures: u32,
    retry_at: Instant,
    /// When the last answer came, or the first of the requests under way was made.
    heard_at: Instant,
    /// Whether what is under way is on disk as well.
    has_stalled: bool,
}

impl Work {
    pub fn new(
        encoder: Encoder,
        buffer: Buffer,
        sending: Sending,
        teller: Teller,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            encoder,
            buffer,
            sending,
            teller,
            shared,
            tombstones: VecDeque::new(),
            telling: None,
            told_capturing: false,
            requests: JoinSet::new(),
            in_flight: HashMap::new(),
            failures: 0,
            retry_at: Instant::now(),
            heard_at: Instant::now(),
            has_stalled: false,
        }
    }

    /// Until the pipeline has ended, and a little longer for what is left.
    pub async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        mut erasing: mpsc::Receiver<Tombstone>,
    ) {
        let mut beats = interval(HEARTBEAT);
        let mut looks = interval(SOON);
        for ticks in [&mut beats, &mut looks] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let shared = Arc::clone(&self.shared);
        loop {
            self.launch();
            self.report();
            tokio::select! {
                _ = beats.tick() => self.tell(),
                _ = looks.tick() => {
                    if self.teller.is_capturing() != self.told_capturing {
                        self.tell();
                    }
                }
                () = shared.news.notified() => self.tell(),
                batch = batches.recv() => match batch {
                    Some(batch) => self.take(batch),
                    None => break,
                },
                Some(tombstone) = erasing.recv() => self.erase(tombstone),
                Some(ended) = self.requests.join_next_with_id() => self.ended(ended),
                () = sleep_until(self.retry_at), if self.is_retrying() => {}
                () = sleep_until(self.heard_at + STALLED), if self.is_waiting() => {
                    self.buffer.stalled(self.in_flight.values());
                    self.dropped();
                    self.has_stalled = true;
                }
            }
        }
        self.end().await;
    }

    /// Sends as many as may be under way: one, while the server is away.
    fn launch(&mut self) {
        let (most, is_waiting) = match self.failures {
            0 => (IN_FLIGHT_MAX, false),
            _ => (1, Instant::now() < self.retry_at),
        };
        while !is_waiting && self.requests.len() < most {
            let Some(parcel) = self.buffer.next() else { return };
            let (transport, bytes) = (self.shared.transport(), parcel.bytes.clone());
            let request = async move { transport.post("/spans", MEDIA_TYPE, bytes).await };
            if self.in_flight.is_empty() {
                (self.heard_at, self.has_stalled) = (Instant::now(), false);
            }
            let id = self.requests.spawn(request).id();
            self.in_flight.insert(id, parcel);
        }
    }

    /// Tells the server that we are there, unless it is still being told. One that is lost is followed
    /// by the next.
    fn tell(&mut self) {
        if self.telling.as_ref().is_some_and(|telling| !telling.is_finished()) {
            return;
        }
        self.told_capturing = self.teller.is_capturing();
        self.telling = Some(tokio::spawn(self.heartbeat()));
    }

    /// Tells the server how we are now.
    fn heartbeat(&self) -> impl Future<Output = ()> + use<> {
        let config = self.shared.config().clone();
        let keeps_spans = self.sending.keeps_spans;
        let told = self.teller.tell(self.buffer.oldest(), config, keeps_spans).to_string();
        let transport = self.shared.transport();
        async move {
            match transport.post("/agents", "application/json", told.into()).await {
                Outcome::Done => {}
                Outcome::Later(why, _) | Outcome::Never(why) => {
                    tracing::debug!(why, "the server did not take a heartbeat");
                }
            }
        }
    }

    /// Whether an answer is missed that nothing was done about yet.
    fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty() && !self.has_stalled
    }

    /// Whether the only thing to do is to try again.
    fn is_retrying(&self) -> bool {
        self.failures > 0 && self.requests.is_empty() && !self.buffer.is_empty()
    }

    fn take(&mut self, batch: Batch) {
        let Batch { mut spans, mut links, gaps, .. } = batch;
        let is_gone = |span: &Span| self.tombstones.iter().any(|it| it.covers(span));
        let erased = strip(&mut spans, &mut links, is_gone);
        self.shared.counts.erased.fetch_add(erased, Relaxed);
        let buffer = &mut self.buffer;
        let omitted = self.encoder.encode(&spans, &links, &gaps, &mut |one| buffer.push(one));
        self.shared.counts.omitted.fetch_add(omitted as u64, Relaxed);
        self.dropped();
        spans.clear();
        let mut rooms = self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() < ROOMS_MAX && spans.capacity() <= ROOM_SPANS_MAX {
            rooms.push(spans);
        }
    }

    /// Takes what a tombstone covers out of everything that waits. What is under way comes to a server that
    /// knows the tombstone.
    fn erase(&mut self, tombstone: Tombstone) {
        let Self { encoder, buffer, in_flight, .. } = self;
        let mut erased = 0;
        let mut left = |bytes: &[u8]| erasing::without(bytes, &tombstone, encoder, &mut erased);
        in_flight.values_mut().for_each(|parcel| buffer.reduce(parcel, &mut left));
        if let Err(error) = buffer.erase(&mut left) {
            tracing::error!(%error, "what is to be erased may still be in the buffer on disk");
        }
        self.shared.counts.erased.fetch_add(erased, Relaxed);
        if self.tombstones.len() >= TOMBSTONES_MAX {
            self.tombstones.pop_front();
        }
        self.tombstones.push_back(tombstone);
    }

    /// A request has ended; one that panicked is made again.
    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Outcome::Later(error.to_string(), None)),
        };
        (self.heard_at, self.has_stalled) = (Instant::now(), false);
        if let Some(parcel) = self.in_flight.remove(&id) {
            self.answered(parcel, outcome);
        }
    }

    fn answered(&mut self, parcel: Parcel, outcome: Outcome) {
        let counts = &self.shared.counts;
        match outcome {
            Outcome::Done => {
                counts.acknowledged_batches.fetch_add(1, Relaxed);
                counts.acknowledged_spans.fetch_add(parcel.head.spans.into(), Relaxed);
                counts.acknowledged_bytes.fetch_add(parcel.bytes.len() as u64, Relaxed);
                self.buffer.done(&parcel);
                self.is_back();
            }
            Outcome::Never(why) => {
                tracing::warn!(
                    why,
                    spans = parcel.head.spans,
                    "the server refuses a batch for good"
                );
                counts.dropped_refused.fetch_add(parcel.head.spans.into(), Relaxed);
                self.shared.missed(missed_of(&parcel.head));
                self.buffer.done(&parcel);
                self.is_back();
            }
            Outcome::Later(why, after) => {
                counts.retries.fetch_add(1, Relaxed);
                self.buffer.failed(parcel);
                self.dropped();
                self.is_away(&why, after);
            }
        }
    }

    fn is_back(&mut self) {
        if self.failures > 0 {
            tracing::info!("the server takes spans again");
        }
        self.failures = 0;
        self.buffer.is_back();
        // Told only now, because what is told while nobody hears may be dropped as well.
        self.tell_missed();
    }

    fn tell_missed(&mut self) {
        if let Some(gap) = self.shared.take_missed().gap(GapCause::BufferFull) {
            tracing::warn!(spans = gap.events, "spans were dropped");
            let buffer = &mut self.buffer;
            self.encoder.encode(&[], &[], &[gap], &mut |one| buffer.push(one));
        }
    }

    fn is_away(&mut self, why: &str, after: Option<Duration>) {
        if self.failures == 0 {
            tracing::warn!(why, "the server takes no spans; they are kept and sent later");
        }
        // Of several that were under way when it went, the first counts.
        if self.failures > 0 && Instant::now() < self.retry_at {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let wait =
            RETRY.0.saturating_mul(1 << self.failures.min(16).saturating_sub(1)).min(RETRY.1);
        let wait = wait.mul_f64(0.5 + fastrand::f64()).max(after.unwrap_or_default());
        self.retry_at = Instant::now() + wait;
        // Certificates and token may have been renewed; files that cannot be read leave the old ones.
        match Transport::new(&self.sending) {
            Ok(transport) => {
                let mut now = self.shared.transport.lock().unwrap_or_else(PoisonError::into_inner);
                *now = transport;
            }
            Err(error) => tracing::warn!(error, "[agents.sender]"),
        }
    }

    /// Counts what the buffer could not keep.
    fn dropped(&mut self) {
        let missed = self.buffer.take_dropped();
        self.shared.counts.dropped_full.fetch_add(missed.spans, Relaxed);
        self.shared.missed(missed);
    }

    fn report(&self) {
        let counts = &self.shared.counts;
        let [memory, disk, errors, torn] = self.buffer.sizes();
        let oldest = self.buffer.oldest().map_or(0, |oldest| oldest.0);
        self.shared.oldest.store(oldest, Relaxed);
        counts.memory_bytes.store(memory, Relaxed);
        counts.disk_bytes.store(disk, Relaxed);
        counts.disk_errors.store(errors, Relaxed);
        counts.torn.store(torn, Relaxed);
    }

    /// Sends what is left, as far as the server takes it in time; the rest goes to disk.
    async fn end(&mut self) {
        let end = Instant::now() + END;
        while self.failures == 0 && !(self.buffer.is_empty() && self.requests.is_empty()) {
            self.launch();
            match timeout_at(end, self.requests.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) | Err(_) => break,
            }
        }
        // Who stops in good order is away only from then on. One that is under way would come after it.
        if self.failures == 0 {
            self.telling.take().inspect(JoinHandle::abort);
            let _ = timeout_at(end, self.heartbeat()).await;
        }
        // What is under way may arrive or not: it is kept, and sent again at the next start.
        self.requests.abort_all();
        self.in_flight.drain().for_each(|(_, parcel)| self.buffer.failed(parcel));
        self.tell_missed();
        let left = self.buffer.close();
        self.shared.counts.dropped_end.fetch_add(left.spans, Relaxed);
        if left.spans > 0 {
            tracing::warn!(spans = left.spans, "spans were left, and there is no buffer on disk");
        }
        self.report();
    }
}
