//! Rules and receivers as they were meant: checked, with units.

use deeptrace_http::parse_duration;
use deeptrace_model::Duration;

use super::webhook::Webhook;
use super::written;
use crate::config::{ConfigError, error};

/// Rules, and receivers, at most.
const RULES_MAX: usize = 200;
/// Bytes of a name, at most.
const NAME_MAX: usize = 64;
/// The shortest and the longest window.
const WINDOW: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// Kinds of rules.
const KINDS: &[&str] = &["error-rate", "latency", "new-error", "missing-service", "agent-lost"];
/// The longest that something must be so.
const HOLD_MAX: Duration = Duration::from_secs(24 * 3600);

/// All rules and all receivers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertsConfig {
    /// Rules.
    pub rules: Vec<Rule>,
    /// Receivers.
    pub webhooks: Vec<Webhook>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique.
    pub name: String,
    /// What is looked for.
    pub condition: Condition,
    /// Only this service.
    pub service: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
    /// What is looked at.
    pub window: Duration,
    /// How long it must be so before it fires.
    pub hold: Duration,
    /// Goes along.
    pub severity: String,
    /// Names of the receivers; all where it is empty.
    pub webhooks: Vec<String>,
}

/// What a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// More than `above` of at least `min_requests` requests are errors.
    ErrorRate {
        /// Share, 0 to 1.
        above: f64,
        /// Fewer say nothing.
        min_requests: u64,
    },
    /// The percentile of at least `min_requests` durations is longer than `above`.
    Latency {
        /// Share of requests that are not slower, 0 to 1.
        quantile: f64,
        /// How long is too long.
        above: Duration,
        /// Fewer say nothing.
        min_requests: u64,
    },
    /// An error of a kind that was not seen before.
    NewError,
    /// A service that was seen within a day, or the one that is named, has no spans.
    MissingService,
    /// An agent has not been heard of.
    AgentLost,
}

impl Condition {
    /// As it is written.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ErrorRate { .. } => "error-rate",
            Self::Latency { .. } => "latency",
            Self::NewError => "new-error",
            Self::MissingService => "missing-service",
            Self::AgentLost => "agent-lost",
        }
    }
}

impl AlertsConfig {
    /// Checks what was written and gives it its meaning.
    pub fn new(
        alerts: &[written::Alert],
        webhooks: &[written::Webhook],
    ) -> Result<Self, ConfigError> {
        for (key, len) in [("alerts", alerts.len()), ("webhooks", webhooks.len())] {
            if len > RULES_MAX {
                return Err(error(key, format!("give at most {RULES_MAX}")));
            }
        }
        let mut config = Self::default();
        for (index, written) in webhooks.iter().enumerate() {
            let at = |key: &str| format!("webhooks[{index}].{key}");
            let is_taken = config.webhooks.iter().any(|known| known.name == written.name);
            check_name(&written.name, is_taken).map_err(|said| error(&at("name"), said))?;
            config.webhooks.push(webhook(written, at)?);
        }
        for (index, written) in alerts.iter().enumerate() {
            let at = |key: &str| format!("alerts[{index}].{key}");
            let is_taken = config.rules.iter().any(|known| known.name == written.name);
            check_name(&written.name, is_taken).map_err(|said| error(&at("name"), said))?;
            config.rules.push(rule(written, &config.webhooks, at)?);
        }
        Ok(config)
    }

    /// The receivers that a rule tells.
    pub fn receivers(&self, rule: &Rule) -> impl Iterator<Item = &Webhook> {
        let all = rule.webhooks.is_empty();
        self.webhooks.iter().filter(move |it| all || rule.webhooks.contains(&it.name))
    }
}

fn rule(
    written: &written::Alert,
    webhooks: &[Webhook],
    at: impl Fn(&str) -> String,
) -> Result<Rule, ConfigError> {
    let window = duration(&written.window, WINDOW).map_err(|said| error(&at("window"), said))?;
    let hold = (Duration(0), HOLD_MAX);
    let hold = duration(&written.hold, hold).map_err(|said| error(&at("for"), said))?;
    for name in &written.webhooks {
        if !webhooks.iter().any(|webhook| webhook.name == *name) {
            return Err(error(&at("webhooks"), format!("there is no webhook `{name}`")));
        }
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Rule {
        name: written.name.clone(),
        condition: condition(written, at)?,
        service: given(&written.service),
        operation: given(&written.operation),
        window,
        hold,
        severity: written.severity.clone(),
        webhooks: written.webhooks.clone(),
    })
}

fn condition(
    written: &written::Alert,
    at: impl Fn(&str) -> String,
) -> Result<Condition, ConfigError> {
    let kind = written.kind.as_str();
    if !KINDS.contains(&kind) {
        let choice = KINDS.join(", ");
        let said = format!("there is no kind `{kind}`; choose one of {choice}");
        return Err(error(&at("kind"), said));
    }
    // What a rule does not look at must not be relied on.
    let keys: [(&str, bool, &[&str]); 6] = [
        ("threshold", written.threshold.is_some(), &["error-rate"]),
        ("above", written.above.is_some(), &["latency"]),
        ("percentile", written.percentile.is_some(), &["latency"]),
        ("min_requests", written.min_requests.is_some(), &["error-rate", "latency"]),
        ("operation", !written.operation.is_empty(), &["error-rate", "latency", "new-error"]),
        (
            "service",
            !written.service.is_empty(),
            &["error-rate", "latency", "new-error", "missing-service"],
        ),
    ];
    if let Some((key, ..)) =
        keys.iter().find(|(_, is_given, kinds)| *is_given && !kinds.contains(&kind))
    {
        return Err(error(&at(key), format!("a rule of kind `{kind}` does not look at it")));
    }
    let min_requests = written.min_requests.unwrap_or(10);
    match kind {
        "error-rate" => match written.threshold {
            Some(above) if (0.0..=1.0).contains(&above) => {
                Ok(Condition::ErrorRate { above, min_requests })
            }
            _ => Err(error(&at("threshold"), "give a share of requests, 0 to 1")),
        },
        "latency" => {
            let percentile = written.percentile.unwrap_or(99.0);
            if !(percentile > 0.0 && percentile <= 100.0) {
                return Err(error(&at("percentile"), "give a number above 0, at most 100"));
            }
            let above = written.above.as_deref().map(parse_duration).transpose();
            let above = above.map_err(|said| error(&at("above"), said.to_string()))?;
            let above = above.ok_or_else(|| error(&at("above"), "give a duration like 500ms"))?;
            Ok(Condition::Latency { quantile: percentile / 100.0, above, min_requests })
        }
        "new-error" => Ok(Condition::NewError),
        "missing-service" => Ok(Condition::MissingService),
        _ => Ok(Condition::AgentLost),
    }
}

fn webhook(
    written: &written::Webhook,
    at: impl Fn(&str) -> String,
) -> Result<Webhook, ConfigError> {
    let is_address = ["http://", "https://"].iter().any(|scheme| {
        written
            .url
            .strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    if !is_address || written.url.contains(char::is_whitespace) {
        let said = "give an address that begins with http:// or https://";
        return Err(error(&at("url"), said));
    }
    let day = Duration::from_secs(24 * 3600);
    let limited = |text: &str, key: &str, least: Duration, most: Duration| {
        duration(text, (least, most)).map_err(|said| error(&at(key), said))
    };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    Ok(Webhook {
        name: written.name.clone(),
        url: written.url.clone(),
        secret: super::webhook::secret(&written.secret)
            .map_err(|said| error(&at("secret"), said))?,
        group_wait: limited(&written.group_wait, "group_wait", Duration(0), day)?,
        repeat_interval: limited(
            &written.repeat_interval,
            "repeat_interval",
            minute,
            Duration(30 * day.0),
        )?,
        timeout: limited(&written.timeout, "timeout", second, minute)?,
    })
}

/// The name is part of documents' names.
fn check_name(name: &str, is_taken: bool) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_word) {
        return Err(format!("give letters, digits, `-` and `_`, at most {NAME_MAX}"));
    }
    if is_taken { Err(format!("`{name}` is taken; give each its own")) } else { Ok(()) }
}

fn duration(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let parsed = parse_duration(text).map_err(|error| error.to_string())?;
    if parsed < least || parsed > most {
        let seconds = |duration: Duration| duration.0 / 1_000_000_000;
        return Err(format!("give {}s to {}s", seconds(least), seconds(most)));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(kind: &str) -> written::Alert {
        written::Alert { name: "a".into(), kind: kind.into(), ..Default::default() }
    }

    fn hook() -> written::Webhook {
        written::Webhook {
            name: "w".into(),
            url: "http://127.0.0.1:1".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_written_gets_its_meaning() {
        let written = written::Alert {
            above: Some("500ms".into()),
            hold: "2m".into(),
            service: "cart".into(),
            ..alert("latency")
        };
        let config = AlertsConfig::new(&[written], &[hook()]).unwrap();
        let rule = &config.rules[0];
        let above = Duration::from_millis(500);
        let expected = Condition::Latency { quantile: 0.99, above, min_requests: 10 };
        assert_eq!(rule.condition, expected);
        assert_eq!((rule.window, rule.hold), (Duration::from_secs(300), Duration::from_secs(120)));
        assert_eq!(config.receivers(rule).count(), 1);
    }

    #[test]
    fn each_bad_value_is_named() {
        type Spoil = fn(&mut written::Alert, &mut written::Webhook);
        let cases: &[(&str, Spoil)] = &[
            ("alerts[0].name", |a, _| a.name = "a b".into()),
            ("alerts[0].kind", |a, _| a.kind = "sunspots".into()),
            ("alerts[0].threshold", |a, _| a.threshold = None),
            ("alerts[0].threshold", |a, _| a.threshold = Some(5.0)),
            ("alerts[0].threshold", |a, _| a.kind = "new-error".into()),
            ("alerts[0].above", |a, _| a.above = Some("1s".into())),
            ("alerts[0].window", |a, _| a.window = "1s".into()),
            ("alerts[0].for", |a, _| a.hold = "soon".into()),
            ("alerts[0].webhooks", |a, _| a.webhooks = vec!["other".into()]),
            ("webhooks[0].name", |_, w| w.name = String::new()),
            ("webhooks[0].url", |_, w| w.url = "ops.example".into()),
            ("webhooks[0].url", |_, w| w.url = "http://".into()),
            ("webhooks[0].secret", |_, w| w.secret = "whsec_???".into()),
            ("webhooks[0].timeout", |_, w| w.timeout = "0s".into()),
            ("webhooks[0].repeat_interval", |_, w| w.repeat_interval = "1s".into()),
        ];
        for (key, spoil) in cases {
            let mut alert = written::Alert { threshold: Some(0.1), ..alert("error-rate") };
            let mut hook = hook();
            spoil(&mut alert, &mut hook);
            let error = AlertsConfig::new(&[alert], &[hook]).unwrap_err();
            assert_eq!(error.key, *key, "{error}");
        }
        let twice = AlertsConfig::new(&[], &[hook(), hook()]).unwrap_err();
        assert_eq!(twice.key, "webhooks[1].name");
    }
}
