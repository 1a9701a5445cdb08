//! The whole of `deeptrace.toml`: found, put in layers, checked, and split into what the agent and
//! what the server mean by it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use deeptrace_agent::written::{Agents, Correlation, Service};
use deeptrace_server::alerts::AlertsConfig;
use deeptrace_server::alerts::written::{Alert, Webhook};
use deeptrace_server::config::BackupPlan;
use deeptrace_server::written::{Backup, Elasticsearch, Export, Server, Storage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::layers::{LayerError, Layers, Source};

/// The file as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// `[agents]`.
    pub agents: Agents,
    /// `[server]`.
    pub server: Server,
    /// `[storage]`.
    pub storage: Storage,
    /// `[elasticsearch]`.
    pub elasticsearch: Elasticsearch,
    /// `[export]`.
    pub export: Export,
    /// `[correlation]`.
    pub correlation: Correlation,
    /// `[[services]]`.
    pub services: Vec<Service>,
    /// `[[alerts]]`.
    pub alerts: Vec<Alert>,
    /// `[[webhooks]]`.
    pub webhooks: Vec<Webhook>,
    /// `[backup]`.
    pub backup: Backup,
}

/// Where the file lies when nobody says.
pub const PLACES: &[&str] = &["deeptrace.toml", "/etc/deeptrace/deeptrace.toml"];

/// Tables that take any key.
const FREE: &[&str] = &[
    "agents.trace.sampling_by_service",
    "correlation.evidence",
    "export.otlp.headers",
    "server.oidc.roles",
];

/// Values that are not shown, and those below them.
const SECRET: &[&str] = &[
    "agents.sender.token",
    "elasticsearch.password",
    "elasticsearch.api_key",
    "export.otlp.headers",
    "server.oidc.client_secret",
    "webhooks.secret",
    "webhooks.url",
];

/// Everything that configuration is made of; kept, so that it can be made again.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Options of the command line: key, value, option.
    pub arguments: Vec<(&'static str, Value, &'static str)>,
}

/// Configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the agent is to do.
    pub agent: deeptrace_agent::config::Config,
    /// What the server is to do.
    pub server: deeptrace_server::config::Config,
    /// The daily backup, if there is to be one.
    pub backup: Option<BackupPlan>,
    /// Rules of the server, and who is told when they fire.
    pub alerts: AlertsConfig,
    /// The file it came from, if any.
    pub file: Option<PathBuf>,
    layers: Layers,
}

impl Loader {
    /// With what this process was given.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, environment: std::env::vars().collect(), arguments: Vec::new() }
    }

    /// Puts an option of the command line over the rest, if it was given.
    pub fn argument(
        &mut self,
        key: &'static str,
        option: &'static str,
        value: Option<impl Into<Value>>,
    ) {
        self.arguments.extend(value.map(|value| (key, value.into(), option)));
    }

    /// Reads, merges and checks everything; `changes` of the API come last.
    pub fn load(&self, changes: Option<&Value>) -> Result<Loaded, LayerError> {
        let mut layers = Layers::new(defaults(), FREE);
        let file = self.read(&mut layers)?;
        layers.environment(self.environment.iter().cloned())?;
        for (key, value, option) in &self.arguments {
            layers.set(key, value.clone(), Source::Argument(option))?;
        }
        if let Some(changes) = changes {
            layers.object(changes.clone(), |_| Source::Api)?;
        }
        Loaded::new(layers, file)
    }

    fn read(&self, layers: &mut Layers) -> Result<Option<PathBuf>, LayerError> {
        let (path, text) = match &self.file {
            Some(path) => (path.clone(), fs::read_to_string(path)),
            None => match first_there() {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let text = text.map_err(|error| LayerError {
            place: path.display().to_string(),
            message: format!("cannot read the configuration: {error}"),
        })?;
        layers.file(&path, &text)?;
        Ok(Some(path))
    }
}

/// The first of [`PLACES`] that is there.
fn first_there() -> Option<(PathBuf, io::Result<String>)> {
    PLACES.iter().find_map(|place| match fs::read_to_string(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => Some((PathBuf::from(place), text)),
    })
}

fn defaults() -> Value {
    serde_json::to_value(Written::default()).expect("plain structs with text keys become JSON")
}

impl Loaded {
    fn new(layers: Layers, file: Option<PathBuf>) -> Result<Self, LayerError> {
        let at = |key: &str, message: String| LayerError {
            place: layers.source(key).to_string(),
            message: format!("{key}: {message}"),
        };
        let written: Written =
            serde_path_to_error::deserialize(layers.tree()).map_err(|error| {
                let key = error.path().to_string();
                // What serde says has the value in it.
                let is_secret = is_below(&without_numbers(&key), SECRET);
                let said =
                    if is_secret { "give a text".to_owned() } else { error.inner().to_string() };
                at(&key, said)
            })?;
        let agent = deeptrace_agent::config::Config::new(
            &written.agents,
            &written.correlation,
            &written.services,
        )
        .map_err(|error| at(&error.key, error.message))?;
        let server = deeptrace_server::config::Config::new(
            &written.server,
            &written.storage,
            &written.elasticsearch,
            &written.export,
            agent.threshold,
        )
        .map_err(|error| at(&error.key, error.message))?;
        let backup =
            BackupPlan::new(&written.backup).map_err(|error| at(&error.key, error.message))?;
        let alerts = AlertsConfig::new(&written.alerts, &written.webhooks)
            .map_err(|error| at(&error.key, error.message))?;
        Ok(Self { agent, server, backup, alerts, file, layers })
    }

    /// One line for each key that somebody set and that changes nothing yet.
    pub fn notes(&self) -> Vec<String> {
        self.layers
            .set_keys()
            .filter(|key| {
                is_below(key, deeptrace_agent::config::NOT_YET)
                    || is_below(key, deeptrace_server::config::NOT_YET)
            })
            .map(|key| format!("{key}: accepted, not in effect in this version"))
            .collect()
    }

    /// Every key with its value, where that came from, and when it takes effect.
    pub fn rows(&self) -> Vec<Row> {
        let leaves = self.layers.leaves();
        leaves
            .into_iter()
            .map(|(key, value)| Row {
                source: self.layers.source(&key).to_string(),
                takes_effect: takes_effect(&key),
                value: shown(&key, value),
                key,
            })
            .collect()
    }

    /// Keys whose value is another in `other`.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let (before, after) = (self.layers.leaves(), other.layers.leaves());
        let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| before.get(key) != after.get(key));
        keys
    }
}

/// A value as it may be shown: without secrets, also those in front of a host.
fn shown(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if is_below(key, SECRET) && !text.is_empty() => json!("…"),
        Value::String(text) => match text.split_once("://") {
            Some((scheme, rest)) => match rest.split('/').next().and_then(|host| host.rfind('@')) {
                Some(at) => json!(format!("{scheme}://…{}", &rest[at..])),
                None => json!(text),
            },
            None => json!(text),
        },
        Value::Array(values) => values.into_iter().map(|value| shown(key, value)).collect(),
        Value::Object(table) => {
            let row = |(name, value)| {
                let value = shown(&format!("{key}.{name}"), value);
                (name, value)
            };
            table.into_iter().map(row).collect()
        }
        value => value,
    }
}

/// A key without the places in arrays: `webhooks[0].url` is `webhooks.url`.
fn without_numbers(key: &str) -> String {
    let parts = key.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
    parts.collect()
}

/// A key with its value, for `config show` and `GET /config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Dotted key.
    pub key: String,
    /// Its value; secrets are `…`.
    pub value: Value,
    /// Where it came from.
    pub source: String,
    /// `live`, `restart` or `later` (not in this version).
    pub takes_effect: String,
}

/// When a change of `key` takes effect.
pub fn takes_effect(key: &str) -> String {
    use deeptrace_agent::config as agent;
    use deeptrace_server::config as server;
    let when = if is_below(key, agent::NOT_YET) || is_below(key, server::NOT_YET) {
        "later"
    } else if is_below(key, agent::LIVE) || is_below(key, server::LIVE) {
        "live"
    } else {
        "restart"
    };
    when.to_owned()
}

/// Whether `key` is one of `keys` or lies below one.
fn is_below(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|k| {
        key.strip_prefix(k).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Checks one file by itself, without environment and options.
pub fn validate(path: &Path) -> Result<Loaded, LayerError> {
    Loader { file: Some(path.to_owned()), ..Loader::default() }.load(None)
}

/// Checks the text of a file; `name` is what errors call it.
pub fn check(name: &str, text: &str) -> Result<Loaded, LayerError> {
    let mut layers = Layers::new(defaults(), FREE);
    layers.file(Path::new(name), text)?;
    Loaded::new(layers, None)
}
