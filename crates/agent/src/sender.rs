//! The sender: finished batches to a server elsewhere. `send` hands a batch to a thread of its own and
//! never waits. The thread makes bytes of it (`deeptrace-wire`), keeps them until the server has
//! acknowledged them, in memory and, while the server is away, on disk, and sends several at once.
//!
//! What is dropped because the buffers are full is counted by cause, and a gap tells the server of it.

mod buffer;
mod erasing;
mod heartbeat;
mod keeping;
mod orders;
mod segments;
mod sending;
mod transport;
mod work;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use deeptrace_erase::Tombstone;
use deeptrace_http::Settings;
use deeptrace_model::{Missed, Span, WallTime};
use deeptrace_wire::{Ask, Found, Summary};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::sink::{Batch, Sink};
use buffer::Buffer;
pub use heartbeat::Teller;
pub use keeping::Keeping;
use orders::Polling;
use segments::Segments;
pub use sending::{Sending, Token};
use transport::Transport;
use work::Work;

/// Batches between the pipeline and the thread; the pipeline hands on four a second.
const QUEUE_MAX: usize = 64;
/// Tombstones on their way to the buffers; the poll waits for room.
const ERASING_MAX: usize = 16;
/// Threads for what waits: answers out of files, a change of the configuration.
const THREADS_MAX: usize = 2;

/// Where the pipeline puts its batches.
pub struct Sender {
    queue: mpsc::Sender<Batch>,
    shared: Arc<Shared>,
}

/// The running thread. It ends when the [`Sender`] is dropped.
pub struct Sends(JoinHandle<()>);

/// Why the sender cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The buffer on disk cannot be used.
    #[error("cannot use the buffer {}: {error}; set agents.sender.disk_buffer_path, or disk_buffer_size to 0", .folder.display())]
    Disk {
        /// Its folder.
        folder: std::path::PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// TLS, or a token, cannot be used.
    #[error("[agents.sender]: {0}")]
    Files(String),
    /// The system gives no thread or memory for it.
    #[error("cannot start the sender: {0}")]
    System(std::io::Error),
}

/// What is done for the server beside sending.
#[derive(Clone, Default)]
pub struct Doing {
    /// Takes configuration from it; `None`: that is not allowed.
    pub settings: Option<Arc<dyn Settings>>,
    /// Spans that stay here; `None`: all are sent.
    pub kept: Option<Arc<dyn Kept>>,
}

/// Spans that stay on this host. It is asked on threads that may wait.
pub trait Kept: Send + Sync {
    /// Answers a question of the server, in parts; the last one MUST say so.
    fn answer(&self, ask: &Ask, out: &mut dyn FnMut(Found));

    /// What is to be told of the spans that were finished since this was asked last, and whether there is
    /// more at once.
    fn summary(&self) -> (Summary, bool);

    /// Erases what `tombstone` covers, also from files; returns how many spans.
    fn erase(&self, tombstone: &Tombstone) -> Result<u64, String>;

    /// Start of the oldest span.
    fn oldest(&self) -> Option<WallTime>;
}

/// Starts to send; what an earlier process left on disk is sent first.
pub fn start(
    sending: &Sending,
    teller: Teller,
    doing: Doing,
) -> Result<(Sender, Sends), SenderError> {
    let folder = &sending.disk_path;
    let disk = (sending.disk_bytes > 0)
        .then(|| Segments::open(folder, sending.disk_bytes))
        .transpose()
        .map_err(|error| SenderError::Disk { folder: folder.clone(), error })?;
    let buffer = Buffer::new(sending.memory_bytes, disk);
    let shared = Arc::new(Shared::new(Transport::new(sending).map_err(SenderError::Files)?));
    let encoder =
        deeptrace_wire::Encoder::new(sending.is_compressing).map_err(SenderError::System)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        .build()
        .map_err(SenderError::System)?;
    let (queue, batches) = mpsc::channel(QUEUE_MAX);
    let (erase, erasing) = mpsc::channel(ERASING_MAX);
    let polling = Polling::new(teller.agent_id().to_owned(), Arc::clone(&shared), doing, erase);
    let work = Work::new(encoder, buffer, sending.clone(), teller, Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("deeptrace-send".to_owned())
        .spawn(move || {
            runtime.spawn(polling.run());
            runtime.block_on(work.run(batches, erasing));
            // What still answers a question need not be waited for.
            runtime.shutdown_background();
        })
        .map_err(SenderError::System)?;
    Ok((Sender { queue, shared }, Sends(thread)))
}

impl Sender {
    /// The way on which agents tell each other which traces are kept.
    pub fn keeping(&self) -> Keeping {
        self.shared.keeping.clone()
    }
}

impl Sends {
    /// Waits until what came before is acknowledged, or on disk, or dropped and counted.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that sends spans has panicked");
        }
    }
}

impl Sink for Sender {
    fn send(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) =
            self.queue.try_send(batch)
        {
            self.shared.counts.dropped_queue.fetch_add(batch.spans.len() as u64, Relaxed);
            let mut missed = Missed::default();
            batch.spans.iter().for_each(|span| missed.add(span));
            self.shared.missed(missed);
        }
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.shared.counts.tell(out);
        out("sender_dropped_keys_total", self.shared.keeping.dropped());
    }

    fn room(&mut self) -> Vec<Span> {
        self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

/// What the pipeline's thread and the sender's share.
struct Shared {
    counts: Counts,
    missed: Mutex<Missed>,
    /// Memory of spans that were encoded.
    rooms: Mutex<Vec<Vec<Span>>>,
    keeping: Keeping,
    /// The way to the server as it is now.
    transport: Mutex<Transport>,
    /// What became of the configuration that the server gave; `None`: there was none.
    config: Mutex<Option<Value>>,
    /// There is something to tell before the next heartbeat is due.
    news: Notify,
    /// Start of the oldest span that is here, nanoseconds since the Unix epoch; 0: there is none.
    oldest: AtomicU64,
}

impl Shared {
    fn new(transport: Transport) -> Self {
        Self {
            counts: Counts::default(),
            missed: Mutex::default(),
            rooms: Mutex::default(),
            keeping: Keeping::default(),
            transport: Mutex::new(transport),
            config: Mutex::default(),
            news: Notify::new(),
            oldest: AtomicU64::new(0),
        }
    }

    fn transport(&self) -> Transport {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn config(&self) -> MutexGuard<'_, Option<Value>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spans were dropped: the next batch that gets through tells of it.
    fn missed(&self, missed: Missed) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).merge(missed);
    }

    fn take_missed(&self) -> Missed {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        #[derive(Default)]
        struct Counts {
            $($(#[$doc])* $field: AtomicU64,)*
        }

        impl Counts {
            fn tell(&self, out: &mut dyn FnMut(&'static str, u64)) {
                $(out($name, self.$field.load(Relaxed));)*
            }
        }
    };
}

counts! {
    /// Spans that the server has acknowledged.
    acknowledged_spans: "sender_acknowledged_spans_total",
    acknowledged_batches: "sender_acknowledged_batches_total",
    /// Bytes of them as they were sent.
    acknowledged_bytes: "sender_acknowledged_bytes_total",
    /// Requests that failed and were made again.
    retries: "sender_retries_total",
    /// Spans dropped because the thread did not come along.
    dropped_queue: "sender_dropped_queue_spans_total",
    /// Spans dropped because both buffers were full: the oldest.
    dropped_full: "sender_dropped_full_spans_total",
    /// Spans in batches that the server will never take.
    dropped_refused: "sender_dropped_refused_spans_total",
    /// Spans that were left at the end without a buffer on disk.
    dropped_end: "sender_dropped_end_spans_total",
    /// Records too large to be sent.
    omitted: "sender_omitted_records_total",
    /// Ends of files on disk that were cut off, and could not be read.
    torn: "sender_torn_records_total",
    /// Orders of the server, and those that this version does not understand.
    orders: "sender_orders_total",
    orders_omitted: "sender_omitted_orders_total",
    /// Keys of kept traces that were told.
    published: "sender_published_keys_total",
    /// Questions that were answered, those that there was no room for, and bytes of the answers.
    answers: "sender_answers_total",
    dropped_questions: "sender_dropped_questions_total",
    answers_bytes: "sender_answers_bytes_total",
    /// Bytes of summaries that were told, and summaries that could not be.
    summaries_bytes: "sender_summaries_bytes_total",
    dropped_summaries: "sender_dropped_summaries_total",
    /// Spans that waited here and were erased.
    erased: "sender_erased_spans_total",
    /// Failures to write to the disk.
    disk_errors: "sender_disk_errors_total",
    /// Bytes that wait in memory.
    memory_bytes: "sender_memory_bytes",
    /// Bytes that wait on disk.
    disk_bytes: "sender_disk_bytes",
}

/// The spans of a batch, as dropped.
fn missed_of(head: &deeptrace_wire::Head) -> Missed {
    Missed { spans: head.spans.into(), from: head.from, to: head.to }
}
