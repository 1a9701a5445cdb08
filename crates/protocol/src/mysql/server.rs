//! What the server sends: greetings, and responses, which may be of several results.

use std::ops::Range;
use std::sync::Arc;

use deeptrace_model::{SpanStatus, Value};

use super::command::Answer;
use super::compressed;
use super::login;
use super::packet::{LENGTH_MAX, Packet, long, number, short};
use super::session::{Asked, Session};
use crate::due::Answers;
use crate::sql::Statement;
use crate::{Draft, Head, Input, Side, Verdict};

/// Bytes of an error, of any other first packet, and of the end of rows that are looked at.
const ERROR_MAX: usize = 512;
const FIRST_MAX: usize = 32;
const MESSAGE_MAX: usize = 256;

/// Columns of a result (the server allows 4096).
const COLUMNS_MAX: u64 = 0xffff;

// Status flags.
const MORE_RESULTS: u16 = 1 << 3;
const CURSOR: u16 = 1 << 6;

/// Code of an error packet that only tells of progress (MariaDB).
const PROGRESS: u16 = 0xffff;

/// The server's direction.
#[derive(Default)]
pub(super) struct Server {
    response: Option<Response>,
    /// The open response answers something that is not known.
    is_stray: bool,
    /// Replication: events without end.
    is_streaming: bool,
    /// The last packet goes on in the next.
    is_begun: bool,
}

/// Where a response is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// A result begins.
    First,
    /// So many definitions come, and what is behind them.
    Columns(u64),
    /// `EOF` or a row.
    Behind,
    Rows,
    /// Definitions of a prepared statement, then perhaps `EOF`.
    Definitions(u32),
}

/// The response that is open.
struct Response {
    answer: Answer,
    is_silent: bool,
    statement: Option<Arc<Statement>>,
    at: At,
    /// Sequence number of the next packet; `None` if any.
    sequence: Option<u8>,
    /// Rows, where there are results.
    rows: Option<u64>,
    error: Option<Failure>,
    is_cut: bool,
}

/// An error packet.
pub(super) struct Failure {
    code: u16,
    message: String,
}

impl Server {
    pub(super) fn parse(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        if session.is_compressed {
            return compressed::answer(input, session);
        }
        if input.bytes.is_empty() {
            return Verdict::More;
        }
        let mut used = 0u64;
        loop {
            let rest = usize::try_from(used).ok().and_then(|used| input.bytes.get(used..));
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
            let packet = Packet::read(rest).filter(|packet| self.is_enough(packet, input.is_last));
            let Some(packet) = packet else {
                if used == 0 {
                    return Verdict::More;
                }
                break;
            };
            let is_between = used == 0 && self.response.is_none() && !self.is_begun;
            if let Some(verdict) = is_between.then(|| self.unasked(&packet, session)).flatten() {
                return verdict;
            }
            if self.response.is_none() {
                self.begin(session);
            }
            let Some(is_end) = self.take(&packet, session) else {
                if used == 0 {
                    return Verdict::NotMine;
                }
                break;
            };
            used = used.saturating_add(packet.size());
            if is_end {
                return self.finish(used, session);
            }
        }
        let is_silent = self.response.as_ref().is_some_and(|response| response.is_silent);
        if self.is_stray || is_silent {
            Verdict::Skip(used)
        } else {
            Verdict::Part { len: used, stream: 0 }
        }
    }

    /// Whether as much of a packet is there as is looked at, so that the answer does not depend on
    /// how much there is.
    fn is_enough(&self, packet: &Packet<'_>, is_last: bool) -> bool {
        let at = self.response.as_ref().map_or(At::First, |response| response.at);
        let wanted = match (at, packet.body.first()) {
            (_, None) => 1,
            (_, Some(0xff)) => ERROR_MAX,
            (At::First, Some(10)) if packet.sequence == 0 => ERROR_MAX,
            (At::First, _) | (_, Some(0xfe)) => FIRST_MAX,
            _ => 1,
        };
        packet.has(wanted) || (is_last && packet.has(1))
    }

    /// What stands between responses.
    fn unasked(&mut self, packet: &Packet<'_>, session: &mut Session) -> Option<Verdict> {
        let is_idle = session.due.is_empty();
        if packet.sequence == 0 && is_idle {
            if let Some(is_mariadb) = login::greeting(packet) {
                session.is_mariadb = is_mariadb;
                return Some(Verdict::Skip(packet.size()));
            }
            // The server wants no more of this connection.
            if packet.body.first() == Some(&0xff) && is_error(packet) {
                let mut draft = Draft::one_way("ERR");
                let system = if session.is_mariadb { "mariadb" } else { "mysql" };
                draft.attributes.push(("db.system.name".into(), system.into()));
                Failure::read(packet.body).describe(&mut draft);
                return Some(Verdict::Done { len: packet.size(), draft: Box::new(draft) });
            }
        }
        if self.is_streaming && is_idle {
            return Some(Verdict::Skip(packet.size()));
        }
        self.is_streaming = false;
        let is_tail = packet.sequence > 1 && !session.is_login();
        let is_end = is_short_end(packet);
        if is_tail && (is_end || is_definition(packet)) {
            // The end of an answer of which the length was not known.
            session.has_eof = if is_end { Some(true) } else { session.has_eof };
            return Some(Verdict::Skip(packet.size()));
        }
        let is_first = packet.sequence == 1 || session.is_login();
        (!is_first || packet.len == 0).then_some(Verdict::NotMine)
    }

    fn begin(&mut self, session: &mut Session) {
        self.is_stray = session.due.is_stray();
        let (answer, is_silent, statement) = match session.due.next() {
            Answers::To(asked) => (asked.answer, asked.is_silent, asked.statement.clone()),
            _ => (Answer::Results, false, None),
        };
        let is_rows = answer == Answer::Rows;
        self.response = Some(Response {
            answer,
            is_silent,
            statement,
            at: if is_rows { At::Rows } else { At::First },
            sequence: None,
            rows: is_rows.then_some(0),
            error: None,
            is_cut: false,
        });
    }

    /// Takes a packet of the response; returns whether it is the last, and nothing if it does not
    /// belong there.
    fn take(&mut self, packet: &Packet<'_>, session: &mut Session) -> Option<bool> {
        let response = self.response.as_mut()?;
        let is_login = response.answer == Answer::Login;
        if response.sequence.is_some_and(|wanted| wanted != packet.sequence) && !is_login {
            return None;
        }
        response.sequence = Some(packet.sequence.wrapping_add(1));
        if std::mem::replace(&mut self.is_begun, packet.len == LENGTH_MAX) {
            return Some(false);
        }
        if packet.body.first() == Some(&0xff) {
            if short(packet.body, 1) == Some(PROGRESS) {
                return Some(false);
            }
            response.is_cut = !packet.has(ERROR_MAX);
            response.error = Some(Failure::read(packet.body));
            return Some(true);
        }
        match response.answer {
            Answer::One => Some(true),
            Answer::Endless => {
                self.is_streaming = true;
                Some(true)
            }
            Answer::Login => Some(packet.body.first() == Some(&0)),
            Answer::Prepared => response.prepared(packet, session),
            _ => response.results(packet, session),
        }
    }

    fn finish(&mut self, used: u64, session: &mut Session) -> Verdict {
        let Some(response) = self.response.take() else { return Verdict::Skip(used) };
        if std::mem::take(&mut self.is_stray) {
            session.due.heard();
            return Verdict::Stray(used);
        }
        let is_ok = response.error.is_none();
        if let Answers::To(asked) = session.due.answer() {
            settle(asked, is_ok, session);
        }
        let skips = session.due.skips();
        if response.is_silent {
            return Verdict::Skip(used);
        }
        let status = if is_ok { SpanStatus::Ok } else { SpanStatus::Error };
        let draft = Draft { skips, ..response.draft(status) };
        Verdict::Done { len: used, draft: Box::new(draft) }
    }

    pub(super) fn lost(&mut self, session: &mut Session) -> Option<Draft> {
        self.is_streaming = false;
        self.is_begun = false;
        let is_stray = std::mem::take(&mut self.is_stray);
        let response = self.response.take().filter(|_| !is_stray);
        let draft = response.filter(|response| !response.is_silent).map(|response| {
            let _ = session.due.answer();
            let is_error = response.error.is_some();
            let status = if is_error { SpanStatus::Error } else { SpanStatus::Unset };
            Draft { skips: session.due.skips(), ..response.draft(status) }
        });
        session.due.lost(Side::Server);
        draft
    }
}

/// What follows from an answer for what comes after.
fn settle(asked: Asked, is_ok: bool, session: &mut Session) {
    if !is_ok {
        return;
    }
    if let Some(name) = asked.namespace {
        session.namespace = (!name.is_empty()).then_some(name);
    }
    if asked.answer == Answer::Login {
        session.is_known = true;
        session.is_compressed = std::mem::take(&mut session.will_compress);
    }
}

impl Response {
    /// `OK`, `ERR`, `LOCAL INFILE`, or columns and rows; and the next result.
    fn results(&mut self, packet: &Packet<'_>, session: &mut Session) -> Option<bool> {
        let first = packet.body.first().copied();
        match self.at {
            At::First => return self.first(packet, session),
            At::Columns(left) => {
                let is_last = left <= 1;
                self.at = if is_last { At::Behind } else { At::Columns(left - 1) };
            }
            At::Behind if is_short_end(packet) => {
                session.has_eof = Some(true);
                self.at = At::Rows;
                return Some(end_flags(packet) & CURSOR != 0);
            }
            At::Behind | At::Rows if first == Some(0xfe) && packet.len < LENGTH_MAX => {
                if self.at == At::Behind {
                    session.has_eof = Some(false);
                }
                return Some(self.next_result(end_flags(packet)));
            }
            At::Behind | At::Rows => {
                if self.at == At::Behind {
                    session.has_eof = Some(false);
                }
                self.at = At::Rows;
                self.rows = self.rows.map(|rows| rows.saturating_add(1));
            }
            At::Definitions(_) => return None,
        }
        Some(false)
    }

    fn first(&mut self, packet: &Packet<'_>, session: &mut Session) -> Option<bool> {
        let body = packet.window(FIRST_MAX);
        match *body {
            // `OK`; in two bytes it would be columns without definitions.
            [0, ..] if packet.len > 2 => Some(self.next_result(ok_flags(&body[1..]))),
            [0xfe, ..] if packet.len < 9 => Some(self.next_result(end_flags(packet))),
            [0xfb, ..] => {
                session.is_file = !self.is_silent;
                self.sequence = None;
                Some(false)
            }
            _ => {
                let has_definitions = match *body {
                    // MySQL tells before the count whether definitions follow, MariaDB after it.
                    [0, _] | [_, 0] => false,
                    _ => true,
                };
                let body = match body {
                    [0 | 1, count] if *count > 0 => &body[1..],
                    _ => body,
                };
                let (count, _) = number(body)?;
                if !(1..=COLUMNS_MAX).contains(&count) {
                    return None;
                }
                self.rows = Some(self.rows.unwrap_or(0));
                self.at = if has_definitions { At::Columns(count) } else { At::Behind };
                Some(false)
            }
        }
    }

    /// A result is at its end; returns whether it is the last.
    fn next_result(&mut self, flags: u16) -> bool {
        self.at = At::First;
        flags & MORE_RESULTS == 0
    }

    /// Number, columns, parameters; then the definitions of both.
    fn prepared(&mut self, packet: &Packet<'_>, session: &mut Session) -> Option<bool> {
        match self.at {
            At::First => {
                let body = packet.body;
                let (0, Some(id)) = (*body.first()?, long(body, 1)) else { return None };
                let counts = [short(body, 5), short(body, 7)];
                let total = counts.iter().flatten().map(|count| u32::from(*count)).sum();
                let has_definitions = body.get(12) != Some(&0) && total > 0;
                if let Some(statement) = self.statement.take() {
                    session.statements.insert(id, statement);
                }
                self.at = At::Definitions(total);
                Some(!has_definitions)
            }
            At::Definitions(left) if is_short_end(packet) => {
                session.has_eof = Some(true);
                Some(left == 0)
            }
            At::Definitions(left) => {
                let left = left.checked_sub(1)?;
                self.at = At::Definitions(left);
                Some(left == 0 && session.has_eof != Some(true))
            }
            _ => None,
        }
    }

    fn draft(self, status: SpanStatus) -> Draft {
        let mut draft = Draft::response(status);
        draft.truncated = self.is_cut;
        if let Some(rows) = self.rows.filter(|_| status == SpanStatus::Ok) {
            let rows = Value::Int(i64::try_from(rows).unwrap_or(i64::MAX));
            draft.attributes.push(("db.response.returned_rows".into(), rows));
        }
        if let Some(failure) = self.error {
            failure.describe(&mut draft);
        }
        if self.answer == Answer::Login {
            draft.redact.push(Range { start: 0, end: usize::MAX });
        }
        draft
    }
}

impl Failure {
    /// Code, perhaps a state, text.
    pub(super) fn read(body: &[u8]) -> Self {
        let code = short(body, 1).unwrap_or_default();
        let text = body.get(3..).unwrap_or_default();
        let text = match text {
            [b'#', rest @ ..] => rest.get(5..).unwrap_or_default(),
            text => text,
        };
        let text = &text[..text.len().min(MESSAGE_MAX)];
        Self { code, message: String::from_utf8_lossy(text).into_owned() }
    }

    pub(super) fn describe(self, draft: &mut Draft) {
        draft.status = SpanStatus::Error;
        let code = Value::from(self.code.to_string());
        draft.attributes.push(("db.response.status_code".into(), code.clone()));
        draft.attributes.push(("error.type".into(), code));
        draft.status_message = Some(self.message).filter(|message| !message.is_empty());
    }
}

/// Whether it is `EOF` as it was before `OK` took its place.
fn is_short_end(packet: &Packet<'_>) -> bool {
    packet.len == 5 && packet.body.first() == Some(&0xfe)
}

/// Whether it is the definition of a column, whose catalogue is always `def`.
fn is_definition(packet: &Packet<'_>) -> bool {
    packet.body.starts_with(b"\x03def")
}

/// Whether it is an error as servers have them.
fn is_error(packet: &Packet<'_>) -> bool {
    let code = short(packet.body, 1).unwrap_or_default();
    let text = packet.body.get(3..).unwrap_or_default();
    let is_text = text.iter().take(64).all(|byte| *byte >= b' ');
    (1000..20_000).contains(&code) && is_text && packet.len > 3 && packet.len <= 1024
}

/// Status flags of `EOF`, or of the `OK` in its place.
fn end_flags(packet: &Packet<'_>) -> u16 {
    if is_short_end(packet) {
        return short(packet.body, 3).unwrap_or_default();
    }
    ok_flags(packet.body.get(1..).unwrap_or_default())
}

/// Status flags of `OK`, behind its first byte.
fn ok_flags(body: &[u8]) -> u16 {
    let rest = number(body).and_then(|parts| number(parts.1)).map(|parts| parts.1);
    rest.and_then(|rest| short(rest, 0)).unwrap_or_default()
}

/// Whether the call is a server's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let packet = Packet::read(head.bytes)?;
    let is_alone = packet.size() == head.call_len as u64;
    if packet.sequence == 0 && packet.size() >= head.call_len as u64 {
        if login::greeting(&packet).is_some() {
            return Some(true);
        }
        if login::may_greet(&packet) {
            return Some(false);
        }
        let is_refusal = is_alone && packet.body.first() == Some(&0xff) && is_error(&packet);
        return is_refusal.then_some(false);
    }
    if packet.sequence != 1 || !is_first(&packet) {
        return None;
    }
    let next = usize::try_from(packet.size()).ok().and_then(|size| head.bytes.get(size..));
    let next = next.and_then(Packet::read);
    match next {
        Some(next) => {
            let follows = next.sequence == 2;
            let is_sure = is_definition(&next) && (0x17..0x1000).contains(&next.len);
            (follows && is_sure).then_some(true)
        }
        None => is_alone.then_some(false),
    }
}

/// Whether a response, or a greeting, may start here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let Some(packet) = Packet::read(bytes) else { return false };
    match packet.sequence {
        0 => login::greeting(&packet).is_some(),
        1 => {
            let next = usize::try_from(packet.size()).ok().and_then(|size| bytes.get(size..));
            let next = next.and_then(Packet::read);
            is_first(&packet) && next.is_none_or(|next| next.sequence == 2 || next.sequence == 1)
        }
        _ => false,
    }
}

/// Whether a response may begin so.
fn is_first(packet: &Packet<'_>) -> bool {
    match packet.body.first() {
        Some(0) => packet.len >= 7 && packet.len < 1024,
        Some(0xff) => is_error(packet),
        Some(0xfe) => is_short_end(packet) || (7..1024).contains(&packet.len),
        Some(0xfb) => packet.len > 1 && packet.len < 4096,
        Some(_) => packet.len <= 3,
        None => false,
    }
}
