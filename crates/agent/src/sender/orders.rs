//! Orders: what the server has for this agent. One poll is open all the time, on the connection over
//! which spans are sent; the server answers it as soon as there is something.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deeptrace_erase::Tombstone;
use deeptrace_wire::{
    ANSWERS_MEDIA_TYPE, Answer, Ask, Configuration, KEYS_MAX, Order, Orders, Place, decode_orders,
    encode_answers,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::keeping::INTERVAL;
use super::transport::Outcome;
use super::{Doing, Shared};

/// Between two polls when one has failed: first and longest.
/// Longer, and agents that sample would not hear each other although the server is back.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// Questions that are being answered or wait for it, at most.
const QUESTIONS_MAX: usize = 64;
/// Between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);
/// Summaries that wait while the server is away, at most: an hour of them.
const SUMMARIES_MAX: usize = 360;
/// What of an agent's configuration its server may change: what takes effect without a restart, and
/// nothing that says where spans go.
const MAY_CHANGE: &[&str] =
    &["agents.trace", "agents.capture", "agents.limits", "correlation", "services"];

/// Polls, and does what comes.
pub struct Polling {
    agent_id: String,
    shared: Arc<Shared>,
    doing: Doing,
    /// What is to be erased from the buffers.
    erasing: mpsc::Sender<Tombstone>,
    /// Places for questions.
    answering: Arc<Semaphore>,
}

impl Polling {
    pub fn new(
        agent_id: String,
        shared: Arc<Shared>,
        doing: Doing,
        erasing: mpsc::Sender<Tombstone>,
    ) -> Self {
        let answering = Arc::new(Semaphore::new(QUESTIONS_MAX));
        Self { agent_id, shared, doing, erasing, answering }
    }

    /// Until the sender ends.
    pub async fn run(self) {
        let publishing = publish(self.agent_id.clone(), Arc::clone(&self.shared));
        tokio::join!(self.poll(), publishing, self.summarise());
    }

    async fn poll(&self) {
        let (mut place, mut failures) = (Place::default(), 0_u32);
        // The first time, and after a failure, it wants to know at once whether it is heard.
        let mut is_heard = false;
        loop {
            // Only where the server does not know us it matters what we have.
            let is_new = place == Place::default() || failures > 0;
            let oldest = if is_new { self.oldest().await } else { None };
            let oldest = oldest.map_or(String::new(), |it| format!("&oldest_unix_nano={it}"));
            let Place { epoch, last } = place;
            let wait = if is_heard { "" } else { "&wait_ms=0" };
            let id = &self.agent_id;
            let path = format!("/agents/{id}/orders?epoch={epoch}&after={last}{oldest}{wait}");
            let polled = self.shared.transport().get(&path).await;
            is_heard = polled.is_ok();
            let why = match polled.map(|body| decode_orders(&body)) {
                Ok(Ok(orders)) => {
                    self.shared.keeping.polled(true, has_missed(place, &orders));
                    (place, failures) = (orders.place, 0);
                    self.shared.counts.orders.fetch_add(orders.orders.len() as u64, Relaxed);
                    self.shared.counts.orders_omitted.fetch_add(orders.omitted as u64, Relaxed);
                    for order in orders.orders {
                        self.take(order).await;
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(Outcome::Later(why, _) | Outcome::Never(why)) => why,
                Err(Outcome::Done) => continue,
            };
            self.shared.keeping.polled(false, false);
            if failures == 0 {
                tracing::debug!(why, "the server is not heard");
            }
            failures = failures.saturating_add(1);
            let wait = RETRY.0.saturating_mul(1 << failures.min(8).saturating_sub(1)).min(RETRY.1);
            sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Start of the oldest span that waits or stays here.
    async fn oldest(&self) -> Option<u64> {
        let waiting = Some(self.shared.oldest.load(Relaxed)).filter(|oldest| *oldest > 0);
        let kept = match self.doing.kept.clone() {
            Some(kept) => tokio::task::spawn_blocking(move || kept.oldest()).await.ok().flatten(),
            None => None,
        };
        waiting.into_iter().chain(kept.map(|oldest| oldest.0)).min()
    }

    async fn take(&self, order: Order) {
        match order {
            Order::Keep(keys) => self.shared.keeping.hear(keys),
            Order::Config(config) => self.configure(config).await,
            Order::Erase(tombstone) => match serde_json::from_slice(&tombstone) {
                Ok(tombstone) => self.erase(tombstone).await,
                Err(error) => {
                    tracing::error!(%error, "a tombstone of the server cannot be read");
                    self.shared.counts.orders_omitted.fetch_add(1, Relaxed);
                }
            },
            Order::Ask(ask) => self.answer(ask),
        }
    }

    /// Answers on another thread, if there are not too many questions already.
    fn answer(&self, ask: Ask) {
        let Some(kept) = self.doing.kept.clone() else {
            self.shared.counts.orders_omitted.fetch_add(1, Relaxed);
            return;
        };
        let Ok(place) = Arc::clone(&self.answering).try_acquire_owned() else {
            self.shared.counts.dropped_questions.fetch_add(1, Relaxed);
            return;
        };
        let (shared, agent_id) = (Arc::clone(&self.shared), self.agent_id.clone());
        tokio::spawn(async move {
            let find = move || {
                let mut parts = Vec::new();
                kept.answer(&ask, &mut |part| parts.push(part));
                parts
            };
            for part in tokio::task::spawn_blocking(find).await.unwrap_or_default() {
                // Who asks waits for seconds only; what is late is not worth another attempt.
                match shared.answer(&agent_id, Answer::Found(part)).await {
                    None => {}
                    Some((Outcome::Done, bytes)) => {
                        shared.counts.answers_bytes.fetch_add(bytes, Relaxed);
                    }
                    Some((Outcome::Later(why, _) | Outcome::Never(why), _)) => {
                        tracing::debug!(why, "an answer was not taken");
                        return;
                    }
                }
            }
            shared.counts.answers.fetch_add(1, Relaxed);
            drop(place);
        });
    }

    /// Erases from the buffers, and from what stays here.
    async fn erase(&self, tombstone: Tombstone) {
        if let Some(kept) = self.doing.kept.clone() {
            let tombstone = tombstone.clone();
            let erased = tokio::task::spawn_blocking(move || kept.erase(&tombstone)).await;
            match erased.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(spans) => _ = self.shared.counts.erased.fetch_add(spans, Relaxed),
                Err(error) => tracing::error!(error, "what is to be erased may still be kept here"),
            }
        }
        // At the end nobody takes it any more; the next start is told again.
        let _ = self.erasing.send(tombstone).await;
    }

    /// Tells every ten seconds what was finished. What cannot be told waits, within a bound.
    async fn summarise(&self) {
        let Some(kept) = self.doing.kept.clone() else { return };
        let mut ticks = interval(SUMMARY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut waiting, counts) = (VecDeque::new(), &self.shared.counts);
        loop {
            ticks.tick().await;
            let mut is_more = true;
            while is_more {
                let summary;
                (summary, is_more) = kept.summary();
                waiting.push_back(summary);
                if waiting.len() > SUMMARIES_MAX {
                    // The server finds out by their numbers.
                    waiting.pop_front();
                    counts.dropped_summaries.fetch_add(1, Relaxed);
                }
            }
            while let Some(summary) = waiting.pop_front() {
                let answer = Answer::Summary(summary.clone());
                match self.shared.answer(&self.agent_id, answer).await {
                    None => _ = counts.dropped_summaries.fetch_add(1, Relaxed),
                    Some((Outcome::Done, bytes)) => {
                        counts.summaries_bytes.fetch_add(bytes, Relaxed);
                    }
                    Some((Outcome::Never(why), _)) => {
                        tracing::warn!(why, "the server refuses a summary");
                        counts.dropped_summaries.fetch_add(1, Relaxed);
                    }
                    Some((Outcome::Later(why, _), _)) => {
                        tracing::debug!(why, "summaries wait");
                        waiting.push_front(summary);
                        break;
                    }
                }
            }
        }
    }

    /// Puts the server's configuration into effect as `PUT /config` does; what came of it is told in a
    /// heartbeat.
    async fn configure(&self, config: Configuration) {
        let Some(settings) = self.doing.settings.clone() else { return };
        let generation = config.generation;
        if self.shared.config().as_ref().is_some_and(|told| told["generation"] == generation) {
            return;
        }
        let change = move || {
            let changes = allowed(&config.changes)?;
            settings.update(changes)
        };
        let changed = tokio::task::spawn_blocking(change).await;
        let told = match changed.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(applied) => {
                tracing::info!(generation, "the server has changed the configuration");
                let (applied, needs_restart) = (applied.applied, applied.needs_restart);
                json!({"generation": generation, "applied": applied, "needs_restart": needs_restart})
            }
            Err(error) => {
                tracing::warn!(generation, error, "the configuration of the server is refused");
                json!({"generation": generation, "error": error})
            }
        };
        *self.shared.config() = Some(told);
        self.shared.news.notify_one();
    }
}

/// Whether the server had more for this agent since `before` than `orders`: its numbers have no holes, but it has
/// room for so many only, and another process begins anew.
fn has_missed(before: Place, orders: &Orders) -> bool {
    let came = (orders.orders.len() + orders.omitted) as u64;
    let is_next = orders.place.last == before.last.saturating_add(came);
    before.epoch != 0 && !(before.epoch == orders.place.epoch && is_next)
}

/// The changes, if they are such as the server may make.
fn allowed(text: &str) -> Result<Value, String> {
    let changes: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let refused = |key: &str| {
        let may = MAY_CHANGE.join(", ");
        Err(format!("`{key}` is not for the server to change; it may change what lies in {may}"))
    };
    let Some(tables) = changes.as_object() else { return refused("the whole") };
    for (name, table) in tables {
        if MAY_CHANGE.contains(&name.as_str()) {
            continue;
        }
        let below = table.as_object().filter(|_| name == "agents");
        let Some(below) = below else { return refused(name) };
        for key in below.keys().map(|key| format!("{name}.{key}")) {
            if !MAY_CHANGE.contains(&key.as_str()) {
                return refused(&key);
            }
        }
    }
    Ok(changes)
}

/// Sends what is published, in small batches. What cannot be sent is tried again with what comes.
async fn publish(agent_id: String, shared: Arc<Shared>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let keys = shared.keeping.take(KEYS_MAX);
        if keys.is_empty() {
            continue;
        }
        match shared.answer(&agent_id, Answer::Kept(keys.clone())).await {
            None => {}
            Some((Outcome::Done, _)) => {
                shared.counts.published.fetch_add(keys.len() as u64, Relaxed);
            }
            Some((Outcome::Later(why, after), _)) => {
                tracing::debug!(why, "which traces are kept cannot be told now");
                shared.keeping.give_back(keys);
                sleep(after.unwrap_or(RETRY.0)).await;
            }
            Some((Outcome::Never(why), _)) => {
                tracing::warn!(why, "the server refuses which traces are kept");
            }
        }
    }
}

impl Shared {
    /// Says something to the server; what came of it, and its bytes. `None`: it is too large to be sent.
    async fn answer(&self, agent_id: &str, answer: Answer) -> Option<(Outcome, u64)> {
        let body = encode_answers(&[answer])?;
        let bytes = body.len() as u64;
        let path = format!("/agents/{agent_id}/answers");
        let outcome = self.transport().post(&path, ANSWERS_MEDIA_TYPE, body.into()).await;
        Some((outcome, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_the_numbers_and_another_server_are_seen() {
        let orders = |epoch, last, came: usize| Orders {
            place: Place { epoch, last },
            orders: vec![Order::Keep(Vec::new()); came],
            omitted: 0,
        };
        let before = Place { epoch: 7, last: 10 };
        for (before, now, is_missed) in [
            (Place::default(), orders(7, 3, 3), false),
            (before, orders(7, 10, 0), false),
            (before, orders(7, 13, 3), false),
            (before, orders(7, 15, 3), true),
            (before, orders(7, 2, 2), true),
            (before, orders(8, 2, 2), true),
        ] {
            assert_eq!(has_missed(before, &now), is_missed, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_server_may_change_what_is_captured_and_nothing_else() {
        for (changes, is_allowed) in [
            (r#"{"agents": {"trace": {"sampling_rate": 0.1}, "capture": {}}}"#, true),
            (r#"{"correlation": {"window_size": 500}, "services": []}"#, true),
            (r#"{"agents": {"trace": {}, "sender": {"server_url": "http://evil"}}}"#, false),
            (r#"{"server": {"port": 1}}"#, false),
            (r#"{"agents": 1}"#, false),
            ("[]", false),
            ("{", false),
        ] {
            assert_eq!(allowed(changes).is_ok(), is_allowed, "{changes}");
        }
    }
}
