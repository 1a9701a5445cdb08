//! `[[alerts]]` and `[[webhooks]]` as they are written: every key with its default. What was meant is
//! [`AlertsConfig`](super::AlertsConfig).

use serde::{Deserialize, Serialize};

/// A rule of `[[alerts]]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alert {
    /// Unique; letters, digits, `-` and `_`.
    pub name: String,
    /// `error-rate`, `latency`, `new-error`, `missing-service` or `agent-lost`.
    pub kind: String,
    /// Only this service; each one by itself where it is left out.
    pub service: String,
    /// Only this operation; the requests that a service serves where it is left out.
    pub operation: String,
    /// `error-rate`: errors among the requests, 0 to 1, above which it fires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// `latency`: duration above which it fires, e.g. `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<String>,
    /// `latency`: which percentile is looked at; 99 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// What is looked at: spans that started so long ago at most, in whole minutes.
    pub window: String,
    /// How long it must be so before it fires.
    #[serde(rename = "for")]
    pub hold: String,
    /// `error-rate`, `latency`: fewer requests in the window say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// Goes along as a label.
    pub severity: String,
    /// Names of the webhooks to tell; all where it is left out.
    pub webhooks: Vec<String>,
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: String::new(),
            service: String::new(),
            operation: String::new(),
            threshold: None,
            above: None,
            percentile: None,
            window: "5m".to_owned(),
            hold: "0s".to_owned(),
            min_requests: None,
            severity: "warning".to_owned(),
            webhooks: Vec::new(),
        }
    }
}

/// A receiver of `[[webhooks]]` as written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Unique; letters, digits, `-` and `_`.
    pub name: String,
    /// Where messages are posted to.
    pub url: String,
    /// Signs each message (Standard Webhooks); empty: not signed.
    pub secret: String,
    /// How long to wait for others of the same rule, so that they go together.
    pub group_wait: String,
    /// After which a rule that still fires is told again.
    pub repeat_interval: String,
    /// How long the receiver may take.
    pub timeout: String,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            secret: String::new(),
            group_wait: "10s".to_owned(),
            repeat_interval: "4h".to_owned(),
            timeout: "10s".to_owned(),
        }
    }
}

/// Without the secret, and without what the address may carry of one.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}
