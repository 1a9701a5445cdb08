//! Segments: batches that wait on disk, in files of bounded size to which is only appended.
//!
//! ```text
//! file     NNNNNNNNNNNNNNNN.spans: records
//! record   length (u32), CRC-32 of the bytes (u32), bytes of a batch (`deeptrace-wire`); little-endian
//! ```
//!
//! A file goes away when all its batches are acknowledged, so after a crash a batch may be sent
//! twice, which is harmless. What a crash has cut off at the end of a file is skipped and counted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use deeptrace_model::{Missed, WallTime};
use deeptrace_wire::Head;
use rustix::fs::{FlockOperation, flock};

use super::erasing::Left;
use super::missed_of;

/// Bytes after which the next file is begun; of a small buffer an eighth, because the oldest file goes
/// as a whole when it is full.
const SEGMENT_MAX: u64 = 4 << 20;
/// Files that are found at the start, at most: more were never written.
const FILES_MAX: usize = 100_000;
const SUFFIX: &str = "spans";
const RECORD_HEAD: u64 = 8;
/// Bytes of a record; a longer one is none of ours.
const RECORD_MAX: u64 = deeptrace_wire::PLAIN_MAX as u64 * 2;

/// Batches on disk, oldest first.
pub struct Segments {
    folder: PathBuf,
    /// Held as long as we use the folder.
    _lock: File,
    max_bytes: u64,
    all: VecDeque<Segment>,
    next: u64,
    bytes: u64,
    torn: u64,
}

/// A batch that was read.
pub struct Stored {
    /// The file it is in.
    pub segment: u64,
    /// The batch.
    pub bytes: Vec<u8>,
}

struct Segment {
    number: u64,
    file: File,
    /// Bytes written.
    len: u64,
    /// Batches that were not read yet.
    unread: VecDeque<Unread>,
    /// Batches that were read and are not acknowledged.
    open: usize,
    /// Whether nothing may be appended: it was found, or writing failed.
    is_closed: bool,
}

/// Where a batch lies, and what is lost with it.
struct Unread {
    offset: u64,
    len: u32,
    spans: Missed,
}

impl Segments {
    /// Opens a folder, made where it is missing, with what is left in it.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another agent uses it"))?;
        let mut numbers: Vec<u64> = fs::read_dir(folder)?
            .filter_map(|entry| number_of(&entry.ok()?.path()))
            .take(FILES_MAX)
            .collect();
        numbers.sort_unstable();
        let mut segments = Self {
            folder: folder.to_owned(),
            _lock: lock,
            max_bytes,
            all: VecDeque::new(),
            next: numbers.last().map_or(0, |last| last + 1),
            bytes: 0,
            torn: 0,
        };
        for number in numbers {
            segments.find(number)?;
        }
        Ok(segments)
    }

    /// Reads what a file of an earlier process holds.
    fn find(&mut self, number: u64) -> io::Result<()> {
        let path = self.path(number);
        let file = OpenOptions::new().read(true).open(&path)?;
        let len = file.metadata()?.len();
        let (unread, is_whole) = scan(&file, len)?;
        self.torn += u64::from(!is_whole);
        if unread.is_empty() {
            return fs::remove_file(path);
        }
        self.bytes += len;
        self.all.push_back(Segment { number, file, len, unread, open: 0, is_closed: true });
        Ok(())
    }

    /// Appends a batch. Returns what had to go to make room.
    pub fn append(&mut self, head: &Head, bytes: &[u8]) -> io::Result<Missed> {
        let size = RECORD_HEAD + bytes.len() as u64;
        if size > self.max_bytes {
            return Err(io::Error::other("the batch is larger than disk_buffer_size"));
        }
        let mut missed = Missed::default();
        while self.bytes + size > self.max_bytes && !self.all.is_empty() {
            missed.merge(self.drop_oldest());
        }
        let segment_max = SEGMENT_MAX.min(self.max_bytes / 8);
        let is_full = |last: &Segment| last.is_closed || last.len + size > segment_max.max(size);
        if self.all.back().is_none_or(is_full) {
            self.begin()?;
        }
        let Some(last) = self.all.back_mut() else { return Err(io::Error::other("no file")) };
        let mut record = Vec::with_capacity(size as usize);
        write_record(&mut record, bytes);
        if let Err(error) = last.file.write_all(&record) {
            // What was written of it is cut off; where that fails it is a torn end, and nothing may follow.
            last.is_closed = last.file.set_len(last.len).is_err();
            // A full disk is tried again and again, and must not get a file for each time.
            let number = last.number;
            self.remove_done(number);
            return Err(error);
        }
        let (offset, len) = (last.len, bytes.len() as u32);
        last.unread.push_back(Unread { offset, len, spans: missed_of(head) });
        last.len += size;
        self.bytes += size;
        Ok(missed)
    }

    fn begin(&mut self) -> io::Result<()> {
        if let Some(last) = self.all.back() {
            // A file that is full survives a loss of power as well.
            last.file.sync_data()?;
        }
        let number = self.next;
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create_new(true).mode(0o600);
        let file = file.open(self.path(number))?;
        self.next += 1;
        let unread = VecDeque::new();
        self.all.push_back(Segment { number, file, len: 0, unread, open: 0, is_closed: false });
        Ok(())
    }

    /// The oldest batch that was not read yet. One that cannot be read any more is counted, and
    /// the next one is taken.
    pub fn read(&mut self) -> Option<Stored> {
        loop {
            let segment = self.all.iter_mut().find(|segment| !segment.unread.is_empty())?;
            let Unread { offset, len, .. } = segment.unread.pop_front()?;
            let mut bytes = vec![0; len as usize];
            let number = segment.number;
            if segment.file.read_exact_at(&mut bytes, offset + RECORD_HEAD).is_ok() {
                segment.open += 1;
                return Some(Stored { segment: number, bytes });
            }
            self.torn += 1;
            self.remove_done(number);
        }
    }

    /// A batch that was read is done with.
    pub fn done(&mut self, number: u64) {
        if let Some(segment) = self.all.iter_mut().find(|segment| segment.number == number) {
            segment.open = segment.open.saturating_sub(1);
            self.remove_done(number);
        }
    }

    /// Writes anew each file of which `left` does not leave all. When it returns `Ok`, the rest is in no
    /// file of the folder. Batches that were read already stay as long as they are not acknowledged.
    pub fn rewrite(&mut self, left: &mut dyn FnMut(&[u8]) -> Left) -> io::Result<()> {
        for segment in &mut self.all {
            let path = self.folder.join(format!("{:016x}.{SUFFIX}", segment.number));
            let first_unread = segment.unread.front().map_or(u64::MAX, |unread| unread.offset);
            let (mut content, mut unread) = (Vec::new(), VecDeque::new());
            let mut is_changed = false;
            for Unread { offset, len, mut spans } in scan(&File::open(&path)?, segment.len)?.0 {
                let mut bytes = vec![0; len as usize];
                segment.file.read_exact_at(&mut bytes, offset + RECORD_HEAD)?;
                match left(&bytes) {
                    Left::All => {}
                    Left::Part(encoded) => {
                        (bytes, spans, is_changed) =
                            (encoded.bytes, missed_of(&encoded.head), true);
                    }
                    Left::Nothing => {
                        is_changed = true;
                        continue;
                    }
                }
                let place = Unread { offset: content.len() as u64, len: bytes.len() as u32, spans };
                write_record(&mut content, &bytes);
                if offset >= first_unread {
                    unread.push_back(place);
                }
            }
            if !is_changed {
                continue;
            }
            let new = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file =
                options.create(true).write(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&content)?;
            file.sync_data()?;
            fs::rename(&new, &path)?;
            segment.file = OpenOptions::new().read(true).append(true).open(&path)?;
            self.bytes = self.bytes.saturating_sub(segment.len) + content.len() as u64;
            (segment.len, segment.unread) = (content.len() as u64, unread);
        }
        let done: Vec<u64> = self.all.iter().map(|segment| segment.number).collect();
        done.into_iter().for_each(|number| self.remove_done(number));
        File::open(&self.folder)?.sync_all()
    }

    /// Whether no batch waits to be read.
    pub fn is_empty(&self) -> bool {
        self.all.iter().all(|segment| segment.unread.is_empty())
    }

    /// Start of the oldest span that waits to be read.
    pub fn oldest(&self) -> Option<WallTime> {
        let unread = self.all.iter().find_map(|segment| segment.unread.front());
        unread.map(|unread| unread.spans.from)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that could not be read.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Has what was written survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.all.back().map_or(Ok(()), |last| last.file.sync_data())
    }

    fn remove_done(&mut self, number: u64) {
        let is_done = |segment: &Segment| segment.unread.is_empty() && segment.open == 0;
        let Some(index) = self.all.iter().position(|segment| segment.number == number) else {
            return;
        };
        if is_done(&self.all[index]) {
            self.remove(index);
        }
    }

    fn drop_oldest(&mut self) -> Missed {
        let mut missed = Missed::default();
        if let Some(segment) = self.all.front() {
            segment.unread.iter().for_each(|unread| missed.merge(unread.spans));
            self.remove(0);
        }
        missed
    }

    fn remove(&mut self, index: usize) {
        if let Some(segment) = self.all.remove(index) {
            self.bytes = self.bytes.saturating_sub(segment.len);
            if let Err(error) = fs::remove_file(self.path(segment.number)) {
                tracing::warn!(%error, "a file of the buffer cannot be removed");
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}.{SUFFIX}"))
    }
}

fn write_record(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn number_of(path: &Path) -> Option<u64> {
    let is_ours = path.extension().is_some_and(|suffix| suffix == SUFFIX);
    let stem = path.file_stem()?.to_str()?;
    (is_ours && stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok()).flatten()
}

/// Where the whole batches of a file lie, and whether they are all of it.
fn scan(mut file: &File, len: u64) -> io::Result<(VecDeque<Unread>, bool)> {
    let mut found = VecDeque::new();
    let mut at = 0;
    let mut bytes = Vec::new();
    while at < len {
        let mut head = [0; RECORD_HEAD as usize];
        if len - at < RECORD_HEAD {
            return Ok((found, false));
        }
        file.read_exact(&mut head)?;
        let [a, b, c, d, crc @ ..] = head;
        let size = u32::from_le_bytes([a, b, c, d]);
        if u64::from(size) > RECORD_MAX.min(len - at - RECORD_HEAD) {
            return Ok((found, false));
        }
        bytes.resize(size as usize, 0);
        file.read_exact(&mut bytes)?;
        let Ok(batch) = Head::read(&bytes) else { return Ok((found, false)) };
        if crc32fast::hash(&bytes) != u32::from_le_bytes(crc) {
            return Ok((found, false));
        }
        found.push_back(Unread { offset: at, len: size, spans: missed_of(&batch) });
        at += RECORD_HEAD + u64::from(size);
    }
    Ok((found, true))
}

#[cfg(test)]
mod tests {
    use deeptrace_model::{Gap, GapCause, WallTime};
    use deeptrace_wire::{Encoded, Encoder};

    use super::*;

    /// A batch that is told from others by a number.
    fn batch(number: u64) -> Encoded {
        let gap = Gap {
            from: WallTime(number),
            to: WallTime(number),
            cause: GapCause::Paused,
            events: 0,
            bytes: 0,
        };
        let mut all = Vec::new();
        Encoder::new(false).unwrap().encode(&[], &[], &[gap], &mut |encoded| all.push(encoded));
        let mut encoded = all.remove(0);
        // As if it had spans, which is what is counted when it is dropped.
        encoded.head.spans = 1;
        encoded
    }

    fn number(bytes: &[u8]) -> u64 {
        deeptrace_wire::decode(bytes).unwrap().gaps[0].from.0
    }

    fn fill(segments: &mut Segments, numbers: std::ops::Range<u64>) -> u64 {
        let append = |number| {
            let Encoded { head, bytes } = batch(number);
            segments.append(&head, &bytes).unwrap().spans
        };
        numbers.map(append).sum()
    }

    fn rest(segments: &mut Segments) -> Vec<u64> {
        std::iter::from_fn(|| segments.read()).map(|stored| number(&stored.bytes)).collect()
    }

    #[test]
    fn what_was_not_acknowledged_is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
        fill(&mut segments, 0..3);
        let first = segments.read().unwrap();
        assert!(Segments::open(folder.path(), 1 << 20).is_err(), "two use one folder");
        drop(segments);
        let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
        fill(&mut segments, 3..4);
        assert_eq!(rest(&mut segments), [0, 1, 2, 3]);
        (0..3).for_each(|_| segments.done(first.segment));
        segments.done(first.segment + 1);
        assert_eq!((segments.bytes(), segments.torn()), (0, 0));
        drop(segments);
        assert_eq!(rest(&mut Segments::open(folder.path(), 1 << 20).unwrap()), [0; 0]);
    }

    #[test]
    fn a_torn_end_is_skipped_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
        fill(&mut segments, 0..2);
        let path = segments.path(0);
        drop(segments);
        let whole = fs::read(&path).unwrap();
        let record = whole.len() / 2;
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
            let kept = len / record;
            assert_eq!(rest(&mut segments), (0..kept as u64).collect::<Vec<_>>(), "{len}");
            assert_eq!(segments.torn(), u64::from(len % record != 0), "{len}");
            fill(&mut segments, 7..8);
            assert_eq!(rest(&mut segments), [7], "{len}");
            drop(segments);
            fs::read_dir(folder.path()).unwrap().for_each(|entry| {
                fs::remove_file(entry.unwrap().path()).unwrap();
            });
        }
        let mut spoilt = whole;
        *spoilt.last_mut().unwrap() ^= 1;
        fs::write(&path, spoilt).unwrap();
        let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
        assert_eq!((rest(&mut segments), segments.torn()), (vec![0], 1));
    }

    #[test]
    fn a_full_disk_gets_no_file_for_each_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let command = |name: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(name);
            command.args(arguments).arg(folder.path()).output().is_ok_and(|it| it.status.success())
        };
        if !command("mount", &["-t", "tmpfs", "-o", "size=16k", "tmpfs"]) {
            eprintln!("SKIPPED: a full disk needs root, to mount a small one");
            return;
        }
        let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
        fill(&mut segments, 0..1);
        let Encoded { head, bytes } = batch(1);
        let large = [bytes.as_slice(), &[0; 20_000]].concat();
        (0..50).for_each(|_| assert!(segments.append(&head, &large).is_err()));
        let files = fs::read_dir(folder.path()).unwrap().count();
        fill(&mut segments, 2..3);
        let found = rest(&mut segments);
        drop(segments);
        assert!(command("umount", &[]));
        assert_eq!((files, found), (2, vec![0, 2]), "the lock and one file");
    }

    #[test]
    fn the_oldest_go_when_it_is_full_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let size = RECORD_HEAD + batch(0).bytes.len() as u64;
        let mut segments = Segments::open(folder.path(), 4 * size).unwrap();
        assert_eq!(fill(&mut segments, 0..4), 0);
        assert_eq!(fill(&mut segments, 4..6), 2);
        assert_eq!(rest(&mut segments), [2, 3, 4, 5]);
        assert!(segments.bytes() <= 4 * size);
        let Encoded { head, bytes } = batch(5);
        assert!(Segments::append(&mut segments, &head, &[bytes.as_slice(); 9].concat()).is_err());
    }
}
