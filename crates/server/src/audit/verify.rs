//! Verify: every chain, line by line. Finds a line that was changed, removed or put elsewhere; lines
//! that were cut off at the beginning or the end; and, with anchors, a chain that was made anew.

use deeptrace_store::{Store, StoreError};
use serde::Serialize;

use super::chain::{Anchor, ENDS, Ends, GROUPS, LINES, prefix, seq_of};
use super::line::{Line, genesis};
use super::writing::RETENTION;

/// Problems of one chain that are told, at most; one is enough to know.
const PROBLEMS_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each chain, by writer.
    pub writers: Vec<WriterReport>,
    /// Whether nothing is wrong.
    pub is_whole: bool,
}

/// What was found in one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriterReport {
    /// Whose chain.
    pub writer: String,
    /// Lines read.
    pub lines: u64,
    /// The last of them, to be noted elsewhere: `WRITER:SEQ:HASH`.
    pub anchor: Option<String>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// Reads all chains and compares them with themselves, with their ends and with `anchors`.
pub fn verify(store: &dyn Store, anchors: &[Anchor]) -> Result<Report, StoreError> {
    let mut writers = writers(store)?;
    writers.extend(anchors.iter().map(|anchor| anchor.writer.clone()));
    writers.sort();
    writers.dedup();
    let mut report = Report { writers: Vec::new(), is_whole: true };
    for writer in writers {
        let own: Vec<&Anchor> = anchors.iter().filter(|anchor| anchor.writer == writer).collect();
        let found = verify_writer(store, &writer, &own)?;
        report.is_whole &= found.problems.is_empty();
        report.writers.push(found);
    }
    Ok(report)
}

/// Writers of whom lines or ends are kept.
fn writers(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let mut found: Vec<String> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.documents(LINES, after.as_deref(), 1)?;
        let Some(document) = page.first() else { break };
        let writer = document.name[LINES.len()..].rsplit_once('/').map(|(writer, _)| writer);
        let writer = writer.unwrap_or_default().to_owned();
        // Behind every group of this writer.
        after = Some(format!("{}\u{10ffff}", prefix(&writer)));
        found.push(writer);
    }
    for document in store.documents(ENDS, None, 10_000)? {
        found.push(document.name[ENDS.len()..].to_owned());
    }
    Ok(found)
}

/// A chain while it is read.
struct Reading {
    expected: Option<u64>,
    previous: String,
    lines: u64,
    problems: Vec<String>,
    /// First line that the last retention left, with the hash before it.
    kept_from: Option<(u64, String)>,
    /// First line with the hash before it.
    first: Option<(u64, String)>,
}

impl Reading {
    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    fn line(&mut self, text: &str, writer: &str, anchors: &[&Anchor]) {
        let Some((claimed, hash, line)) = Line::read(text) else {
            let seq = self.expected.unwrap_or(1);
            self.problem(format!("line {seq} was changed: it is no line any more"));
            self.expected = Some(seq + 1);
            self.previous.clear();
            return;
        };
        let seq = line.seq;
        if claimed != hash || line.writer != writer {
            self.problem(format!("line {seq} was changed"));
        }
        match self.expected {
            Some(expected) if seq > expected => {
                self.problem(format!("lines {expected} to {} were removed", seq - 1));
            }
            Some(expected) if seq < expected => {
                self.problem(format!("line {seq} stands where line {expected} belongs: reordered"));
            }
            Some(_) if line.previous != self.previous => {
                self.problem(format!("line {seq} follows another line than the one before it"));
            }
            Some(_) => {}
            None => self.first = Some((seq, line.previous.clone())),
        }
        for anchor in anchors.iter().filter(|anchor| anchor.seq == seq && anchor.hash != hash) {
            self.problem(format!("line {seq} is not the one of the anchor {anchor}"));
        }
        if line.draft.action == RETENTION {
            let details = &line.draft.details;
            let seq = details.get("first_kept").and_then(|seq| seq.parse().ok());
            self.kept_from = seq.zip(details.get("previous").cloned());
        }
        self.expected = Some(seq + 1);
        self.previous = hash;
        self.lines += 1;
    }
}

fn verify_writer(
    store: &dyn Store,
    writer: &str,
    anchors: &[&Anchor],
) -> Result<WriterReport, StoreError> {
    // Read first: lines that come meanwhile are beyond it, not missing.
    let ends = Ends::read(store, writer)?;
    let mut reading = Reading {
        expected: None,
        previous: String::new(),
        lines: 0,
        problems: Vec::new(),
        kept_from: None,
        first: None,
    };
    let mut after: Option<String> = None;
    loop {
        let groups = store.documents(&prefix(writer), after.as_deref(), GROUPS)?;
        let Some(last) = groups.last() else { break };
        after = Some(last.name.clone());
        for group in &groups {
            let text = String::from_utf8_lossy(&group.body);
            let first = text.lines().next().and_then(Line::read).map(|(_, _, line)| line.seq);
            if first != seq_of(&group.name) {
                reading.problem(format!("the group {} begins with another line", group.name));
            }
            text.lines().for_each(|line| reading.line(line, writer, anchors));
        }
    }
    reading.check_ends(ends.as_ref(), anchors);
    let Reading { lines, previous, expected, problems, .. } = reading;
    let last =
        expected.map(|next| Anchor { writer: writer.to_owned(), seq: next - 1, hash: previous });
    let anchor = last.map(|anchor| anchor.to_string());
    Ok(WriterReport { writer: writer.to_owned(), lines, anchor, problems })
}

impl Reading {
    fn check_ends(&mut self, ends: Option<&Ends>, anchors: &[&Anchor]) {
        let last = self.expected.map_or(0, |next| next - 1);
        match ends {
            None if self.lines > 0 => self.problem("its ends are not kept: removed".to_owned()),
            Some(ends) if last < ends.last_seq => {
                self.problem(format!("lines {} to {} were cut off", last + 1, ends.last_seq));
            }
            _ => {}
        }
        for anchor in anchors.iter().filter(|anchor| anchor.seq > last) {
            self.problem(format!("it ends before the anchor {anchor}: cut off"));
        }
        // Who was stopped between telling what is to go and removing it has kept more, not less.
        let (kept_from, hash) = self.kept_from.take().unwrap_or_else(|| (1, genesis()));
        if let Some((first, previous)) = self.first.take() {
            if first > kept_from {
                self.problem(format!("lines {kept_from} to {} were cut off", first - 1));
            } else if first == kept_from && previous != hash {
                self.problem(format!("line {first} follows another line than retention has left"));
            }
        }
    }
}
