//! Body of a Dubbo message: the few texts at its front, in four serialisations, and trace context
//! wherever it is.

use deeptrace_model::{Text, TraceContext};

use crate::TraceHeaders;
use crate::reader::Reader;
use crate::remote_call::{self, is_name};

/// Texts longer than this are not read.
const TEXT_MAX: usize = 1024;
/// Fields of a class that are looked at.
const FIELDS_MAX: i64 = 64;

const HESSIAN: u8 = 2;
const FASTJSON: u8 = 6;
const KRYO: u8 = 8;
const FASTJSON2: u8 = 23;
const KRYO2: u8 = 25;

/// In JSONB, the type of an empty text; short ones have their length on top.
const JSONB_TEXT: u8 = 0x49;

/// What a request calls.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) version: String,
    pub(super) method: String,
}

/// Reads Dubbo's version, path, version of the service, method.
pub(super) fn call(serialisation: u8, body: &[u8]) -> Option<Call> {
    let mut reader = Reader::new(body);
    let mut next = || read_text(serialisation, &mut reader);
    let (_dubbo, service, version, method) = (next()?, next()?, next()?, next()?);
    let call = Call { service, version, method };
    (is_name(call.service.as_bytes()) && is_name(call.method.trim_start_matches('$').as_bytes()))
        .then_some(call)
}

/// The text that is the whole body: an error's.
pub(super) fn text(serialisation: u8, body: &[u8]) -> Option<String> {
    let text = read_text(serialisation, &mut Reader::new(body))?;
    Some(remote_call::message(text.as_bytes()))
}

/// Class and message of the exception that a response of status OK holds; kinds 0 and 3.
pub(super) fn thrown(serialisation: u8, body: &[u8]) -> Option<(Text, Option<String>)> {
    let other = || (Text::new_static("exception"), None);
    match (serialisation, body) {
        (HESSIAN, [0x90 | 0x93, rest @ ..]) => {
            Some(hessian_exception(&mut Reader::new(rest)).unwrap_or_else(other))
        }
        (FASTJSON, [b'0' | b'3', b'\r' | b'\n', ..]) => Some(other()),
        // JSONB: objects after a length of four bytes; the kind is an integer of one byte.
        (FASTJSON2, [0, 0, 0, 2, 0xbd, 0 | 3, rest @ ..]) => {
            Some(jsonb_exception(&mut Reader::new(rest)).unwrap_or_else(other))
        }
        // Kryo writes the kind as one byte.
        (KRYO | KRYO2, [0 | 3, ..]) => Some(other()),
        _ => None,
    }
}

/// A class definition, then an object of it; the message if it is the first field.
fn hessian_exception(reader: &mut Reader<'_>) -> Option<(Text, Option<String>)> {
    if reader.u8()? != b'C' {
        return None;
    }
    let class = hessian_text(reader).filter(|class| is_name(class.as_bytes()))?;
    let mut first = || {
        let fields = i64::from(reader.u8()?) - 0x90;
        let mut first = None;
        for _ in 0..Some(fields).filter(|fields| (0..=FIELDS_MAX).contains(fields))? {
            let name = hessian_text(reader)?;
            first.get_or_insert(name);
        }
        let is_object = (0x60..=0x6f).contains(&reader.u8()?);
        (is_object && first? == "detailMessage").then(|| hessian_text(reader)).flatten()
    };
    let text = first().map(|text| remote_call::message(text.as_bytes()));
    Some((class.into(), text))
}

fn read_text(serialisation: u8, reader: &mut Reader<'_>) -> Option<String> {
    match serialisation {
        HESSIAN => hessian_text(reader),
        FASTJSON => json_line(reader),
        FASTJSON2 => {
            let object = reader.u32()?;
            let object = reader.take(usize::try_from(object).ok()?)?;
            jsonb_text(&mut Reader::new(object))
        }
        KRYO | KRYO2 => kryo_text(reader),
        _ => None,
    }
}

/// Hessian 2.0 §4.12: a length in characters, then UTF-8; null is an empty text here. Texts in
/// several chunks are not read.
fn hessian_text(reader: &mut Reader<'_>) -> Option<String> {
    let len = match reader.u8()? {
        b'N' => 0,
        short @ 0..=0x1f => usize::from(short),
        long @ 0x30..=0x33 => usize::from(long - 0x30) << 8 | usize::from(reader.u8()?),
        b'S' => usize::from(reader.u16()?),
        _ => return None,
    };
    utf8(reader, Some(len).filter(|len| *len <= TEXT_MAX)?)
}

/// `len` characters (UTF-16 units, of which a character in four bytes has two).
fn utf8(reader: &mut Reader<'_>, len: usize) -> Option<String> {
    let mut bytes = Vec::with_capacity(len);
    let mut left = len;
    while left > 0 {
        let first = reader.u8()?;
        let (more, units) = match first {
            0..=0x7f => (0, 1),
            0xc0..=0xdf => (1, 1),
            0xe0..=0xef => (2, 1),
            0xf0..=0xf7 => (3, 2),
            _ => return None,
        };
        bytes.push(first);
        bytes.extend_from_slice(reader.take(more)?);
        left = left.saturating_sub(units);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Kryo: ASCII whose last byte has the high bit, or a length and one in one to five bytes.
fn kryo_text(reader: &mut Reader<'_>) -> Option<String> {
    let first = *reader.rest().first()?;
    if first & 0x80 == 0 {
        let rest = reader.rest();
        let end = rest.iter().take(TEXT_MAX).position(|byte| byte & 0x80 != 0)?;
        let mut text = reader.take(end + 1)?.to_vec();
        text[end] &= 0x7f;
        return String::from_utf8(text).ok();
    }
    reader.u8()?;
    let mut len = usize::from(first & 0x3f);
    if first & 0x40 != 0 {
        len |= usize::try_from(reader.varint()?).ok()?.checked_shl(6)?;
    }
    utf8(reader, len.saturating_sub(1).min(TEXT_MAX + 1)).filter(|_| len <= TEXT_MAX)
}

/// fastjson: one JSON value a line.
fn json_line(reader: &mut Reader<'_>) -> Option<String> {
    let rest = reader.rest();
    let end = rest.iter().take(TEXT_MAX).position(|byte| *byte == b'\n')?;
    let line = reader.take(end + 1)?.trim_ascii();
    if line == b"null" {
        return Some(String::new());
    }
    let text = line.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'\\')).then(|| String::from_utf8_lossy(text).into_owned())
}

/// fastjson2's JSONB: a type that holds the length, or a type, a length and the text; null is an
/// empty text here.
fn jsonb_text(reader: &mut Reader<'_>) -> Option<String> {
    let len = match reader.u8()? {
        0xaf => 0,
        short @ JSONB_TEXT..=0x78 => usize::from(short - JSONB_TEXT),
        0x79 | 0x7a => match reader.u8()? {
            small @ 0..=0x2f => usize::from(small),
            high @ 0x38..=0x3f => usize::from(high - 0x38) << 8 | usize::from(reader.u8()?),
            _ => return None,
        },
        _ => return None,
    };
    let text = reader.take(Some(len).filter(|len| *len <= TEXT_MAX)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A length, a typed object and its class; then, if it is the first field, the message: a symbol
/// with its text and number, and its value. The packages of Java's own classes are left away.
fn jsonb_exception(reader: &mut Reader<'_>) -> Option<(Text, Option<String>)> {
    let _len = reader.u32()?;
    if reader.u8()? != 0x92 {
        return None;
    }
    let class = jsonb_text(reader).filter(|class| is_name(class.as_bytes()))?;
    let mut first = || {
        let (_number, object, symbol) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let is_message = (object, symbol) == (0xa6, 0x7f) && jsonb_text(reader)? == "detailMessage";
        let _number = reader.u8()?;
        is_message.then(|| jsonb_text(reader)).flatten()
    };
    let text = first().map(|text| remote_call::message(text.as_bytes()));
    Some((class.into(), text))
}

/// Trace headers among the attachments: name and value are texts, one after the other, of Hessian 2
/// or of JSONB.
pub(super) fn trace_context(body: &[u8]) -> Option<TraceContext> {
    const LONGEST: usize = 12;
    const NAMES: [&str; 4] = ["traceparent", "b3", "x-b3-traceid", "x-b3-spanid"];
    let mut headers = TraceHeaders::default();
    for (at, byte) in body.iter().enumerate() {
        let is_jsonb = *byte >= JSONB_TEXT;
        let len = usize::from(if is_jsonb { *byte - JSONB_TEXT } else { *byte });
        let mut reader = Reader::new(&body[at + 1..]);
        let Some(key) = Some(len).filter(|len| *len <= LONGEST).and_then(|len| reader.take(len))
        else {
            continue;
        };
        if NAMES.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes())) {
            let value = if is_jsonb { jsonb_text(&mut reader) } else { hessian_text(&mut reader) };
            headers.header(key, value.unwrap_or_default().as_bytes());
        }
    }
    headers.context()
}
