//! Executable: the program's name, for what neither operator nor script names.

use super::{Found, base, script};
use crate::process::Facts;

/// Programs that run others' code: their name says what they are, not what they do.
const BARE: &[&str] = &["busybox", "tini", "dumb-init", "sudo", "su", "env", "nohup", "timeout"];

/// The name under which the program was started.
///
/// That is the executable's, unless it was started by another name that both comm and first
/// argument agree on: Debian's `redis-server` is a link to `redis-check-rdb`, `busybox` is many
/// programs. Titles (`postgres: app shop idle`) change the first argument only.
pub(super) fn find(facts: &Facts) -> Found {
    let started_as = started_as(facts);
    let executable = base(&facts.executable);
    let comm_is_executable = !executable.is_empty() && executable.starts_with(&facts.comm);
    let name = match started_as {
        Some(name) if executable.is_empty() || !comm_is_executable => name,
        _ if executable.is_empty() => facts.comm.as_str(),
        _ => executable,
    };
    if name.is_empty() {
        return Found::Nothing;
    }
    if BARE.contains(&name) || script::interpreter(facts).is_some() {
        return Found::Bare(if executable.is_empty() { name } else { executable }.to_owned());
    }
    Found::named(name)
}

/// Name of the first argument where it begins with comm, which is what was executed.
pub(super) fn started_as(facts: &Facts) -> Option<&str> {
    let first = facts.arguments.first()?;
    let word = first.split(' ').next().unwrap_or(first).trim_end_matches(':');
    let name = base(word).trim_start_matches('-');
    (!facts.comm.is_empty() && name.starts_with(&facts.comm)).then_some(name)
}
