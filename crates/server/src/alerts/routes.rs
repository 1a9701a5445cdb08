//! `GET /alerts`: rules with what holds now, and how the receivers do. `POST /alerts/test`: a message to
//! each receiver, once.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body};
use deeptrace_model::WallTime;
use deeptrace_store::Store;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::rule::{AlertsConfig, Rule};
use super::state::{Instance, RuleState};
use super::watcher::{Delivery, delivery_name, state_name};
use super::webhook::{Outcome, Webhook};
use crate::answers::failed;
use crate::api::{Api, blocking};
use crate::clock;

/// Messages of a test on their way at once.
const AT_ONCE: usize = 8;

/// `/alerts` and `/alerts/test`.
pub fn routes() -> Router<Api> {
    Router::new().route("/alerts", get(alerts)).route("/alerts/test", post(test))
}

/// `GET /alerts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertsAnswer {
    /// Rules, in the order of the configuration.
    pub rules: Vec<RuleAnswer>,
    /// Receivers, in the order of the configuration.
    pub webhooks: Vec<WebhookAnswer>,
}

/// A rule with what holds now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleAnswer {
    /// Its name.
    pub name: String,
    /// As it is written.
    pub kind: String,
    /// Goes along.
    pub severity: String,
    /// Only this service.
    pub service: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
    /// When it was last looked at; zero: not yet.
    pub evaluated_unix_nano: u64,
    /// Why it could not be looked at.
    pub error: Option<String>,
    /// Findings of the last look for which there was no room.
    pub shed: u64,
    /// What holds, or has just ceased to.
    pub instances: Vec<Instance>,
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookAnswer {
    /// Its name.
    pub name: String,
    /// Whether messages are signed.
    pub is_signed: bool,
    /// How it does.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// The body of `POST /alerts/test`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestBody {
    /// Only this receiver; all where it is left out.
    pub webhook: Option<String>,
}

/// `POST /alerts/test`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestAnswer {
    /// One for each receiver.
    pub outcomes: Vec<Outcome>,
}

async fn alerts(State(api): State<Api>) -> Result<Json<AlertsAnswer>, ApiError> {
    blocking(move || answer(&*api.store, &api.alerts.get())).await.map(Json)
}

async fn test(
    State(api): State<Api>,
    Body(body): Body<TestBody>,
) -> Result<Json<TestAnswer>, ApiError> {
    blocking(move || try_out(&api.alerts.get(), body.webhook.as_deref(), clock::now()))
        .await
        .map(Json)
}

/// What is stored of these rules and receivers.
pub fn answer(store: &dyn Store, config: &AlertsConfig) -> Result<AlertsAnswer, ApiError> {
    let rule = |rule: &Rule| {
        let state: RuleState = read(store, &state_name(&rule.name))?;
        Ok(RuleAnswer {
            name: rule.name.clone(),
            kind: rule.condition.as_str().to_owned(),
            severity: rule.severity.clone(),
            service: rule.service.clone(),
            operation: rule.operation.clone(),
            evaluated_unix_nano: state.evaluated_unix_nano,
            error: state.error,
            shed: state.shed,
            instances: state.instances.into_values().collect(),
        })
    };
    let webhook = |webhook: &Webhook| {
        Ok(WebhookAnswer {
            name: webhook.name.clone(),
            is_signed: !webhook.secret.is_empty(),
            delivery: read(store, &delivery_name(&webhook.name))?,
        })
    };
    Ok(AlertsAnswer {
        rules: config.rules.iter().map(rule).collect::<Result<_, ApiError>>()?,
        webhooks: config.webhooks.iter().map(webhook).collect::<Result<_, ApiError>>()?,
    })
}

fn read<T: DeserializeOwned + Default>(store: &dyn Store, name: &str) -> Result<T, ApiError> {
    let document = store.document(name).map_err(failed)?;
    Ok(document.and_then(|it| serde_json::from_slice(&it.body).ok()).unwrap_or_default())
}

/// Sends a message to the receiver of that name, or to all, and says how each went.
pub fn try_out(
    config: &AlertsConfig,
    name: Option<&str>,
    now: WallTime,
) -> Result<TestAnswer, ApiError> {
    let meant: Vec<&Webhook> =
        config.webhooks.iter().filter(|it| name.is_none_or(|name| it.name == name)).collect();
    if meant.is_empty() {
        return Err(match name {
            Some(name) => {
                ApiError::not_found("there is no webhook of this name").with("webhook", name)
            }
            None => {
                ApiError::not_found("no webhook is configured; add [[webhooks]] to deeptrace.toml")
            }
        });
    }
    let mut outcomes = Vec::with_capacity(meant.len());
    for some in meant.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let sending: Vec<_> =
                some.iter().map(|webhook| scope.spawn(move || send(webhook, now))).collect();
            outcomes.extend(sending.into_iter().filter_map(|it| it.join().ok()));
        });
    }
    Ok(TestAnswer { outcomes })
}

fn send(webhook: &Webhook, now: WallTime) -> Outcome {
    // Plain structs with text keys become JSON.
    let body = serde_json::to_vec(&Message::test(&webhook.name, now)).unwrap_or_default();
    webhook.post(deeptrace_model::hash64(&[now.0]), &body, now)
}
