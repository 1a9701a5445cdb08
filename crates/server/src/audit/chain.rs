//! Chain: the lines of one writer as documents, and where it begins and ends.

use std::fmt;
use std::str::FromStr;

use deeptrace_store::{Document, Expected, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::line::{Draft, Line, genesis};

/// Prefix of the groups of lines, and of the ends of chains.
pub(super) const LINES: &str = "audit/";
pub(super) const ENDS: &str = "audit-ends/";
/// Groups read at once.
pub(super) const GROUPS: usize = 32;

/// Where a chain begins and ends, so that what was cut off at either end is missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ends {
    /// The first line that is kept.
    pub first_seq: u64,
    /// The last line.
    pub last_seq: u64,
    /// Its hash.
    pub last_hash: String,
    /// First line of the last group.
    pub last_group: u64,
    /// Bytes of all groups.
    pub bytes: u64,
}

impl Ends {
    pub(super) fn empty() -> Self {
        Self { first_seq: 1, last_seq: 0, last_hash: genesis(), last_group: 0, bytes: 0 }
    }

    /// As they are kept.
    pub(super) fn read(store: &dyn Store, writer: &str) -> Result<Option<Self>, StoreError> {
        let document = store.document(&format!("{ENDS}{writer}"))?;
        Ok(document.and_then(|document| serde_json::from_slice(&document.body).ok()))
    }

    pub(super) fn keep(&self, store: &dyn Store, writer: &str) -> Result<(), StoreError> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        store.put_document(&format!("{ENDS}{writer}"), Some(&body), Expected::Any)?;
        Ok(())
    }

    /// As the groups say: who died between writing a group and its ends has left them behind.
    pub(super) fn found(store: &dyn Store, writer: &str) -> Result<Self, StoreError> {
        let mut ends = Self::read(store, writer)?.unwrap_or_else(Self::empty);
        let mut after = (ends.last_group > 0).then(|| name(writer, ends.last_group));
        loop {
            let groups = store.documents(&prefix(writer), after.as_deref(), GROUPS)?;
            let Some(last) = groups.last() else { return Ok(ends) };
            after = Some(last.name.clone());
            for group in &groups {
                ends.take(group);
            }
        }
    }

    fn take(&mut self, group: &Document) {
        let Some(first) = seq_of(&group.name) else { return };
        let text = String::from_utf8_lossy(&group.body);
        if let Some((_, hash, line)) = text.lines().last().and_then(Line::read)
            && line.seq > self.last_seq
        {
            self.last_seq = line.seq;
            self.last_hash = hash;
            self.last_group = first;
            self.bytes += group.body.len() as u64;
        }
    }

    /// Puts lines behind the last one. `None` where another process over this store was faster:
    /// then the ends are to be found again.
    pub(super) fn append(
        &self,
        store: &dyn Store,
        writer: &str,
        drafts: &[Draft],
    ) -> Result<Option<Self>, StoreError> {
        let mut ends = self.clone();
        let mut body = String::new();
        for draft in drafts {
            let line = Line {
                writer: writer.to_owned(),
                seq: ends.last_seq + 1,
                draft: draft.clone(),
                previous: std::mem::take(&mut ends.last_hash),
            };
            let (text, hash) = line.write();
            body += &text;
            ends.last_seq = line.seq;
            ends.last_hash = hash;
        }
        ends.last_group = self.last_seq + 1;
        ends.bytes += body.len() as u64;
        let group = name(writer, ends.last_group);
        match store.put_document(&group, Some(body.as_bytes()), Expected::Absent)? {
            Some(_) => {
                // The lines are kept; ends that lag behind are found again.
                if let Err(error) = ends.keep(store, writer) {
                    tracing::warn!(%error, "the ends of the audit log could not be noted");
                }
                Ok(Some(ends))
            }
            None => Ok(None),
        }
    }
}

pub(super) fn prefix(writer: &str) -> String {
    format!("{LINES}{writer}/")
}

/// Name of the group that begins with this line; names are ordered like lines.
pub(super) fn name(writer: &str, seq: u64) -> String {
    format!("{LINES}{writer}/{seq:016x}")
}

/// The first line of the group of this name.
pub(super) fn seq_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.rsplit('/').next()?, 16).ok()
}

/// A line that somebody noted elsewhere: `WRITER:SEQ:HASH`. A chain without it, or with another
/// hash there, is not the one that was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Whose chain.
    pub writer: String,
    /// Which line.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// The text is no anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no anchor: give WRITER:SEQ:HASH as `audit verify` and the server's log print it")]
pub struct AnchorError(String);

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let wrong = || AnchorError(text.to_owned());
        let (rest, hash) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (writer, seq) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if writer.is_empty() || !is_hash {
            return Err(wrong());
        }
        let seq = seq.parse().map_err(|_| wrong())?;
        Ok(Self { writer: writer.to_owned(), seq, hash: hash.to_owned() })
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.writer, self.seq, self.hash)
    }
}
