//! HotSpot: the virtual thread (JEP 444) that is mounted on a thread, by the id with which it owns monitors
//! (JEP 491, JDK 24 and later).
//!
//! The library publishes where its fields lie, for debuggers: `gHotSpotVMStructs`
//! (`share/runtime/vmStructs.hpp`). Its thread is found through a key of pthreads
//! (`os/posix/threadLocalStorage_posix.cpp`), whose number is found at a thread that is known.

use std::io;

use super::image::{Image, Target};
use super::pthread::{KEYS, key_place};
use super::{Evidence, Row, Runtime, places};

pub(super) const ROW: Row = Row { find, migrates: false };

/// `dt_runtime` of `bpf/event.h`.
const DT_HOTSPOT: u32 = 3;
/// Entries of the table; JDK 25 has 585.
const ENTRIES_MAX: usize = 4096;
/// Threads that are looked at for the key.
const THREADS_MAX: u64 = 16;
/// The first versions that have virtual threads, and whose owners have ids.
const VIRTUAL: u64 = 21;
const OWNERS: u64 = 24;

fn find(target: &Target) -> Option<Result<Runtime, String>> {
    let image = target.file(|name| name == "libjvm.so")?;
    let table = match Table::of(target, &image) {
        Ok(table) => table,
        Err(why) => return Some(Err(why)),
    };
    let major = table.known(target, "Abstract_VM_Version", "_vm_major_version")?;
    let major = major & u64::from(u32::MAX);
    // Before, there is nothing but threads.
    (major >= VIRTUAL).then(|| read(target, &table, major))
}

fn read(target: &Target, table: &Table, major: u64) -> Result<Runtime, String> {
    if major < OWNERS {
        return Err(format!(
            "virtual threads of Java {major} cannot be told apart, only from 24 on"
        ));
    }
    let offset = |of: &str, field: &str| {
        let entry =
            table.entry(of, field).ok_or_else(|| format!("Java {major} hides {of}.{field}"));
        entry.map(|entry| entry.offset)
    };
    let mut runtime = Runtime {
        name: format!("Java {major}"),
        kind: DT_HOTSPOT,
        at: places([
            offset("Thread", "_osthread")?,
            offset("OSThread", "_pthread_id")?,
            offset("JavaThread", "_threadObj")?,
            offset("JavaThread", "_vthread")?,
            offset("JavaThread", "_monitor_owner_id")?,
        ]),
        evidence: Some(Evidence::VirtualThreads),
        ..Runtime::default()
    };
    let slot = slot(target, table, &runtime);
    runtime.slot =
        slot.ok_or_else(|| format!("no thread of Java {major} is where it should be"))?;
    Ok(runtime)
}

/// Where each thread keeps the library's, from its thread pointer: the key under which one does that the
/// library lists.
fn slot(target: &Target, table: &Table, runtime: &Runtime) -> Option<i64> {
    let word = |base: u64, offset: u64| target.word(base.wrapping_add(offset)).ok();
    let list = table.known(target, "ThreadsSMRSupport", "_java_thread_list")?;
    let len = word(list, table.entry("ThreadsList", "_length")?.offset)? & u64::from(u32::MAX);
    let [os, pthread, ..] = runtime.at;
    let threads = word(list, table.entry("ThreadsList", "_threads")?.offset)?;
    (0..len.min(THREADS_MAX)).find_map(|number| {
        let thread = word(threads, 8 * number)?;
        let pointer = word(word(thread, os)?, pthread)?;
        let mut keys = (0..KEYS).map(key_place);
        keys.find(|place| word(pointer, *place as u64) == Some(thread))
    })
}

/// What the library publishes.
struct Table(Vec<Entry>);

struct Entry {
    of: String,
    field: String,
    offset: u64,
    /// Of a static field; else 0.
    address: u64,
}

impl Table {
    fn of(target: &Target, image: &Image<'_>) -> Result<Self, String> {
        let word = |address: u64| target.word(address).map_err(|error| error.to_string());
        let names = [
            "gHotSpotVMStructs",
            "gHotSpotVMStructEntryArrayStride",
            "gHotSpotVMStructEntryTypeNameOffset",
            "gHotSpotVMStructEntryFieldNameOffset",
            "gHotSpotVMStructEntryOffsetOffset",
            "gHotSpotVMStructEntryAddressOffset",
        ];
        let mut found = [0; 6];
        for (value, symbol) in found.iter_mut().zip(image.symbols(names)?) {
            let symbol = symbol.ok_or_else(|| format!("{} tells no offsets", image.name()))?;
            *value = word(symbol.address)?;
        }
        Self::read(target, found).map_err(|error| error.to_string())
    }

    /// The table that lies as the library's own words say, in the order of [`of`](Self::of).
    fn read(target: &Target, words: [u64; 6]) -> io::Result<Self> {
        let [first, stride, type_at, field_at, offset_at, address_at] = words;
        let word = |base: u64, offset: u64| target.word(base.wrapping_add(offset));
        let text = |base: u64, offset: u64| {
            word(base, offset).ok().and_then(|address| target.terminated(address).ok())
        };
        let mut entries = Vec::new();
        let places = std::iter::successors(Some(first), |entry| Some(entry.wrapping_add(stride)));
        for entry in places.take(ENTRIES_MAX) {
            if word(entry, type_at)? == 0 {
                break;
            }
            if let (Some(of), Some(field)) = (text(entry, type_at), text(entry, field_at)) {
                let (offset, address) = (word(entry, offset_at)?, word(entry, address_at)?);
                entries.push(Entry { of, field, offset, address });
            }
        }
        Ok(Self(entries))
    }

    fn entry(&self, of: &str, field: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.of == of && entry.field == field)
    }

    /// What a static field holds.
    fn known(&self, target: &Target, of: &str, field: &str) -> Option<u64> {
        let entry = self.entry(of, field).filter(|entry| entry.address != 0)?;
        target.word(entry.address).ok()
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_model::Pid;

    use super::*;

    #[test]
    fn the_table_is_read_as_it_says_of_itself() {
        // As in JDK 25: type, field, type of the field, whether it is static, offset, address.
        let major = 25u64;
        let text = |text: &'static [u8]| text.as_ptr() as u64;
        let at = std::ptr::from_ref(&major) as u64;
        let entries = [
            [text(b"JavaThread\0"), text(b"_vthread\0"), text(b"OopHandle\0"), 0, 1128, 0],
            [text(b"Abstract_VM_Version\0"), text(b"_vm_major_version\0"), 0, 1, 0, at],
            [0; 6],
            [text(b"JavaThread\0"), text(b"_behind\0"), 0, 0, 8, 0],
        ];
        let target = Target::of(Pid(std::process::id())).unwrap();
        let first = entries.as_ptr() as u64;
        let table = Table::read(&target, [first, 48, 0, 8, 32, 40]).unwrap();
        assert_eq!(table.entry("JavaThread", "_vthread").map(|entry| entry.offset), Some(1128));
        let known = |field| table.known(&target, "Abstract_VM_Version", field);
        assert_eq!((known("_vm_major_version"), known("_other")), (Some(25), None));
        assert!(table.entry("JavaThread", "_behind").is_none());
        assert!(Table::read(&target, [8, 48, 0, 8, 32, 40]).is_err());
    }
}
