//! Session: what both directions know of a connection.

use super::block::Layout;
use crate::Draft;
use crate::due::Due;
use crate::sql;

/// Revisions from which something is written in another way, the newest first: what a connection
/// may have whose hellos were not seen.
const REVISIONS: &[u32] = &[
    54_481, 54_476, 54_475, 54_472, 54_469, 54_463, 54_460, 54_459, 54_454, 54_453, 54_449, 54_448,
    54_442, 54_441, 54_429, 54_420, 54_401,
];

/// Blocks say of each column how it is written.
const COLUMN_KINDS: u32 = 54_454;

/// Logs are compressed like all else.
const COMPRESSED_LOGS: u32 = 54_481;

/// What was asked and not answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Asked {
    Hello,
    Ping,
    Tables,
    /// Whether blocks are compressed.
    Query(bool),
}

/// One connection.
pub(super) struct Session {
    pub(super) due: Due<Asked>,
    /// Questions so far.
    pub(super) asked: u64,
    /// What both sides may have agreed on, the most likely first; never empty.
    candidates: Vec<u32>,
    /// What the client said in its hello.
    pub(super) client_revision: Option<u32>,
    /// The client's hello is to be followed by more once the server said hello.
    pub(super) expects_addendum: bool,
    /// The client logged in while we watched.
    pub(super) is_known: bool,
    /// The database; `None` if the user's own, or if that was before the agent came.
    pub(super) namespace: Option<String>,
    /// The database from then on, if what is asked succeeds.
    pub(super) next_namespace: Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            due: Due::default(),
            asked: 0,
            candidates: REVISIONS.to_vec(),
            client_revision: None,
            expects_addendum: false,
            is_known: false,
            namespace: None,
            next_namespace: None,
        }
    }
}

impl Session {
    /// The client asks.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.begin();
        self.due.push(asked);
    }

    /// The client begins to ask.
    pub(super) fn begin(&mut self) {
        self.asked += 1;
        self.due.turn();
    }

    pub(super) fn candidates(&self) -> &[u32] {
        &self.candidates
    }

    /// What is agreed on, or the most likely.
    pub(super) fn revision(&self) -> u32 {
        self.candidates.first().copied().unwrap_or(u32::MAX)
    }

    /// Both sides said theirs, or one of them.
    pub(super) fn agree(&mut self, client: Option<u32>, server: Option<u32>) {
        let most = client.unwrap_or(u32::MAX).min(server.unwrap_or(u32::MAX));
        if client.is_some() && server.is_some() {
            self.candidates = vec![most];
        } else {
            self.limit(most);
        }
    }

    /// None above `most` is possible.
    fn limit(&mut self, most: u32) {
        if self.candidates.len() > 1 {
            self.candidates.retain(|revision| *revision < most);
            self.candidates.insert(0, most);
        }
    }

    /// Keeps those that `fits`, if any does; returns whether one does.
    pub(super) fn keep(&mut self, fits: impl Fn(u32) -> bool) -> bool {
        let kept: Vec<u32> = self.candidates.iter().copied().filter(|r| fits(*r)).collect();
        let any = !kept.is_empty();
        if any {
            self.candidates = kept;
        }
        any
    }

    /// Adds what all requests of the connection have in common.
    pub(super) fn add_common(&self, draft: &mut Draft) {
        sql::add_common(draft, "clickhouse", self.namespace.as_deref(), self.is_known);
    }
}

/// How blocks are written; logs and counters are not always compressed with the others.
pub(super) fn layout(revision: u32, is_compressed: bool, is_log: bool) -> Layout {
    Layout {
        is_compressed: is_compressed && (!is_log || revision >= COMPRESSED_LOGS),
        has_kinds: revision >= COLUMN_KINDS,
    }
}
