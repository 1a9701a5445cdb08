//! Service: the name people see for a process, by an ordered table of rules.
//!
//! Each rule looks at facts alone, so that a row of a test is a process. The bias: a name that the
//! operator gave (configuration, environment, Kubernetes, unit) beats one that was guessed from
//! the command line, and any word beats an id.

mod environment;
mod executable;
mod java;
mod launcher;
mod script;

use globset::{Glob, GlobMatcher};

use crate::container::{self, container_id};
use crate::process::Facts;

/// Characters of a name, at most; a longer one is cut.
const NAME_MAX: usize = 128;

/// One `[[services]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRule {
    /// Glob that the process's comm, the path or name of its executable, or its whole command
    /// line (arguments joined by blanks) must match. `*` also crosses `/`.
    pub pattern: String,
    /// Name of the service.
    pub name: String,
}

/// A `[[services]]` rule whose pattern is not a glob.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` of a service rule is not a glob: {reason}; write e.g. `*/checkout.jar*`")]
pub struct ServiceRuleError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A name with where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// `service.name`.
    pub name: String,
    /// The rule that gave it: `configuration` or a source of [`TABLE`].
    pub source: &'static str,
    /// Whether it only says what kind of program this is (`python3`, `sh`).
    pub is_bare: bool,
}

impl ServiceName {
    /// The same name told apart by the port it listens on: `nginx:8080`.
    ///
    /// Whoever keeps the table of processes calls this when a second process with another
    /// executable, unit or command line would get the same [`is_bare`](Self::is_bare) name; which
    /// processes there are is state that the rules do not have.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { name: format!("{}:{port}", self.name), ..self.clone() }
    }
}

/// One way to find a name.
pub struct Rule {
    /// What `Process::service_source` says.
    pub source: &'static str,
    find: fn(&Facts, host: &str) -> Found,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The name.
    Named(String),
    /// A word that fits many programs.
    Bare(String),
    /// Nothing.
    Nothing,
}

impl Found {
    fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }

    /// The name, if it fits this program only.
    fn only_named(self) -> Self {
        if let Self::Bare(_) = self { Self::Nothing } else { self }
    }
}

/// The rules, first match wins; `[[services]]` of the configuration come before them.
///
/// `container` stands behind `script` because a short id says less than a script's name, but
/// before the last two, which only say what kind of program runs in it.
pub const TABLE: &[Rule] = &[
    Rule { source: "environment", find: |facts, _| environment::find(facts) },
    Rule { source: "kubernetes", find: environment::pod },
    Rule { source: "unit", find: |facts, _| unit(facts) },
    Rule { source: "script", find: |facts, _| script::find(facts).only_named() },
    Rule { source: "executable", find: |facts, _| executable::find(facts).only_named() },
    Rule { source: "container", find: |facts, _| short_container_id(facts) },
    Rule { source: "script", find: |facts, _| script::find(facts) },
    Rule { source: "executable", find: |facts, _| executable::find(facts) },
];

/// The rules of the configuration, and the table.
#[derive(Clone, Debug)]
pub struct Names {
    rules: Vec<(GlobMatcher, String)>,
    host: String,
}

impl Names {
    /// `rules` in the order of the configuration; `host` is the host's name, so that it is not
    /// taken for a pod's.
    pub fn new(rules: &[ServiceRule], host: &str) -> Result<Self, ServiceRuleError> {
        let compile = |rule: &ServiceRule| match Glob::new(&rule.pattern) {
            Ok(glob) => Ok((glob.compile_matcher(), rule.name.clone())),
            Err(error) => Err(ServiceRuleError {
                pattern: rule.pattern.clone(),
                reason: error.kind().to_string(),
            }),
        };
        let rules = rules.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules, host: host.to_owned() })
    }

    /// The name of a process. There always is one: at the worst what the kernel calls it.
    pub fn name(&self, facts: &Facts) -> ServiceName {
        if let Some(name) = self.configured(facts) {
            return ServiceName { name: clean(name), source: "configuration", is_bare: false };
        }
        for rule in TABLE {
            let (name, is_bare) = match (rule.find)(facts, &self.host) {
                Found::Named(name) => (clean(&name), false),
                Found::Bare(name) => (clean(&name), true),
                Found::Nothing => continue,
            };
            if !name.is_empty() {
                return ServiceName { name, source: rule.source, is_bare };
            }
        }
        let name = if facts.comm.is_empty() { "unknown" } else { &facts.comm };
        ServiceName { name: clean(name), source: "comm", is_bare: true }
    }

    fn configured(&self, facts: &Facts) -> Option<&str> {
        if self.rules.is_empty() {
            return None;
        }
        let line = facts.arguments.join(" ");
        let base = base(&facts.executable);
        let texts = [&facts.comm, &facts.executable, base, line.as_str()];
        let rule = self.rules.iter().find(|(glob, _)| texts.iter().any(|text| glob.is_match(text)));
        rule.map(|(_, name)| name.as_str())
    }
}

/// Units that start other people's programs: their name says nothing about those.
const STARTERS: &[&str] = &[
    "actions.runner",
    "atd",
    "buildkite-agent",
    "containerd",
    "cron",
    "crond",
    "docker",
    "gitlab-runner",
    "jenkins",
    "kubelet",
    "podman",
    "rc-local",
    "ssh",
    "sshd",
    "supervisor",
    "supervisord",
    "tmux",
    "user",
];

/// The systemd unit: the innermost `NAME.service` of the cgroup, without its instance. Inside a
/// container only what lies below the container counts.
fn unit(facts: &Facts) -> Found {
    let id = container_id(&facts.cgroup);
    for path in container::paths(&facts.cgroup) {
        for part in path.rsplit('/') {
            if id.as_deref().is_some_and(|id| part.contains(id)) {
                break;
            }
            let Some(unit) = part.strip_suffix(".service") else { continue };
            let unit = unit.split('@').next().unwrap_or(unit);
            if STARTERS.iter().any(|starter| unit == *starter || is_runner(unit, starter)) {
                return Found::Nothing;
            }
            return Found::Named(unescape(unit));
        }
    }
    Found::Nothing
}

/// `actions.runner.OWNER-REPO.NAME`.
fn is_runner(unit: &str, starter: &str) -> bool {
    unit.strip_prefix(starter).is_some_and(|rest| rest.starts_with('.'))
}

/// systemd writes `-` in a name that was a path as `\x2d` (systemd.unit(5), "String Escaping").
fn unescape(unit: &str) -> String {
    let mut parts = unit.split("\\x");
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if byte.is_ascii_graphic() => {
                name.push(char::from(byte));
                name.push_str(&part[2..]);
            }
            _ => name.push_str(part),
        }
    }
    name
}

/// Twelve digits, as `docker ps` shows it.
fn short_container_id(facts: &Facts) -> Found {
    container_id(&facts.cgroup).map_or(Found::Nothing, |id| Found::named(&id[..12]))
}

/// The last part of a path.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A name without control characters and blanks around it, of bounded length.
fn clean(name: &str) -> String {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests;
