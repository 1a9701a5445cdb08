//! What a rule finds in the store at a moment. Rates and durations come from the store's sums, of whole
//! minutes; new errors from the newest errors, at most [`ERRORS_MAX`] of a window.

use std::collections::BTreeMap;

use deeptrace_model::{Duration, WallTime};
use deeptrace_store::{Filter, Step, Store, StoreError, Tally, Window};
use serde::{Deserialize, Serialize};

use super::rule::{Condition, Rule};
use super::state::Finding;
use crate::agents;
use crate::analytics::GroupKey;

/// Errors of a window that are looked at.
const ERRORS_MAX: usize = 2_000;
/// What a rule knows, at most; what was not seen for the longest time is forgotten.
const KNOWN_MAX: usize = 10_000;
/// A service, or an agent, that was not seen for so long is not missed.
const SERVICE_KNOWN: Duration = Duration::from_secs(24 * 3600);
/// An error that was not seen for so long is new again.
const ERROR_KNOWN: Duration = Duration::from_secs(30 * 24 * 3600);
/// How exactly times of what is known are kept, so that it changes seldom.
const GRAIN: u64 = 60_000_000_000;

/// What a rule has seen: services or kinds of errors. One document of the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Whether what was there before is in it: only then anything is new.
    is_learned: bool,
    items: BTreeMap<String, Seen>,
}

/// When something was seen, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    first: u64,
    last: u64,
}

impl Known {
    fn see(&mut self, item: String, now: WallTime) -> Seen {
        let (is_learned, now) = (self.is_learned, now.0 - now.0 % GRAIN);
        let first = if is_learned { now } else { 0 };
        let seen = self.items.entry(item).or_insert(Seen { first, last: now });
        seen.last = now;
        *seen
    }

    fn forget(&mut self, after: Duration, now: WallTime) {
        self.items.retain(|_, seen| now.0.saturating_sub(seen.last) <= after.0);
        while self.items.len() > KNOWN_MAX
            && let Some(oldest) = self.items.iter().min_by_key(|(_, seen)| seen.last)
        {
            let oldest = oldest.0.clone();
            self.items.remove(&oldest);
        }
    }
}

/// What `rule` finds at `now`; `known` is what it has seen before.
pub fn evaluate(
    store: &dyn Store,
    rule: &Rule,
    known: &mut Known,
    now: WallTime,
) -> Result<Vec<Finding>, StoreError> {
    let window = Window { from: now.minus(rule.window), to: now };
    match rule.condition {
        Condition::ErrorRate { above, min_requests } => {
            let tallies = tallies(store, rule, window)?;
            let bad = tallies.into_iter().filter_map(|(service, tally)| {
                let share = tally.errors as f64 / tally.spans.max(1) as f64;
                let is_bad = tally.spans >= min_requests.max(1) && share > above;
                is_bad.then(|| {
                    let of = subject(&service, rule);
                    let said = format!(
                        "{:.1} % of {} requests of {of} are errors",
                        share * 100.0,
                        tally.spans
                    );
                    finding(labels(&service, rule), said, share)
                })
            });
            Ok(bad.collect())
        }
        Condition::Latency { quantile, above, min_requests } => {
            let tallies = tallies(store, rule, window)?;
            let bad = tallies.into_iter().filter_map(|(service, tally)| {
                let measured = tally.quantile(quantile)?;
                let is_bad = tally.spans >= min_requests.max(1) && measured > above;
                is_bad.then(|| {
                    let (of, percent) = (subject(&service, rule), quantile * 100.0);
                    let (ms, most) = (measured.as_millis_f64(), above.as_millis_f64());
                    let said =
                        format!("{percent}th percentile of {of} is {ms:.1} ms, above {most} ms");
                    finding(labels(&service, rule), said, measured.0 as f64 / 1e9)
                })
            });
            Ok(bad.collect())
        }
        Condition::NewError => new_errors(store, rule, window, known, now),
        Condition::MissingService => missing_services(store, rule, window, known, now),
        Condition::AgentLost => lost_agents(store, rule, now),
    }
}

/// By service: the requests that it served, or the spans of the rule's operation.
fn tallies(
    store: &dyn Store,
    rule: &Rule,
    window: Window,
) -> Result<BTreeMap<String, Tally>, StoreError> {
    let rollups = store.rollups(window, Step::Whole, rule.service.as_deref())?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for row in rollups.operations {
        let is_meant = match &rule.operation {
            Some(name) => row.operation.name == *name,
            None => row.operation.kind.is_receiver(),
        };
        if is_meant {
            tallies.entry(row.operation.service.to_string()).or_default().merge(&row.tally);
        }
    }
    Ok(tallies)
}

fn new_errors(
    store: &dyn Store,
    rule: &Rule,
    window: Window,
    known: &mut Known,
    now: WallTime,
) -> Result<Vec<Finding>, StoreError> {
    let filter = Filter {
        service: rule.service.clone(),
        name: rule.operation.clone(),
        errors_only: true,
        ..Filter::in_window(window)
    };
    let page = store.scan(&filter, None, ERRORS_MAX)?;
    let mut groups: BTreeMap<GroupKey, u64> = BTreeMap::new();
    for span in &page.spans {
        *groups.entry(GroupKey::of(span)).or_default() += 1;
    }
    let mut found = Vec::new();
    for (group, count) in groups {
        let item = format!("{group:?}");
        let seen = known.see(item, now);
        if now.0.saturating_sub(seen.first) > rule.window.0.saturating_add(GRAIN) {
            continue;
        }
        let GroupKey { service, operation, error_type, message, .. } = group;
        let what = message.as_deref().or(error_type.as_deref()).unwrap_or("an error");
        let said = format!("{operation} of {service}: {what}, {count} times");
        let mut labels = BTreeMap::from([("service".to_owned(), service)]);
        labels.insert("operation".to_owned(), operation);
        labels.extend(error_type.map(|it| ("error_type".to_owned(), it)));
        labels.extend(message.map(|it| ("message".to_owned(), it)));
        found.push(finding(labels, said, count as f64));
    }
    known.is_learned = true;
    known.forget(ERROR_KNOWN, now);
    Ok(found)
}

fn missing_services(
    store: &dyn Store,
    rule: &Rule,
    window: Window,
    known: &mut Known,
    now: WallTime,
) -> Result<Vec<Finding>, StoreError> {
    let service = rule.service.as_deref();
    if !known.is_learned {
        let day = Window { from: now.minus(SERVICE_KNOWN), to: now };
        for row in store.rollups(day, Step::Whole, service)?.operations {
            known.see(row.operation.service.to_string(), now);
        }
        known.is_learned = true;
    }
    let rollups = store.rollups(window, Step::Whole, service)?;
    let present: std::collections::BTreeSet<String> =
        rollups.operations.iter().map(|row| row.operation.service.to_string()).collect();
    for service in &present {
        known.see(service.clone(), now);
    }
    known.forget(SERVICE_KNOWN, now);
    let mut missing: Vec<&str> = match service {
        Some(service) => vec![service],
        None => known.items.keys().map(String::as_str).collect(),
    };
    missing.retain(|service| !present.contains(*service));
    let minutes = rule.window.0 / GRAIN;
    let found = missing.into_iter().map(|service| {
        let said = format!("no span of {service} for {minutes} minutes");
        finding(BTreeMap::from([("service".to_owned(), service.to_owned())]), said, 0.0)
    });
    Ok(found.collect())
}

fn lost_agents(store: &dyn Store, rule: &Rule, now: WallTime) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    for (host, seen) in agents::last_seen(store)? {
        let silent = now.since(seen);
        if silent <= rule.window || silent > SERVICE_KNOWN {
            continue;
        }
        let seconds = silent.0 / 1_000_000_000;
        let said = format!("nothing was heard of the agent on {host} for {seconds} s");
        found.push(finding(BTreeMap::from([("agent".to_owned(), host)]), said, seconds as f64));
    }
    Ok(found)
}

fn finding(labels: BTreeMap<String, String>, summary: String, value: f64) -> Finding {
    Finding { labels, summary, value }
}

fn labels(service: &str, rule: &Rule) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("service".to_owned(), service.to_owned())]);
    labels.extend(rule.operation.clone().map(|name| ("operation".to_owned(), name)));
    labels
}

fn subject(service: &str, rule: &Rule) -> String {
    match &rule.operation {
        Some(name) => format!("{name} of {service}"),
        None => service.to_owned(),
    }
}
