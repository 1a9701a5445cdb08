//! Flow: the records of one direction of a TLS connection, and which plaintext lies in which of them.
//!
//! A record is longer than its plaintext by what its cipher adds, which is the same for all records of a
//! connection (RFC 8446 §5.2, RFC 5288, RFC 7905). So plaintext tells its record by its length. What fits
//! nowhere is not told. Not covered: CBC ciphers and padded records, where lengths do not tell.

use std::collections::VecDeque;

use deeptrace_model::Plaintext;

/// What a cipher adds in TLS 1.3.
pub(super) const TLS_1_3: u16 = 17;
/// What a cipher adds: TLS 1.3; AES-GCM and AES-CCM, ChaCha20-Poly1305 in TLS 1.2.
const OVERHEADS: [u16; 3] = [TLS_1_3, 24, 16];
/// Records that wait for their plaintext.
const RECORDS_MAX: usize = 256;
/// Records of one write.
const RUN_MAX: usize = 128;
/// Bytes of a record's header.
const HEADER: u32 = 5;

/// A record that carries data, or an encrypted hand-shake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Sequence number of its header.
    pub(super) position: u32,
    /// Bytes after the header.
    pub(super) len: u16,
}

impl Record {
    fn end(self) -> u32 {
        self.position.wrapping_add(HEADER + u32::from(self.len))
    }
}

/// Plaintext of a record: where it is on the wire, and in the stream of plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) position: u32,
    pub(super) start: u64,
    pub(super) len: u32,
}

/// What a connection's cipher adds to a record, once known.
pub(super) type Overhead = Option<u16>;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    records: VecDeque<Record>,
    /// Plaintext of the first of them that was read already.
    offset: u32,
    /// What the socket moved so far: sequence numbers of the last call.
    call: (u32, u32),
    /// Position of the next byte of plaintext.
    next: u64,
    /// What is skipped from now on is plaintext that was not told, and no end of a hand-shake.
    has_data: bool,
    /// Whether it is known which record is next.
    pub(super) is_aligned: bool,
    /// The last record changed the cipher.
    is_changing: bool,
    /// Records that made room, or whose headers were not seen.
    pub(super) shed: u64,
}

/// How plaintext fits a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Whole(u16),
    Front,
    No,
}

fn fit(record: Record, amount: u32, is_full: bool, overhead: Overhead) -> Fit {
    let added = u32::from(record.len).checked_sub(amount);
    let Some(added) = added.and_then(|added| u16::try_from(added).ok()) else { return Fit::No };
    let (is_whole, most) = match overhead {
        Some(known) => (added == known, known),
        None => (OVERHEADS.contains(&added), 16),
    };
    match is_whole {
        true => Fit::Whole(added),
        false if is_full && added > most => Fit::Front,
        false => Fit::No,
    }
}

impl Flow {
    /// A record begins. Types: RFC 8446 §5.1. True: the connection speaks TLS 1.3.
    pub(super) fn begin(&mut self, position: u32, len: u16, kind: u8) -> bool {
        let is_first = std::mem::replace(&mut self.is_changing, kind == 20);
        // What follows the change of the cipher belongs to the hand-shake, also where it is hidden, as
        // in TLS 1.3 only.
        if kind != 23 || is_first {
            return kind == 23;
        }
        if self.records.len() >= RECORDS_MAX {
            self.records.pop_front();
            self.offset = 0;
            self.shed += 1;
        }
        self.records.push_back(Record { position, len });
        false
    }

    /// It is not known any more where records begin.
    pub(super) fn lose(&mut self) {
        self.records.clear();
        self.offset = 0;
        self.shed += 1;
    }

    /// The socket moved the bytes from `start` on.
    pub(super) fn moved(&mut self, start: u32, len: u32) {
        self.call = (start, start.wrapping_add(len));
    }

    /// Its beginning was not seen, nor was its hand-shake.
    pub(super) fn begin_unseen(&mut self) {
        self.next = Plaintext::UNSEEN;
        self.has_data = true;
    }

    /// What is told next does not follow what was told before.
    pub(super) fn leap(&mut self, bytes: u64) {
        self.next += bytes;
    }

    fn is_complete(&self, record: Record) -> bool {
        (self.call.1.wrapping_sub(record.end()) as i32) >= 0
    }

    /// Whether records were seen.
    pub(super) fn is_tls(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether plaintext that was read can be of the next record.
    pub(super) fn may_be_read(&self, len: u32, asked: u64, overhead: Overhead) -> bool {
        let is_full = u64::from(len) == asked;
        let fits = |record: &&Record| fit(**record, len, is_full, overhead) != Fit::No;
        let mut complete = self.records.iter().filter(|record| self.is_complete(**record));
        self.offset == 0 && complete.any(|record| fits(&record))
    }

    /// A library reads from its socket only when it has no whole record any more: all records that were
    /// whole before the last call are done with.
    fn align(&mut self, overhead: Overhead) {
        let is_done = |record: &&Record| (self.call.0.wrapping_sub(record.end()) as i32) >= 0;
        let done = self.records.iter().take_while(is_done).count();
        self.skip(done, overhead);
        self.offset = 0;
        self.is_aligned = true;
    }

    /// Which record `len` bytes are of that were read into a buffer for `asked`. `has_read`: the library
    /// read from its socket for that.
    pub(super) fn received(
        &mut self,
        len: u32,
        asked: u64,
        has_read: bool,
        overhead: &mut Overhead,
    ) -> Option<Part> {
        let is_full = u64::from(len) == asked;
        if has_read {
            self.align(*overhead);
        }
        for index in 0..self.records.len() {
            let record = self.records[index];
            let offset = if index == 0 { self.offset } else { 0 };
            if !self.is_complete(record) {
                break;
            }
            let fit = fit(record, offset + len, is_full, *overhead);
            if fit == Fit::No {
                continue;
            }
            self.skip(index, *overhead);
            let position = record.position.wrapping_add(offset);
            self.offset = offset + len;
            if let Fit::Whole(added) = fit {
                // What fills its buffer may be the front of a record that is a little longer.
                if !is_full {
                    *overhead = Some(added);
                }
                self.records.pop_front();
                self.offset = 0;
            }
            return Some(self.part(position, len));
        }
        None
    }

    /// The records that `len` bytes were written into by the library itself: the last ones.
    pub(super) fn sent(&mut self, len: u32, overhead: &mut Overhead) -> Option<Vec<Part>> {
        let count = self.records.len();
        let run_to_end = |run| Some((run, self.run(count - run, run, len, *overhead)?));
        let (run, added) = (1..=count.min(RUN_MAX)).find_map(run_to_end)?;
        *overhead = Some(added);
        self.skip(count - run, *overhead);
        Some(self.parts(run, added))
    }

    /// The first records, if they are those of one of several writes that wait; and of which. Records
    /// that can be of none are passed over.
    pub(super) fn sent_one_of(
        &mut self,
        lens: &[u32],
        overhead: &mut Overhead,
    ) -> Option<(usize, Vec<Part>)> {
        while !self.records.is_empty() {
            let runs = self.records.len().min(RUN_MAX);
            for (index, len) in lens.iter().enumerate() {
                let run_from_front = |run| Some((run, self.run(0, run, *len, *overhead)?));
                if let Some((run, added)) = (1..=runs).find_map(run_from_front) {
                    *overhead = Some(added);
                    return Some((index, self.parts(run, added)));
                }
            }
            let added = u32::from(overhead.unwrap_or(16));
            let all: u32 =
                self.records.iter().map(|r| u32::from(r.len).saturating_sub(added)).sum();
            if lens.iter().any(|len| *len > all) {
                // The rest of a long write is yet to come.
                return None;
            }
            self.skip(1, *overhead);
        }
        None
    }

    /// Whether a write can be in these records.
    pub(super) fn may_be_written(&self, len: u32, overhead: Overhead) -> bool {
        let count = self.records.len();
        let mut runs = (0..count)
            .flat_map(|first| (1..=(count - first).min(RUN_MAX)).map(move |run| (first, run)));
        runs.any(|(first, run)| self.run(first, run, len, overhead).is_some())
    }

    /// Takes out the first records, to each of which `added` was added.
    fn parts(&mut self, run: usize, added: u16) -> Vec<Part> {
        let records: Vec<Record> = self.records.drain(..run).collect();
        let plain = |record: &Record| u32::from(record.len.saturating_sub(added));
        records.iter().map(|record| self.part(record.position, plain(record))).collect()
    }

    /// What is added to each record of a run, if `len` bytes are its plaintext.
    fn run(&self, first: usize, run: usize, len: u32, overhead: Overhead) -> Option<u16> {
        let bytes: u32 = self.records.range(first..first + run).map(|r| u32::from(r.len)).sum();
        let added = bytes.checked_sub(len)?;
        let each = u16::try_from(added / run as u32).ok()?;
        let is_known = overhead.map_or(OVERHEADS.contains(&each), |known| known == each);
        (is_known && added % run as u32 == 0).then_some(each)
    }

    /// Takes out records before the first that fits: of the hand-shake, tickets and alerts; or plaintext
    /// that was not told, which leaves a gap.
    fn skip(&mut self, count: usize, overhead: Overhead) {
        for record in self.records.drain(..count) {
            let bytes = u32::from(record.len.saturating_sub(overhead.unwrap_or(TLS_1_3)));
            // An alert has two bytes, an update of keys five.
            if self.has_data && ![2, 5].contains(&bytes) {
                self.next += u64::from(bytes.saturating_sub(self.offset));
            }
            self.offset = 0;
        }
    }

    fn part(&mut self, position: u32, len: u32) -> Part {
        let start = self.next;
        self.next += u64::from(len);
        self.has_data = true;
        Part { position, start, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of data one after another from 1000 on, all moved.
    fn flow(lens: &[u16]) -> Flow {
        let mut flow = Flow::default();
        let mut position = 1000;
        for len in lens {
            flow.begin(position, *len, 23);
            position += HEADER + u32::from(*len);
        }
        flow.moved(1000, position - 1000);
        flow
    }

    #[test]
    fn what_was_read_is_found_by_its_length() {
        // Two tickets before the data are nobody's.
        let mut flow = flow(&[250, 250, 117, 17 + 300]);
        let mut overhead = None;
        let part = |position, start, len| Some(Part { position, start, len });
        assert_eq!(flow.received(100, 4096, false, &mut overhead), part(1510, 0, 100));
        assert_eq!(overhead, Some(17));
        // In pieces, each with room for no more.
        assert_eq!(flow.received(200, 200, false, &mut overhead), part(1632, 100, 200));
        assert_eq!(flow.received(100, 200, false, &mut overhead), part(1832, 300, 100));
        assert_eq!(flow.received(1, 200, false, &mut overhead), None);
    }

    #[test]
    fn short_reads_before_the_cipher_is_known() {
        // 64 bytes, read as a parser does: the last four are not yet asked for.
        let mut flow = flow(&[81]);
        let read = |flow: &mut Flow, len| flow.received(len, len.into(), false, &mut None);
        let starts = [24, 9, 18, 9, 4].map(|len| read(&mut flow, len).map(|part| part.start));
        assert_eq!(starts, [0, 24, 33, 51, 60].map(Some));
    }

    #[test]
    fn what_is_missing_between_leaves_a_gap() {
        let mut flow = flow(&[117, 217, 317]);
        let mut overhead = Some(17);
        assert_eq!(flow.received(100, 999, false, &mut overhead).map(|p| p.start), Some(0));
        let part = flow.received(300, 999, false, &mut overhead).unwrap();
        assert_eq!((part.start, part.position), (300, 1000 + 122 + 222));
    }

    #[test]
    fn nothing_before_the_first_is_passed_in_silence_on_an_older_connection() {
        let mut flow = flow(&[117, 217]);
        flow.begin_unseen();
        let part = flow.received(200, 999, false, &mut Some(17)).unwrap();
        assert_eq!(part.start, Plaintext::UNSEEN + 100);
    }

    #[test]
    fn a_library_that_reads_record_by_record_has_read_the_last_one() {
        let mut flow = flow(&[117, 117]);
        flow.moved(1127, 117);
        flow.offset = 50;
        let part = flow.received(100, 999, true, &mut None).unwrap();
        assert_eq!(part.position, 1122);
    }

    #[test]
    fn a_record_is_not_read_before_all_of_it_came() {
        let mut flow = flow(&[117]);
        flow.moved(1000, 121);
        assert_eq!(flow.received(100, 999, true, &mut None), None);
        flow.moved(1121, 1);
        assert!(flow.received(100, 999, true, &mut None).is_some());
    }

    #[test]
    fn a_write_of_several_records() {
        let mut flow = flow(&[53, 16384 + 17, 3616 + 17]);
        let parts = flow.sent(20_000, &mut None).unwrap();
        let lens: Vec<_> = parts.iter().map(|part| (part.start, part.len)).collect();
        assert_eq!(lens, [(0, 16384), (16384, 3616)]);
        assert_eq!(parts[0].position, 1058);
        assert_eq!(self::flow(&[50, 60]).sent(100, &mut None), None);
    }

    #[test]
    fn writes_that_wait_find_their_records_in_any_order() {
        let mut flow = flow(&[250, 217, 117]);
        let mut overhead = Some(17);
        // A ticket is passed over, once nothing that waits is longer than all there is.
        assert_eq!(flow.sent_one_of(&[100, 900], &mut overhead), None);
        let (index, parts) = flow.sent_one_of(&[100, 200], &mut overhead).unwrap();
        assert_eq!((index, parts[0].position), (1, 1255));
        let (index, parts) = flow.sent_one_of(&[100], &mut overhead).unwrap();
        assert_eq!((index, parts[0].position), (0, 1477));
        assert_eq!(flow.sent_one_of(&[100], &mut overhead), None);
    }

    #[test]
    fn the_end_of_a_hand_shake_is_no_data() {
        let mut flow = Flow::default();
        flow.begin(1000, 1, 20);
        flow.begin(1006, 53, 23);
        flow.begin(1064, 53, 23);
        flow.moved(1000, 200);
        assert_eq!(flow.received(36, 999, false, &mut None).map(|p| p.position), Some(1064));
    }
}
