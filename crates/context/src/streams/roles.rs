//! Roles: which units only carry bytes of shared connections, and work for nobody.
//!
//! A runtime's task that reads from a shared connection does nothing else, nor does one that writes for
//! many streams. What a reader and another task tell each other back and forth at each of its reads makes
//! that one its partner: it takes frames for the reader. Of threads only those are told that read: who
//! writes frames may be who works.

use deeptrace_model::{BootTime, ConnectionId, UnitId, UnitKind};
use rustc_hash::{FxHashMap, FxHashSet};

/// Units that are remembered; beyond, all go, and are told again.
const UNITS_MAX: usize = 4096;
/// Streams that a task must write for.
const STREAMS_MIN: u32 = 8;
/// Hand-overs each way, and of a hundred reads, that make a partner.
const PINGS_MIN: u32 = 3;
const PINGS_SHARE: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Roles {
    readers: FxHashMap<UnitId, Reader>,
    /// Streams that a task wrote the first frame of.
    writers: FxHashMap<UnitId, u32>,
    /// Partners, and whose they are.
    partners: FxHashMap<UnitId, UnitId>,
    /// Tasks that wrote to who asks us.
    answerers: FxHashSet<UnitId>,
}

#[derive(Debug, Default)]
struct Reader {
    connection: ConnectionId,
    reads: u32,
    used: BootTime,
    /// Hand-overs to and from others.
    pings: FxHashMap<UnitId, [u32; 2]>,
}

impl Roles {
    /// A unit read from a shared connection.
    pub(super) fn read(&mut self, unit: UnitId, connection: ConnectionId, time: BootTime) {
        if self.readers.len() >= UNITS_MAX {
            *self = Self::default();
        }
        let reader = self.readers.entry(unit).or_default();
        reader.reads = reader.reads.saturating_add(1);
        (reader.used, reader.connection) = (time, connection);
    }

    /// A task wrote the first frame of a stream; `answers`: to who asks us.
    pub(super) fn wrote(&mut self, unit: UnitId, answers: bool) {
        if unit.kind() != UnitKind::Task {
            return;
        }
        if self.writers.len() >= UNITS_MAX {
            self.writers.retain(|_, streams| *streams >= STREAMS_MIN);
        }
        let streams = self.writers.entry(unit).or_default();
        *streams = streams.saturating_add(1);
        if answers {
            if self.answerers.len() >= UNITS_MAX {
                self.answerers.clear();
            }
            self.answerers.insert(unit);
        }
    }

    /// Data went from a unit to another.
    pub(super) fn pinged(&mut self, from: UnitId, to: UnitId) {
        for (reader, other, way) in [(from, to, 0), (to, from, 1)] {
            let Some(known) = self.readers.get_mut(&reader) else { continue };
            if known.pings.len() >= UNITS_MAX {
                known.pings.clear();
            }
            let pings = known.pings.entry(other).or_default();
            pings[way] = pings[way].saturating_add(1);
            let enough = PINGS_MIN.max(known.reads / PINGS_SHARE);
            if pings.iter().all(|count| *count >= enough) && self.partners.len() < UNITS_MAX {
                self.partners.insert(other, reader);
            }
        }
    }

    /// The reader whose partner a unit is.
    pub(super) fn partner_of(&self, unit: UnitId) -> Option<UnitId> {
        self.partners.get(&unit).copied()
    }

    /// The connection that a unit reads from.
    pub(super) fn connection(&self, unit: UnitId) -> Option<ConnectionId> {
        self.readers.get(&unit).map(|reader| reader.connection)
    }

    /// Units that carry bytes only.
    pub(super) fn carriers(&self) -> impl Iterator<Item = UnitId> {
        let writers = self.writers.iter().filter(|(_, streams)| **streams >= STREAMS_MIN);
        let writers = writers.map(|(unit, _)| unit);
        self.readers.keys().chain(self.partners.keys()).chain(writers).copied()
    }

    /// Whether a unit carries bytes only.
    pub(super) fn is_carrier(&self, unit: UnitId) -> bool {
        self.readers.contains_key(&unit)
            || self.partners.contains_key(&unit)
            || self.writers.get(&unit).is_some_and(|streams| *streams >= STREAMS_MIN)
    }

    /// Whether a task writes to who asks us: it answers, and was not made for a request.
    pub(super) fn is_answerer(&self, unit: UnitId) -> bool {
        self.answerers.contains(&unit)
    }

    /// Forgets readers that have not read since `before`.
    pub(super) fn expire(&mut self, before: BootTime) {
        self.readers.retain(|_, reader| reader.used >= before);
        let readers = &self.readers;
        self.partners.retain(|_, reader| readers.contains_key(reader));
    }
}
