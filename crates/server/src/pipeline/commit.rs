//! Commit: batches whose sender waits until they are in the store. The sender keeps them until then, so
//! they never wait here: what cannot be written now is given back.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::TrySendError;

use deeptrace_store::{Batch, StoreError};
use tokio::sync::oneshot;

use super::{Ingest, Work, bytes, join};

/// Bytes of spans that are to be committed at once.
const COMMITTING_BYTES_MAX: usize = 64 << 20;

/// Why a batch was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// More came than is written.
    #[error("more comes than is written; try again in a second")]
    Busy,
    /// The store refuses, or the server is ending. Whoever sent it keeps it and tries again.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// The store will never take it.
    #[error("the store will never take this: {0}")]
    Never(String),
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

/// Batches that are to be committed at once.
#[derive(Default)]
pub(super) struct Committing {
    items: Vec<(Batch, Waits)>,
    pub(super) spans: usize,
}

impl Committing {
    pub(super) fn push(&mut self, batch: Batch, waits: Waits) {
        self.spans += batch.spans.len();
        self.items.push((batch, waits));
    }
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
    /// Writes what somebody waits for, in one go, and tells them. Where the store will never take it, each
    /// batch is written by itself, so that one of them does not keep out the others.
    pub(super) fn commit(&mut self) {
        let Committing { items, .. } = std::mem::take(&mut self.committing);
        let (parts, waiting): (Vec<Batch>, Vec<Waits>) = items.into_iter().unzip();
        let count = waiting.len();
        if count == 0 {
            return;
        }
        let sizes: Vec<[usize; 3]> = parts.iter().map(sizes).collect();
        let mut whole = Batch::default();
        parts.into_iter().for_each(|part| join(&mut whole, part));
        let results = match self.store.write(&whole) {
            Err(StoreError::Unfit { .. }) if count > 1 => {
                split(whole, &sizes).map(|part| self.commit_one(part)).collect()
            }
            result => vec![self.settle(whole, result); count],
        };
        for (Waits { reply, bytes }, told) in waiting.into_iter().zip(results) {
            self.shared.committing.fetch_sub(bytes, Relaxed);
            // Whoever waited may have given up.
            let _ = reply.send(told);
        }
    }

    fn commit_one(&mut self, batch: Batch) -> Result<(), NotTaken> {
        let result = self.store.write(&batch);
        self.settle(batch, result)
    }

    /// Counts what came of a write, and says what its senders are told.
    fn settle(&mut self, batch: Batch, result: Result<(), StoreError>) -> Result<(), NotTaken> {
        let error = match result {
            Ok(()) => {
                self.written(batch);
                return Ok(());
            }
            Err(error) => error,
        };
        self.shared.counts.returned.fetch_add(batch.spans.len() as u64, Relaxed);
        if matches!(error, StoreError::Unfit { .. }) {
            tracing::error!(%error, spans = batch.spans.len(), "the store will never take this");
            self.shared.counts.failures.fetch_add(1, Relaxed);
            return Err(NotTaken::Never(error.to_string()));
        }
        self.refused(&error.to_string());
        Err(NotTaken::Refused(error.to_string()))
    }
}

fn sizes(batch: &Batch) -> [usize; 3] {
    [batch.spans.len(), batch.links.len(), batch.gaps.len()]
}

/// What was joined, in parts of these sizes.
fn split(whole: Batch, sizes: &[[usize; 3]]) -> impl Iterator<Item = Batch> {
    let Batch { spans, links, gaps } = whole;
    let (mut spans, mut links, mut gaps) = (spans.into_iter(), links.into_iter(), gaps.into_iter());
    sizes.iter().map(move |&[of_spans, of_links, of_gaps]| Batch {
        spans: spans.by_ref().take(of_spans).collect(),
        links: links.by_ref().take(of_links).collect(),
        gaps: gaps.by_ref().take(of_gaps).collect(),
    })
}
