//! Watcher: looks at the rules, keeps their state, and tells the receivers until they have taken it.
//!
//! A message is told at least once: its receiver is noted as told after it has answered, in the state
//! that whoever does this next reads. Between attempts at a receiver that does not answer more and more
//! time passes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use deeptrace_model::{Duration, WallTime, hash64};
use deeptrace_store::{Expected, Store, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::evaluate::{Known, evaluate};
use super::message::Message;
use super::rule::{AlertsConfig, Rule};
use super::state::{Phase, RuleState};
use super::webhook::Webhook;
use crate::clock;
use crate::lease::Lease;

/// Between two looks at the rules.
const EVERY: Duration = Duration::from_secs(15);
/// Between two steps of the thread.
const STEP: std::time::Duration = std::time::Duration::from_secs(1);
/// How long nobody looks when the server that does dies.
const TERM: std::time::Duration = std::time::Duration::from_secs(30);
/// Between two attempts at a receiver: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// After which a state is written although nothing happened, to show that somebody looks.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Rules and receivers as they are now; changes while we run.
#[derive(Debug, Default)]
pub struct Alerts(RwLock<Arc<AlertsConfig>>);

impl Alerts {
    /// With these.
    pub fn new(config: AlertsConfig) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// Those now.
    pub fn get(&self) -> Arc<AlertsConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// These from now on.
    pub fn set(&self, config: AlertsConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

/// Asked before each step, whether this server is the one that does it.
pub type May = Box<dyn FnMut(WallTime) -> bool + Send>;

/// One server at a time, by a lease of the store.
pub fn by_lease(store: Arc<dyn Store>) -> May {
    let mut lease = Lease::new(store, "alerts", TERM);
    let mut asked: Option<Instant> = None;
    Box::new(move |_| {
        let now = Instant::now();
        if asked.is_none_or(|asked| now.duration_since(asked) >= TERM / 4) {
            asked = Some(now);
            if let Err(error) = lease.hold(now) {
                tracing::debug!(%error, "the lease of the alerts cannot be asked for");
            }
        }
        lease.is_held(now)
    })
}

/// What works on the rules.
pub struct Watcher {
    store: Arc<dyn Store>,
    alerts: Arc<Alerts>,
    may: May,
    evaluate_at: WallTime,
    /// What is stored under a name, as this server has read or written it last.
    states: BTreeMap<String, Stored<RuleState>>,
    known: BTreeMap<String, Stored<Known>>,
    /// Attempts that failed, by receiver: one that does not answer holds everybody up once, not once for
    /// each rule.
    retries: BTreeMap<String, Retry>,
}

#[derive(Clone, Debug)]
struct Stored<T> {
    value: T,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    failures: u32,
    at: WallTime,
}

/// How a receiver does. One document of the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// When it took a message last, nanoseconds since the Unix epoch.
    pub delivered_unix_nano: Option<u64>,
    /// Attempts that failed since.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// Name of the document with the state of a rule.
pub(super) fn state_name(rule: &str) -> String {
    format!("alert/{rule}")
}

/// Name of the document that says how a receiver does.
pub(super) fn delivery_name(webhook: &str) -> String {
    format!("alert-webhook/{webhook}")
}

impl Watcher {
    /// Of these rules over this store; `may` says whether it is this server's turn.
    pub fn new(store: Arc<dyn Store>, alerts: Arc<Alerts>, may: May) -> Self {
        Self {
            store,
            alerts,
            may,
            evaluate_at: WallTime(0),
            states: BTreeMap::new(),
            known: BTreeMap::new(),
            retries: BTreeMap::new(),
        }
    }

    /// Starts a thread that steps once a second until `stop` turns true.
    pub fn start(mut self, stop: watch::Receiver<bool>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("deeptrace-alerts".to_owned()).spawn(move || {
            while !*stop.borrow() {
                self.step(clock::now());
                std::thread::sleep(STEP);
            }
        })
    }

    /// Looks at the rules if it is time, and tells who is to be told.
    pub fn step(&mut self, now: WallTime) {
        let config = self.alerts.get();
        if config.rules.is_empty() {
            return;
        }
        if !(self.may)(now) {
            // Another server changes them meanwhile.
            self.forget();
            return;
        }
        let is_time = now >= self.evaluate_at;
        if is_time {
            self.evaluate_at = now.plus(EVERY);
        }
        for rule in &config.rules {
            if let Err(error) = self.rule(&config, rule, is_time, now) {
                tracing::debug!(%error, rule = rule.name, "the state of a rule was not kept");
                self.states.remove(&rule.name);
                self.known.remove(&rule.name);
            }
        }
    }

    fn forget(&mut self) {
        self.states.clear();
        self.known.clear();
        self.retries.clear();
    }

    fn rule(
        &mut self,
        config: &AlertsConfig,
        rule: &Rule,
        is_time: bool,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let name = state_name(&rule.name);
        let stored = match self.states.remove(&rule.name) {
            Some(stored) => stored,
            None => read::<RuleState>(&*self.store, &name)?,
        };
        let mut state = stored.value.clone();
        if is_time {
            self.evaluate(config, rule, &mut state, now)?;
        }
        for webhook in config.receivers(rule) {
            self.tell(rule, webhook, &mut state, now);
        }
        let kept = if is_worth_writing(&stored.value, &state) {
            put(&*self.store, &name, state, stored.expected)?
        } else {
            Some(stored)
        };
        self.states.extend(kept.map(|kept| (rule.name.clone(), kept)));
        Ok(())
    }

    fn evaluate(
        &mut self,
        config: &AlertsConfig,
        rule: &Rule,
        state: &mut RuleState,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let name = format!("alert-known/{}", rule.name);
        let stored = match self.known.remove(&rule.name) {
            Some(stored) => stored,
            None => read::<Known>(&*self.store, &name)?,
        };
        let mut known = stored.value.clone();
        let found = match evaluate(&*self.store, rule, &mut known, now) {
            Ok(found) => found,
            Err(error) => {
                state.error = Some(error.to_string());
                state.evaluated_unix_nano = now.0;
                return Ok(());
            }
        };
        let kept = if known == stored.value {
            Some(stored)
        } else {
            put(&*self.store, &name, known, stored.expected)?
        };
        self.known.extend(kept.map(|kept| (rule.name.clone(), kept)));
        let receivers: Vec<&str> = config.receivers(rule).map(|it| it.name.as_str()).collect();
        state.take(found, rule.hold, &receivers, now);
        Ok(())
    }

    /// Tells a receiver what it is owed, if it is time.
    fn tell(&mut self, rule: &Rule, webhook: &Webhook, state: &mut RuleState, now: WallTime) {
        if !state.is_due(&webhook.name, webhook.group_wait, webhook.repeat_interval, now)
            || self.retries.get(&webhook.name).is_some_and(|retry| now < retry.at)
        {
            return;
        }
        let to_tell = state.to_tell(&webhook.name);
        let told: Vec<(String, Phase)> =
            to_tell.iter().map(|(key, it)| ((*key).to_owned(), it.phase)).collect();
        let message = Message::new(rule, &webhook.name, &to_tell, state.shed);
        // Plain structs with text keys become JSON.
        let Ok(body) = serde_json::to_vec(&message) else { return };
        // The same message has the same id, and one that says something else has another.
        let parts = webhook.name.bytes().chain(body.iter().copied()).map(u64::from);
        let outcome = webhook.post(hash64(&parts.collect::<Vec<_>>()), &body, now);
        if outcome.delivered {
            state.told(&webhook.name, &told, now);
            self.retries.remove(&webhook.name);
        } else {
            let retry = self.retries.entry(webhook.name.clone()).or_default();
            retry.failures += 1;
            retry.at = now.plus(wait(retry.failures, now));
            tracing::warn!(
                webhook = webhook.name,
                rule = rule.name,
                error = outcome.error,
                "a webhook was not delivered; trying again"
            );
        }
        self.note(webhook, outcome.delivered, outcome.error, now);
    }

    /// Keeps how a receiver does, for `GET /alerts`; what cannot be kept is only not shown.
    fn note(&self, webhook: &Webhook, delivered: bool, error: Option<String>, now: WallTime) {
        let name = delivery_name(&webhook.name);
        let noted = read::<Delivery>(&*self.store, &name).and_then(|stored| {
            let Delivery { delivered_unix_nano, failures, .. } = stored.value;
            let delivery = Delivery {
                delivered_unix_nano: if delivered { Some(now.0) } else { delivered_unix_nano },
                failures: if delivered { 0 } else { failures.saturating_add(1) },
                error,
            };
            put(&*self.store, &name, delivery, Expected::Any)
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "how a webhook went was not kept");
        }
    }
}

/// Twice as long each time, and up to a quarter more, so that servers do not come together.
fn wait(failures: u32, now: WallTime) -> Duration {
    let doubled = RETRY.0.0.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let wait = doubled.min(RETRY.1.0);
    Duration(wait + hash64(&[now.0]) % (wait / 4).max(1))
}

/// Whether more has changed than the time of the last look, or that is long ago.
fn is_worth_writing(before: &RuleState, after: &RuleState) -> bool {
    let looked = after.evaluated_unix_nano.saturating_sub(before.evaluated_unix_nano);
    let same_time = RuleState { evaluated_unix_nano: before.evaluated_unix_nano, ..after.clone() };
    looked >= TOLD_EVERY.0 || same_time != *before
}

/// What is stored under the name; what cannot be read is begun anew.
fn read<T: DeserializeOwned + Default>(
    store: &dyn Store,
    name: &str,
) -> Result<Stored<T>, StoreError> {
    let Some(document) = store.document(name)? else {
        return Ok(Stored { value: T::default(), expected: Expected::Absent });
    };
    let value = serde_json::from_slice(&document.body).unwrap_or_else(|error| {
        tracing::warn!(name, %error, "a state of alerts cannot be read; it begins anew");
        T::default()
    });
    Ok(Stored { value, expected: Expected::Version(document.version) })
}

/// Keeps it; `None` if another server has changed it meanwhile, so that it is to be read again.
fn put<T: Serialize>(
    store: &dyn Store,
    name: &str,
    value: T,
    expected: Expected,
) -> Result<Option<Stored<T>>, StoreError> {
    // Plain structs with text keys become JSON.
    let body = serde_json::to_vec(&value).unwrap_or_default();
    let version = store.put_document(name, Some(&body), expected)?;
    Ok(version.map(|version| Stored { value, expected: Expected::Version(version) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_up_to_a_bound() {
        let seconds = |failures| wait(failures, WallTime(7)).0 as f64 / 1e9;
        let expected = [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (u32::MAX, 300.0)];
        for (failures, least) in expected {
            let waited = seconds(failures);
            assert!((least..=least * 1.25).contains(&waited), "{failures}: {waited}");
        }
    }
}
