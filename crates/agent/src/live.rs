//! Configuration and questions in the words of live capture.

use deeptrace_capture::SourceError;
use deeptrace_capture::live::{self, Live};
use deeptrace_capture::service::Names;
use deeptrace_model::Pid;

use crate::config::{Config, Hook};
use crate::control::{Answer, Ask, ControlError, Evidence, Map, Program, TlsLibrary, Watched};

/// How capture is to start; connections to `own_ports` are left out.
pub fn options(config: &Config, own_ports: Vec<u16>) -> Result<live::Options, SourceError> {
    let mut options = live::Options::new(config.rules.clone(), names(config)?);
    options.hook = match config.hook {
        Hook::Auto => live::Hook::Auto,
        Hook::SocketTracepoints => live::Hook::SocketTracepoints,
        Hook::SyscallExit => live::Hook::SyscallExit,
    };
    options.own_ports = own_ports;
    options.allowed = allowed(config);
    Ok(options)
}

/// Answers what concerns capture alone. [`Ask::Apply`] puts the process filters and the names of
/// services into effect; the rest of the configuration is the pipeline's.
pub fn answer(live: &mut Live, ask: &Ask) -> Result<Answer, ControlError> {
    match ask {
        Ask::Watch(pid) => found(*pid, live.add_process(*pid)),
        Ask::Unwatch(pid) => found(*pid, live.remove_process(*pid)),
        Ask::Capture(is_on) => live.set_paused(!is_on).map_err(refused).map(|()| Answer::Done),
        Ask::Apply(config) => {
            let names = names(config).map_err(refused)?;
            live.set_rules(config.rules.clone(), names).map_err(refused)?;
            live.allow(allowed(config));
            Ok(Answer::Done)
        }
        Ask::Processes => {
            let all = live.processes().into_iter().map(|found| {
                let evidence = live.following(found.process.key.pid).map(Evidence::from);
                Watched { evidence, ..Watched::from(found) }
            });
            Ok(Answer::Processes(all.collect()))
        }
        Ask::Programs => {
            Ok(Answer::Programs(live.programs().into_iter().map(Program::from).collect()))
        }
        Ask::Maps => Ok(Answer::Maps(live.maps().into_iter().map(Map::from).collect())),
    }
}

/// What may be told beside socket calls.
fn allowed(config: &Config) -> live::Allowed {
    let is_off = |name: &str| config.evidence.is_off(name);
    let off = live::EVIDENCE.iter().filter(|(_, name)| is_off(name)).map(|(kind, _)| *kind);
    let budget_us_per_s = config.evidence.budget_us_per_s;
    live::Allowed { off: off.collect(), budget_us_per_s, ..live::Allowed::default() }
}

fn names(config: &Config) -> Result<Names, SourceError> {
    let host = deeptrace_capture::host::host().name;
    Names::new(&config.services, &host).map_err(|error| SourceError::Kernel {
        problem: "a service rule cannot be used".to_owned(),
        remedy: error.to_string(),
    })
}

fn found(pid: Pid, watched: Option<live::Watched>) -> Result<Answer, ControlError> {
    match watched {
        Some(_) => Ok(Answer::Done),
        None => Err(ControlError::NotFound(format!("there is no process {}", pid.0))),
    }
}

fn refused(error: SourceError) -> ControlError {
    ControlError::Refused(error.to_string())
}

impl From<live::Watched> for Watched {
    fn from(found: live::Watched) -> Self {
        let process = found.process;
        Self {
            pid: process.key.pid.0,
            parent_pid: process.parent.0,
            comm: process.comm,
            executable: process.executable,
            service: process.service,
            service_source: process.service_source,
            container_id: process.container_id,
            watched: found.watched,
            watched_by: process.watched_by,
            tls: found.tls.into_iter().map(TlsLibrary::from).collect(),
            evidence: None,
        }
    }
}

impl From<&live::Following> for Evidence {
    fn from(following: &live::Following) -> Self {
        Self {
            kinds: following.evidence.iter().map(|&kind| kind.to_owned()).collect(),
            runtime: following.runtime.clone(),
            missing: following.missing.clone(),
        }
    }
}

impl From<live::TlsLibrary> for TlsLibrary {
    fn from(found: live::TlsLibrary) -> Self {
        let live::TlsLibrary { name, path, plaintext, detail } = found;
        Self { library: name.to_owned(), path, plaintext, detail }
    }
}

impl From<live::ProgramInfo> for Program {
    fn from(program: live::ProgramInfo) -> Self {
        let live::ProgramInfo { id, name, kind, attached_to, runs, run_time_ns } = program;
        Self { id, name, kind, attached_to, runs, run_time_ns }
    }
}

impl From<live::MapInfo> for Map {
    fn from(map: live::MapInfo) -> Self {
        let live::MapInfo { id, name, kind, max_entries, memory_bytes } = map;
        Self { id, name, kind, max_entries, memory_bytes }
    }
}
