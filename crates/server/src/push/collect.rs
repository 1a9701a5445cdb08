//! Collect: traces that are settled, each with those of its spans that were not pushed before.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use deeptrace_export::otlp::resources;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::Push;
use crate::api::Api;
use crate::live::{assemble, ended};
use crate::settling::Settling;

/// Between two looks at what is settled.
const PACE: Duration = Duration::from_millis(100);
/// Spans that are looked at then, so that what comes meanwhile is not missed.
const LOOKS_MAX: usize = 256;

pub(super) async fn run(push: Push, api: Api) {
    let mut live = api.ingest.live();
    let mut stop = api.stop.clone();
    let mut settling = Settling::for_export();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let counts = &push.0.counts;
    loop {
        tokio::select! {
            batch = live.recv() => match batch {
                Ok(batch) => {
                    let left_out = settling.add(&batch, Instant::now());
                    counts.unsettled.fetch_add(left_out as u64, Relaxed);
                }
                Err(RecvError::Lagged(batches)) => {
                    counts.missed.fetch_add(batches, Relaxed);
                }
                Err(RecvError::Closed) => return,
            },
            _ = pace.tick() => {
                for key in settling.all_due(Instant::now(), LOOKS_MAX) {
                    if !settling.is_waiting(key) {
                        continue;
                    }
                    let trace = assemble(&api, key.1).await;
                    let new = settling.look(key, trace.as_ref(), Instant::now());
                    if let (Some(new), Some(mut trace)) = (new, trace) {
                        trace.spans.retain(|it| new.contains(&it.span.id));
                        if !trace.spans.is_empty() {
                            push.add(trace.spans.len(), resources(trace.id, &trace.spans));
                        }
                    }
                }
            }
            () = ended(&mut stop) => return,
        }
    }
}
