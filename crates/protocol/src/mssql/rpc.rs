//! Calls of procedures ([MS-TDS] §2.2.6.6), among them those that run, prepare and release statements
//! ("System stored procedures"; [MS-TDS] lists their numbers).

use std::sync::Arc;

use deeptrace_model::Value;

use super::collect::{Message, utf16};
use super::request;
use super::session::{Asked, Session, TOLD};
use super::token::Bytes;
use super::types::Type;
use crate::Draft;
use crate::sql::Statement;

/// Calls of one message that are counted, and parameters of one that are looked at.
const CALLS_MAX: usize = 1024;
const PARAMETERS_MAX: usize = 2200;

/// What is done with a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Run,
    Prepare,
    PrepareAndRun,
    RunPrepared,
    Release,
    None,
}

/// A procedure with a number: its name, what it does, and which parameter has the statement or its
/// handle.
struct Known {
    name: &'static str,
    act: Act,
    parameter: usize,
}

const fn known(name: &'static str, act: Act, parameter: usize) -> Known {
    Known { name, act, parameter }
}

/// In the order of their numbers, from one.
const KNOWN: &[Known] = &[
    known("sp_cursor", Act::None, 0),
    known("sp_cursoropen", Act::Run, 1),
    known("sp_cursorprepare", Act::Prepare, 2),
    known("sp_cursorexecute", Act::RunPrepared, 0),
    known("sp_cursorprepexec", Act::PrepareAndRun, 3),
    known("sp_cursorunprepare", Act::Release, 0),
    known("sp_cursorfetch", Act::None, 0),
    known("sp_cursoroption", Act::None, 0),
    known("sp_cursorclose", Act::None, 0),
    known("sp_executesql", Act::Run, 0),
    known("sp_prepare", Act::Prepare, 2),
    known("sp_execute", Act::RunPrepared, 0),
    known("sp_prepexec", Act::PrepareAndRun, 2),
    known("sp_prepexecrpc", Act::PrepareAndRun, 1),
    known("sp_unprepare", Act::Release, 0),
];

/// One call.
struct Call<'a> {
    known: Option<&'static Known>,
    name: String,
    /// Text of the statement, and where it begins.
    text: Option<(&'a [u8], usize)>,
    handle: Option<i32>,
    /// All of its parameters were read, and another call follows.
    goes_on: Option<bool>,
}

/// What a message of calls asks.
pub(super) fn read(message: &Message, start: usize, session: &mut Session) -> (Draft, Asked) {
    let mut bytes = Bytes(message.first.get(start..).unwrap_or_default());
    let mut drafts = Vec::new();
    let mut asked = Asked::Query(None);
    let mut is_counted = true;
    while let Some(call) = call(&mut bytes, &message.first) {
        let (draft, statement) = describe(&call, message, session);
        asked = Asked::Query(statement);
        drafts.push(draft);
        is_counted = call.goes_on.is_some();
        if call.goes_on != Some(true) || drafts.len() == CALLS_MAX {
            break;
        }
    }
    let count = drafts.len();
    let names_are_one = drafts.windows(2).all(|pair| pair[0].name == pair[1].name);
    let Some(mut draft) = drafts.into_iter().next() else { return (Draft::request(""), asked) };
    if count > 1 {
        let name = if names_are_one { format!("BATCH {}", draft.name) } else { "BATCH".into() };
        draft.name = name.into();
        if is_counted {
            let count = Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
            draft.attributes.push(("db.operation.batch.size".into(), count));
        }
        asked = Asked::Query(None);
    }
    (draft, asked)
}

/// Reads a call and its parameters; nothing where its procedure is not told.
fn call<'a>(bytes: &mut Bytes<'a>, content: &'a [u8]) -> Option<Call<'a>> {
    const BY_NUMBER: u16 = u16::MAX;
    let len = bytes.u16()?;
    let mut call =
        Call { known: None, name: String::new(), text: None, handle: None, goes_on: None };
    if len == BY_NUMBER {
        let number = usize::from(bytes.u16()?);
        call.known = number.checked_sub(1).and_then(|index| KNOWN.get(index));
        call.name = call.known.map_or_else(|| number.to_string(), |known| known.name.to_owned());
    } else {
        call.name = utf16(bytes.take(2 * usize::from(len))?, 256);
        let last = call.name.rsplit('.').next().unwrap_or_default();
        let last = last.trim_matches(['[', ']']);
        call.known = KNOWN.iter().find(|known| last.eq_ignore_ascii_case(known.name));
    }
    bytes.u16()?;
    call.goes_on = parameters(&mut call, bytes, content);
    Some(call)
}

/// Reads parameters up to the mark between calls (whether there is one), or the end; nothing where
/// they are not understood.
fn parameters<'a>(call: &mut Call<'a>, bytes: &mut Bytes<'a>, content: &'a [u8]) -> Option<bool> {
    let wanted = call.known.filter(|known| known.act != Act::None);
    for index in 0..PARAMETERS_MAX {
        match bytes.0.first() {
            None => return Some(false),
            // Before and since 7.2.
            Some(0x80 | 0xff) => {
                bytes.u8()?;
                return Some(true);
            }
            Some(0xfe) => return None,
            Some(_) => {}
        }
        bytes.byte_text()?;
        bytes.u8()?;
        let kind = Type::read(bytes, true)?;
        let value = kind.value(bytes)?;
        if wanted.is_some_and(|known| known.parameter == index) {
            if kind.is_wide_text() {
                let at = content.len() - bytes.0.len() - value.len();
                call.text = Some((value, at));
            } else if let Some(handle) = value.first_chunk().filter(|_| kind.is_number()) {
                call.handle = Some(i32::from_le_bytes(*handle));
            }
        }
    }
    None
}

/// A call as a request; and the statement that gets a handle.
fn describe(
    call: &Call<'_>,
    message: &Message,
    session: &mut Session,
) -> (Draft, Option<Arc<Statement>>) {
    let act = call.known.map_or(Act::None, |known| known.act);
    let told = call.text.map(|(text, at)| request::statement(text, at, message));
    match (act, told) {
        (Act::Run, Some((draft, _))) => (draft, None),
        (Act::PrepareAndRun, Some((draft, statement))) => (draft, Some(statement)),
        (Act::Prepare, Some((mut draft, statement))) => {
            draft.name = format!("Prepare {}", statement.summary).trim_end().into();
            (draft, Some(statement))
        }
        (Act::RunPrepared, _) => (run_prepared(call, session), None),
        (Act::None | Act::Release, _) => {
            if let Some(handle) = call.handle.filter(|_| act == Act::Release) {
                session.unprepare(handle);
            }
            (procedure(&call.name), None)
        }
        (_, None) => {
            let mut draft = Draft::request(call.name.as_str());
            draft.truncated = message.is_cut;
            (draft, None)
        }
    }
}

fn run_prepared(call: &Call<'_>, session: &Session) -> Draft {
    let mut draft = Draft::request(call.name.as_str());
    match call.handle.and_then(|handle| session.statement(handle)) {
        Some(statement) => {
            draft.name = statement.summary.as_str().into();
            statement.describe(&mut draft.attributes);
            draft.trace_context = statement.trace_context;
        }
        None => draft.unknown.extend(TOLD),
    }
    draft
}

fn procedure(name: &str) -> Draft {
    let summary = format!("EXECUTE {name}");
    let mut draft = Draft::request(summary.as_str());
    draft.attributes.push(("db.operation.name".into(), "EXECUTE".into()));
    draft.attributes.push(("db.stored_procedure.name".into(), name.to_owned().into()));
    draft.attributes.push(("db.query.summary".into(), summary.into()));
    draft
}
