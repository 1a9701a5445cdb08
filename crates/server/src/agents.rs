//! `/agents`: who sends. Each agent tells every ten seconds that it is there and how it is; what it
//! told last is a document in the store, so that any server over it answers.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body, Params};
use deeptrace_model::{Duration, Gap, GapCause, WallTime};
use deeptrace_store::{Batch, Expected, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::{Api, blocking};
use crate::{answers, clock};

/// Names of the documents begin with it; the id of the agent follows.
const PREFIX: &str = "agent/";
/// Between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(10);
/// Without one for so long an agent is lost.
const LOST: Duration = Duration::from_secs(30);
/// After which a lost agent is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Agents of one store.
const AGENTS_MAX: usize = 10_000;
/// The longest that an agent may say it holds spans: somewhat more than the longest `sampling_wait_ms`.
const HELD_MAX_MS: u64 = 660_000;
/// Bytes of an id.
const ID_MAX: usize = 64;
const PAGE_MAX: usize = 1_000;

/// What an agent tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The same after every start on this host with this data folder.
    pub agent_id: String,
    /// `host.name`.
    pub host_name: String,
    /// Of the program.
    pub version: String,
    /// Hash of the boot id, 16 hex digits.
    pub boot_id: String,
    /// When the agent started, by its clock.
    pub started_unix_nano: u64,
    /// When capture was first on since then, by its clock; absent: it was not yet.
    #[serde(default)]
    pub capturing_unix_nano: Option<u64>,
    /// Since when capture is off, by its clock; absent: it is on, or was never.
    #[serde(default)]
    pub stopped_unix_nano: Option<u64>,
    /// Now, by its clock.
    pub sent_unix_nano: u64,
    /// Start of the oldest span that waits to be sent; absent: none waits.
    #[serde(default)]
    pub oldest_waiting_unix_nano: Option<u64>,
    /// How it is: what its `/status` says.
    #[serde(default)]
    pub status: Map<String, Value>,
    /// What it counted since its start.
    #[serde(default)]
    pub counters: Map<String, Value>,
    /// What it sees: services with their spans.
    #[serde(default)]
    pub services: Vec<Value>,
    /// Whether its spans stay with it, to be asked for.
    #[serde(default)]
    pub keeps_spans: bool,
    /// What it did with the configuration that it got from here; absent: it accepts none, or got none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
}

/// What the server says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Milliseconds until the next heartbeat.
    pub interval_ms: u64,
}

/// How an agent is, as far as the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It captures.
    Ok,
    /// It runs, and does not capture.
    Stopped,
    /// It was not heard of for 30 s.
    Lost,
}

/// An agent in the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// How it is.
    pub state: Health,
    /// When it was heard of last, by the server's clock.
    pub last_seen_unix_nano: u64,
    /// By how much its clock is ahead of the server's; the way of the heartbeat is in it.
    pub clock_ahead_ns: i64,
    /// How old the oldest span is that it has not handed over yet.
    pub lag_ns: u64,
    /// Spans that it dropped since its start.
    pub dropped_span_count: u64,
    /// What it told.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
}

/// `GET /agents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agents {
    /// By id.
    pub agents: Vec<Agent>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
struct Seen {
    last_seen: u64,
    heartbeat: Heartbeat,
    /// It was away, and has come again, but did not capture yet.
    #[serde(default)]
    is_blind: bool,
}

/// Hosts of the agents that are remembered, each with when it was heard of last.
pub(crate) fn last_seen(store: &dyn Store) -> Result<Vec<(String, WallTime)>, StoreError> {
    let known = store.documents(PREFIX, None, AGENTS_MAX)?;
    let seen = known.iter().filter_map(|it| serde_json::from_slice::<Seen>(&it.body).ok());
    Ok(seen.map(|seen| (seen.heartbeat.host_name, WallTime(seen.last_seen))).collect())
}

/// Tells `take` of each agent that keeps its spans: id, host and when it was heard of last.
pub(crate) fn each_keeper(
    store: &dyn Store,
    take: &mut dyn FnMut(&str, &str, WallTime),
) -> Result<(), StoreError> {
    for document in store.documents(PREFIX, None, AGENTS_MAX)? {
        let seen: Option<Seen> = serde_json::from_slice(&document.body).ok();
        if let Some(Seen { last_seen, heartbeat, .. }) =
            seen.filter(|seen| seen.heartbeat.keeps_spans)
        {
            take(&heartbeat.agent_id, &heartbeat.host_name, WallTime(last_seen));
        }
    }
    Ok(())
}

/// The routes.
pub fn routes() -> Router<Api> {
    Router::new().route("/agents", post(hear).get(list))
}

async fn hear(
    State(api): State<Api>,
    Body(heartbeat): Body<Heartbeat>,
) -> Result<Json<Welcome>, ApiError> {
    check_id(&heartbeat.agent_id)?;
    if heartbeat.keeps_spans {
        api.orders.directory().heard(&heartbeat.agent_id, &heartbeat.host_name, clock::now());
    }
    let store = std::sync::Arc::clone(&api.store);
    let absence = blocking(move || note(&*store, heartbeat, clock::now())).await?;
    if let Some(gap) = absence {
        let batch = Batch { gaps: vec![gap], ..Batch::default() };
        // The heartbeat is stored; who comes again would not be told of the absence any more.
        if let Err(error) = api.ingest.commit(batch).await {
            tracing::warn!(%error, "the absence of an agent was not stored");
        }
    }
    Ok(Json(Welcome { interval_ms: INTERVAL.0 / 1_000_000 }))
}

/// Refuses what is no id of an agent: it becomes part of the names of documents.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !id.is_empty() && id.len() <= ID_MAX && id.chars().all(is_id) {
        true => Ok(()),
        false => Err(ApiError::invalid("agent_id is at most 64 letters, digits and `-`")),
    }
}

/// Stores a heartbeat. Returns the time in which nobody watched the agent's host, where it is new.
fn note(store: &dyn Store, heartbeat: Heartbeat, now: WallTime) -> Result<Option<Gap>, ApiError> {
    let name = format!("{PREFIX}{}", heartbeat.agent_id);
    let known = store.document(&name).map_err(answers::failed)?;
    let known: Option<Seen> = known.and_then(|known| serde_json::from_slice(&known.body).ok());
    if known.is_none() && !is_room(store, now)? {
        return Err(ApiError::too_many("this server has as many agents as it can have", 60));
    }
    let absence = known.and_then(|known| absence(&known, &heartbeat, now));
    let is_blind = absence.is_some() && heartbeat.capturing_unix_nano.is_none();
    let seen = Seen { last_seen: now.0, heartbeat, is_blind };
    let body = serde_json::to_vec(&seen).map_err(ApiError::internal)?;
    store.put_document(&name, Some(&body), Expected::Any).map_err(answers::failed)?;
    Ok(absence)
}

/// From when it was heard of last, or had stopped before, until it captured again, on the server's clock, or until
/// now where it does not yet. A host that booted meanwhile had nothing that could be missed.
fn absence(known: &Seen, heartbeat: &Heartbeat, now: WallTime) -> Option<Gap> {
    let before = &known.heartbeat;
    let is_new = heartbeat.started_unix_nano > before.started_unix_nano;
    if before.boot_id != heartbeat.boot_id || !(is_new || known.is_blind) {
        return None;
    }
    let here = |at: u64| now.minus(Duration(heartbeat.sent_unix_nano.saturating_sub(at)));
    let (last, started) = (WallTime(known.last_seen), here(heartbeat.started_unix_nano));
    if is_new && started <= last {
        return None;
    }
    // What it held for sampling is gone as well.
    let stopped = before.stopped_unix_nano.map(|at| before.sent_unix_nano.saturating_sub(at));
    let last = last.minus(Duration(stopped.unwrap_or_default()));
    let held = before.status.get("held_ms").and_then(Value::as_u64).unwrap_or_default();
    let held = Duration::from_millis(if is_new { held.min(HELD_MAX_MS) } else { 0 });
    let to = heartbeat.capturing_unix_nano.map_or(now, here);
    Some(Gap { from: last.minus(held), to, cause: GapCause::AgentDown, events: 0, bytes: 0 })
}

/// Whether one more agent can be remembered; forgets those that were lost long ago.
fn is_room(store: &dyn Store, now: WallTime) -> Result<bool, ApiError> {
    let known = store.documents(PREFIX, None, AGENTS_MAX).map_err(answers::failed)?;
    let mut count = known.len();
    for document in known {
        let seen: Option<Seen> = serde_json::from_slice(&document.body).ok();
        if seen.is_none_or(|seen| now.since(WallTime(seen.last_seen)) > FORGOTTEN) {
            let expected = Expected::Version(document.version);
            let removed = store.put_document(&document.name, None, expected);
            count -= usize::from(removed.map_err(answers::failed)?.is_some());
        }
    }
    Ok(count < AGENTS_MAX)
}

/// A page of the list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    limit: usize,
    cursor: String,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 100, cursor: String::new() }
    }
}

async fn list(
    State(api): State<Api>,
    Params(Page { limit, cursor }): Params<Page>,
) -> Result<Json<Agents>, ApiError> {
    let limit = answers::limit(Some(limit), PAGE_MAX, PAGE_MAX)?;
    blocking(move || page(&*api.store, limit, &cursor, clock::now())).await.map(Json)
}

fn page(store: &dyn Store, limit: usize, cursor: &str, now: WallTime) -> Result<Agents, ApiError> {
    let after = (!cursor.is_empty()).then(|| format!("{PREFIX}{cursor}"));
    let found = store.documents(PREFIX, after.as_deref(), limit + 1).map_err(answers::failed)?;
    let is_more = found.len() > limit;
    let agents: Vec<Agent> = found
        .iter()
        .take(limit)
        .filter_map(|document| serde_json::from_slice(&document.body).ok())
        .filter(|seen: &Seen| now.since(WallTime(seen.last_seen)) <= FORGOTTEN)
        .map(|seen| seen.agent(now))
        .collect();
    let last = found.get(limit - 1).map(|document| document.name[PREFIX.len()..].to_owned());
    Ok(Agents { agents, next_cursor: last.filter(|_| is_more) })
}

impl Seen {
    fn agent(self, now: WallTime) -> Agent {
        let Self { last_seen, heartbeat, .. } = self;
        let dropped = heartbeat.counters.iter().filter(|(name, _)| name.contains("dropped"));
        let state = match heartbeat.status.get("state").and_then(Value::as_str) {
            _ if now.since(WallTime(last_seen)) > LOST => Health::Lost,
            Some("stopped") => Health::Stopped,
            _ => Health::Ok,
        };
        let ahead = i128::from(heartbeat.sent_unix_nano) - i128::from(last_seen);
        let sent = WallTime(heartbeat.sent_unix_nano);
        let lag = heartbeat.oldest_waiting_unix_nano.map(|oldest| sent.since(WallTime(oldest)).0);
        Agent {
            state,
            last_seen_unix_nano: last_seen,
            clock_ahead_ns: i64::try_from(ahead).unwrap_or_default(),
            lag_ns: lag.unwrap_or_default(),
            dropped_span_count: dropped.filter_map(|(_, value)| value.as_u64()).sum(),
            heartbeat,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(boot: &str, started: u64, sent: u64) -> Heartbeat {
        Heartbeat {
            agent_id: "a".to_owned(),
            host_name: "here".to_owned(),
            version: "1".to_owned(),
            boot_id: boot.to_owned(),
            started_unix_nano: started,
            capturing_unix_nano: Some(started + 10),
            stopped_unix_nano: None,
            sent_unix_nano: sent,
            oldest_waiting_unix_nano: None,
            status: Map::new(),
            counters: Map::new(),
            services: Vec::new(),
            keeps_spans: false,
            config: None,
        }
    }

    fn seen(last_seen: u64, heartbeat: Heartbeat) -> Seen {
        Seen { last_seen, heartbeat, is_blind: false }
    }

    /// Clocks need not agree: the agent's are a thousand ahead here.
    #[test]
    fn an_absence_is_between_the_last_heartbeat_and_the_next_capture() {
        let known = seen(500, heartbeat("x", 1_100, 1_500));
        let slow = Heartbeat { capturing_unix_nano: None, ..heartbeat("x", 1_700, 1_750) };
        let cases = [
            (heartbeat("x", 1_100, 1_600), 600, None),
            (heartbeat("x", 1_700, 1_750), 750, Some((500, 710))),
            (slow.clone(), 750, Some((500, 750))),
            (heartbeat("y", 1_700, 1_750), 750, None),
            // It started before the last heartbeat of its predecessor came.
            (heartbeat("x", 1_400, 1_750), 750, None),
        ];
        for (next, now, expected) in cases {
            let gap = absence(&known, &next, WallTime(now));
            assert_eq!(gap.map(|gap| (gap.from.0, gap.to.0)), expected);
        }
        let known = Seen { is_blind: true, ..seen(750, slow.clone()) };
        let begun = Heartbeat { capturing_unix_nano: Some(1_780), sent_unix_nano: 1_800, ..slow };
        let gap = absence(&known, &begun, WallTime(800));
        assert_eq!(gap.map(|gap| (gap.from.0, gap.to.0)), Some((750, 780)));
        let known = seen(800, begun.clone());
        assert_eq!(absence(&known, &begun, WallTime(900)), None);
        // It had stopped in good order 20 before it said so.
        let mut known = seen(800, begun);
        known.heartbeat.stopped_unix_nano = Some(1_780);
        let gap = absence(&known, &heartbeat("x", 1_900, 1_950), WallTime(950));
        assert_eq!(gap.map(|gap| (gap.from.0, gap.to.0)), Some((780, 910)));
    }

    #[test]
    fn what_an_agent_held_for_sampling_is_missing_too() {
        let second = 1_000_000_000;
        let mut known = seen(20 * second, heartbeat("x", 0, 20 * second));
        known.heartbeat.status.insert("held_ms".to_owned(), 12_000.into());
        let next = heartbeat("x", 25 * second, 26 * second);
        let gap = absence(&known, &next, WallTime(26 * second));
        assert_eq!(gap.map(|gap| (gap.from.0, gap.to.0)), Some((8 * second, 25 * second + 10)));
    }

    #[test]
    fn an_agent_is_lost_after_30_s() {
        let second = 1_000_000_000;
        for (seconds, expected) in [(0, Health::Stopped), (30, Health::Stopped), (31, Health::Lost)]
        {
            let mut told = heartbeat("x", 0, 0);
            told.status.insert("state".to_owned(), "stopped".into());
            told.counters.insert("sender_dropped_full_spans_total".to_owned(), 7.into());
            let agent = seen(second, told);
            let agent = agent.agent(WallTime((seconds + 1) * second));
            assert_eq!((agent.state, agent.dropped_span_count), (expected, 7));
        }
    }
}
