//! Packet captures: pcap and pcapng files as a source of events, without the kernel.
//!
//! A capture sees a wire, not sockets. Each flow becomes *one* connection, the one that an observer
//! on the server's host would see: `Received` is what the client sent, so every exchange becomes
//! one span of kind server. The server's address stands for its process, and its name is
//! `10.0.0.1:80`; such processes have pids that no kernel gives ([`FIRST_PID`] and up), thread 0,
//! and the connection as their unit, so nothing is concluded from threads. Wall time is boot time.

mod counters;
mod direction;
mod file;
mod flow;
mod link;
mod packet;
mod stream;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use deeptrace_model::{
    BootTime, Duration, Event, EventBody, EventId, Host, LossCause, Pid, WallTime, hash_bytes,
    hash64,
};

use crate::{Progress, Source, SourceError};
use counters::Counters;
use file::{Blocks, Item};
use flow::Flows;

/// The pid of the first server of a capture. The kernel's pids stay below 2²² (`PID_MAX_LIMIT`).
pub const FIRST_PID: Pid = Pid((1 << 22) + 1);

/// Flows that are told apart at the same time; the one not seen for longest makes room.
const FLOWS_MAX: usize = 65_536;

/// Blocks of the file that one poll reads, at most.
const BATCH: usize = 1024;

/// How often the clock is told.
const CLOCK_EVERY: Duration = Duration::from_secs(10);

/// Reads a capture file. Its memory does not depend on the file's length.
///
/// Lost and cut packets are holes in a stream; what cannot be read (fragments, unknown links,
/// other protocols) is counted. A file that is cut off or damaged gives everything before, then
/// one error, then `End`.
pub struct Pcap {
    blocks: Blocks,
    flows: Flows,
    counters: Counters,
    events: u64,
    /// Time of the last clock that was told; `None` before the first packet.
    clock: Option<BootTime>,
    /// Time of the last packet, for blocks that have none.
    now: BootTime,
    is_ended: bool,
}

impl Pcap {
    /// Opens the capture at `path`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let file =
            File::open(path).map_err(|source| SourceError::Read { path: name.clone(), source })?;
        Self::new(&name, file)
    }

    /// Reads a capture from `file`; `path` names it in errors.
    pub fn new(path: &str, file: impl Read + Send + 'static) -> Result<Self, SourceError> {
        Ok(Self {
            blocks: Blocks::new(path, file)?,
            flows: Flows::new(FLOWS_MAX),
            counters: Counters::default(),
            events: 0,
            clock: None,
            now: BootTime::default(),
            is_ended: false,
        })
    }

    /// Reads one block; whether it was not the last.
    fn step(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<bool, SourceError> {
        let Self { blocks, flows, counters, events, clock, now, .. } = self;
        let mut emit = |time: BootTime, body: EventBody<'_>| {
            *events += 1;
            sink(&Event { id: EventId(*events), time, body });
        };
        blocks.next(&mut |item| match item {
            Item::Packet(packet) => {
                counters.packets += 1;
                let time = packet.time.unwrap_or(*now);
                *now = time;
                if clock.is_none() {
                    let boot = hash64(&[time.0, hash_bytes(packet.data)]);
                    emit(time, EventBody::Host(Host { boot, name: String::new() }));
                }
                if clock.is_none_or(|last| time.since(last) >= CLOCK_EVERY) {
                    *clock = Some(time);
                    emit(time, EventBody::Clock(WallTime(time.0)));
                }
                if let Some(segment) = packet::read(&packet, counters) {
                    flows.feed(&segment, time, counters, &mut |body| emit(time, body));
                }
            }
            Item::Lost(count) if clock.is_some() => {
                emit(*now, EventBody::Lost { cause: LossCause::Source, count });
            }
            // Nothing may come before the clock, and spans that could be marked come later still.
            Item::Lost(count) => counters.lost_before_first += count,
        })
    }
}

impl Source for Pcap {
    fn poll(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<Progress, SourceError> {
        for _ in 0..BATCH {
            if self.is_ended {
                return Ok(Progress::End);
            }
            // Set before the error leaves: it is told once.
            self.is_ended = true;
            self.is_ended = !self.step(sink)?;
        }
        Ok(Progress::More)
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.counters.tell(out);
    }
}

/// Whether a file that starts with `bytes` is a pcap or pcapng.
pub fn is_pcap(bytes: &[u8]) -> bool {
    file::is_pcap(bytes)
}

#[cfg(test)]
mod tests;
