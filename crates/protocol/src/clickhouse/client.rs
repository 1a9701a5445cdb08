//! What the client sends: hellos, queries, and blocks.

use super::block::{self, Block, Walk};
use super::query::{self, Missing, PARAMETERS, Query};
use super::session::{Asked, Session, layout};
use crate::reader::Reader;
use crate::sql::{Dialect, REST, STATEMENT_MAX, Statement};
use crate::{Draft, Head, Input, Side, Verdict};

// Packets ("Client packets").
const HELLO: u8 = 0;
const QUERY: u8 = 1;
const DATA: u8 = 2;
const CANCEL: u8 = 3;
const PING: u8 = 4;
const TABLES_STATUS: u8 = 5;

/// Revisions from which more follows the hello.
pub(super) const ADDENDUM: u32 = 54_458;
const CHUNKED: u32 = 54_470;
const REPLICAS: u32 = 54_471;

/// Bytes of a hello.
const HELLO_MAX: usize = 4096;
const NAME_MAX: u64 = 1024;

/// The client's direction.
#[derive(Default)]
pub(super) struct Client {
    /// A query whose blocks are not at their end.
    begun: Option<Draft>,
    asked: Option<Asked>,
    /// Parameters of the query come next.
    has_parameters: bool,
    block: Option<Block>,
    /// Where the block ends is not known: a block without columns, or a query, in a call of its own does
    /// tell.
    is_blind: bool,
    /// Blocks of the last query, and of its rows, are compressed.
    is_compressed: bool,
}

/// What a hello says.
struct Hello {
    revision: u32,
    database: String,
    len: usize,
}

impl Client {
    pub(super) fn parse(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        let Some(kind) = input.bytes.first() else { return Verdict::More };
        if self.is_blind {
            self.is_blind = !is_empty_block(input.bytes) && !is_start(input.bytes, session);
            self.block = None;
            if self.is_blind {
                return self.pass(Verdict::CALL);
            }
        }
        if self.block.is_some() {
            return self.walk(input, 0, session);
        }
        if std::mem::take(&mut self.has_parameters) {
            return self.parameters(input);
        }
        if session.expects_addendum {
            return addendum(input, session);
        }
        match *kind {
            HELLO => self.hello(input, session),
            QUERY if self.begun.is_none() => self.query(input, session),
            DATA => {
                let layout = layout(session.revision(), self.is_compressed, false);
                self.block = Some(Block::new(layout));
                self.walk(input, 1, session)
            }
            CANCEL if self.begun.is_none() => Verdict::Skip(1),
            PING if self.begun.is_none() => {
                session.ask(Asked::Ping);
                Verdict::Skip(1)
            }
            TABLES_STATUS => tables_status(input, session),
            _ => Verdict::NotMine,
        }
    }

    fn hello(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        let hello = match hello(input.bytes) {
            Ok(hello) => hello,
            Err(Missing::More) if !input.is_last => return Verdict::More,
            Err(_) => return Verdict::NotMine,
        };
        session.client_revision = Some(hello.revision);
        session.agree(Some(hello.revision), None);
        session.is_known = true;
        session.namespace = Some(hello.database).filter(|name| !name.is_empty());
        let mut draft = Draft::request("Hello");
        draft.attributes.push(("db.operation.name".into(), "Hello".into()));
        draft.redact.push(0..usize::MAX);
        session.add_common(&mut draft);
        session.ask(Asked::Hello);
        Verdict::Done { len: hello.len as u64, draft: Box::new(draft) }
    }

    fn query(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        let found = find(input.bytes, input.is_last, session);
        let query = match found {
            Ok(query) => query,
            Err(Missing::More) if !input.is_last => return Verdict::More,
            Err(_) => return Verdict::NotMine,
        };
        let window = query.len.min(STATEMENT_MAX as u64) as usize;
        let text = &input.bytes[query.head..];
        if text.len() < window && !input.is_last {
            return Verdict::More;
        }
        let text = &text[..text.len().min(window)];
        let statement = Statement::of(text, Dialect::ClickHouse);
        let mut draft = Draft::request(statement.summary.as_str());
        statement.describe(&mut draft.attributes);
        draft.trace_context = query.trace_context.or(statement.trace_context);
        draft.truncated = text.len() < window;
        let at = query.head;
        draft.redact = statement.places(at).collect();
        // Parameters and data.
        draft.redact.push(at + text.len()..REST);
        session.next_namespace = (statement.operation == "USE").then(|| {
            let name = statement.text.split_ascii_whitespace().nth(1).unwrap_or_default();
            name.trim_matches(['`', '"', ';']).to_owned()
        });
        session.add_common(&mut draft);
        session.begin();
        self.begun = Some(draft);
        self.asked = Some(Asked::Query(query.is_compressed));
        self.is_compressed = query.is_compressed;
        self.has_parameters = session.revision() >= PARAMETERS;
        Verdict::Part { len: query.head as u64 + query.len, stream: 0 }
    }

    fn parameters(&mut self, input: &Input<'_>) -> Verdict {
        match query::parameters(input.bytes) {
            Ok(len) => Verdict::Part { len: len as u64, stream: 0 },
            Err(Missing::More) if !input.is_last => {
                self.has_parameters = true;
                Verdict::More
            }
            Err(_) => Verdict::NotMine,
        }
    }

    /// Goes on with a block, which begins behind `at` bytes.
    fn walk(&mut self, input: &Input<'_>, at: usize, session: &mut Session) -> Verdict {
        let Some(block) = &mut self.block else { return Verdict::NotMine };
        let (used, walk) = block.walk(&input.bytes[at..], input.is_last);
        let used = used + at as u64;
        match walk {
            Walk::End => {
                let is_empty = block.is_empty;
                self.block = None;
                match self.begun.take_if(|_| is_empty) {
                    Some(draft) => {
                        session.due.push(self.asked.take().unwrap_or(Asked::Query(false)));
                        Verdict::Done { len: used, draft: Box::new(draft) }
                    }
                    None => self.pass(used),
                }
            }
            Walk::More if used == 0 => Verdict::More,
            Walk::More => self.pass(used),
            Walk::Blind => {
                self.is_blind = true;
                self.pass(Verdict::CALL)
            }
            Walk::Wrong => Verdict::NotMine,
        }
    }

    fn pass(&self, len: u64) -> Verdict {
        if self.begun.is_some() { Verdict::Part { len, stream: 0 } } else { Verdict::Skip(len) }
    }

    pub(super) fn lost(&mut self, session: &mut Session) -> Option<Draft> {
        session.expects_addendum = false;
        self.has_parameters = false;
        self.is_blind = false;
        self.block = None;
        let draft = self.begun.take();
        if let Some(asked) = self.asked.take().filter(|_| draft.is_some()) {
            session.due.push(asked);
        }
        session.due.lost(Side::Client);
        draft
    }
}

/// The query at the front, after the revisions that are possible; those that are not are forgotten.
fn find(bytes: &[u8], is_last: bool, session: &mut Session) -> Result<Query, Missing> {
    if let [revision] = session.candidates() {
        return Query::read(bytes, *revision);
    }
    // The last call before the blocks ends with the query: more can't be waited for.
    let fits = |revision: u32| fit(bytes, revision).is_some();
    if !session.keep(fits) {
        return Err(if is_last || bytes.len() >= query::HEAD_MAX {
            Missing::Wrong
        } else {
            Missing::More
        });
    }
    fit(bytes, session.revision()).ok_or(Missing::Wrong)
}

/// The query at the front, if it is one in this revision: a statement, and what may follow it.
fn fit(bytes: &[u8], revision: u32) -> Option<Query> {
    let query = Query::read(bytes, revision).ok()?;
    let rest = &bytes[query.head..];
    let len = usize::try_from(query.len).ok()?;
    let text = &rest[..rest.len().min(len)];
    let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    let start = text.trim_ascii_start().first();
    let begins = start.is_some_and(|byte| byte.is_ascii_alphabetic() || b"(/-#".contains(byte));
    if !begins || !text.iter().take(64).all(is_text) {
        return None;
    }
    let mut rest = rest.get(len..).unwrap_or(&[]);
    if revision >= PARAMETERS && !rest.is_empty() {
        rest = &rest[query::parameters(rest).ok()?..];
    }
    matches!(rest, [] | [DATA, ..]).then_some(query)
}

/// Name, version, revision, database, user, password.
fn hello(bytes: &[u8]) -> Result<Hello, Missing> {
    let bytes = &bytes[..bytes.len().min(HELLO_MAX)];
    let mut reader = Reader::new(bytes);
    let mut read = || {
        reader.u8()?;
        let name = text(&mut reader)?;
        reader.varint()?;
        reader.varint()?;
        let revision = reader.varint()?;
        let [database, user, password] =
            [text(&mut reader)?, text(&mut reader)?, text(&mut reader)?];
        let is_name = name.is_ok_and(|name| !name.is_empty() && is_line(name));
        let is_user = user.is_ok_and(is_line);
        let is_ours = is_name && is_user && password.is_ok() && super::is_revision(revision);
        let database = database.ok().filter(|name| is_ours && is_line(name));
        Some(database.map(|name| (revision as u32, String::from_utf8_lossy(name).into_owned())))
    };
    match read() {
        Some(Some((revision, database))) => Ok(Hello { revision, database, len: reader.at() }),
        Some(None) => Err(Missing::Wrong),
        None if bytes.len() == HELLO_MAX => Err(Missing::Wrong),
        None => Err(Missing::More),
    }
}

/// A text with its length before it; nothing where it is not whole.
fn text<'a>(reader: &mut Reader<'a>) -> Option<Result<&'a [u8], Missing>> {
    let len = reader.varint()?;
    if len > NAME_MAX {
        return Some(Err(Missing::Wrong));
    }
    reader.take(len as usize).map(Ok)
}

fn is_line(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte >= b' ')
}

/// What newer clients say after the server's hello: a quota's key, how packets are framed, a version.
fn addendum(input: &Input<'_>, session: &mut Session) -> Verdict {
    let revision = session.revision();
    let mut reader = Reader::new(input.bytes);
    let mut read = || {
        let texts = if revision >= CHUNKED { 3 } else { 1 };
        for _ in 0..texts {
            text(&mut reader)?.ok()?;
        }
        if revision >= REPLICAS {
            reader.varint()?;
        }
        Some(())
    };
    let is_read = read().is_some();
    if !is_read && !input.is_last && input.bytes.len() < HELLO_MAX {
        return Verdict::More;
    }
    session.expects_addendum = false;
    if is_read { Verdict::Skip(reader.at() as u64) } else { Verdict::NotMine }
}

/// Databases and tables of which another server asks.
fn tables_status(input: &Input<'_>, session: &mut Session) -> Verdict {
    const TABLES_MAX: u64 = 1024;
    let mut reader = Reader::new(input.bytes);
    let mut read = || {
        reader.u8()?;
        let count = reader.varint()?;
        for _ in 0..count.min(TABLES_MAX) * 2 {
            text(&mut reader)?.ok()?;
        }
        Some(())
    };
    if read().is_none() {
        let may_grow = !input.is_last && input.bytes.len() < HELLO_MAX;
        return if may_grow { Verdict::More } else { Verdict::NotMine };
    }
    let mut draft = Draft::request("TablesStatusRequest");
    draft.attributes.push(("db.operation.name".into(), "TablesStatusRequest".into()));
    session.add_common(&mut draft);
    session.ask(Asked::Tables);
    Verdict::Done { len: reader.at() as u64, draft: Box::new(draft) }
}

/// Whether the call is a client's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    // Where a query does not say who asks, its front is zeros: so much else begins like that.
    let session = Session::default();
    let queries = session.candidates().iter().filter_map(|it| fit(head.bytes, *it));
    let is_query =
        head.bytes.first() == Some(&QUERY) && queries.into_iter().any(|query| query.has_client);
    if is_query || is_hello(head.bytes, head.call_len) {
        return Some(true);
    }
    is_empty_block(head.bytes).then_some(true)
}

fn is_hello(bytes: &[u8], call_len: usize) -> bool {
    bytes.first() == Some(&HELLO) && hello(bytes).is_ok_and(|hello| hello.len == call_len)
}

fn is_query(bytes: &[u8], candidates: &[u32]) -> bool {
    bytes.first() == Some(&QUERY) && candidates.iter().any(|it| fit(bytes, *it).is_some())
}

/// The block behind each query, which is the same but for compression.
fn is_empty_block(bytes: &[u8]) -> bool {
    match bytes {
        [DATA, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0] => true,
        [DATA, 0, frame @ ..] => block::frame(frame)
            .is_some_and(|(packed, plain)| plain == 10 && frame.len() == 16 + packed as usize),
        _ => false,
    }
}

/// Whether a query or a hello may start here.
pub(super) fn is_start(bytes: &[u8], session: &Session) -> bool {
    is_hello(bytes, bytes.len()) || is_query(bytes, session.candidates())
}
