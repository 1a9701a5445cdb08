//! Rows: those of the table, and after them the handlers that were registered.

use crate::handler::Handler;
use crate::{CopyPolicy, Parser, Protocol, SharedNames};

/// What a stage can recognise. A row is known by its index.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) table: &'static [Protocol],
    handlers: Vec<Handler>,
    names: SharedNames,
}

impl Rows {
    pub(crate) fn new(table: &'static [Protocol], handlers: Vec<Handler>) -> Self {
        Self { table, handlers, names: SharedNames::default() }
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
        let Some(protocol) = self.table.get(row) else {
            return self.handler(row).map(Handler::parser);
        };
        let mut parser = (protocol.parser)();
        parser.share(&self.names);
        Some(parser)
    }

    /// Tells the counters of what connections share.
    pub(crate) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("protocol_shared_names_shed_total", self.names.shed());
        Handler::counters(&self.handlers, out);
    }

    fn handler(&self, row: usize) -> Option<&Handler> {
        self.handlers.get(row.checked_sub(self.table.len())?)
    }
}
