//! Writing: one thread puts lines into the store in groups, so that no request waits for another
//! one's line. A line of a change is waited for; what the queue cannot take of reads is counted, and
//! the chain says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_store::{Expected, Store, StoreError};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::chain::{Anchor, Ends, prefix, seq_of};
use super::line::{Draft, Line, genesis};
use super::spool::Spool;
use crate::access::hex;
use crate::clock;

/// The action of the line that says what is to be removed.
pub(super) const RETENTION: &str = "retention of the audit log";
/// After which lines that nobody waits for are written.
const GROUP: Duration = Duration::from_millis(250);
/// Lines of a group, and lines between requests and the writer.
const GROUP_LINES_MAX: usize = 256;
const QUEUE_MAX: usize = 4_096;
/// Between two attempts while the store refuses.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks at what is too old, and groups removed at once.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
const REMOVED_AT_ONCE: usize = 64;
/// Between two anchors in the log.
const ANCHOR_EVERY: Duration = Duration::from_secs(3_600);
/// Bytes of a hash of a searched value that are kept: enough to compare, too few to reverse alone.
const VALUE_HASH_BYTES: usize = 8;
/// Where the salt of these hashes is kept.
const SALT: &str = "audit-salt";

/// How long lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Older ones are removed.
    pub retention: Duration,
    /// The oldest are removed above so many bytes.
    pub max_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { retention: Duration::from_secs(365 * 24 * 3_600), max_bytes: 1 << 30 }
    }
}

/// Takes lines.
pub struct Auditor {
    queue: Mutex<Option<SyncSender<Entry>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    salt: Vec<u8>,
}

struct Entry {
    draft: Draft,
    /// Told whether the line is kept, for whoever waits.
    kept: Option<oneshot::Sender<bool>>,
}

#[derive(Default)]
struct Shared {
    lines: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    /// Lines lost since the chain said so last.
    unsaid: AtomicU64,
    is_ending: AtomicBool,
}

impl Auditor {
    /// Starts the writer of the chain of `writer`. `spool` is the folder in which commands of this
    /// host leave their lines.
    pub fn start(
        store: Arc<dyn Store>,
        writer: String,
        keeping: Keeping,
        spool: Option<PathBuf>,
    ) -> Result<Self, StoreError> {
        let salt = salt(&*store)?;
        let (queue, entries) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let ends = Ends::found(&*store, &writer)?;
        let mut work = Work {
            store,
            writer,
            keeping,
            spool: spool.map(Spool::new),
            ends,
            shared: Arc::clone(&shared),
            retained: Instant::now(),
            anchored: None,
        };
        let thread = std::thread::Builder::new()
            .name("deeptrace-audit".to_owned())
            .spawn(move || work.run(&entries))
            .map_err(|source| StoreError::Io {
                action: "start the thread of",
                path: "audit".into(),
                source,
            })?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), shared, salt })
    }

    /// Takes a line that nobody waits for.
    pub fn add(&self, draft: Draft) {
        self.send(Entry { draft, kept: None });
    }

    /// Takes a line; the answer turns true when it is kept, false when that failed.
    pub async fn keep(&self, draft: Draft) -> bool {
        let (kept, answer) = oneshot::channel();
        self.send(Entry { draft, kept: Some(kept) });
        answer.await.unwrap_or(false)
    }

    fn send(&self, entry: Entry) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(entry) {
            self.shared.lost.fetch_add(1, Relaxed);
            self.shared.unsaid.fetch_add(1, Relaxed);
        }
    }

    /// What stands for a searched value: equal for equal values, and of use to nobody else.
    pub fn hash_of(&self, name: &str, value: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(value.as_bytes());
        hex(&hash.finalize()[..VALUE_HASH_BYTES])
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("audit_lines_total", self.shared.lines.load(Relaxed));
        out("audit_lost_lines_total", self.shared.lost.load(Relaxed));
        out("audit_store_errors_total", self.shared.failures.load(Relaxed));
    }

    /// Writes what is there, and ends.
    pub fn finish(&self) {
        self.shared.is_ending.store(true, Relaxed);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the audit log has panicked");
        }
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Made once for a store.
fn salt(store: &dyn Store) -> Result<Vec<u8>, StoreError> {
    if let Some(document) = store.document(SALT)? {
        return Ok(document.body);
    }
    let mut made = [0; 32];
    if let Err(error) = getrandom::fill(&mut made) {
        let source = std::io::Error::other(error.to_string());
        return Err(StoreError::Io { action: "make the salt of", path: "audit".into(), source });
    }
    // Another server may have been faster.
    match store.put_document(SALT, Some(&made), Expected::Absent)? {
        Some(_) => Ok(made.to_vec()),
        None => Ok(store.document(SALT)?.map(|document| document.body).unwrap_or_default()),
    }
}

/// What the thread works on.
struct Work {
    store: Arc<dyn Store>,
    writer: String,
    keeping: Keeping,
    spool: Option<Spool>,
    ends: Ends,
    shared: Arc<Shared>,
    retained: Instant,
    anchored: Option<Instant>,
}

impl Work {
    fn run(&mut self, entries: &Receiver<Entry>) {
        loop {
            let (mut group, is_end) = gather(entries);
            let lost = self.shared.unsaid.swap(0, Relaxed);
            if lost > 0 {
                group.push(Entry { draft: self.own("lines lost", "lines", lost), kept: None });
            }
            if !group.is_empty() {
                self.commit(group);
            }
            self.take_spool();
            self.retain();
            self.anchor(is_end);
            if is_end {
                return;
            }
        }
    }

    /// A line of this process about itself.
    fn own(&self, action: &str, detail: &str, value: u64) -> Draft {
        Draft {
            time_unix_nano: clock::now().0,
            who: "deeptrace".to_owned(),
            action: action.to_owned(),
            from: String::new(),
            result: "ok".to_owned(),
            details: BTreeMap::from([(detail.to_owned(), value.to_string())]),
        }
    }

    /// Writes a group, trying again while the store refuses. Who waits is told after the first
    /// attempt; the lines stay.
    fn commit(&mut self, group: Vec<Entry>) {
        let (drafts, mut waiting): (Vec<Draft>, Vec<_>) =
            group.into_iter().map(|entry| (entry.draft.bounded(), entry.kept)).unzip();
        loop {
            let is_kept = self.append(&drafts);
            for kept in waiting.drain(..).flatten() {
                // Fails where the caller has gone.
                let _ = kept.send(is_kept);
            }
            if is_kept {
                self.shared.lines.fetch_add(drafts.len() as u64, Relaxed);
                return;
            }
            if self.shared.is_ending.load(Relaxed) {
                self.shared.lost.fetch_add(drafts.len() as u64, Relaxed);
                return;
            }
            std::thread::sleep(RETRY);
        }
    }

    fn append(&mut self, drafts: &[Draft]) -> bool {
        // A second attempt for where another process writes the same chain.
        for _ in 0..8 {
            match self.ends.append(&*self.store, &self.writer, drafts) {
                Ok(Some(ends)) => {
                    self.ends = ends;
                    return true;
                }
                Ok(None) => match Ends::found(&*self.store, &self.writer) {
                    Ok(ends) => self.ends = ends,
                    Err(error) => return self.refused(&error),
                },
                Err(error) => return self.refused(&error),
            }
        }
        false
    }

    fn refused(&self, error: &StoreError) -> bool {
        if self.shared.failures.fetch_add(1, Relaxed) == 0 {
            tracing::error!(%error, "the audit log cannot be written; trying again");
        }
        false
    }

    /// Takes in what commands of this host have left.
    fn take_spool(&mut self) {
        let Some(spool) = self.spool.take() else { return };
        let taken = spool.take(|drafts| {
            drafts.chunks(GROUP_LINES_MAX).all(|drafts| {
                let is_kept = self.append(drafts);
                if is_kept {
                    self.shared.lines.fetch_add(drafts.len() as u64, Relaxed);
                }
                is_kept
            })
        });
        if let Err(error) = taken {
            tracing::debug!(%error, "the spool of the audit log cannot be read");
        }
        self.spool = Some(spool);
    }

    /// Removes the oldest groups that are too old or too many; says so in the chain before.
    fn retain(&mut self) {
        if self.retained.elapsed() < RETENTION_EVERY {
            return;
        }
        self.retained = Instant::now();
        if let Err(error) = self.try_retain(clock::now().0) {
            self.refused(&error);
        }
    }

    fn try_retain(&mut self, now: u64) -> Result<(), StoreError> {
        let oldest = now.saturating_sub(self.keeping.retention.as_nanos() as u64);
        let mut bytes = self.ends.bytes;
        let mut gone = Vec::new();
        let mut kept_from = (self.ends.first_seq, genesis());
        for group in self.store.documents(&prefix(&self.writer), None, REMOVED_AT_ONCE)? {
            let text = String::from_utf8_lossy(&group.body);
            let Some((_, hash, line)) = text.lines().last().and_then(Line::read) else { break };
            let is_last = seq_of(&group.name) == Some(self.ends.last_group);
            let is_old = line.draft.time_unix_nano < oldest;
            if is_last || !(is_old || bytes > self.keeping.max_bytes) {
                break;
            }
            bytes = bytes.saturating_sub(group.body.len() as u64);
            kept_from = (line.seq + 1, hash);
            gone.push(group);
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut said = self.own(RETENTION, "first_kept", kept_from.0);
        said.details.insert("previous".to_owned(), kept_from.1);
        if !self.append(&[said]) {
            return Ok(());
        }
        for group in gone {
            self.store.put_document(&group.name, None, Expected::Any)?;
            self.ends.bytes = self.ends.bytes.saturating_sub(group.body.len() as u64);
        }
        self.ends.first_seq = kept_from.0;
        self.ends.keep(&*self.store, &self.writer)
    }

    /// Where the chain ends goes into the log now and then, where whoever changes the store does not
    /// reach it.
    fn anchor(&mut self, is_end: bool) {
        let is_due = self.anchored.is_none_or(|last| last.elapsed() >= ANCHOR_EVERY);
        if self.ends.last_seq == 0 || !(is_due || is_end) {
            return;
        }
        self.anchored = Some(Instant::now());
        let Ends { last_seq: seq, last_hash: hash, .. } = self.ends.clone();
        let anchor = Anchor { writer: self.writer.clone(), seq, hash };
        tracing::info!(%anchor, "the audit log ends here");
    }
}

/// What comes within [`GROUP`], or until somebody waits for a line; and whether nothing comes any
/// more.
fn gather(entries: &Receiver<Entry>) -> (Vec<Entry>, bool) {
    let mut group: Vec<Entry> = Vec::new();
    let mut until = Instant::now() + Duration::from_secs(1);
    loop {
        match entries.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(entry) => {
                if group.is_empty() {
                    until = Instant::now() + GROUP;
                }
                if entry.kept.is_some() {
                    // What is there already goes with it.
                    until = Instant::now();
                }
                group.push(entry);
                if group.len() >= GROUP_LINES_MAX {
                    return (group, false);
                }
            }
            Err(RecvTimeoutError::Timeout) => return (group, false),
            Err(RecvTimeoutError::Disconnected) => return (group, true),
        }
    }
}
