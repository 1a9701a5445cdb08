//! Way: where the agent's spans go, and what it tells other agents.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use deeptrace_agent::sampling::{Alone, Reach, Relay};
use deeptrace_agent::sender::{self, Doing, Sending, Sends, Teller};
use deeptrace_agent::sink::{self, Sink};
use deeptrace_http::Settings;
use deeptrace_server::duties::Guarded;
use deeptrace_server::kept::Kept;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_server::{clock, orders};
use deeptrace_store::Mode;

use super::{Doors, Opened};
use crate::config::Loaded;
use crate::kept::{Answering, Keeping};

/// Where finished spans go, and what agents tell each other of those that are kept.
pub struct Way {
    /// Where spans go.
    pub sink: Box<dyn Sink>,
    /// The other agents.
    pub relay: Box<dyn Relay>,
}

/// To the store of this process, to a server elsewhere, to a store that such a server asks, or to nowhere;
/// with the sender, and the writer of the spans that stay here.
pub fn way(
    loaded: &Loaded,
    opened: Option<&Opened>,
    doors: &Doors,
    teller: Teller,
    settings: &Arc<dyn Settings>,
) -> Result<(Way, Option<Sends>, Option<Writer>)> {
    match (opened, &loaded.agent.sender) {
        (Some(opened), sending) => {
            if doors.agent.is_some() && sending.is_some() {
                tracing::info!("agents.sender: not used, because the store is in this process");
            }
            let sink = Box::new(ToStore(opened.ingest.clone()));
            let relay = Box::new(Here(opened.orders.local()));
            Ok((Way { sink, relay }, None, None))
        }
        (None, Some(sending)) => {
            let settings = sending.accepts_config.then(|| Arc::clone(settings));
            let doing = Doing { settings, kept: None };
            if sending.keeps_spans {
                return keeping(loaded, sending, &doors.data_dir, teller, doing);
            }
            let (sender, sends) = sender::start(sending, teller, doing)?;
            tracing::info!(server = sending.url, "sending");
            let relay = Box::new(sender.keeping());
            Ok((Way { sink: Box::new(sender), relay }, Some(sends), None))
        }
        (None, None) => Ok((Way { sink: Box::new(Latest), relay: Box::new(Alone) }, None, None)),
    }
}

/// Spans stay here, in the embedded store within the bounds of `[storage]`.
fn keeping(
    loaded: &Loaded,
    sending: &Sending,
    data_dir: &Path,
    teller: Teller,
    doing: Doing,
) -> Result<(Way, Option<Sends>, Option<Writer>)> {
    let mut options = loaded.server.store_options(data_dir);
    options.is_gentle = true;
    let store = deeptrace_store::open("embedded", &options, Mode::Write)
        .context("cannot open the store of the spans that stay here")?;
    let store = Arc::new(Guarded::new(store).context("cannot read what was erased")?);
    let held = std::time::Duration::from_nanos(loaded.agent.sampling.held().0);
    let (ingest, writer) = Ingest::start(Arc::clone(&store) as _, Some(held))
        .context("cannot start the writer of the store")?;
    let kept = Arc::new(Kept::new(store, clock::now()));
    let answering: Arc<dyn sender::Kept> = Arc::new(Answering(Arc::clone(&kept)));
    let doing = Doing { kept: Some(answering), ..doing };
    let (sender, sends) = sender::start(sending, teller, doing)?;
    tracing::info!(server = sending.url, "spans stay here, and the server asks for them");
    let relay = Box::new(sender.keeping());
    let sink = Box::new(Keeping::new(kept, ingest, sender));
    Ok((Way { sink, relay }, Some(sends), Some(writer)))
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
struct Latest;

impl Sink for Latest {
    fn send(&mut self, _: sink::Batch) {}
}
