//! Buffer: batches from when they are made until the server has acknowledged them.
//!
//! While the server takes them they wait in memory only. From the first failure on they go to disk
//! at once, so that the end of this process loses nothing either, and so does what no longer fits into
//! memory. Sent is first what failed, then what is on disk, which is older, then what is in memory.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use deeptrace_model::{Missed, WallTime};
use deeptrace_wire::{Encoded, Head};

use super::erasing::Left;
use super::missed_of;
use super::segments::{Segments, Stored};

/// Batches that wait.
pub struct Buffer {
    memory_max: usize,
    memory_bytes: usize,
    waiting: VecDeque<Parcel>,
    /// Sent once, and to be sent again.
    failed: VecDeque<Parcel>,
    disk: Option<Segments>,
    /// The server does not take anything: what comes goes to disk.
    is_away: bool,
    /// What had to go.
    dropped: Missed,
    disk_errors: u64,
}

/// A batch on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What can be told of it.
    pub head: Head,
    /// As it is sent.
    pub bytes: Bytes,
    /// The file that keeps it until it is acknowledged; `None`: only memory does.
    segment: Option<u64>,
}

impl Buffer {
    /// With what is left on disk.
    pub fn new(memory_max: usize, disk: Option<Segments>) -> Self {
        Self {
            memory_max,
            memory_bytes: 0,
            waiting: VecDeque::new(),
            failed: VecDeque::new(),
            disk,
            is_away: false,
            dropped: Missed::default(),
            disk_errors: 0,
        }
    }

    /// Takes a batch.
    pub fn push(&mut self, encoded: Encoded) {
        let parcel = Parcel { head: encoded.head, bytes: encoded.bytes.into(), segment: None };
        // Behind what is on disk already, so that the oldest is sent first, and dropped first.
        let is_behind = self.disk.as_ref().is_some_and(|disk| !disk.is_empty());
        if !(self.is_away || is_behind) || !self.store(&parcel) {
            self.memory_bytes += parcel.bytes.len();
            self.waiting.push_back(parcel);
        }
        if self.memory_bytes > self.memory_max {
            self.spill();
        }
        while self.memory_bytes > self.memory_max
            && let Some(oldest) = self.failed.pop_front().or_else(|| self.waiting.pop_front())
        {
            self.forget(&oldest);
            self.dropped.merge(missed_of(&oldest.head));
        }
    }

    /// The next batch to send. It stays ours until [`done`](Self::done) or [`failed`](Self::failed).
    pub fn next(&mut self) -> Option<Parcel> {
        if let Some(parcel) = self.failed.pop_front() {
            return Some(parcel);
        }
        while let Some(Stored { segment, bytes }) = self.disk.as_mut().and_then(Segments::read) {
            // Its head was read when it was found or written.
            if let Ok(head) = Head::read(&bytes) {
                self.memory_bytes += bytes.len();
                return Some(Parcel { head, bytes: bytes.into(), segment: Some(segment) });
            }
            self.disk.as_mut().into_iter().for_each(|disk| disk.done(segment));
        }
        self.waiting.pop_front()
    }

    /// The server has it, or will never take it.
    pub fn done(&mut self, parcel: &Parcel) {
        self.forget(parcel);
    }

    /// It was not taken, and is to be sent again: the server is away.
    pub fn failed(&mut self, parcel: Parcel) {
        if parcel.bytes.is_empty() {
            // It was erased on its way.
            return self.forget(&parcel);
        }
        let was_away = std::mem::replace(&mut self.is_away, true);
        if was_away && parcel.segment.is_none() && self.store(&parcel) {
            self.memory_bytes = self.memory_bytes.saturating_sub(parcel.bytes.len());
            return;
        }
        self.failed.push_back(parcel);
        if !was_away {
            self.spill();
        }
    }

    /// No answer comes: perhaps the server is away, and what only memory has goes to disk, also what is
    /// `in_flight`. That may be sent twice then, which is harmless.
    pub fn stalled<'a>(&mut self, in_flight: impl Iterator<Item = &'a Parcel>) {
        if !self.is_away {
            self.is_away = true;
            for parcel in in_flight.filter(|it| it.segment.is_none() && !it.bytes.is_empty()) {
                self.store(parcel);
            }
            self.spill();
        }
    }

    /// The server takes batches again.
    pub fn is_back(&mut self) {
        self.is_away = false;
    }

    /// Leaves of everything that waits what `left` says, also on disk: no file has the rest.
    pub fn erase(&mut self, left: &mut dyn FnMut(&[u8]) -> Left) -> io::Result<()> {
        let (failed, waiting) =
            (std::mem::take(&mut self.failed), std::mem::take(&mut self.waiting));
        self.failed = self.reduced(failed, left);
        self.waiting = self.reduced(waiting, left);
        self.disk.as_mut().map_or(Ok(()), |disk| disk.rewrite(left))
    }

    fn reduced(
        &mut self,
        mut parcels: VecDeque<Parcel>,
        left: &mut dyn FnMut(&[u8]) -> Left,
    ) -> VecDeque<Parcel> {
        parcels.iter_mut().for_each(|parcel| self.reduce(parcel, left));
        let is_gone = |parcel: &Parcel| parcel.bytes.is_empty();
        parcels.iter().filter(|parcel| is_gone(parcel)).for_each(|parcel| self.forget(parcel));
        parcels.retain(|parcel| !is_gone(parcel));
        parcels
    }

    /// Leaves of a batch what `left` says; one of which nothing is left has no bytes.
    pub fn reduce(&mut self, parcel: &mut Parcel, left: &mut dyn FnMut(&[u8]) -> Left) {
        let before = parcel.bytes.len();
        match left(&parcel.bytes) {
            Left::All => return,
            Left::Part(Encoded { head, bytes }) => {
                (parcel.head, parcel.bytes) = (head, bytes.into())
            }
            Left::Nothing => (parcel.head.spans, parcel.bytes) = (0, Bytes::new()),
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(before) + parcel.bytes.len();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.failed.is_empty()
            && self.disk.as_ref().is_none_or(Segments::is_empty)
    }

    /// Start of the oldest span that waits; `None` where none does, or only a gap.
    pub fn oldest(&self) -> Option<WallTime> {
        let in_memory = self.failed.front().or(self.waiting.front()).map(|parcel| parcel.head.from);
        let on_disk = self.disk.as_ref().and_then(Segments::oldest);
        in_memory.into_iter().chain(on_disk).filter(|from| *from > WallTime(0)).min()
    }

    /// The end: what is left goes to disk. What cannot is dropped.
    pub fn close(&mut self) -> Missed {
        self.spill();
        let mut left = Missed::default();
        let kept_by_disk = |parcel: &Parcel| parcel.segment.is_some();
        for parcel in self.failed.drain(..).chain(self.waiting.drain(..)) {
            if !kept_by_disk(&parcel) {
                left.merge(missed_of(&parcel.head));
            }
        }
        if let Some(disk) = &self.disk
            && disk.sync().is_err()
        {
            self.disk_errors += 1;
        }
        left
    }

    /// What had to go since it was asked last.
    pub fn take_dropped(&mut self) -> Missed {
        std::mem::take(&mut self.dropped)
    }

    /// Bytes in memory and on disk, failures of the disk, records that could not be read.
    pub fn sizes(&self) -> [u64; 4] {
        let (disk_bytes, torn) =
            self.disk.as_ref().map_or((0, 0), |disk| (disk.bytes(), disk.torn()));
        [self.memory_bytes as u64, disk_bytes, self.disk_errors, torn]
    }

    /// Everything that only memory has goes to disk, as far as that takes it.
    fn spill(&mut self) {
        let in_memory = self.failed.len() + self.waiting.len();
        for _ in 0..in_memory {
            let Some(parcel) = self.failed.pop_front().or_else(|| self.waiting.pop_front()) else {
                return;
            };
            if parcel.segment.is_some() || !self.store(&parcel) {
                // It stays; among those that failed, because it is older than what comes.
                self.failed.push_back(parcel);
            } else {
                self.memory_bytes = self.memory_bytes.saturating_sub(parcel.bytes.len());
            }
        }
    }

    /// Whether the disk has it now.
    fn store(&mut self, parcel: &Parcel) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        match disk.append(&parcel.head, &parcel.bytes) {
            Ok(dropped) => {
                self.dropped.merge(dropped);
                true
            }
            Err(error) => {
                if self.disk_errors == 0 {
                    tracing::warn!(%error, "the buffer on disk takes nothing");
                }
                self.disk_errors += 1;
                false
            }
        }
    }

    fn forget(&mut self, parcel: &Parcel) {
        self.memory_bytes = self.memory_bytes.saturating_sub(parcel.bytes.len());
        if let (Some(segment), Some(disk)) = (parcel.segment, &mut self.disk) {
            disk.done(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of so many bytes, with one span.
    fn batch(number: u64, bytes: usize) -> Encoded {
        let gap = deeptrace_model::Gap {
            from: WallTime(number),
            to: WallTime(number),
            cause: deeptrace_model::GapCause::Paused,
            events: 0,
            bytes: 0,
        };
        let mut all = Vec::new();
        let mut encoder = deeptrace_wire::Encoder::new(false).unwrap();
        encoder.encode(&[], &[], &[gap], &mut |encoded| all.push(encoded));
        let mut encoded = all.remove(0);
        encoded.head.spans = 1;
        encoded.bytes.resize(encoded.bytes.len().max(bytes), 0);
        encoded
    }

    fn drain(buffer: &mut Buffer) -> usize {
        let taken: Vec<Parcel> = std::iter::from_fn(|| buffer.next()).collect();
        taken.iter().for_each(|parcel| buffer.done(parcel));
        taken.len()
    }

    #[test]
    fn without_a_disk_the_oldest_go() {
        let mut buffer = Buffer::new(1_000, None);
        (0..5).for_each(|number| buffer.push(batch(number, 300)));
        assert_eq!(buffer.take_dropped().spans, 2);
        assert_eq!((drain(&mut buffer), buffer.sizes()), (3, [0; 4]));
    }

    #[test]
    fn what_is_under_way_is_on_disk_when_no_answer_comes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Some(Segments::open(folder.path(), 100_000).unwrap());
        let mut buffer = Buffer::new(1_000, disk());
        (0..2).for_each(|number| buffer.push(batch(number, 300)));
        let in_flight = buffer.next().unwrap();
        buffer.stalled([&in_flight].into_iter());
        drop(buffer);
        assert_eq!(drain(&mut Buffer::new(1_000, disk())), 2);
    }

    #[test]
    fn all_that_were_under_way_go_to_disk_when_they_fail() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Some(Segments::open(folder.path(), 100_000).unwrap());
        let mut buffer = Buffer::new(1_000, disk());
        (0..3).for_each(|number| buffer.push(batch(number, 300)));
        let under_way = [buffer.next().unwrap(), buffer.next().unwrap()];
        under_way.into_iter().for_each(|parcel| buffer.failed(parcel));
        assert_eq!(buffer.sizes()[0], 0, "nothing is in memory only");
        drop(buffer);
        assert_eq!(drain(&mut Buffer::new(1_000, disk())), 3);
    }

    #[test]
    fn memory_first_and_disk_when_the_server_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Some(Segments::open(folder.path(), 100_000).unwrap());
        let mut buffer = Buffer::new(1_000, disk());
        (0..3).for_each(|number| buffer.push(batch(number, 300)));
        assert_eq!(buffer.sizes()[1], 0, "a server that takes everything needs no disk");
        let first = buffer.next().unwrap();
        buffer.failed(first);
        assert_eq!(buffer.sizes()[0], 0, "everything is on disk");
        (3..9).for_each(|number| buffer.push(batch(number, 300)));
        // Killed here, and started again.
        drop(buffer);
        let mut buffer = Buffer::new(1_000, disk());
        assert_eq!((drain(&mut buffer), buffer.sizes()), (9, [0; 4]));
        buffer.is_back();
        buffer.push(batch(9, 300));
        assert_eq!(buffer.close().spans, 0, "what is left goes to disk");
        drop(buffer);
        assert_eq!(drain(&mut Buffer::new(1_000, disk())), 1);
    }
}
