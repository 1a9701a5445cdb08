//! Kept: where finished spans go when they stay on the host of their agent: into a store of its own, whose
//! contents the sender tells the server of, and out of which it answers.

use std::sync::Arc;

use deeptrace_agent::sender::{self, Sender};
use deeptrace_agent::sink::{Batch, Sink};
use deeptrace_erase::Tombstone;
use deeptrace_model::{Span, WallTime};
use deeptrace_server::kept::Kept;
use deeptrace_server::pipeline::Ingest;
use deeptrace_wire::{Ask, Found, Summary};

/// What the sender asks of the spans that stay.
pub struct Answering(pub Arc<Kept>);

impl sender::Kept for Answering {
    fn answer(&self, ask: &Ask, out: &mut dyn FnMut(Found)) {
        self.0.answer(ask, out);
    }

    fn summary(&self) -> (Summary, bool) {
        self.0.summary()
    }

    fn erase(&self, tombstone: &Tombstone) -> Result<u64, String> {
        self.0.erase(tombstone.clone()).map_err(|error| error.to_string())
    }

    fn oldest(&self) -> Option<WallTime> {
        self.0.oldest()
    }
}

/// Spans and links stay, gaps are sent: they are few, and whoever asks must hear of them also when this
/// host is away.
pub struct Keeping {
    kept: Arc<Kept>,
    ingest: Ingest,
    sender: Sender,
}

impl Keeping {
    /// Into the store of `kept`, whose writer is that of `ingest`.
    pub fn new(kept: Arc<Kept>, ingest: Ingest, sender: Sender) -> Self {
        Self { kept, ingest, sender }
    }
}

impl Sink for Keeping {
    fn send(&mut self, batch: Batch) {
        let Batch { spans, links, gaps, .. } = batch;
        self.sender.send(Batch { gaps, ..Batch::default() });
        self.kept.gather(&spans);
        self.ingest.send(deeptrace_store::Batch { spans, links, gaps: Vec::new() });
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.sender.counters(out);
        self.ingest.counters(out);
    }

    fn room(&mut self) -> Vec<Span> {
        self.ingest.room()
    }
}
