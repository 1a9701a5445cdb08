//! What the client sends: logins, commands, and files.

use std::sync::Arc;

use super::command::{self, Answer, Command};
use super::compressed;
use super::login::{self, Login};
use super::packet::{HEADER, LENGTH_MAX, Packet, long, number};
use super::parameters;
use super::session::{Asked, Session, TOLD};
use crate::sql::{Dialect, REST, STATEMENT_MAX, Statement};
use crate::{Draft, Form, Head, Input, Side, TraceHeaders, Verdict};

/// Bytes of parameters before a query that are looked at with it.
const PARAMETERS_MAX: usize = 1024;

/// The client's direction.
#[derive(Default)]
pub(super) struct Client {
    /// A command that goes on in the next packet.
    begun: Option<(Draft, Asked)>,
}

impl Client {
    pub(super) fn parse(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        if session.is_compressed || (!session.is_known && compressed::begins(input.bytes)) {
            session.is_compressed = true;
            return compressed::ask(input, session);
        }
        let Some(packet) = Packet::read(input.bytes) else { return Verdict::More };
        if session.is_file {
            session.is_file = packet.len > 0;
            return Verdict::Skip(packet.size());
        }
        if let Some(begun) = self.begun.take() {
            return self.go_on(begun, &packet, session);
        }
        if packet.sequence != 0 {
            return login(&packet, input.is_last, session);
        }
        if packet.len == 0 {
            return Verdict::NotMine;
        }
        let Some(code) = packet.body.first() else { return Verdict::More };
        let Some(command) = command::find(*code, packet.len) else { return Verdict::NotMine };
        if !packet.has(window(command)) && !input.is_last {
            return Verdict::More;
        }
        let (draft, asked) = read(command, &packet, session);
        if packet.len == LENGTH_MAX {
            self.begun = Some((draft, asked));
            return Verdict::Part { len: packet.size(), stream: 0 };
        }
        finish(packet.size(), draft, asked, session)
    }

    /// Another packet of a command that is longer than a packet may be.
    fn go_on(
        &mut self,
        begun: (Draft, Asked),
        packet: &Packet<'_>,
        session: &mut Session,
    ) -> Verdict {
        if packet.sequence == 0 {
            return Verdict::NotMine;
        }
        if packet.len == LENGTH_MAX {
            self.begun = Some(begun);
            return Verdict::Part { len: packet.size(), stream: 0 };
        }
        finish(packet.size(), begun.0, begun.1, session)
    }

    pub(super) fn lost(&mut self, session: &mut Session) -> Option<Draft> {
        session.is_file = false;
        session.statements.lost();
        let begun = self.begun.take().filter(|begun| begun.1.answer != Answer::None);
        let draft = begun.map(|(mut draft, asked)| {
            session.due.push(asked);
            session.add_common(&mut draft);
            draft
        });
        session.due.lost(Side::Client);
        draft
    }
}

/// Bytes of content that are looked at.
fn window(command: &Command) -> usize {
    match command.code {
        command::QUERY => STATEMENT_MAX + PARAMETERS_MAX,
        command::PREPARE => STATEMENT_MAX + 1,
        command::EXECUTE => PARAMETERS_MAX,
        command::INIT_DB | command::CHANGE_USER => login::WINDOW,
        command::CLOSE | command::FETCH | command::BULK_EXECUTE => 5,
        _ => 1,
    }
}

/// A packet that is no command.
fn login(packet: &Packet<'_>, is_last: bool, session: &mut Session) -> Verdict {
    if session.due.is_empty() && packet.len >= 32 {
        if !packet.has(login::WINDOW) && !is_last {
            return Verdict::More;
        }
        if let Some(login) = Login::read(packet) {
            if login.is_ssl_request {
                session.is_encrypted = true;
                return Verdict::Skip(packet.size());
            }
            session.is_known = true;
            session.has_eof = Some(login.has_eof);
            session.will_compress = login.compresses;
            session.namespace = login.database;
            let mut draft = Draft::request("HandshakeResponse");
            draft.truncated = !packet.is_whole();
            return finish(packet.size(), draft, Asked::new(Answer::Login), session);
        }
    }
    // What authenticates further, and what is left of a file.
    if session.is_login() || !session.is_known || packet.len == 0 {
        return Verdict::Skip(packet.size());
    }
    Verdict::NotMine
}

/// What a command says.
pub(super) fn read(
    command: &Command,
    packet: &Packet<'_>,
    session: &mut Session,
) -> (Draft, Asked) {
    let mut draft = Draft::request(command.name);
    let mut asked = Asked::new(command.answer);
    let body = packet.window(window(command));
    let is_statement = match command.code {
        command::QUERY => {
            query(body, &mut draft, &mut asked);
            draft.truncated = !packet.has(window(command));
            true
        }
        command::PREPARE => {
            prepare(body, &mut draft, &mut asked, session);
            draft.truncated = !packet.has(window(command));
            true
        }
        command::EXECUTE | command::BULK_EXECUTE => {
            execute(body, &mut draft, session);
            true
        }
        command::FETCH => {
            fetch(body, &mut draft, session);
            true
        }
        command::CLOSE => {
            session.statements.remove(long(body, 1).unwrap_or(u32::MAX));
            false
        }
        command::INIT_DB => {
            asked.namespace = Some(String::from_utf8_lossy(&body[1..]).into_owned());
            false
        }
        command::CHANGE_USER => {
            session.reset();
            asked.namespace = Some(login::changed_database(body).unwrap_or_default());
            false
        }
        _ => false,
    };
    if command.code == command::RESET_CONNECTION {
        session.reset();
    }
    asked.is_silent = command.code == command::PING;
    if !is_statement {
        draft.attributes.push(("db.operation.name".into(), command.name.into()));
    }
    (draft, asked)
}

/// A command as a verdict.
pub(super) fn finish(len: u64, mut draft: Draft, asked: Asked, session: &mut Session) -> Verdict {
    if asked.answer == Answer::None {
        return Verdict::Skip(len);
    }
    let is_silent = asked.is_silent;
    if asked.answer == Answer::Login {
        draft.redact.push(0..usize::MAX);
    }
    session.add_common(&mut draft);
    session.due.ask(asked);
    if is_silent { Verdict::Skip(len) } else { Verdict::Done { len, draft: Box::new(draft) } }
}

fn query(body: &[u8], draft: &mut Draft, asked: &mut Asked) {
    let mut headers = TraceHeaders::default();
    let content = &body[1..];
    // No text begins with such a byte: parameters come first.
    let has_parameters = content.first().is_some_and(|byte| *byte < b'\t');
    let sql = if has_parameters {
        parameters::of_query(content, &mut headers).unwrap_or_default()
    } else {
        content
    };
    let statement = Statement::of(sql, Dialect::MySql);
    draft.name = statement.summary.as_str().into();
    statement.describe(&mut draft.attributes);
    if has_parameters && sql.is_empty() {
        draft.unknown.extend(TOLD);
    }
    draft.trace_context = headers.context().or(statement.trace_context);
    let start = HEADER + body.len() - sql.len();
    if has_parameters {
        draft.redact.push(HEADER + 1..start);
    }
    draft.redact.extend(statement.places(start));
    draft.form = Form::Told;
    if statement.operation == "USE" {
        let name = statement.text.split_ascii_whitespace().nth(1).unwrap_or_default();
        asked.namespace = Some(name.trim_matches(['`', ';']).to_owned());
    }
}

fn prepare(body: &[u8], draft: &mut Draft, asked: &mut Asked, session: &mut Session) {
    let statement = Arc::new(Statement::of(&body[1..], Dialect::MySql));
    draft.name = format!("Prepare {}", statement.summary).trim_end().into();
    statement.describe(&mut draft.attributes);
    draft.trace_context = statement.trace_context;
    draft.redact = statement.places(HEADER + 1).collect();
    draft.form = Form::Told;
    session.statements.last = Some(Arc::clone(&statement));
    asked.statement = Some(statement);
}

/// `COM_STMT_EXECUTE`: number, flags, a one, parameters.
fn execute(body: &[u8], draft: &mut Draft, session: &Session) {
    const HAS_COUNT: u8 = 8;
    let found = long(body, 1).and_then(|id| session.statements.get(id));
    describe(found, draft);
    // Values, behind the number of the statement and flags.
    draft.redact.push(HEADER + 10..REST);
    draft.form = Form::Told;
    if body.first() == Some(&command::EXECUTE) && body.get(5).is_some_and(|f| f & HAS_COUNT != 0) {
        let mut headers = TraceHeaders::default();
        if let Some((count, rest)) = body.get(10..).and_then(number) {
            parameters::read(count, rest, &mut headers);
        }
        draft.trace_context = headers.context().or(draft.trace_context);
    }
}

fn fetch(body: &[u8], draft: &mut Draft, session: &Session) {
    describe(long(body, 1).and_then(|id| session.statements.get(id)), draft);
    draft.name =
        format!("Fetch {}", draft.name.trim_start_matches("COM_STMT_FETCH")).trim_end().into();
}

fn describe(statement: Option<&Arc<Statement>>, draft: &mut Draft) {
    match statement {
        Some(statement) => {
            draft.name = statement.summary.as_str().into();
            statement.describe(&mut draft.attributes);
            draft.trace_context = statement.trace_context;
        }
        None => draft.unknown.extend(TOLD),
    }
}

/// Whether the call is a client's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let packet = Packet::read(head.bytes)?;
    let fits = packet.size() >= head.call_len as u64;
    if fits && Login::begins(&packet) {
        return Some(true);
    }
    if compressed::begins(head.bytes) {
        return Some(true);
    }
    if packet.sequence != 0 || !is_believable(&packet) {
        return None;
    }
    let is_alone = packet.size() == head.call_len as u64;
    let is_text = matches!(packet.body.first(), Some(&(command::QUERY | command::PREPARE)));
    let is_sure = is_text && packet.body.len() > 6;
    // Another command, or the next packet of a long one, may follow.
    let next = usize::try_from(packet.size()).ok().and_then(|size| head.bytes.get(size..));
    let goes_on = next.is_some_and(|bytes| !bytes.is_empty() && is_start(bytes));
    let is_begun = is_sure && packet.size() > head.call_len as u64;
    (is_alone || goes_on || is_begun).then_some(is_sure && !is_begun)
}

/// Whether a command, or a login, may start here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    if compressed::begins(bytes) {
        return true;
    }
    Packet::read(bytes).is_some_and(|packet| {
        if packet.sequence == 0 { is_believable(&packet) } else { Login::begins(&packet) }
    })
}

/// Whether the content of a command is such as it has.
pub(super) fn is_believable(packet: &Packet<'_>) -> bool {
    let Some((code, rest)) = packet.body.split_first() else { return false };
    let Some(command) = command::find(*code, packet.len) else { return false };
    match command.code {
        command::QUERY => {
            let mut headers = TraceHeaders::default();
            is_statement(parameters::of_query(rest, &mut headers).unwrap_or(rest))
        }
        command::PREPARE => is_statement(rest),
        // A number, flags and a one.
        command::EXECUTE => {
            rest.get(4).is_some_and(|flags| *flags < 16) && long(rest, 5) == Some(1)
        }
        command::BULK_EXECUTE => rest.get(5).is_some_and(|high| *high == 0),
        command::CLOSE | 0x1a | command::FETCH => long(rest, 0).is_some_and(|id| id != 0),
        command::INIT_DB | 0x05 | 0x06 => rest.iter().all(|byte| *byte > b' '),
        0x1b => matches!(rest, [0 | 1, 0]),
        0x01 | 0x09 | 0x0a | command::PING | command::RESET_CONNECTION => true,
        _ => false,
    }
}

/// Whether text looks like SQL: begins as statements do, and has no control characters before
/// its first literal, which may hold anything.
fn is_statement(sql: &[u8]) -> bool {
    let start = sql.trim_ascii_start().first();
    let begins = start.is_some_and(|byte| byte.is_ascii_alphabetic() || b"/-(;#".contains(byte));
    let plain = sql.iter().take(256).take_while(|byte| !b"'\"".contains(byte));
    begins && plain.copied().all(|byte| byte >= b' ' || b"\t\r\n".contains(&byte))
}
