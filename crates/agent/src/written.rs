//! Configuration of the agent as it is written in `deeptrace.toml`: every key with its default.
//! What was meant is [`Config`](crate::config::Config).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[agents]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// Address of the agent's API.
    pub host: String,
    /// Port of the agent's API.
    pub port: u16,
    /// What is watched and kept.
    pub trace: Trace,
    /// What is read of it.
    pub capture: Capture,
    /// Where spans go when the server runs elsewhere.
    pub sender: Sender,
    /// What the agent may use of the host.
    pub limits: Limits,
}

/// `[agents.trace]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// Processes watched by id, with their children.
    pub pids: Vec<u32>,
    /// Names of processes (with globs) that are watched; empty, with `pids` empty: all.
    pub include_processes: Vec<String>,
    /// Names of processes (with globs) that are not watched.
    pub exclude_processes: Vec<String>,
    /// Whether processes in containers are watched.
    pub monitor_containers: bool,
    /// Share of traces kept, 0 to 1. The same on all agents.
    pub sampling_rate: f64,
    /// Milliseconds for which spans wait for the verdict on their trace, 100 to 600000.
    pub sampling_wait_ms: u64,
    /// Megabytes of spans that wait, at most.
    pub sampling_buffer_size: u64,
    /// Traces kept whatever the rate: `errors`, `slow:1s`.
    pub always_keep: Vec<String>,
    /// Rates of traces that enter with a service, by its name.
    pub sampling_by_service: BTreeMap<String, f64>,
}

/// `[agents.capture]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Bytes of a message that its span keeps.
    pub max_payload_size: u32,
    /// Whether payloads are compressed on their way.
    pub enable_compression: bool,
    /// Services (with globs) whose payloads are not kept.
    pub exclude_payloads: Vec<String>,
    /// Headers whose values are not kept.
    pub filter_headers: Vec<String>,
    /// Names of fields whose values are masked.
    pub mask_patterns: Vec<String>,
    /// Whether card numbers are masked.
    pub mask_card_numbers: bool,
    /// Whether e-mail addresses are masked.
    pub mask_email_addresses: bool,
    /// Where in the kernel calls are seen: `auto`, `socket-tracepoints`, `syscall-exit`.
    pub hook: String,
}

/// `[agents.sender]` as written. Never logged: it may hold a token.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sender {
    /// The server, e.g. `https://traces.example:7901`; empty: none.
    pub server_url: String,
    /// Token that the server asks for; empty: none.
    pub token: String,
    /// File that holds the token.
    pub token_file: String,
    /// PEM file of the roots that are trusted; empty: those that the system trusts.
    pub ca_file: String,
    /// PEM file of the agent's own certificate, where the server asks for one.
    pub cert_file: String,
    /// PEM file of its private key.
    pub key_file: String,
    /// Megabytes kept in memory while the server is away.
    pub mem_buffer_size: u64,
    /// Megabytes kept on disk while the server is away; 0: none.
    pub disk_buffer_size: u64,
    /// Where.
    pub disk_buffer_path: String,
    /// Whether the server may change what this agent watches, captures and correlates.
    pub accept_config: bool,
    /// Whether spans stay on this host, in a store within the bounds of `[storage]`, and the server asks for
    /// those that are wanted.
    pub keep_spans: bool,
}

/// `[agents.limits]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Share of the host's processors, in percent of all of them; 0: no limit.
    pub cpu_percent: f64,
    /// Resident memory in megabytes; 0: no limit.
    pub memory_mb: u64,
}

/// `[correlation]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Correlation {
    /// Who answers where nothing was observed: a name of `asso algo`.
    pub default_algorithm: String,
    /// Milliseconds of a process's past that it looks at together, 100 to 60000.
    pub window_size: u64,
    /// Probability below which a link is not used when traces are assembled.
    pub similarity_threshold: f64,
    /// Milliseconds after which a link is decided although its request is still open.
    pub link_wait_ms: u64,
    /// What probes for evidence may cost: microseconds of CPU a second.
    pub probe_budget_us_per_s: u64,
    /// Kinds of evidence switched on or off by name.
    pub evidence: BTreeMap<String, bool>,
}

/// `[[services]]` as written: a name for what matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Glob over the name of the process, the path of its executable, or its command line.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Its `service.name`.
    pub name: String,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 7899,
            trace: Trace::default(),
            capture: Capture::default(),
            sender: Sender::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            include_processes: Vec::new(),
            exclude_processes: Vec::new(),
            monitor_containers: true,
            sampling_rate: 1.0,
            sampling_wait_ms: 10_000,
            sampling_buffer_size: 32,
            always_keep: Vec::new(),
            sampling_by_service: BTreeMap::new(),
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            max_payload_size: 512,
            enable_compression: true,
            exclude_payloads: Vec::new(),
            filter_headers: Vec::new(),
            mask_patterns: Vec::new(),
            mask_card_numbers: false,
            mask_email_addresses: false,
            hook: "auto".to_owned(),
        }
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            server_url: String::new(),
            token: String::new(),
            token_file: String::new(),
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            mem_buffer_size: 16,
            disk_buffer_size: 100,
            disk_buffer_path: "/var/lib/deeptrace/buffer".to_owned(),
            accept_config: false,
            keep_spans: false,
        }
    }
}

/// Without the token.
impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("server_url", &self.server_url).finish_non_exhaustive()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_percent: 10.0, memory_mb: 256 }
    }
}

impl Default for Correlation {
    fn default() -> Self {
        Self {
            default_algorithm: "auto".to_owned(),
            window_size: 1_000,
            // A wrong parent is worse than none.
            similarity_threshold: 0.8,
            link_wait_ms: 10_000,
            probe_budget_us_per_s: 50_000,
            evidence: BTreeMap::new(),
        }
    }
}
