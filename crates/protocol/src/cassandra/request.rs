//! Request: the statements that a client sends (§4.1.4 to §4.1.7).

use std::sync::Arc;

use deeptrace_model::{TraceContext, Value};

use super::envelope::{BATCH, EXECUTE, Envelope, Fields, HEADER, PREPARE, QUERY};
use super::prepared::Prepared;
use crate::sql::{REST, Statement};
use crate::{Draft, Form, Side, TraceHeaders};

/// Statements of a batch that are looked at, and values of one that are passed over.
const STATEMENTS_MAX: u16 = 64;

/// Bytes of the joined texts of a batch.
const TEXT_MAX: usize = 1024;

/// What a statement tells; unknown with it.
const TOLD: [&str; 4] =
    ["db.query.text", "db.query.summary", "db.operation.name", "db.collection.name"];

/// Consistency levels by their numbers (§3, `[consistency]`).
const CONSISTENCY: [&str; 11] = [
    "any",
    "one",
    "two",
    "three",
    "quorum",
    "all",
    "local_quorum",
    "each_quorum",
    "serial",
    "local_serial",
    "local_one",
];

/// A request that is told, with what the parser remembers until it is answered.
pub(super) struct Request {
    pub(super) draft: Draft,
    pub(super) prepares: Option<Arc<Statement>>,
}

/// What an envelope asks; `None` for the opening of the connection and for noise.
pub(super) fn read(envelope: &Envelope<'_>, prepared: &Prepared) -> Option<Request> {
    let word = match envelope.opcode {
        QUERY => "QUERY",
        PREPARE => "PREPARE",
        EXECUTE => "EXECUTE",
        BATCH => "BATCH",
        _ => return None,
    };
    let mut draft = Draft::request(word);
    draft.attributes.push(("db.system.name".into(), "cassandra".into()));
    if envelope.is_compressed() {
        draft.unknown.extend(TOLD);
        draft.redact.push(HEADER..REST);
        return Some(Request { draft, prepares: None });
    }
    let mut headers = TraceHeaders::default();
    let mut fields = envelope.fields(Side::Client, |key, value| headers.header(key, value));
    let mut prepares = None;
    draft.form = Form::Told;
    if matches!(envelope.opcode, BATCH | EXECUTE) {
        // Values, and the ids of what was prepared.
        draft.redact.push(HEADER..REST);
    }
    if envelope.opcode == BATCH {
        batch(&mut draft, envelope, fields, prepared);
    } else {
        let statement = match envelope.opcode {
            EXECUTE => prepared.get(fields.string()),
            _ => Some(text(&mut draft, envelope, &mut fields)),
        };
        match &statement {
            Some(statement) => describe(&mut draft, statement, envelope.opcode),
            None => draft.unknown.extend(TOLD),
        }
        if envelope.opcode == PREPARE {
            prepares = statement;
        } else {
            if envelope.opcode == EXECUTE && envelope.version >= 5 {
                // The id of the result's metadata.
                fields.string();
            }
            consistency(&mut draft, fields);
        }
    }
    draft.trace_context = headers.context().or(draft.trace_context);
    draft.truncated = envelope.is_cut;
    Some(Request { draft, prepares })
}

/// A `[long string]` with a statement; where its secrets lie is told.
fn text(draft: &mut Draft, envelope: &Envelope<'_>, fields: &mut Fields<'_>) -> Arc<Statement> {
    let text = fields.bytes();
    let statement = Statement::new(text);
    let at = HEADER + envelope.body.len() - fields.rest.len() - text.len();
    draft.redact.extend(statement.places(at));
    // Values to be put into it, unless it is prepared.
    draft.redact.push(at + text.len()..REST);
    if let Some(from) = password(&statement, text) {
        draft.redact.push(at + from..at + text.len());
    }
    Arc::new(statement)
}

/// Where the options of a role or a user begin to be secret: CQL has `PASSWORD = '…'`, and the same
/// hashed, or in a generated form.
fn password(statement: &Statement, text: &[u8]) -> Option<usize> {
    const WORD: &[u8] = b"password";
    let is_role = ["CREATE ROLE", "ALTER ROLE", "CREATE USER", "ALTER USER"]
        .iter()
        .any(|words| statement.summary.starts_with(words));
    let mut windows = text.windows(WORD.len());
    let at = windows.position(|window| is_role && window.eq_ignore_ascii_case(WORD))?;
    Some(at + WORD.len())
}

fn describe(draft: &mut Draft, statement: &Statement, opcode: u8) {
    statement.describe(&mut draft.attributes);
    draft.trace_context = statement.trace_context;
    if opcode == PREPARE {
        draft.name = format!("PREPARE {}", statement.summary).trim_end().into();
    } else if !statement.summary.is_empty() {
        draft.name = statement.summary.as_str().into();
    }
}

fn consistency(draft: &mut Draft, mut fields: Fields<'_>) {
    let level = fields.short();
    if let Some(level) = CONSISTENCY.get(usize::from(level)).filter(|_| !fields.is_cut) {
        draft.attributes.push(("cassandra.consistency.level".into(), Value::from(*level)));
    }
}

/// Statements that are executed together: one operation of this name.
fn batch(draft: &mut Draft, envelope: &Envelope<'_>, mut fields: Fields<'_>, known: &Prepared) {
    let _kind = fields.byte();
    let count = fields.short();
    let mut statements = Vec::new();
    let mut is_whole = true;
    for _ in 0..count.min(STATEMENTS_MAX) {
        let statement = match fields.byte() {
            0 => Some(text(draft, envelope, &mut fields)),
            _ => known.get(fields.string()),
        };
        is_whole &= statement.is_some() && !fields.is_cut;
        statements.extend(statement);
        for _ in 0..fields.short().min(STATEMENTS_MAX) {
            fields.bytes();
        }
        if fields.is_cut {
            break;
        }
    }
    let same = |of: fn(&Statement) -> &str| {
        let first = of(statements.first()?);
        let is_same = is_whole && statements.iter().all(|statement| of(statement) == first);
        (is_same && !first.is_empty()).then(|| first.to_owned())
    };
    let operation = same(|s| &s.operation);
    let collection = same(|s| s.target.as_deref().unwrap_or_default());
    let words = ["BATCH", operation.as_deref().unwrap_or_default()];
    let operation = words.join(" ").trim_end().to_owned();
    let summary = format!("{operation} {}", collection.as_deref().unwrap_or_default());
    draft.name = summary.trim_end().into();
    draft.trace_context = statements.iter().find_map(|s| s.trace_context) as Option<TraceContext>;
    let mut add = |key: &'static str, text: String| {
        if !text.is_empty() {
            draft.attributes.push((key.into(), Value::from(text)));
        }
    };
    add("db.operation.name", operation);
    add("db.collection.name", collection.unwrap_or_default());
    let mut joined = String::new();
    for statement in statements.iter().take_while(|_| is_whole) {
        if joined.len() + statement.text.len() > TEXT_MAX {
            break;
        }
        if !joined.is_empty() {
            joined.push_str("; ");
        }
        joined.push_str(&statement.text);
    }
    add("db.query.text", joined);
    if !is_whole {
        draft.unknown.push(TOLD[0]);
    }
    if count > 1 {
        let count = Value::Int(i64::from(count));
        draft.attributes.push(("db.operation.batch.size".into(), count));
    }
    if is_whole && count <= STATEMENTS_MAX {
        consistency(draft, fields);
    }
}
