//! Configuration of the agent as it was meant: checked, with units, built once from what was
//! written ([`Agents`], [`Correlation`], [`Service`]) and passed down.

use std::net::{IpAddr, SocketAddr};

use deeptrace_capture::service::{Names, ServiceRule};
use deeptrace_capture::watch::{Rules, Watcher};
use deeptrace_model::{Duration, Pid};
use deeptrace_redact as redact;

use crate::sampling::Sampling;
use crate::sender::Sending;
use crate::written::{Agents, Capture, Correlation, Limits, Service, Trace};

/// Keys (and what lies below them) that are accepted and checked, but change nothing yet.
pub const NOT_YET: &[&str] = &[];

/// Keys (and what lies below them) that change without a restart.
pub const LIVE: &[&str] = &[
    "agents.trace.pids",
    "agents.trace.include_processes",
    "agents.trace.exclude_processes",
    "agents.trace.monitor_containers",
    "agents.trace.sampling_rate",
    "agents.trace.sampling_wait_ms",
    "agents.trace.sampling_buffer_size",
    "agents.trace.always_keep",
    "agents.trace.sampling_by_service",
    "agents.capture.exclude_payloads",
    "agents.capture.filter_headers",
    "agents.capture.mask_card_numbers",
    "agents.capture.mask_email_addresses",
    "agents.capture.mask_patterns",
    "agents.capture.max_payload_size",
    "agents.limits",
    "correlation.default_algorithm",
    "correlation.window_size",
    "correlation.similarity_threshold",
    "correlation.link_wait_ms",
    "correlation.probe_budget_us_per_s",
    "correlation.evidence",
    "services",
];

/// What was meant: checked, with units.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// What is watched.
    pub rules: Rules,
    /// Names for what matches, the first match wins.
    pub services: Vec<ServiceRule>,
    /// Where in the kernel calls are seen.
    pub hook: Hook,
    /// Bytes of a message that its span keeps.
    pub max_payload_size: u32,
    /// What must not be kept, beside the credentials that protocols carry.
    pub redaction: redact::Rules,
    /// Which traces are kept.
    pub sampling: Sampling,
    /// How parents are found.
    pub correlation: deeptrace_correlate::Options,
    /// Probability below which a link is not used when traces are assembled.
    pub threshold: f32,
    /// What the agent may use.
    pub budget: Budget,
    /// What may be told beside socket calls.
    pub evidence: Evidence,
    /// Where spans are sent; `None`: nowhere.
    pub sender: Option<Sending>,
}

/// What may be told of who works for whom inside a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Kinds that are switched off.
    pub off: Vec<String>,
    /// What the probes in one process may cost: microseconds of CPU a second.
    pub budget_us_per_s: u64,
}

impl Evidence {
    /// Whether a kind is switched off.
    pub fn is_off(&self, name: &str) -> bool {
        self.off.iter().any(|off| off == name)
    }
}

/// Names of the kinds of evidence.
const EVIDENCE: &[&str] = &[
    "thread",
    "turns",
    "wakes",
    "contexts",
    "copies",
    "queues",
    "greenlets",
    "goroutines",
    "virtual_threads",
    "tokio",
];

/// Where in the kernel calls are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// The best that this kernel has.
    #[default]
    Auto,
    /// The end of socket operations: Linux 6.3 and newer.
    SocketTracepoints,
    /// The exit of system calls: everywhere, dearer.
    SyscallExit,
}

/// What the agent may use of its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of all processors, 0 to 1; `None`: no limit.
    pub cpu: Option<f64>,
    /// Resident memory; `None`: no limit.
    pub memory_bytes: Option<u64>,
}

/// A value that makes no sense: its key and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// Dotted key.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// An error at `key`.
    pub fn at(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into() }
    }
}

impl Config {
    /// Checks what was written and gives it its meaning.
    pub fn new(
        agents: &Agents,
        correlation: &Correlation,
        services: &[Service],
    ) -> Result<Self, ConfigError> {
        let threshold = correlation.similarity_threshold;
        within("correlation.similarity_threshold", threshold, 0.0..=1.0)?;
        let max_payload_size = agents.capture.max_payload_size;
        within("agents.capture.max_payload_size", f64::from(max_payload_size), 0.0..=16_384.0)?;
        Ok(Self {
            listen: SocketAddr::new(ip("agents.host", &agents.host)?, agents.port),
            rules: rules(&agents.trace)?,
            services: service_rules(services)?,
            hook: hook(&agents.capture.hook)?,
            max_payload_size,
            redaction: redaction(&agents.capture)?,
            sampling: Sampling::new(&agents.trace)?,
            correlation: parents(correlation)?,
            threshold: threshold as f32,
            budget: budget(&agents.limits)?,
            evidence: evidence(correlation)?,
            sender: Sending::new(&agents.sender, agents.capture.enable_compression)?,
        })
    }
}

fn parents(written: &Correlation) -> Result<deeptrace_correlate::Options, ConfigError> {
    let name = written.default_algorithm.as_str();
    let algorithm = deeptrace_correlate::algorithm(name).ok_or_else(|| {
        let names: Vec<&str> = deeptrace_correlate::TABLE.iter().map(|row| row.name).collect();
        let message = format!("no algorithm is named `{name}`: {}", names.join(", "));
        ConfigError::at("correlation.default_algorithm", message)
    })?;
    within("correlation.window_size", written.window_size as f64, 100.0..=60_000.0)?;
    Ok(deeptrace_correlate::Options {
        algorithm,
        window: Duration::from_millis(written.window_size),
        link_wait: Duration::from_millis(written.link_wait_ms),
        ..Default::default()
    })
}

fn evidence(correlation: &Correlation) -> Result<Evidence, ConfigError> {
    for name in correlation.evidence.keys() {
        if !EVIDENCE.contains(&name.as_str()) {
            let message = format!("no evidence is named `{name}`: {}", EVIDENCE.join(", "));
            return Err(ConfigError::at(&format!("correlation.evidence.{name}"), message));
        }
    }
    let off = correlation.evidence.iter().filter(|(_, is_on)| !**is_on);
    Ok(Evidence {
        off: off.map(|(name, _)| name.clone()).collect(),
        budget_us_per_s: correlation.probe_budget_us_per_s,
    })
}

fn rules(trace: &Trace) -> Result<Rules, ConfigError> {
    if let Some(index) = trace.pids.iter().position(|pid| *pid == 0) {
        return Err(ConfigError::at(&format!("agents.trace.pids[{index}]"), "0 is no process"));
    }
    let lists = [
        ("agents.trace.include_processes", &trace.include_processes),
        ("agents.trace.exclude_processes", &trace.exclude_processes),
    ];
    for (key, names) in lists {
        for (index, name) in names.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if name.is_empty() {
                return Err(ConfigError::at(&key, "an empty name matches no process"));
            }
            let alone = Rules { include: vec![name.clone()], ..Rules::default() };
            Watcher::new(alone, Pid(0))
                .map_err(|error| ConfigError::at(&key, error.to_string()))?;
        }
    }
    Ok(Rules {
        pids: trace.pids.iter().copied().map(Pid).collect(),
        include: trace.include_processes.clone(),
        exclude: trace.exclude_processes.clone(),
        containers: trace.monitor_containers,
    })
}

fn service_rules(services: &[Service]) -> Result<Vec<ServiceRule>, ConfigError> {
    let mut rules = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let key = format!("services[{index}]");
        if service.pattern.is_empty() || service.name.is_empty() {
            return Err(ConfigError::at(&key, "give both `match` and `name`"));
        }
        let (pattern, name) = (service.pattern.clone(), service.name.clone());
        let rule = ServiceRule { pattern, name };
        Names::new(std::slice::from_ref(&rule), "")
            .map_err(|error| ConfigError::at(&format!("{key}.match"), error.to_string()))?;
        rules.push(rule);
    }
    Ok(rules)
}

fn redaction(capture: &Capture) -> Result<redact::Rules, ConfigError> {
    let written = redact::Written {
        headers: capture.filter_headers.clone(),
        names: capture.mask_patterns.clone(),
        cards: capture.mask_card_numbers,
        addresses: capture.mask_email_addresses,
        services: capture.exclude_payloads.clone(),
    };
    redact::Rules::new(written).map_err(|error| {
        let index = error.index.map_or(String::new(), |index| format!("[{index}]"));
        ConfigError::at(&format!("agents.capture.{}{index}", error.list), error.message)
    })
}

fn budget(limits: &Limits) -> Result<Budget, ConfigError> {
    within("agents.limits.cpu_percent", limits.cpu_percent, 0.0..=100.0)?;
    if limits.memory_mb != 0 && limits.memory_mb < 32 {
        let message = "less than 32 is not enough to run in; 0 is no limit";
        return Err(ConfigError::at("agents.limits.memory_mb", message));
    }
    Ok(Budget {
        cpu: (limits.cpu_percent > 0.0).then_some(limits.cpu_percent / 100.0),
        memory_bytes: (limits.memory_mb > 0).then_some(limits.memory_mb.saturating_mul(1 << 20)),
    })
}

fn hook(text: &str) -> Result<Hook, ConfigError> {
    match text {
        "auto" => Ok(Hook::Auto),
        "socket-tracepoints" => Ok(Hook::SocketTracepoints),
        "syscall-exit" => Ok(Hook::SyscallExit),
        _ => {
            let message = format!("`{text}` is none of auto, socket-tracepoints, syscall-exit");
            Err(ConfigError::at("agents.capture.hook", message))
        }
    }
}

/// An address to listen on; `localhost` is the loopback.
fn ip(key: &str, text: &str) -> Result<IpAddr, ConfigError> {
    let text = if text == "localhost" { "127.0.0.1" } else { text };
    text.parse().map_err(|_| {
        ConfigError::at(key, format!("`{text}` is no address; give one like 127.0.0.1 or 0.0.0.0"))
    })
}

fn within(key: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{value} is not between {} and {}", range.start(), range.end());
    Err(ConfigError::at(key, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::new(&Agents::default(), &Correlation::default(), &[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7899".parse().unwrap());
        assert_eq!(config.budget, Budget { cpu: Some(0.1), memory_bytes: Some(256 << 20) });
    }

    #[test]
    fn each_bad_value_is_named() {
        type Spoil = fn(&mut Agents, &mut Correlation);
        let cases: &[(&str, Spoil)] = &[
            ("agents.host", |a, _| a.host = "here".into()),
            ("agents.trace.pids[1]", |a, _| a.trace.pids = vec![1, 0]),
            ("agents.trace.include_processes[0]", |a, _| {
                a.trace.include_processes = vec!["".into()]
            }),
            ("agents.trace.sampling_rate", |a, _| a.trace.sampling_rate = 1.1),
            ("agents.trace.sampling_rate", |a, _| a.trace.sampling_rate = f64::NAN),
            ("agents.trace.always_keep[1]", |a, _| {
                a.trace.always_keep = vec!["slow:1s".into(), "slow".into()]
            }),
            ("agents.trace.sampling_wait_ms", |a, _| a.trace.sampling_wait_ms = 99),
            ("agents.trace.sampling_buffer_size", |a, _| a.trace.sampling_buffer_size = 0),
            ("agents.trace.sampling_by_service.cart", |a, _| {
                a.trace.sampling_by_service.insert("cart".into(), -1.0);
            }),
            ("agents.capture.max_payload_size", |a, _| a.capture.max_payload_size = 16_385),
            ("agents.capture.mask_patterns[1]", |a, _| {
                a.capture.mask_patterns = vec!["password".into(), "pass*".into()]
            }),
            ("agents.capture.filter_headers[0]", |a, _| {
                a.capture.filter_headers = vec!["X-Key:".into()]
            }),
            ("agents.capture.exclude_payloads[1]", |a, _| {
                a.capture.exclude_payloads = vec!["pay*".into(), "[b".into()]
            }),
            ("agents.capture.hook", |a, _| a.capture.hook = "magic".into()),
            ("agents.trace.exclude_processes[1]", |a, _| {
                a.trace.exclude_processes = vec!["a".into(), "[b".into()]
            }),
            ("agents.sender.server_url", |a, _| a.sender.server_url = "traces:7901".into()),
            ("agents.sender.server_url", |a, _| a.sender.server_url = "https://".into()),
            ("agents.sender.mem_buffer_size", |a, _| {
                a.sender.server_url = "http://127.0.0.1:7901".into();
                a.sender.mem_buffer_size = 0;
            }),
            ("agents.sender.token_file", |a, _| {
                a.sender.server_url = "http://127.0.0.1:7901".into();
                a.sender.token = "x".into();
                a.sender.token_file = "y".into();
            }),
            ("agents.sender.key_file", |a, _| {
                a.sender.server_url = "https://127.0.0.1:7901".into();
                a.sender.cert_file = "x".into();
            }),
            ("agents.limits.cpu_percent", |a, _| a.limits.cpu_percent = 101.0),
            ("agents.limits.memory_mb", |a, _| a.limits.memory_mb = 31),
            ("correlation.default_algorithm", |_, c| c.default_algorithm = "best".into()),
            ("correlation.window_size", |_, c| c.window_size = 99),
            ("correlation.similarity_threshold", |_, c| c.similarity_threshold = -0.1),
        ];
        for (key, spoil) in cases {
            let (mut agents, mut correlation) = (Agents::default(), Correlation::default());
            spoil(&mut agents, &mut correlation);
            let error = Config::new(&agents, &correlation, &[]).unwrap_err();
            assert_eq!(error.key, *key);
        }
        let service = Service { pattern: "x*".into(), name: String::new() };
        let error = Config::new(&Agents::default(), &Correlation::default(), &[service]);
        assert_eq!(error.unwrap_err().key, "services[0]");
    }
}
