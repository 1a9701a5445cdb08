//! Head of a message: its frame, if it has one, and what kind of message it is.
//!
//! The first byte tells the framing: no frame's length begins with 0x80 or 0x82. The old binary
//! protocol has neither version nor magic: a length of a name, the name, a kind.

use deeptrace_model::TraceContext;

use crate::TraceHeaders;
use crate::reader::Reader;
use crate::remote_call::is_name;

/// The largest frame that is believed.
const FRAME_MAX: u32 = 1 << 28;
/// The longest name of a method that is believed.
const NAME_MAX: usize = 256;
/// Words of four bytes in the header of a header frame that are believed.
const HEADER_WORDS_MAX: u16 = 4096;
/// Entries of a header that are looked at.
const ENTRIES_MAX: u64 = 256;
const HEADER_MAGIC: u16 = 0x0fff;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Binary protocol with its version.
    Strict,
    /// Binary protocol without one.
    Old,
    Compact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Reply,
    Exception,
    OneWay,
}

impl Kind {
    fn read(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Call),
            2 => Some(Self::Reply),
            3 => Some(Self::Exception),
            4 => Some(Self::OneWay),
            _ => None,
        }
    }

    pub(super) fn is_answer(self) -> bool {
        matches!(self, Self::Reply | Self::Exception)
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) encoding: Encoding,
    pub(super) kind: Kind,
    pub(super) name: &'a [u8],
    pub(super) sequence: u32,
}

/// The front of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<'a> {
    /// Bytes with the frame's length; `None` where the fields must be walked.
    pub(super) len: Option<u64>,
    /// `None` where a transform (compression) hides it.
    pub(super) head: Option<Head<'a>>,
    /// Of a header frame.
    pub(super) header: Option<Header>,
    /// Where the fields begin.
    pub(super) body: usize,
}

/// Header of a header frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) sequence: u32,
    pub(super) trace_context: Option<TraceContext>,
}

/// Why there is no front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    More,
    NotMine,
}

/// Reads the front of a message.
pub(super) fn read(bytes: &[u8]) -> Result<Front<'_>, Miss> {
    let mut reader = Reader::new(bytes);
    match bytes.first().ok_or(Miss::More)? {
        0x80 | 0x82 => {
            let head = message(&mut reader)?;
            return Ok(Front { len: None, head: Some(head), header: None, body: reader.at() });
        }
        _ => {}
    }
    let length = reader.u32().ok_or(Miss::More)?;
    if length == 0 || length > FRAME_MAX {
        return Err(Miss::NotMine);
    }
    let len = u64::from(length) + 4;
    match *reader.rest() {
        [0x0f, 0xff, ..] => header_frame(bytes, len),
        // A name without a frame around it: `length` is the name's.
        [first, ..] if is_name(&[first]) => {
            let mut reader = Reader::new(bytes);
            let head = old(&mut reader)?;
            Ok(Front { len: None, head: Some(head), header: None, body: reader.at() })
        }
        [0 | 0x80 | 0x82, ..] => {
            let head = message(&mut reader)?;
            // At least the end of its fields follows.
            if reader.at() as u64 >= len {
                return Err(Miss::NotMine);
            }
            Ok(Front { len: Some(len), head: Some(head), header: None, body: reader.at() })
        }
        [] | [0x0f] => Err(Miss::More),
        _ => Err(Miss::NotMine),
    }
}

/// Header transport: magic, flags, sequence number, length of the header in words.
fn header_frame(bytes: &[u8], len: u64) -> Result<Front<'_>, Miss> {
    let mut reader = Reader::new(bytes.get(4..).unwrap_or_default());
    let mut fixed = || Some((reader.u16()?, reader.u16()?, reader.u32()?, reader.u16()?));
    let (magic, _flags, sequence, words) = fixed().ok_or(Miss::More)?;
    let size = usize::from(words) * 4;
    let payload = 14 + size;
    if magic != HEADER_MAGIC || words == 0 || words > HEADER_WORDS_MAX || payload as u64 >= len {
        return Err(Miss::NotMine);
    }
    let mut fields = Reader::new(bytes.get(14..payload).ok_or(Miss::More)?);
    let (protocol, transforms) = fields.varint().zip(fields.varint()).ok_or(Miss::NotMine)?;
    if protocol > 16 || transforms > 8 {
        return Err(Miss::NotMine);
    }
    for _ in 0..transforms {
        fields.varint().ok_or(Miss::NotMine)?;
    }
    let header = Header { sequence, trace_context: trace_context(fields) };
    if transforms > 0 {
        return Ok(Front { len: Some(len), head: None, header: Some(header), body: payload });
    }
    let mut reader = Reader::new(bytes.get(payload..).unwrap_or_default());
    let head = message(&mut reader)?;
    let body = payload + reader.at();
    if body as u64 >= len {
        return Err(Miss::NotMine);
    }
    Ok(Front { len: Some(len), head: Some(head), header: Some(header), body })
}

/// Info blocks of a header, until padding: key-value pairs are kind 1, and 2 where they persist.
fn trace_context(mut fields: Reader<'_>) -> Option<TraceContext> {
    let mut headers = TraceHeaders::default();
    while let Some(1 | 2) = fields.varint() {
        let count = fields.varint().filter(|count| *count <= ENTRIES_MAX)?;
        for _ in 0..count {
            let key = text(&mut fields)?;
            headers.header(key, text(&mut fields)?);
        }
    }
    headers.context()
}

fn text<'a>(fields: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(fields.varint()?).ok()?;
    fields.take(len)
}

/// A message's own head, in any encoding.
fn message<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Miss> {
    match *reader.rest() {
        [0x80, ..] => strict(reader),
        [0x82, ..] => compact(reader),
        [] => Err(Miss::More),
        _ => old(reader),
    }
}

fn strict<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Miss> {
    let version = reader.u32().ok_or(Miss::More)?;
    let kind = u8::try_from(version & 0xffff).ok().and_then(Kind::read);
    let kind = kind.filter(|_| version >> 16 == 0x8001).ok_or(Miss::NotMine)?;
    let len = reader.u32().ok_or(Miss::More)?;
    let name = name(reader, u64::from(len))?;
    let sequence = reader.u32().ok_or(Miss::More)?;
    Ok(Head { encoding: Encoding::Strict, kind, name, sequence })
}

fn old<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Miss> {
    let len = reader.u32().ok_or(Miss::More)?;
    let name = name(reader, u64::from(len))?;
    let kind = Kind::read(reader.u8().ok_or(Miss::More)?).ok_or(Miss::NotMine)?;
    let sequence = reader.u32().ok_or(Miss::More)?;
    Ok(Head { encoding: Encoding::Old, kind, name, sequence })
}

fn compact<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Miss> {
    let (_, byte) = reader.u8().zip(reader.u8()).ok_or(Miss::More)?;
    let kind = Kind::read(byte >> 5).filter(|_| byte & 0x1f == 1).ok_or(Miss::NotMine)?;
    let sequence = small(reader)?;
    let len = small(reader)?;
    let name = name(reader, u64::from(len))?;
    Ok(Head { encoding: Encoding::Compact, kind, name, sequence })
}

/// A number of at most five bytes.
fn small(reader: &mut Reader<'_>) -> Result<u32, Miss> {
    let there = reader.rest().len();
    match reader.varint() {
        Some(number) => u32::try_from(number).map_err(|_| Miss::NotMine),
        None if there < 5 => Err(Miss::More),
        None => Err(Miss::NotMine),
    }
}

fn name<'a>(reader: &mut Reader<'a>, len: u64) -> Result<&'a [u8], Miss> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len == 0 || len > NAME_MAX {
        return Err(Miss::NotMine);
    }
    let there = reader.rest();
    let there = &there[..there.len().min(len)];
    if !there.is_empty() && !is_name(there) {
        return Err(Miss::NotMine);
    }
    reader.take(len).ok_or(Miss::More)
}
