//! Commit: batches whose sender waits until they are in the store. The sender keeps them until then, so
//! they never wait here: what cannot be written now is given back.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::TrySendError;

use deeptrace_store::Batch;
use tokio::sync::oneshot;

use super::{Ingest, Work, bytes};

/// Bytes of spans that are to be committed at once.
const COMMITTING_BYTES_MAX: usize = 64 << 20;

/// Why a batch was not committed. Whoever sent it keeps it and tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// More came than is written.
    #[error("more comes than is written; try again in a second")]
    Busy,
    /// The store refuses, or the server is ending.
    #[error("the store refuses: {0}")]
    Refused(String),
}

/// A batch on its way to the writer, and who waits for its commit.
pub(super) struct Item {
    pub(super) batch: Batch,
    pub(super) waits: Option<Waits>,
}

/// Who waits for a commit; its bytes count until it is told.
pub(super) struct Waits {
    reply: oneshot::Sender<Result<(), NotTaken>>,
    bytes: usize,
}

impl Ingest {
    /// Takes a batch and waits until it is committed. What is not is nobody's here: whoever sent it
    /// keeps it.
    pub async fn commit(&self, batch: Batch) -> Result<(), NotTaken> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.error() {
            return Err(self.refuse(&batch, NotTaken::Refused(error)));
        }
        let bytes = bytes(&batch);
        let others = self.shared.committing.fetch_add(bytes, Relaxed);
        let (reply, committed) = oneshot::channel();
        let waits = Waits { reply, bytes };
        if others > 0 && others + bytes > COMMITTING_BYTES_MAX {
            self.shared.committing.fetch_sub(bytes, Relaxed);
            return Err(self.refuse(&batch, NotTaken::Busy));
        }
        let spans = batch.spans.len() as u64;
        if let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) =
            self.queue.try_send(Item { batch, waits: Some(waits) })
        {
            self.shared.committing.fetch_sub(bytes, Relaxed);
            return Err(self.refuse(&item.batch, NotTaken::Busy));
        }
        // What is refused at the door is never settled, and must not count as work that waits.
        self.shared.counts.received.fetch_add(spans, Relaxed);
        let ended = || NotTaken::Refused("the server is ending".to_owned());
        committed.await.unwrap_or_else(|_| Err(ended()))
    }

    fn refuse(&self, batch: &Batch, why: NotTaken) -> NotTaken {
        self.shared.counts.refused.fetch_add(batch.spans.len() as u64, Relaxed);
        why
    }
}

impl Work {
    /// Writes what somebody waits for, and tells them.
    pub(super) fn commit(&mut self) {
        let (batch, waiting) = std::mem::take(&mut self.committing);
        if waiting.is_empty() {
            return;
        }
        let spans = batch.spans.len() as u64;
        let result = self.store.write(&batch);
        let told = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(NotTaken::Refused(error.to_string())),
        };
        match result {
            Ok(()) => self.written(batch),
            Err(error) => {
                self.shared.counts.returned.fetch_add(spans, Relaxed);
                self.refused(&error.to_string());
            }
        }
        for Waits { reply, bytes } in waiting {
            self.shared.committing.fetch_sub(bytes, Relaxed);
            // Whoever waited may have given up.
            let _ = reply.send(told.clone());
        }
    }
}
