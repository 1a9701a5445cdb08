//! Rows: those of the table, and after them the handlers that were registered.

use crate::handler::Handler;
use crate::{CopyPolicy, Parser, Protocol};

/// What a stage can recognise. A row is known by its index.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) table: &'static [Protocol],
    handlers: Vec<Handler>,
}

impl Rows {
    pub(crate) fn new(table: &'static [Protocol], handlers: Vec<Handler>) -> Self {
        Self { table, handlers }
    }

    /// The handlers with their indices.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = (usize, &Handler)> {
        (self.table.len()..).zip(&self.handlers)
    }

    /// Name of a row.
    pub(crate) fn name(&self, row: usize) -> &'static str {
        match self.table.get(row) {
            Some(protocol) => protocol.name,
            None => self.handler(row).map_or("", Handler::name),
        }
    }

    /// What is to be copied of its calls. Nobody knows where a handler's messages begin.
    pub(crate) fn copy(&self, row: usize) -> CopyPolicy {
        self.table.get(row).map_or(CopyPolicy::All, |protocol| protocol.copy)
    }

    /// A parser for a new connection that speaks it.
    pub(crate) fn parser(&self, row: usize) -> Option<Box<dyn Parser>> {
        match self.table.get(row) {
            Some(protocol) => Some((protocol.parser)()),
            None => self.handler(row).map(Handler::parser),
        }
    }

    /// Tells the counters of the handlers.
    pub(crate) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        Handler::counters(&self.handlers, out);
    }

    fn handler(&self, row: usize) -> Option<&Handler> {
        self.handlers.get(row.checked_sub(self.table.len())?)
    }
}
