//! The message of a webhook: Alertmanager's, version 4, so that what takes its webhooks takes ours
//! (prometheus.io/docs/alerting/latest/configuration/#webhook_config).

use std::collections::BTreeMap;

use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use serde::Serialize;

use super::rule::Rule;
use super::state::{Instance, Phase};

/// What is posted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: String,
    group_labels: BTreeMap<&'static str, String>,
    common_labels: BTreeMap<&'static str, String>,
    common_annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: Vec<Alert>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'static str,
    fingerprint: String,
}

impl Message {
    /// About these instances of `rule`.
    pub fn new(rule: &Rule, receiver: &str, told: &[(&str, &Instance)], truncated: u64) -> Self {
        let alerts: Vec<Alert> = told.iter().map(|(key, it)| Alert::new(rule, key, it)).collect();
        let is_firing = alerts.iter().any(|alert| alert.status == "firing");
        Self::of(&rule.name, &rule.severity, receiver, is_firing, truncated, alerts)
    }

    /// To see whether a receiver takes it.
    pub fn test(receiver: &str, now: WallTime) -> Self {
        let labels = [("alertname", "deeptrace-test"), ("severity", "none")];
        let summary = "This is a test: webhooks of deeptrace reach you.".to_owned();
        let alert = Alert {
            status: "firing",
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            annotations: BTreeMap::from([("summary", summary)]),
            starts_at: format_time(now),
            ends_at: NEVER.to_owned(),
            generator_url: "",
            fingerprint: format!("{:016x}", deeptrace_model::hash64(&[now.0])),
        };
        Self::of("deeptrace-test", "none", receiver, true, 0, vec![alert])
    }

    fn of(
        rule: &str,
        severity: &str,
        receiver: &str,
        is_firing: bool,
        truncated_alerts: u64,
        alerts: Vec<Alert>,
    ) -> Self {
        let name = BTreeMap::from([("alertname", rule.to_owned())]);
        let mut common_labels = name.clone();
        common_labels.insert("severity", severity.to_owned());
        Self {
            version: "4",
            group_key: format!("{{}}:{{alertname={rule:?}}}"),
            truncated_alerts,
            status: if is_firing { "firing" } else { "resolved" },
            receiver: receiver.to_owned(),
            group_labels: name,
            common_labels,
            common_annotations: BTreeMap::new(),
            external_url: "",
            alerts,
        }
    }
}

/// As Alertmanager writes that there is no end yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Alert {
    fn new(rule: &Rule, key: &str, instance: &Instance) -> Self {
        let mut labels = instance.finding.labels.clone();
        labels.insert("alertname".to_owned(), rule.name.clone());
        labels.insert("severity".to_owned(), rule.severity.clone());
        let value = instance.finding.value.to_string();
        let summary = instance.finding.summary.clone();
        let is_over = instance.phase == Phase::Resolved;
        let time = |unix_nano| format_time(WallTime(unix_nano));
        Self {
            status: if is_over { "resolved" } else { "firing" },
            labels,
            annotations: BTreeMap::from([("summary", summary), ("value", value)]),
            starts_at: time(instance.started_unix_nano),
            ends_at: if is_over { time(instance.since_unix_nano) } else { NEVER.to_owned() },
            generator_url: "",
            fingerprint: fingerprint(&rule.name, key),
        }
    }
}

/// The same for the same rule and subject, whichever server tells it.
fn fingerprint(rule: &str, key: &str) -> String {
    let bytes = rule.bytes().chain([0]).chain(key.bytes());
    let parts: Vec<u64> = bytes.map(u64::from).collect();
    format!("{:016x}", deeptrace_model::hash64(&parts))
}
