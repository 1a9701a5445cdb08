//! Way: where the agent's spans go, and what it tells other agents.

use std::sync::Arc;

use anyhow::Result;
use deeptrace_agent::sampling::{Alone, Reach, Relay};
use deeptrace_agent::sender::{self, Doing, Sends, Teller};
use deeptrace_agent::sink::{self, Sink};
use deeptrace_http::Settings;
use deeptrace_server::orders;
use deeptrace_server::pipeline::Ingest;

use super::Opened;
use crate::config::Loaded;

/// Where finished spans go, and what agents tell each other of those that are kept.
pub struct Way {
    /// Where spans go.
    pub sink: Box<dyn Sink>,
    /// The other agents.
    pub relay: Box<dyn Relay>,
}

/// To the store of this process, to a server elsewhere, or to nowhere.
pub fn way(
    loaded: &Loaded,
    opened: Option<&Opened>,
    has_agent: bool,
    teller: Teller,
    settings: &Arc<dyn Settings>,
) -> Result<(Way, Option<Sends>)> {
    match (opened, &loaded.agent.sender) {
        (Some(opened), sending) => {
            if has_agent && sending.is_some() {
                tracing::info!("agents.sender: not used, because the store is in this process");
            }
            let sink = Box::new(ToStore(opened.ingest.clone()));
            let relay = Box::new(Here(opened.orders.local()));
            Ok((Way { sink, relay }, None))
        }
        (None, Some(sending)) => {
            let settings = sending.accepts_config.then(|| Arc::clone(settings));
            let (sender, sends) = sender::start(sending, teller, Doing { settings })?;
            tracing::info!(server = sending.url, "sending");
            let relay = Box::new(sender.keeping());
            Ok((Way { sink: Box::new(sender), relay }, Some(sends)))
        }
        (None, None) => Ok((Way { sink: Box::new(Kept), relay: Box::new(Alone) }, None)),
    }
}

/// The store of the same process.
struct ToStore(Ingest);

impl Sink for ToStore {
    fn send(&mut self, batch: sink::Batch) {
        let sink::Batch { spans, links, gaps, .. } = batch;
        self.0.send(deeptrace_store::Batch { spans, links, gaps });
    }

    fn room(&mut self) -> Vec<deeptrace_model::Span> {
        self.0.room()
    }
}

/// The agents that send to this process, for the one in it.
struct Here(orders::Local);

impl Relay for Here {
    fn publish(&mut self, keys: &[u64]) {
        self.0.publish(keys);
    }

    fn receive(&mut self, out: &mut dyn FnMut(u64)) -> Reach {
        let has_missed = self.0.received(out);
        if self.0.has_others() { Reach::Joined { has_missed } } else { Reach::Alone }
    }
}

/// `agent run` alone: the latest spans stay in [`Status`], for whoever asks the API.
struct Kept;

impl Sink for Kept {
    fn send(&mut self, _: sink::Batch) {}
}
