//! Tokens of a response ([MS-TDS] §2.2.7), and the little-endian fields that they are made of.

use super::collect::utf16;
use super::types::Type;

/// Columns of a result ([MS-TDS] §2.2.7.4: 4096 in practice).
const COLUMNS_MAX: u16 = 8192;

/// Units of a name or a message that are looked at.
const MESSAGE_MAX: usize = 256;

/// Flags of `DONE` (§2.2.7.6).
pub(super) const DONE_MORE: u16 = 0x1;
pub(super) const DONE_ERROR: u16 = 0x2;
pub(super) const DONE_COUNT: u16 = 0x10;
pub(super) const DONE_ATTENTION: u16 = 0x20;
pub(super) const DONE_SERVER_ERROR: u16 = 0x100;
const DONE_KNOWN: u16 = 0x1 | 0x2 | 0x4 | 0x10 | 0x20 | 0x40 | 0x100;

/// `SELECT`, as `DONE` names it.
pub(super) const SELECT: u16 = 0xc1;

/// Reads from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    pub(super) fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(drop)
    }

    /// As many of `len` bytes as there are, at least one unless `len` is zero.
    pub(super) fn part(&mut self, len: usize) -> Option<&'a [u8]> {
        if len > 0 && self.0.is_empty() {
            return None;
        }
        self.take(len.min(self.0.len()))
    }

    /// Text with its length in characters before it, in one byte or in two.
    pub(super) fn byte_text(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(2 * usize::from(len))
    }

    pub(super) fn short_text(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(2 * usize::from(len))
    }
}

/// What tokens tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Done {
        flags: u16,
        command: u16,
        rows: u64,
    },
    Error {
        number: i32,
        class: u8,
        message: String,
    },
    /// The database changed.
    Database(String),
    /// What was agreed on at login: whether that is older than 7.2.
    Version {
        is_old: bool,
    },
    /// An output parameter that is a number: the handle of a prepared statement may be one.
    Value(i32),
    Row,
    Other,
}

/// Reads tokens.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    bytes: Bytes<'a>,
    /// Protocols before 7.2, with shorter numbers.
    is_old: bool,
    columns: Vec<Type>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(bytes: &'a [u8], is_old: bool) -> Self {
        Self { bytes: Bytes(bytes), is_old, columns: Vec::new() }
    }

    /// Whether all bytes are read.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn token(&mut self) -> Option<Token> {
        let code = self.bytes.u8()?;
        match code {
            0x79 => self.bytes.skip(4)?,
            0x78 => self.bytes.skip(4)?,
            0x81 => self.columns()?,
            0xd1 => {
                let columns = std::mem::take(&mut self.columns);
                let read = columns.iter().all(|column| self.value(*column).is_some());
                self.columns = columns;
                return read.then_some(Token::Row);
            }
            0xd2 => return self.row_with_nulls(),
            0xac => return self.return_value(),
            0xae => {
                while self.bytes.u8()? != 0xff {
                    let len = self.bytes.u32()?;
                    self.bytes.skip(len as usize)?;
                }
            }
            0xe4 | 0xee => {
                let len = self.bytes.u32()?;
                self.bytes.skip(len as usize)?;
            }
            0xa4 | 0xa5 | 0xa9 | 0xab | 0xed => {
                let len = self.bytes.u16()?;
                self.bytes.skip(len.into())?;
            }
            0xaa | 0xad | 0xe3 => {
                let len = self.bytes.u16()?;
                let inside = Bytes(self.bytes.take(len.into())?);
                return match code {
                    0xaa => error(inside, self.is_old),
                    0xad => {
                        let is_old = login_ack(inside)?;
                        self.is_old = is_old;
                        Some(Token::Version { is_old })
                    }
                    _ => environment(inside),
                };
            }
            0xfd..=0xff => return self.done(),
            _ => return None,
        }
        Some(Token::Other)
    }

    fn done(&mut self) -> Option<Token> {
        let (flags, command) = (self.bytes.u16()?, self.bytes.u16()?);
        let rows = if self.is_old { self.bytes.u32()?.into() } else { self.bytes.u64()? };
        (flags & !DONE_KNOWN == 0).then_some(Token::Done { flags, command, rows })
    }

    /// A value of which all bytes are there.
    fn value(&mut self, kind: Type) -> Option<&'a [u8]> {
        let before = self.bytes;
        let value = kind.value(&mut self.bytes)?;
        // A value that ends the bytes may be cut: nothing tells.
        let is_whole = !self.bytes.is_empty() || before.0.is_empty();
        is_whole.then_some(value)
    }

    fn columns(&mut self) -> Option<()> {
        let count = self.bytes.u16()?;
        self.columns.clear();
        if count == u16::MAX {
            return Some(());
        }
        if count > COLUMNS_MAX {
            return None;
        }
        for _ in 0..count {
            self.bytes.skip(if self.is_old { 4 } else { 6 })?;
            let kind = Type::read(&mut self.bytes, false)?;
            if kind.has_table() {
                let parts = if self.is_old { 1 } else { self.bytes.u8()? };
                for _ in 0..parts {
                    self.bytes.short_text()?;
                }
            }
            self.bytes.byte_text()?;
            self.columns.push(kind);
        }
        Some(())
    }

    /// A row that begins with a bit for each column that is NULL (§2.2.7.13).
    fn row_with_nulls(&mut self) -> Option<Token> {
        let nulls = self.bytes.take(self.columns.len().div_ceil(8))?;
        let columns = std::mem::take(&mut self.columns);
        let is_there = |at: usize| nulls[at / 8] & (1 << (at % 8)) == 0;
        let mut seen = columns.iter().enumerate().filter(|(at, _)| is_there(*at));
        let read = seen.all(|(_, column)| self.value(*column).is_some());
        self.columns = columns;
        read.then_some(Token::Row)
    }

    fn return_value(&mut self) -> Option<Token> {
        self.bytes.skip(2)?;
        self.bytes.byte_text()?;
        self.bytes.skip(if self.is_old { 1 + 4 } else { 1 + 6 })?;
        let kind = Type::read(&mut self.bytes, true)?;
        let value = self.value(kind)?;
        let number = value.first_chunk().filter(|_| kind.is_number() && value.len() == 4);
        Some(number.map_or(Token::Other, |number| Token::Value(i32::from_le_bytes(*number))))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    /// The next token; nothing at the end, and where bytes are missing or not understood.
    fn next(&mut self) -> Option<Token> {
        self.token()
    }
}

/// Number, state, class, text, server, procedure, line (§2.2.7.10).
fn error(mut bytes: Bytes<'_>, is_old: bool) -> Option<Token> {
    let number = bytes.u32()?.cast_signed();
    bytes.skip(1)?;
    let class = bytes.u8()?;
    let message = utf16(bytes.short_text()?, MESSAGE_MAX);
    bytes.byte_text()?;
    bytes.byte_text()?;
    bytes.skip(if is_old { 2 } else { 4 })?;
    bytes.is_empty().then_some(Token::Error { number, class, message })
}

/// Interface, version, program (§2.2.7.14).
fn login_ack(mut bytes: Bytes<'_>) -> Option<bool> {
    bytes.skip(1)?;
    Some(matches!(bytes.u8()?, 0x07 | 0x70 | 0x71))
}

/// What changed, new and old value (§2.2.7.9).
fn environment(mut bytes: Bytes<'_>) -> Option<Token> {
    const DATABASE: u8 = 1;
    if bytes.u8()? == DATABASE {
        return Some(Token::Database(utf16(bytes.byte_text()?, MESSAGE_MAX)));
    }
    Some(Token::Other)
}
