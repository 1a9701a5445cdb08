//! Session: what all lanes of a connection know.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane::Lane;
use super::packet::PRELOGIN;
use crate::sql::{self, Statement};
use crate::{Draft, Input, Side, Verdict};

/// Prepared statements that are remembered. Beyond, the oldest goes; its text is then unknown.
const STATEMENTS_MAX: usize = 256;

/// What a statement tells; unknown with it.
pub(super) const TOLD: [&str; 4] =
    ["db.query.text", "db.query.summary", "db.operation.name", "db.collection.name"];

/// What is hidden by TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Encryption {
    #[default]
    None,
    /// The login.
    Login,
    /// All that follows.
    All,
}

/// What was asked and not answered.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// Nobody's work.
    Prelogin,
    Login,
    /// The statement that gets a handle, if one is prepared.
    Query(Option<Arc<Statement>>),
}

/// One connection.
#[derive(Default)]
pub(super) struct Session {
    /// The client logged in while we watched.
    pub(super) is_known: bool,
    /// The database; `None` if that was told before the agent came.
    pub(super) namespace: Option<String>,
    /// The protocol is older than 7.2, as the login or the first request tells.
    pub(super) is_old: Option<bool>,
    pub(super) encryption: Encryption,
    /// Prepared statements by their handles.
    statements: BTreeMap<i32, Arc<Statement>>,
}

impl Session {
    pub(super) fn is_old(&self) -> bool {
        self.is_old == Some(true)
    }

    pub(super) fn statement(&self, handle: i32) -> Option<&Arc<Statement>> {
        self.statements.get(&handle)
    }

    pub(super) fn prepare(&mut self, handle: i32, statement: Arc<Statement>) {
        if self.statements.len() >= STATEMENTS_MAX && !self.statements.contains_key(&handle) {
            // Handles ascend.
            self.statements.pop_first();
        }
        self.statements.insert(handle, statement);
    }

    pub(super) fn unprepare(&mut self, handle: i32) {
        self.statements.remove(&handle);
    }

    /// Bytes that TLS hides, which are no packets: a login, or all that follows.
    pub(super) fn hidden(&mut self, input: &Input<'_>, lane: &mut Lane) -> Option<Verdict> {
        const RECORD: usize = 5;
        let is_packet = input.bytes.first() == Some(&PRELOGIN);
        match self.encryption {
            Encryption::None => None,
            _ if is_packet => None,
            Encryption::All => Some(Verdict::Switch),
            Encryption::Login => match *input.bytes {
                [0x14..=0x17] if !input.is_last => Some(Verdict::More),
                [0x14..=0x17, 3, ..] if input.bytes.len() < RECORD => Some(Verdict::More),
                [0x14..=0x17, 3, _, high, low, ..] if input.from == Side::Client => {
                    let len = RECORD as u64 + u64::from(u16::from_be_bytes([high, low]));
                    Some(lane.hidden_login(len, self))
                }
                _ => None,
            },
        }
    }

    /// Adds what all requests of the connection have in common.
    pub(super) fn add_common(&self, draft: &mut Draft) {
        sql::add_common(draft, "microsoft.sql_server", self.namespace.as_deref(), self.is_known);
    }
}
