//! CPython: the context (PEP 567) that a thread runs in. Each task of asyncio has its own, so on an event
//! loop it names the task that sends.
//!
//! Offsets are those of `Include/internal/pycore_runtime.h` and `Include/cpython/pystate.h` of each minor
//! version, as a C compiler gives them. The interpreter keeps the state of a thread under a key of
//! pthreads.

use super::image::{Image, Symbol, Target};
use super::pthread::{KEYS, key_place};
use super::{Evidence, Probe, Row, Runtime, places, queue};

pub(super) const ROW: Row = Row { find, migrates: false };

/// `dt_runtime` of `bpf/event.h`.
const DT_CPYTHON: u32 = 1;
/// A return probe on a function that begins with `push`.
const HIT_US: u64 = 2;

/// Minor version of CPython 3, place of the key in `_PyRuntime`, of `thread_id` and of `context` in
/// `PyThreadState`.
const VERSIONS: &[(u32, u64, u64, u64)] = &[
    (8, 1396, 176, 240),
    (9, 588, 176, 240),
    (10, 588, 176, 240),
    (11, 596, 152, 224),
    (12, 1548, 136, 208),
    (13, 2164, 152, 208),
];

/// Where the interpreter of a process keeps the states of its threads.
pub(super) struct States<'a> {
    pub(super) image: Image<'a>,
    /// Version 3 of this minor number.
    pub(super) minor: u32,
    /// From the thread pointer.
    pub(super) slot: i64,
    /// In a state: the thread's name.
    pub(super) thread_id: u64,
    context: u64,
    /// `PyContext_Type` and `PyContext_CopyCurrent`.
    symbols: [Option<Symbol>; 2],
}

fn find(target: &Target) -> Option<Result<Runtime, String>> {
    let states = States::of(target)?;
    Some(states.and_then(|states| read(target, states)))
}

impl<'a> States<'a> {
    /// `None`: no interpreter is there.
    pub(super) fn of(target: &'a Target) -> Option<Result<Self, String>> {
        let library = target.file(|name| name.starts_with("libpython3.") && name.contains(".so"));
        let program = || target.program().filter(|image| image.name().starts_with("python3."));
        let image = library.or_else(program)?;
        let minor = minor_version(image.name())?;
        Some(Self::find(target, image, minor))
    }

    fn find(target: &Target, image: Image<'a>, minor: u32) -> Result<Self, String> {
        let version = VERSIONS.iter().find(|version| version.0 == minor);
        let Some((_, key_at, thread_id, context)) = version else {
            return Err(format!("offsets of CPython 3.{minor} are not known"));
        };
        let names = ["_PyRuntime", "PyContext_Type", "PyContext_CopyCurrent"];
        let [Some(runtime), symbols @ ..] = image.symbols(names)? else {
            return Err(format!("{} has no symbols", image.name()));
        };
        let key = target
            .word(runtime.address.wrapping_add(*key_at))
            .map_err(|error| error.to_string())?;
        let key = key & u64::from(u32::MAX);
        if key >= KEYS {
            return Err(format!("the key of CPython's thread state is not where 3.{minor} has it"));
        }
        let (slot, thread_id, context) = (key_place(key), *thread_id, *context);
        Ok(Self { image, minor, slot, thread_id, context, symbols })
    }
}

/// The number behind `python3.` in a file's name.
fn minor_version(name: &str) -> Option<u32> {
    let rest = &name[name.find("python3.")? + "python3.".len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

fn read(target: &Target, states: States<'_>) -> Result<Runtime, String> {
    let States { image, minor, slot, thread_id, context, symbols } = states;
    let [Some(type_), copy] = symbols else {
        return Err(format!("{} has no symbols", image.name()));
    };
    let copy = copy.map(|copy| Probe {
        program: "deeptrace_py_copied",
        evidence: Evidence::Copies,
        path: image.path(),
        offset: copy.offset,
        at_return: true,
    });
    Ok(Runtime {
        name: format!("CPython 3.{minor}"),
        kind: DT_CPYTHON,
        slot,
        at: places([thread_id, context, type_.address]),
        evidence: Some(Evidence::Contexts),
        probes: copy.into_iter().chain(queue::probes(target, &image)).collect(),
        hit_us: HIT_US,
        ..Runtime::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        assert_eq!(minor_version("libpython3.11.so.1.0"), Some(11));
        assert_eq!(minor_version("python3.9"), Some(9));
        assert_eq!(minor_version("libpython3.so"), None);
        assert_eq!(minor_version("node"), None);
    }
}
