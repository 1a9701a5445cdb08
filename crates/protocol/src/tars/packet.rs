//! Packet: the fields at the front of a Tars packet. Each has a number and a type in one byte (the
//! number in a second one from 15 on), then its value; fields come in order.

use deeptrace_model::TraceContext;

use crate::TraceHeaders;
use crate::reader::Reader;
use crate::remote_call::is_name;

/// The longest packet that is believed.
const PACKET_MAX: u32 = 1 << 28;
/// The longest name of a servant or function that is believed.
const NAME_MAX: usize = 256;
/// Entries of a map that are looked at.
const ENTRIES_MAX: i64 = 256;

mod kind {
    pub(super) const BYTE: u8 = 0;
    pub(super) const SHORT: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const TEXT1: u8 = 6;
    pub(super) const TEXT4: u8 = 7;
    pub(super) const MAP: u8 = 8;
    pub(super) const ZERO: u8 = 12;
    pub(super) const BYTES: u8 = 13;
}

/// What is there of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) len: u64,
    version: i64,
    pub(super) is_one_way: bool,
    pub(super) id: i32,
    /// `None` of a `ResponsePacket`.
    pub(super) servant: Option<&'a [u8]>,
    pub(super) function: Option<&'a [u8]>,
    pub(super) result: i64,
    /// Text of an error.
    pub(super) reason: Option<&'a [u8]>,
    pub(super) trace_context: Option<TraceContext>,
    /// Whether the fields that are there end with the packet.
    pub(super) is_complete: bool,
}

pub(super) enum Front<'a> {
    Packet(Packet<'a>),
    More,
    NotMine,
}

enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
    Bytes,
    /// A map of so many entries, which are not read yet.
    Map(i64),
}

/// Why a field is none.
enum Miss {
    More,
    NotMine,
}

impl<'a> Packet<'a> {
    pub(super) fn is_tup(&self) -> bool {
        self.version > 1
    }

    pub(super) fn read(bytes: &'a [u8]) -> Front<'a> {
        match Self::fields(bytes) {
            Ok(packet) => Front::Packet(packet),
            Err(Miss::More) => Front::More,
            Err(Miss::NotMine) => Front::NotMine,
        }
    }

    fn fields(bytes: &'a [u8]) -> Result<Self, Miss> {
        let mut reader = Reader::new(bytes);
        let len = reader.u32().ok_or(Miss::More)?;
        if !(16..=PACKET_MAX).contains(&len) {
            return Err(Miss::NotMine);
        }
        let whole = usize::try_from(len).unwrap_or(usize::MAX);
        let mut reader = Reader::new(&bytes[..bytes.len().min(whole)]);
        reader.take(4);
        // A packet whose own end is there has no more to come.
        let is_there = bytes.len() >= whole;
        let miss = |miss| if is_there { Miss::NotMine } else { miss };
        let mut packet = Self::head(&mut reader, u64::from(len)).map_err(miss)?;
        let is_read = packet.rest(&mut reader);
        packet.is_complete = is_there && is_read && reader.rest().is_empty();
        Ok(packet)
    }

    /// Fields 1 to 6 of a request, 1 to 5 of a response.
    fn head(reader: &mut Reader<'a>, len: u64) -> Result<Self, Miss> {
        let version = number(reader, 1)?;
        let packet_type = number(reader, 2)?;
        if !(1..=3).contains(&version) || !(0..=1).contains(&packet_type) {
            return Err(Miss::NotMine);
        }
        let (third, fourth) = (number(reader, 3)?, number(reader, 4)?);
        let mut packet = Self {
            len,
            version,
            is_one_way: packet_type == 1,
            id: 0,
            servant: None,
            function: None,
            result: 0,
            reason: None,
            trace_context: None,
            is_complete: false,
        };
        let id = match field(reader, 5)? {
            Value::Text(servant) => {
                packet.servant = Some(name(servant)?);
                let Value::Text(function) = field(reader, 6)? else { return Err(Miss::NotMine) };
                packet.function = Some(name(function)?);
                fourth
            }
            Value::Number(result) if version == 1 => {
                packet.result = result;
                third
            }
            _ => return Err(Miss::NotMine),
        };
        packet.id = i32::try_from(id).map_err(|_| Miss::NotMine)?;
        Ok(packet)
    }

    /// What follows, as far as it is there; whether it ends as it should.
    fn rest(&mut self, reader: &mut Reader<'a>) -> bool {
        let mut headers = TraceHeaders::default();
        let mut last = if self.servant.is_some() { 6 } else { 5 };
        while !reader.rest().is_empty() {
            let Some((tag, kind)) = tag(reader).filter(|(tag, _)| *tag > last && *tag <= 16) else {
                return false;
            };
            last = tag;
            match value(reader, kind) {
                Ok(Value::Text(text)) if self.servant.is_none() && tag == 8 => {
                    self.reason = Some(text);
                }
                Ok(Value::Map(entries)) => {
                    for _ in 0..entries {
                        let Some((key, text)) = entry(reader) else { return false };
                        match key {
                            b"STATUS_RESULT_CODE" => self.result = decimal(text),
                            b"STATUS_RESULT_DESC" => self.reason = Some(text),
                            _ => headers.header(key, text),
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => return false,
            }
            self.trace_context = headers.context();
        }
        true
    }
}

/// A whole number as text; one that is none counts as an error of the application.
fn decimal(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn name(text: &[u8]) -> Result<&[u8], Miss> {
    if text.len() <= NAME_MAX && is_name(text) { Ok(text) } else { Err(Miss::NotMine) }
}

/// Number and type.
fn tag(reader: &mut Reader<'_>) -> Option<(u8, u8)> {
    let byte = reader.u8()?;
    let number = if byte >> 4 == 15 { reader.u8()? } else { byte >> 4 };
    Some((number, byte & 0x0f))
}

/// The field that must be number `expected`.
fn field<'a>(reader: &mut Reader<'a>, expected: u8) -> Result<Value<'a>, Miss> {
    let (number, kind) = tag(reader).ok_or(Miss::More)?;
    if number == expected { value(reader, kind) } else { Err(Miss::NotMine) }
}

fn number(reader: &mut Reader<'_>, expected: u8) -> Result<i64, Miss> {
    match field(reader, expected)? {
        Value::Number(number) => Ok(number),
        _ => Err(Miss::NotMine),
    }
}

fn value<'a>(reader: &mut Reader<'a>, kind: u8) -> Result<Value<'a>, Miss> {
    let value = match kind {
        kind::BYTE => reader.u8().map(|byte| Value::Number(byte.cast_signed().into())),
        kind::SHORT => reader.u16().map(|short| Value::Number(short.cast_signed().into())),
        kind::INT => reader.u32().map(|int| Value::Number(int.cast_signed().into())),
        kind::LONG => reader.u64().map(|long| Value::Number(long.cast_signed())),
        kind::ZERO => Some(Value::Number(0)),
        kind::TEXT1 | kind::TEXT4 => text(reader, kind).map(Value::Text),
        kind::MAP => {
            let entries = length(reader).ok_or(Miss::More)?;
            if !(0..=ENTRIES_MAX).contains(&entries) {
                return Err(Miss::NotMine);
            }
            Some(Value::Map(entries))
        }
        kind::BYTES => bytes(reader).map(|()| Value::Bytes),
        _ => return Err(Miss::NotMine),
    };
    value.ok_or(Miss::More)
}

fn text<'a>(reader: &mut Reader<'a>, kind: u8) -> Option<&'a [u8]> {
    let len = match kind {
        kind::TEXT1 => usize::from(reader.u8()?),
        _ => usize::try_from(reader.u32()?).ok()?,
    };
    reader.take(len)
}

/// A field of number zero that holds a length.
fn length(reader: &mut Reader<'_>) -> Option<i64> {
    let (number, kind) = tag(reader)?;
    match kind {
        _ if number != 0 => None,
        kind::BYTE => reader.u8().map(|byte| byte.cast_signed().into()),
        kind::SHORT => reader.u16().map(|short| short.cast_signed().into()),
        kind::INT => reader.u32().map(|int| int.cast_signed().into()),
        kind::ZERO => Some(0),
        _ => None,
    }
}

/// A list of bytes: their type, how many, and they.
fn bytes(reader: &mut Reader<'_>) -> Option<()> {
    tag(reader).filter(|(number, kind)| (*number, *kind) == (0, kind::BYTE))?;
    let len = usize::try_from(length(reader)?).ok()?;
    reader.take(len).map(|_| ())
}

/// Key and value of a map of texts.
fn entry<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut next = |expected| {
        let (number, kind) = tag(reader).filter(|(number, _)| *number == expected)?;
        match kind {
            kind::TEXT1 | kind::TEXT4 if number == expected => text(reader, kind),
            // The values of a TUP's map are bytes; no trace header is among them.
            kind::BYTES => bytes(reader).map(|()| &[][..]),
            _ => None,
        }
    };
    Some((next(0)?, next(1)?))
}
