//! The sender: finished batches to a server elsewhere. `send` hands a batch to a thread of its own and
//! never waits. The thread makes bytes of it (`deeptrace-wire`), keeps them until the server has
//! acknowledged them, in memory and, while the server is away, on disk, and sends several at once.
//!
//! What is dropped because the buffers are full is counted by cause, and a gap tells the server of it.

mod buffer;
mod heartbeat;
mod segments;
mod sending;
mod transport;
mod work;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use deeptrace_model::{Missed, Span};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::sink::{Batch, Sink};
use buffer::Buffer;
pub use heartbeat::Teller;
use segments::Segments;
pub use sending::{Sending, Token};
use transport::Transport;
use work::Work;

/// Batches between the pipeline and the thread; the pipeline hands on four a second.
const QUEUE_MAX: usize = 64;

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

/// Starts to send; what an earlier process left on disk is sent first.
pub fn start(sending: &Sending, teller: Teller) -> Result<(Sender, Sends), SenderError> {
    let shared = Arc::new(Shared::default());
    let folder = &sending.disk_path;
    let disk = (sending.disk_bytes > 0)
        .then(|| Segments::open(folder, sending.disk_bytes))
        .transpose()
        .map_err(|error| SenderError::Disk { folder: folder.clone(), error })?;
    let buffer = Buffer::new(sending.memory_bytes, disk);
    let transport = Transport::new(sending).map_err(SenderError::Files)?;
    let encoder =
        deeptrace_wire::Encoder::new(sending.is_compressing).map_err(SenderError::System)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SenderError::System)?;
    let (queue, batches) = mpsc::channel(QUEUE_MAX);
    let work = Work::new(encoder, buffer, transport, sending.clone(), teller, Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("deeptrace-send".to_owned())
        .spawn(move || runtime.block_on(work.run(batches)))
        .map_err(SenderError::System)?;
    Ok((Sender { queue, shared }, Sends(thread)))
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
    }

    fn room(&mut self) -> Vec<Span> {
        self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

/// What the pipeline's thread and the sender's share.
#[derive(Default)]
struct Shared {
    counts: Counts,
    missed: Mutex<Missed>,
    /// Memory of spans that were encoded.
    rooms: Mutex<Vec<Vec<Span>>>,
}

impl Shared {
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
