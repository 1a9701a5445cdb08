//! Relay: orders for agents that poll another server over the same store. Each server keeps one document
//! with what it ordered within the last seconds, and reads those of the others.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use deeptrace_store::{Expected, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Names of the documents begin with it; the epoch of the server follows.
const PREFIX: &str = "relay/";
/// An order is relayed so long: the others read several times meanwhile.
const LIFE: Duration = Duration::from_secs(10);
/// Bytes that a server relays at once, at most; far below what a document may have.
const BYTES_MAX: usize = 512 << 10;
/// Servers over one store, at most.
const SERVERS_MAX: usize = 64;
/// A document that does not change for so long is of a server that has ended without a word.
const ABANDONED: Duration = Duration::from_secs(60);

/// An order on its way to other servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    number: u64,
    /// For this agent only; empty: for all.
    pub to: String,
    /// But not for this one.
    pub but: String,
    /// As [`deeptrace_wire::Order::record`] has made it.
    pub record: Vec<u8>,
}

/// What is relayed now, and what was read of others.
pub struct Relay {
    name: String,
    own: VecDeque<(Instant, Relayed)>,
    bytes: usize,
    number: u64,
    /// The document is not what it should be.
    is_stale: bool,
    others: BTreeMap<String, Other>,
}

struct Other {
    /// The last order that was taken.
    number: u64,
    version: u64,
    changed: Instant,
}

impl Relay {
    /// Of the server with that epoch.
    pub fn new(epoch: u64) -> Self {
        Self {
            name: format!("{PREFIX}{epoch:016x}"),
            own: VecDeque::new(),
            bytes: 0,
            number: 0,
            is_stale: false,
            others: BTreeMap::new(),
        }
    }

    /// Takes an order; returns how many had to go for it.
    pub fn push(&mut self, to: &str, but: &str, record: &[u8]) -> u64 {
        self.number += 1;
        self.bytes += record.len();
        let (to, but) = (to.to_owned(), but.to_owned());
        let relayed = Relayed { number: self.number, to, but, record: record.to_vec() };
        self.own.push_back((Instant::now(), relayed));
        self.is_stale = true;
        let mut dropped = 0;
        while self.bytes > BYTES_MAX && self.pop() {
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> bool {
        let popped = self.own.pop_front();
        self.bytes -= popped.as_ref().map_or(0, |(_, it)| it.record.len());
        popped.is_some()
    }

    /// Writes what is new here, and tells `take` what is new at others.
    pub fn exchange(
        &mut self,
        store: &dyn Store,
        take: &mut dyn FnMut(Relayed),
    ) -> Result<(), StoreError> {
        while self.own.front().is_some_and(|(at, _)| at.elapsed() > LIFE) {
            self.is_stale |= self.pop();
        }
        if self.is_stale {
            let items: Vec<&Relayed> = self.own.iter().map(|(_, it)| it).collect();
            let body = (!items.is_empty()).then(|| postcard::to_stdvec(&items).unwrap_or_default());
            store.put_document(&self.name, body.as_deref(), Expected::Any)?;
            self.is_stale = false;
        }
        let found = store.documents(PREFIX, None, SERVERS_MAX)?;
        self.others.retain(|name, _| found.iter().any(|document| document.name == *name));
        for document in found.iter().filter(|document| document.name != self.name) {
            let other = self.others.entry(document.name.clone()).or_insert_with(|| Other {
                number: 0,
                version: document.version,
                changed: Instant::now(),
            });
            if other.version != document.version {
                (other.version, other.changed) = (document.version, Instant::now());
            } else if other.changed.elapsed() > ABANDONED {
                store.put_document(&document.name, None, Expected::Version(document.version))?;
            }
            let items: Vec<Relayed> = postcard::from_bytes(&document.body).unwrap_or_default();
            for item in items {
                if item.number > other.number {
                    other.number = item.number;
                    take(item);
                }
            }
        }
        Ok(())
    }

    /// The end of this server.
    pub fn end(&self, store: &dyn Store) {
        if let Err(error) = store.put_document(&self.name, None, Expected::Any) {
            tracing::debug!(%error, "what was relayed stays until another server removes it");
        }
    }
}
