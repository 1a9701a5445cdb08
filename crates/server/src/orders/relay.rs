//! Relay: what other servers over the same store are told: orders for agents that poll them, and what agents
//! of this one have told of what they keep. Each server keeps one document with what it told within the last
//! seconds, and reads those of the others.
//!
//! All has numbers; where one is missing at a reader, something was lost on the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deeptrace_store::{Expected, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::forward;

/// Names of the documents begin with it; the epoch of the server follows.
const PREFIX: &str = "relay/";
/// Something is relayed so long: the others read several times meanwhile.
const LIFE: Duration = Duration::from_secs(10);
/// Bytes that a server relays at once, at most; far below what a document may have.
const BYTES_MAX: usize = 512 << 10;
/// Servers over one store, at most.
const SERVERS_MAX: usize = 64;
/// A server writes its document at least so often.
const SIGN: Duration = Duration::from_secs(20);
/// A document that does not change for so long is of a server that has ended without a word.
const ABANDONED: Duration = Duration::from_secs(60);

/// What is told to other servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relayed {
    /// For agents.
    Order {
        /// For this agent only; empty: for all.
        to: String,
        /// But not for this one.
        but: String,
        /// As [`deeptrace_wire::Order::record`] has made it.
        record: Vec<u8>,
    },
    /// What this agent has told of what it keeps.
    Summary {
        /// Its id.
        agent: String,
        /// As [`deeptrace_wire::encode_answers`] has made it.
        answer: Vec<u8>,
    },
}

impl Relayed {
    fn len(&self) -> usize {
        match self {
            Self::Order { record, .. } => record.len(),
            Self::Summary { answer, .. } => answer.len(),
        }
    }
}

/// What a server's document holds.
#[derive(Default, Serialize, Deserialize)]
struct Told {
    /// Number of the last of all.
    last: u64,
    /// The latest, without holes.
    latest: Vec<Relayed>,
}

/// What this server relays now. Never waits for the store.
#[derive(Default)]
pub struct Relay(Mutex<Own>);

#[derive(Default)]
struct Own {
    latest: VecDeque<(Instant, Relayed)>,
    bytes: usize,
    last: u64,
}

/// The way between this server and the others; for one thread.
pub struct Exchange {
    epoch: u64,
    /// What was written last, and when.
    written: Option<(u64, usize, Instant)>,
    /// Since when the store does not answer.
    failing: Option<Instant>,
    has_begun: bool,
    others: BTreeMap<String, Other>,
}

struct Other {
    /// Number of the last that was taken.
    last: u64,
    version: u64,
    changed: Instant,
}

/// The document of the server with that epoch.
fn name(epoch: u64) -> String {
    format!("{PREFIX}{epoch:016x}")
}

impl Relay {
    /// Tells others something; returns how much had to go for it. A summary goes itself where there is not
    /// much room: without it other servers ask the agent, without orders traces are cut.
    pub fn push(&self, relayed: Relayed) -> u64 {
        let mut own = self.lock();
        let is_summary = matches!(relayed, Relayed::Summary { .. });
        if is_summary && own.bytes + relayed.len() > BYTES_MAX / 2 {
            return 1;
        }
        own.last += 1;
        own.bytes += relayed.len();
        own.latest.push_back((Instant::now(), relayed));
        let mut dropped = 0;
        while own.bytes > BYTES_MAX && own.pop() {
            dropped += 1;
        }
        dropped
    }

    fn told(&self) -> Told {
        let mut own = self.lock();
        while own.latest.front().is_some_and(|(at, _)| at.elapsed() > LIFE) && own.pop() {}
        Told { last: own.last, latest: own.latest.iter().map(|(_, it)| it.clone()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    fn pop(&mut self) -> bool {
        let popped = self.latest.pop_front();
        self.bytes -= popped.as_ref().map_or(0, |(_, it)| it.len());
        popped.is_some()
    }
}

impl Exchange {
    /// Of the server with that epoch.
    pub fn new(epoch: u64) -> Self {
        let others = BTreeMap::new();
        Self { epoch, written: None, failing: None, has_begun: false, others }
    }

    /// Writes what is new here, and tells `take` what is new at others. Whether something of theirs was lost.
    pub fn run(
        &mut self,
        own: &Relay,
        store: &dyn Store,
        take: &mut dyn FnMut(Relayed),
    ) -> Result<bool, StoreError> {
        let exchanged = self.write(own, store).and_then(|()| self.read(store, take));
        match exchanged {
            Ok(has_missed) => {
                // What others had meanwhile may have come and gone.
                let was_long = self.failing.take().is_some_and(|since| since.elapsed() > LIFE);
                Ok(has_missed || was_long)
            }
            Err(error) => {
                self.failing.get_or_insert_with(Instant::now);
                Err(error)
            }
        }
    }

    /// Epochs of the other servers that are there.
    pub fn peers(&self) -> BTreeSet<u64> {
        let epochs = self.others.keys().map(|name| name.trim_start_matches(PREFIX));
        epochs.filter_map(|hex| u64::from_str_radix(hex, 16).ok()).collect()
    }

    fn write(&mut self, own: &Relay, store: &dyn Store) -> Result<(), StoreError> {
        let told = own.told();
        let is_written = self.written.is_some_and(|(last, count, at)| {
            (last, count) == (told.last, told.latest.len()) && at.elapsed() < SIGN
        });
        if !is_written {
            // Numbers and texts always become bytes.
            let body = postcard::to_stdvec(&told).unwrap_or_default();
            store.put_document(&name(self.epoch), Some(&body), Expected::Any)?;
            self.written = Some((told.last, told.latest.len(), Instant::now()));
        }
        Ok(())
    }

    fn read(
        &mut self,
        store: &dyn Store,
        take: &mut dyn FnMut(Relayed),
    ) -> Result<bool, StoreError> {
        let found = store.documents(PREFIX, None, SERVERS_MAX)?;
        self.others.retain(|name, _| found.iter().any(|document| document.name == *name));
        let (own, is_first) = (name(self.epoch), !std::mem::replace(&mut self.has_begun, true));
        let mut has_missed = false;
        for document in found.iter().filter(|document| document.name != own) {
            // What another version of this program has written is nothing.
            let told: Told = postcard::from_bytes(&document.body).unwrap_or_default();
            let before = told.last.saturating_sub(told.latest.len() as u64);
            let other = self.others.entry(document.name.clone()).or_insert_with(|| Other {
                // What was before our start is told to nobody here; a server that has started since
                // begins with one.
                last: if is_first { before } else { 0 },
                version: document.version,
                changed: Instant::now(),
            });
            has_missed |= before > other.last;
            if other.version != document.version {
                (other.version, other.changed) = (document.version, Instant::now());
            } else if other.changed.elapsed() > ABANDONED {
                store.put_document(&document.name, None, Expected::Version(document.version))?;
                let epoch = document.name.trim_start_matches(PREFIX);
                forward::clear(store, epoch)?;
            }
            for (number, relayed) in (before + 1..).zip(told.latest) {
                if number > other.last {
                    take(relayed);
                }
            }
            other.last = other.last.max(told.last);
        }
        Ok(has_missed)
    }

    /// The end of this server.
    pub fn end(&self, store: &dyn Store) {
        let removed = store.put_document(&name(self.epoch), None, Expected::Any);
        let cleared = removed.and_then(|_| forward::clear(store, &format!("{:016x}", self.epoch)));
        if let Err(error) = cleared {
            tracing::debug!(%error, "what was relayed stays until another server removes it");
        }
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_store::{Mode, Options};

    use super::*;

    fn order(bytes: usize) -> Relayed {
        Relayed::Order { to: String::new(), but: String::new(), record: vec![7; bytes] }
    }

    #[test]
    fn what_did_not_arrive_is_seen_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let (relay, mut one) = (Relay::default(), Exchange::new(1));
        let (nothing, mut other) = (Relay::default(), Exchange::new(2));
        let nobody = &mut |_| panic!("the other has told nothing");
        let hears = |other: &mut Exchange| {
            let mut heard = 0;
            let missed = other.run(&nothing, &*store, &mut |_| heard += 1).unwrap();
            (heard, missed)
        };
        assert!(!one.run(&relay, &*store, nobody).unwrap());
        assert_eq!(hears(&mut other), (0, false));
        relay.push(order(1));
        relay.push(order(1));
        one.run(&relay, &*store, nobody).unwrap();
        assert_eq!((hears(&mut other), hears(&mut other)), ((2, false), (0, false)));
        // More than there is room for between two looks.
        let dropped: u64 = (0..3).map(|_| relay.push(order(BYTES_MAX / 2))).sum();
        assert_eq!(dropped, 3, "with the two that were told before");
        let summary = Relayed::Summary { agent: "a".to_owned(), answer: vec![1] };
        assert_eq!(relay.push(summary), 1, "it is not worth an order");
        one.run(&relay, &*store, nobody).unwrap();
        assert_eq!((hears(&mut other), hears(&mut other)), ((2, true), (0, false)));
        // One that comes later has missed nothing.
        assert_eq!(hears(&mut Exchange::new(3)), (2, false));
        one.end(&*store);
        assert_eq!(store.documents(PREFIX, None, 9).unwrap().len(), 2);
    }
}
