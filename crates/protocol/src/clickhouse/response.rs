//! Response: the packets that a server sends for one question ("Server packets").

use super::block::{Block, Walk};
use super::session::{Asked, layout};
use crate::reader::Reader;

// Packets.
const HELLO: u8 = 0;
const DATA: u8 = 1;
const EXCEPTION: u8 = 2;
const PROGRESS: u8 = 3;
const PONG: u8 = 4;
const END_OF_STREAM: u8 = 5;
const PROFILE_INFO: u8 = 6;
const TOTALS: u8 = 7;
const EXTREMES: u8 = 8;
const TABLES_STATUS: u8 = 9;
const LOG: u8 = 10;
const TABLE_COLUMNS: u8 = 11;
const PART_UUIDS: u8 = 12;
const READ_TASK: u8 = 13;
const PROFILE_EVENTS: u8 = 14;
const TIMEZONE_UPDATE: u8 = 17;

// Revisions from which something is written in another way.
const VERSION_PATCH: u32 = 54_401;
const WRITTEN: u32 = 54_420;
const TIME: u32 = 54_460;
const PASSWORD_RULES: u32 = 54_461;
const NONCE: u32 = 54_462;
const TOTAL_BYTES: u32 = 54_463;
const READ_ONLY: u32 = 54_467;
const AGGREGATION: u32 = 54_469;
const CHUNKED: u32 = 54_470;
const REPLICAS: u32 = 54_471;
const SETTINGS: u32 = 54_474;
const QUERY_PLAN: u32 = 54_477;
const CLUSTER: u32 = 54_479;

/// Bytes of a text that is no message and no rows.
const TEXT_MAX: u64 = 16 * 1024;
/// Bytes of a message or a stack trace that are believed.
const TRACE_MAX: u64 = 1 << 24;
/// Bytes of a message that are looked at.
const MESSAGE_MAX: usize = 256;

/// What a response ended with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// It goes on.
    None,
    /// With the server's revision.
    Hello(u32),
    Pong,
    Tables,
    Stream,
    Exception,
}

/// What is read next.
#[derive(Clone, Debug)]
enum At {
    Packet,
    Block(Block, u8),
    /// The text of an exception, the stack behind it, whether there is another inside.
    Message,
    Stack,
    Nested,
}

/// A response that is being read.
#[derive(Clone, Debug)]
pub(super) struct Response {
    /// What it answers, where that is known.
    pub(super) asked: Option<Asked>,
    at: At,
    pub(super) end: End,
    /// Code and text of the outermost exception.
    pub(super) error: Option<(i32, String)>,
    /// Rows in blocks that were read, and as the server tells.
    rows: Option<u64>,
    told_rows: Option<u64>,
    /// Bytes were not copied, or not understood, that are looked at.
    pub(super) is_cut: bool,
    /// A whole packet was read.
    pub(super) has_packet: bool,
}

/// What is missing of a packet.
type Read<T> = Result<T, Walk>;

impl Response {
    pub(super) fn new(asked: Option<Asked>) -> Self {
        Self {
            asked,
            at: At::Packet,
            end: End::None,
            error: None,
            rows: None,
            told_rows: None,
            is_cut: false,
            has_packet: false,
        }
    }

    /// What may follow after bytes that could not be followed.
    pub(super) fn after(&self) -> Self {
        Self::new(self.asked)
    }

    /// Takes over what `rest` tells.
    pub(super) fn adopt(&mut self, rest: Self) {
        self.end = rest.end;
        self.error = rest.error;
        self.told_rows = rest.told_rows.or(self.told_rows);
    }

    /// Whether a packet comes next.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.at, At::Packet)
    }

    /// Rows that the client got; unknown where blocks could not be read and the server did not tell.
    pub(super) fn returned_rows(&self) -> Option<u64> {
        self.told_rows.or(self.rows.filter(|_| !self.is_cut))
    }

    /// Whether it ended as an answer to what was asked does.
    pub(super) fn fits(&self) -> bool {
        match (self.asked, self.end) {
            (None, _) | (_, End::Exception) => true,
            (Some(Asked::Hello), end) => matches!(end, End::Hello(_)),
            (Some(Asked::Ping), end) => end == End::Pong,
            (Some(Asked::Tables), end) => end == End::Tables,
            (Some(Asked::Query(_)), end) => matches!(end, End::Stream | End::None),
        }
    }

    /// Whether what was read of it may be an answer to what was asked.
    pub(super) fn fits_begun(&self) -> bool {
        matches!(self.asked, Some(Asked::Query(_) | Asked::Hello))
    }

    /// Goes on with `bytes`; returns how many are used, perhaps more than are there.
    pub(super) fn walk(&mut self, bytes: &[u8], is_last: bool, revision: u32) -> (u64, Walk) {
        let mut used = 0u64;
        while self.end == End::None {
            let rest = usize::try_from(used).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
            if rest.is_empty() {
                return (used, Walk::More);
            }
            match self.step(rest, is_last, revision) {
                Ok(len) => used = used.saturating_add(len),
                Err(Walk::More) if is_last => return (used, Walk::Blind),
                Err(walk) => return (used, walk),
            }
        }
        (used, Walk::End)
    }

    fn step(&mut self, bytes: &[u8], is_last: bool, revision: u32) -> Read<u64> {
        let mut fields = Fields { reader: Reader::new(bytes), revision };
        match &mut self.at {
            At::Packet => self.packet(&mut fields)?,
            At::Block(block, kind) => {
                let (len, walk) = block.walk(bytes, is_last);
                let (rows, kind) = (block.rows, *kind);
                let is_plain = !block.is_compressed();
                return match walk {
                    Walk::End => {
                        if kind == DATA && is_plain {
                            self.rows = Some(self.rows.unwrap_or(0).saturating_add(rows));
                        }
                        self.at = At::Packet;
                        self.has_packet = true;
                        Ok(len)
                    }
                    Walk::More if len > 0 => Ok(len),
                    walk => Err(walk),
                };
            }
            At::Message => {
                let len = fields.long_text()?;
                let start = fields.reader.at();
                let seen = (len as usize).min(MESSAGE_MAX);
                let text = &bytes[start..];
                if text.len() < seen && !is_last {
                    return Err(Walk::More);
                }
                if let Some((_, message)) = self.error.as_mut().filter(|error| error.1.is_empty()) {
                    *message = self::message(&text[..text.len().min(seen)]);
                }
                self.at = At::Stack;
                return Ok(start as u64 + len);
            }
            At::Stack => {
                let len = fields.long_text()?;
                self.at = At::Nested;
                return Ok(fields.reader.at() as u64 + len);
            }
            At::Nested => match fields.byte(1)? {
                0 => self.end = End::Exception,
                _ => {
                    fields.exception()?;
                    self.at = At::Message;
                }
            },
        }
        Ok(fields.reader.at() as u64)
    }

    fn packet(&mut self, fields: &mut Fields<'_>) -> Read<()> {
        let kind = fields.byte(u8::MAX)?;
        match kind {
            HELLO => self.end = End::Hello(fields.hello()?),
            DATA | TOTALS | EXTREMES | LOG | PROFILE_EVENTS => {
                let is_compressed = self.asked == Some(Asked::Query(true));
                let is_log = matches!(kind, LOG | PROFILE_EVENTS);
                let layout = layout(fields.revision, is_compressed, is_log);
                self.at = At::Block(Block::new(layout), kind);
                return Ok(());
            }
            EXCEPTION => {
                let code = fields.exception()?;
                self.error.get_or_insert((code, String::new()));
                self.at = At::Message;
            }
            PROGRESS => fields.progress()?,
            PONG => self.end = End::Pong,
            END_OF_STREAM => self.end = End::Stream,
            PROFILE_INFO => self.told_rows = Some(fields.profile()?),
            TABLES_STATUS => {
                fields.tables()?;
                self.end = End::Tables;
            }
            TABLE_COLUMNS => fields.texts(2)?,
            PART_UUIDS => {
                let count = fields.number()?.min(TEXT_MAX / 16);
                fields.reader.take(16 * count as usize).ok_or(Walk::More)?;
            }
            READ_TASK => {}
            TIMEZONE_UPDATE => fields.texts(1)?,
            _ => return Err(Walk::Wrong),
        }
        self.has_packet = true;
        Ok(())
    }
}

/// The start of a message, up to the stack that servers before 2020 put behind it.
fn message(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim_end().to_owned()
}

/// Fields of a packet.
struct Fields<'a> {
    reader: Reader<'a>,
    revision: u32,
}

impl Fields<'_> {
    fn since(&self, revision: u32) -> bool {
        self.revision >= revision
    }

    fn number(&mut self) -> Read<u64> {
        match self.reader.varint() {
            Some(number) => Ok(number),
            None if self.reader.rest().len() >= 10 => Err(Walk::Wrong),
            None => Err(Walk::More),
        }
    }

    fn numbers(&mut self, count: usize) -> Read<()> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }

    fn byte(&mut self, most: u8) -> Read<u8> {
        let byte = self.reader.u8().ok_or(Walk::More)?;
        if byte > most { Err(Walk::Wrong) } else { Ok(byte) }
    }

    fn texts(&mut self, count: u64) -> Read<()> {
        for _ in 0..count {
            let len = self.number()?;
            if len > TEXT_MAX {
                return Err(Walk::Wrong);
            }
            self.reader.take(len as usize).ok_or(Walk::More)?;
        }
        Ok(())
    }

    /// Length of a text that may be longer than what is looked at.
    fn long_text(&mut self) -> Read<u64> {
        let len = self.number()?;
        if len > TRACE_MAX { Err(Walk::Wrong) } else { Ok(len) }
    }

    /// Code and class of an exception.
    fn exception(&mut self) -> Read<i32> {
        let code = self.reader.take(4).and_then(|code| code.try_into().ok()).ok_or(Walk::More)?;
        let code = i32::from_le_bytes(code);
        self.texts(1)?;
        if (-1..100_000).contains(&code) { Ok(code) } else { Err(Walk::Wrong) }
    }

    fn hello(&mut self) -> Read<u32> {
        self.texts(1)?;
        self.numbers(2)?;
        let own = self.number()?;
        if !super::is_revision(own) {
            return Err(Walk::Wrong);
        }
        // What a server writes goes by the client's revision, which is not above its own.
        let own = own as u32;
        self.revision = self.revision.min(own);
        if self.since(REPLICAS) {
            self.number()?;
        }
        self.texts(2)?;
        if self.since(VERSION_PATCH) {
            self.number()?;
        }
        if self.since(CHUNKED) {
            self.texts(2)?;
        }
        if self.since(PASSWORD_RULES) {
            let count = self.number()?;
            self.texts(2 * count.min(TEXT_MAX))?;
        }
        if self.since(NONCE) {
            self.reader.take(8).ok_or(Walk::More)?;
        }
        if self.since(SETTINGS) {
            while self.named_setting()? {}
        }
        if self.since(QUERY_PLAN) {
            self.number()?;
        }
        if self.since(CLUSTER) {
            self.number()?;
        }
        Ok(own)
    }

    /// Name, flags, value; returns whether there was a name.
    fn named_setting(&mut self) -> Read<bool> {
        let before = self.reader.at();
        self.texts(1)?;
        if self.reader.at() == before + 1 {
            return Ok(false);
        }
        self.number()?;
        self.texts(1)?;
        Ok(true)
    }

    /// Rows, bytes, rows in all; bytes in all; rows and bytes written; time.
    fn progress(&mut self) -> Read<()> {
        let more = [(TOTAL_BYTES, 1), (WRITTEN, 2), (TIME, 1)];
        let more = more.iter().filter(|(revision, _)| self.revision >= *revision);
        let count = 3 + more.map(|(_, count)| count).sum::<usize>();
        self.numbers(count)
    }

    /// Rows, blocks, bytes, whether a limit was applied, rows before it, whether those were counted.
    fn profile(&mut self) -> Read<u64> {
        let rows = self.number()?;
        self.numbers(2)?;
        self.byte(1)?;
        self.number()?;
        self.byte(1)?;
        if self.since(AGGREGATION) {
            self.byte(1)?;
            self.number()?;
        }
        Ok(rows)
    }

    fn tables(&mut self) -> Read<()> {
        for _ in 0..self.number()?.min(TEXT_MAX) {
            self.texts(2)?;
            if self.byte(1)? == 1 {
                self.number()?;
                if self.since(READ_ONLY) {
                    self.number()?;
                }
            }
        }
        Ok(())
    }
}
