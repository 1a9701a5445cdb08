//! Tally: a made-up protocol that counts things by name, as its server and client speak it.
//!
//! A frame is a head of 16 bytes, numbers big-endian, then `trace` and `body` bytes:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `TLLY` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | kind: 1 add, 2 get, 3 note; 0x80 ok, 0x81 failed |
//! | 6 | 1 | `trace`: length of a W3C `traceparent`, or 0 |
//! | 7 | 1 | 0 |
//! | 8 | 4 | id; an answer has that of its request, and answers come in any order |
//! | 12 | 4 | `body` |
//!
//! Bodies: what a client sends is a length of one byte and a name, with `add` followed by an amount
//! of eight bytes; `ok` is a value of eight bytes; `failed` is a code of two bytes and words. A note
//! is not answered.
#![forbid(unsafe_code)]

use std::io::{self, Read};

const HEAD: usize = 16;

/// The largest frame that is read.
const FRAME_MAX: usize = 64 * 1024;

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Add so much to the tally of this name.
    Add(String, i64),
    /// Say the tally of this name.
    Get(String),
    /// Remember this name.
    Note(String),
    /// The tally.
    Ok(i64),
    /// It could not be done: a code, and why.
    Failed(u16, String),
}

/// A frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// Its id.
    pub id: u32,
    /// `traceparent`, or empty.
    pub trace: String,
}

impl Frame {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let named = |name: &str| {
            [&[name.len().min(255) as u8], &name.as_bytes()[..name.len().min(255)]].concat()
        };
        let (code, body) = match &self.kind {
            Kind::Add(name, amount) => (1, [named(name), amount.to_be_bytes().to_vec()].concat()),
            Kind::Get(name) => (2, named(name)),
            Kind::Note(name) => (3, named(name)),
            Kind::Ok(value) => (0x80, value.to_be_bytes().to_vec()),
            Kind::Failed(code, words) => {
                (0x81, [&code.to_be_bytes()[..], words.as_bytes()].concat())
            }
        };
        let mut bytes = vec![b'T', b'L', b'L', b'Y', 1, code, self.trace.len() as u8, 0];
        bytes.extend(self.id.to_be_bytes());
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(self.trace.as_bytes());
        bytes.extend(body);
        bytes
    }

    /// The next frame; `None` where the stream ends.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        if from.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..])?;
        let number =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let len = usize::from(head[6]) + number(12) as usize;
        if !head.starts_with(b"TLLY\x01") || len > FRAME_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; len];
        from.read_exact(&mut rest)?;
        let (trace, body) = rest.split_at(usize::from(head[6]));
        let kind = kind(head[5], body).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Self { kind, id: number(8), trace: String::from_utf8_lossy(trace).into_owned() }))
    }
}

fn kind(code: u8, body: &[u8]) -> Option<Kind> {
    let value = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let named = |body: &[u8]| {
        let (len, rest) = body.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        Some((text(name), rest.to_vec()))
    };
    Some(match code {
        1 => {
            let (name, rest) = named(body)?;
            Kind::Add(name, value(&rest)?)
        }
        2 => Kind::Get(named(body)?.0),
        3 => Kind::Note(named(body)?.0),
        0x80 => Kind::Ok(value(body)?),
        0x81 => {
            let (code, words) = body.split_at_checked(2)?;
            Kind::Failed(u16::from_be_bytes([code[0], code[1]]), text(words))
        }
        _ => return None,
    })
}
