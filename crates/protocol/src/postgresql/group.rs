//! Group: extended-query messages up to a `Sync`, which are one request.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use deeptrace_model::{Attributes, TraceContext, Value};

use super::frame::Frame;
use crate::sql::{REST, Statement};
use crate::{Draft, Form};

/// Different statements of a batch that are remembered.
const STATEMENTS_MAX: usize = 16;
const VALUES_MAX: usize = 128;
/// What a statement tells; unknown with it.
const TOLD: [&str; 4] =
    ["db.query.text", "db.query.summary", "db.operation.name", "db.collection.name"];
/// Bytes of the joined texts of a batch.
const TEXT_MAX: usize = 2048;

/// What came since the last `Sync`.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Bytes so far.
    pub(super) len: u64,
    /// `Execute` messages.
    executes: u32,
    /// What they execute, and what was prepared; without repetition.
    executed: Vec<Arc<Statement>>,
    prepared: Option<Arc<Statement>>,
    /// Whether a statement was used that is not known.
    has_unknown: bool,
    /// Whether bytes were not copied that are looked at.
    is_cut: bool,
    /// Protocol's name of the first message, for when nothing is executed.
    first: &'static str,
    trace_context: Option<TraceContext>,
    values: Vec<Range<usize>>,
}

impl Group {
    /// Counts a message.
    pub(super) fn add(&mut self, name: &'static str, frame: &Frame<'_>) {
        if self.len == 0 {
            self.first = name;
        }
        self.len = self.len.saturating_add(frame.len);
        self.is_cut |= frame.is_cut;
    }

    /// A statement is prepared whose text starts `offset` bytes into the message to come.
    pub(super) fn prepare(&mut self, statement: &Arc<Statement>, offset: usize) {
        let base = usize::try_from(self.len).unwrap_or(usize::MAX).saturating_add(offset);
        statement.places(base).for_each(|place| self.push(place));
        self.trace_context = self.trace_context.or(statement.trace_context);
        self.prepared = Some(Arc::clone(statement));
    }

    /// Values lie in the message to come, which has `len` bytes, from `offset` on.
    pub(super) fn hide(&mut self, offset: usize, len: u64) {
        let base = usize::try_from(self.len).unwrap_or(REST);
        let len = usize::try_from(len).unwrap_or(REST);
        self.push(base.saturating_add(offset)..base.saturating_add(len));
    }

    fn push(&mut self, place: Range<usize>) {
        match self.values.len().cmp(&VALUES_MAX) {
            Ordering::Less => self.values.push(place),
            Ordering::Equal => self.values.push(place.start..REST),
            Ordering::Greater => {}
        }
    }

    /// A portal is executed; `None` if its statement is not known.
    pub(super) fn execute(&mut self, statement: Option<Arc<Statement>>) {
        // Drivers put a BEGIN before the first statement of a transaction; it is no batch.
        let is_begin = statement.as_ref().is_some_and(|s| s.operation == "BEGIN");
        match statement {
            None => self.has_unknown = true,
            Some(statement) => {
                self.trace_context = self.trace_context.or(statement.trace_context);
                let begins = |s: &Arc<Statement>| s.operation == "BEGIN";
                if is_begin && self.executes > 0 {
                    return;
                }
                if self.executed.iter().all(begins) && !self.executed.is_empty() && !is_begin {
                    self.executed.clear();
                    self.executes = 0;
                }
                let is_new = !self.executed.iter().any(|other| other.text == statement.text);
                if is_new && self.executed.len() < STATEMENTS_MAX {
                    self.executed.push(statement);
                }
            }
        }
        self.executes += 1;
    }

    /// The request, at its `Sync` or where it was cut off.
    pub(super) fn draft(mut self) -> Draft {
        let mut attributes = Attributes::new();
        let name = match (self.executes, self.executed.as_slice()) {
            (0, _) => match &self.prepared {
                Some(statement) => {
                    statement.describe(&mut attributes);
                    format!("Parse {}", statement.summary)
                }
                None => self.first.to_owned(),
            },
            (1, [statement]) => {
                statement.describe(&mut attributes);
                statement.summary.clone()
            }
            (1, _) => "Execute".to_owned(),
            (count, statements) => batch(count, statements, self.has_unknown, &mut attributes),
        };
        let mut draft = Draft::request(name.trim_end());
        draft.truncated = self.is_cut;
        if self.has_unknown {
            // A batch tells the texts that are known, which are not all.
            let is_told = |key: &str| attributes.iter().any(|attribute| attribute.0 == key);
            let absent = TOLD.iter().filter(|key| **key == TOLD[0] || !is_told(key));
            draft.unknown.extend(absent);
        }
        draft.attributes = attributes;
        draft.trace_context = self.trace_context;
        draft.redact = std::mem::take(&mut self.values);
        draft.form = Form::Told;
        draft
    }
}

/// Several executions: OpenTelemetry's `BATCH`, with the operation where all have the same.
fn batch(
    count: u32,
    statements: &[Arc<Statement>],
    has_unknown: bool,
    attributes: &mut Attributes,
) -> String {
    let same = |of: fn(&Statement) -> &str| {
        let first = of(statements.first()?);
        let is_same = !has_unknown && statements.iter().all(|statement| of(statement) == first);
        (is_same && !first.is_empty()).then_some(first)
    };
    let mut add = |key: &'static str, text: String| {
        if !text.is_empty() {
            attributes.push((key.into(), Value::from(text)));
        }
    };
    let named =
        |what: Option<&str>| what.map_or("BATCH".to_owned(), |what| format!("BATCH {what}"));
    let operation = same(|statement| &statement.operation);
    let summary = named(same(|statement| &statement.summary).or(operation));
    add("db.operation.name", named(operation));
    let target = same(|statement| statement.target.as_deref().unwrap_or_default());
    add("db.collection.name", target.unwrap_or_default().to_owned());
    add("db.query.summary", summary.clone());
    let mut text = String::new();
    for statement in statements {
        if text.len() + 2 + statement.text.len() > TEXT_MAX && !text.is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&statement.text);
    }
    add("db.query.text", text);
    attributes.push(("db.operation.batch.size".into(), Value::Int(i64::from(count))));
    summary
}
