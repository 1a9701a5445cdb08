//! Session: what both directions know of a connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Draft;
use crate::due::{Answers, Due};
use crate::sql::{self, Statement};

use super::command::Answer;

/// Prepared statements that are remembered. Beyond, the oldest goes; its text is then unknown.
const STATEMENTS_MAX: usize = 256;

/// What a statement tells; unknown with it.
pub(super) const TOLD: [&str; 4] =
    ["db.query.text", "db.query.summary", "db.operation.name", "db.collection.name"];

/// What was asked and not answered.
#[derive(Debug)]
pub(super) struct Asked {
    /// What its answer is made of.
    pub(super) answer: Answer,
    /// It is nobody's work: neither it nor its answer is given out.
    pub(super) is_silent: bool,
    /// What is prepared.
    pub(super) statement: Option<Arc<Statement>>,
    /// The database from then on, if it succeeds.
    pub(super) namespace: Option<String>,
}

impl Asked {
    /// A command that is answered so.
    pub(super) fn new(answer: Answer) -> Self {
        Self { answer, is_silent: false, statement: None, namespace: None }
    }
}

/// One connection.
#[derive(Default)]
pub(super) struct Session {
    pub(super) due: Due<Asked>,
    pub(super) statements: Statements,
    /// From the greeting.
    pub(super) is_mariadb: bool,
    /// The client logged in while we watched.
    pub(super) is_known: bool,
    /// `None` if none is chosen, or if that was before the agent came.
    pub(super) namespace: Option<String>,
    /// What follows is TLS.
    pub(super) is_encrypted: bool,
    /// What follows the login is compressed.
    pub(super) will_compress: bool,
    pub(super) is_compressed: bool,
    /// Whether metadata ends with `EOF`, as far as known.
    pub(super) has_eof: Option<bool>,
    /// The client sends a file, up to an empty packet.
    pub(super) is_file: bool,
}

impl Session {
    /// Adds what all requests of the connection have in common.
    pub(super) fn add_common(&self, draft: &mut Draft) {
        let system = if self.is_mariadb { "mariadb" } else { "mysql" };
        sql::add_common(draft, system, self.namespace.as_deref(), self.is_known);
    }

    /// Whether what is answered next is a login.
    pub(super) fn is_login(&mut self) -> bool {
        match self.due.next() {
            Answers::To(asked) => asked.answer == Answer::Login,
            _ => false,
        }
    }

    /// Statements, variables and all else of the session is gone.
    pub(super) fn reset(&mut self) {
        self.statements = Statements::default();
    }
}

/// Prepared statements by the server's numbers for them.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_id: BTreeMap<u32, Arc<Statement>>,
    /// What the client asked to prepare last, for which MariaDB's clients say −1.
    pub(super) last: Option<Arc<Statement>>,
}

impl Statements {
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Statement>> {
        if id == u32::MAX { self.last.as_ref() } else { self.by_id.get(&id) }
    }

    pub(super) fn insert(&mut self, id: u32, statement: Arc<Statement>) {
        if self.by_id.len() >= STATEMENTS_MAX && !self.by_id.contains_key(&id) {
            // Numbers ascend.
            self.by_id.pop_first();
        }
        self.by_id.insert(id, statement);
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    /// Statements may have been closed, or prepared, that were not seen: numbers are not used
    /// twice, so those that are known stay.
    pub(super) fn lost(&mut self) {
        self.last = None;
    }
}
