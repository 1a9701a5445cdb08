//! Greenlets of gevent: which one runs on a thread. CPython 3.11 and later keep the frames of Python in chunks
//! (`_PyStackChunk`, `Include/cpython/pystate.h`), and each greenlet has chunks of its own: the first one
//! names it, whether it sends or receives.

use super::cpython::States;
use super::image::Target;
use super::{Evidence, Row, Runtime, places};

/// Units move between requests as tasks do, on one thread: its wake-ups mean nothing.
pub(super) const ROW: Row = Row { find, migrates: true };

/// `dt_runtime` of `bpf/event.h`.
const DT_GREENLET: u32 = 4;
/// Minor version of CPython 3, and place of `datastack_chunk` in `PyThreadState`.
const VERSIONS: &[(u32, u64)] = &[(11, 296), (12, 232), (13, 232)];

fn find(target: &Target) -> Option<Result<Runtime, String>> {
    target.file(|name| name.starts_with("_gevent_c_"))?;
    let states = States::of(target)?;
    Some(states.and_then(|states| read(&states)))
}

fn read(states: &States<'_>) -> Result<Runtime, String> {
    let minor = states.minor;
    let version = VERSIONS.iter().find(|version| version.0 == minor);
    let (_, chunk) = version.ok_or_else(|| {
        format!("greenlets of CPython 3.{minor} cannot be told apart, only of 3.11 to 3.13")
    })?;
    Ok(Runtime {
        name: format!("gevent on CPython 3.{minor}"),
        kind: DT_GREENLET,
        slot: states.slot,
        at: places([states.thread_id, *chunk]),
        evidence: Some(Evidence::Greenlets),
        ..Runtime::default()
    })
}
