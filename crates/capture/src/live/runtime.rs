//! Runtimes: how to find out which of a language's own units runs on a thread, and what tells of
//! hand-overs between them. A table, one file each.
//!
//! Nothing is written to a process. What is found is checked again by the kernel programs at each read:
//! an offset that is wrong finds no unit.

mod cpython;
mod finder;
mod go;
mod greenlet;
mod hotspot;
mod image;
mod pthread;
mod queue;
mod tokio;

use deeptrace_model::{HandOverKind, Pid};

pub(super) use self::finder::Finder;
use self::image::Target;
use super::evidence::Evidence;

/// Asked in this order; the first that knows the process has it.
const TABLE: &[Row] = &[greenlet::ROW, cpython::ROW, hotspot::ROW, go::ROW, tokio::ROW];

/// `DT_PLACES` of `bpf/event.h`.
pub(super) const PLACES: usize = 6;

/// A language's runtime.
struct Row {
    /// `None`: the process is not of this language.
    find: fn(&Target) -> Option<Result<Runtime, String>>,
    /// Its units move between threads, so that wake-ups of threads mean nothing.
    migrates: bool,
}

/// A runtime that is known and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) why: String,
    /// As the row says.
    pub(super) migrates: bool,
}

/// A place in a file where one of our programs listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) program: &'static str,
    /// As this process sees the file.
    pub(super) path: String,
    /// The kind of evidence that it is.
    pub(super) evidence: Evidence,
    /// Bytes from the start of the file.
    pub(super) offset: u64,
    /// Whether it listens where the function returns.
    pub(super) at_return: bool,
}

/// What there is to know of a runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runtime {
    /// As people call it, with its version.
    pub(super) name: String,
    /// As the row says.
    pub(super) migrates: bool,
    /// `dt_follow.runtime` and what follows there.
    pub(super) kind: u32,
    pub(super) slot: i64,
    /// In the order of `bpf/event.h`.
    pub(super) at: [u64; PLACES],
    /// The kind of evidence that reading the unit is.
    pub(super) evidence: Option<Evidence>,
    pub(super) probes: Vec<Probe>,
    /// What a hit of a probe costs, as measured: microseconds.
    pub(super) hit_us: u64,
    /// What a unit that is made ready had waited for, by the runtime's number, and what that means;
    /// `None`: nothing.
    pub(super) reasons: Vec<Option<HandOverKind>>,
}

impl Runtime {
    /// With a place that is wrong by so many bytes.
    pub(super) fn off_by(mut self, wrong: Option<(usize, i64)>) -> Self {
        match wrong {
            Some((0, by)) => self.slot += by,
            Some((place, by)) if place <= PLACES => {
                let at = &mut self.at[place - 1];
                *at = at.wrapping_add_signed(by);
            }
            _ => {}
        }
        self
    }
}

/// Finds out what runs in a process. `Ok(None)`: nothing that is known; the error says why it cannot
/// be read.
fn find(pid: Pid) -> Result<Option<Runtime>, Unread> {
    let target = Target::of(pid).map_err(|error| Unread {
        why: format!("cannot read its memory ({error})"),
        migrates: false,
    })?;
    let found = TABLE.iter().find_map(|row| {
        let unread = |why| Unread { why, migrates: row.migrates };
        let known = |runtime| Runtime { migrates: row.migrates, ..runtime };
        (row.find)(&target).map(|found| found.map(known).map_err(unread))
    });
    found.transpose()
}

/// `dt_follow.at` with these at its beginning.
fn places<const N: usize>(known: [u64; N]) -> [u64; PLACES] {
    let mut at = [0; PLACES];
    at[..N].copy_from_slice(&known);
    at
}
