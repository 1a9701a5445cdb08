//! Header: lengths, the form of the header, and what it says in either form.

use std::borrow::Cow;
use std::ops::Range;

use super::json;

/// Length of all, form and length of the header.
const LENGTHS: usize = 8;

/// The longest header that is waited for.
const HEADER_MAX: usize = 60 * 1024;

/// The longest frame that is believed; brokers take 16 MiB.
const FRAME_MAX: usize = 256 << 20;

/// Fixed part of a header in RocketMQ's own form.
const FIXED: usize = 21;

/// Fields that are remembered.
const FIELDS_MAX: usize = 64;

/// Fields whose values are never kept (access control).
const SECRET: &[&[u8]] = &[b"Signature", b"SecurityToken", b"AccessKey", b"SecretKey"];

/// A field: its name, its value, and where that lies from the start of the message.
struct Field<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
    range: Range<usize>,
}

/// What a header says.
#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) code: i32,
    pub(super) opaque: u32,
    flag: u32,
    pub(super) remark: Option<String>,
    fields: Vec<Field<'a>>,
    /// Bytes of header and body.
    pub(super) len: u64,
    pub(super) body_len: u64,
    /// The end of the header was not there.
    pub(super) is_cut: bool,
}

/// What is at the front of some bytes.
pub(super) enum Front<'a> {
    Header(Header<'a>),
    More,
    NotMine,
}

impl<'a> Header<'a> {
    /// Reads a header; one that is cut is read as far as it goes when `is_last`.
    pub(super) fn read(bytes: &'a [u8], is_last: bool) -> Front<'a> {
        let Some(lengths) = bytes.get(..LENGTHS) else {
            return if bytes.first().is_some_and(|byte| *byte > 0x10) {
                Front::NotMine
            } else {
                Front::More
            };
        };
        let total = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]) as usize;
        let header_len = u32::from_be_bytes([0, lengths[5], lengths[6], lengths[7]]) as usize;
        if total > FRAME_MAX
            || !(FIXED..=HEADER_MAX).contains(&header_len)
            || total < 4 + header_len
        {
            return Front::NotMine;
        }
        let there = &bytes[LENGTHS..bytes.len().min(LENGTHS + header_len)];
        let is_cut = there.len() < header_len;
        let is_sound = match lengths[4] {
            0 => json::may_begin(there),
            1 => may_begin(there, header_len),
            _ => false,
        };
        if !is_sound {
            return Front::NotMine;
        }
        if is_cut && !is_last {
            return Front::More;
        }
        let mut header = Self { is_cut, len: total as u64 + 4, ..Self::default() };
        header.body_len = (total - 4 - header_len) as u64;
        let read = if lengths[4] == 0 { header.json(there) } else { header.binary(there) };
        match read {
            Some(()) => Front::Header(header),
            None if is_cut => Front::More,
            None => Front::NotMine,
        }
    }

    /// JSON; `None` if what is needed is not there.
    fn json(&mut self, text: &'a [u8]) -> Option<()> {
        let (mut code, mut opaque, mut flag) = (None, None, None);
        let whole = json::members(text, &mut |level, name, value, range| {
            let number = || std::str::from_utf8(value).ok()?.parse::<i32>().ok();
            match (level, name) {
                (1, b"code") => code = number(),
                (1, b"opaque") => opaque = number(),
                (1, b"flag") => flag = number(),
                (1, b"remark") => {
                    self.remark =
                        Some(String::from_utf8_lossy(&json::unescape(value)).into_owned());
                }
                (2, name) if self.fields.len() < FIELDS_MAX => {
                    let range = LENGTHS + range.start..LENGTHS + range.end;
                    self.fields.push(Field { name, value: json::unescape(value), range });
                }
                _ => {}
            }
        });
        (whole.is_some() || self.is_cut).then_some(())?;
        self.code = code?;
        self.opaque = opaque?.cast_unsigned();
        // Old clients leave a zero out.
        self.flag = flag.or((!self.is_cut).then_some(0))?.cast_unsigned();
        Some(())
    }

    /// RocketMQ's own form: code, language, version, opaque, flag, remark, fields.
    fn binary(&mut self, bytes: &'a [u8]) -> Option<()> {
        let int = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let short = |at: usize| {
            let bytes = bytes.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        self.code = i32::from(short(0)?.cast_signed());
        self.opaque = int(5)?;
        self.flag = int(9)?;
        let remark_len = int(13)? as usize;
        let remark = bytes.get(17..17usize.checked_add(remark_len)?);
        self.remark = remark.map(|text| String::from_utf8_lossy(text).into_owned());
        let mut at = 17 + remark_len + 4;
        while self.fields.len() < FIELDS_MAX {
            let Some(name_len) = short(at) else { break };
            let name = at + 2..at + 2 + usize::from(name_len);
            let Some(value_len) = int(name.end) else { break };
            let value = name.end + 4..(name.end + 4).checked_add(value_len as usize)?;
            let (Some(name), Some(text)) = (bytes.get(name), bytes.get(value.clone())) else {
                break;
            };
            let range = LENGTHS + value.start..LENGTHS + value.end;
            self.fields.push(Field { name, value: Cow::Borrowed(text), range });
            at = value.end;
        }
        Some(())
    }

    pub(super) fn is_response(&self) -> bool {
        self.flag & 1 != 0
    }

    pub(super) fn is_one_way(&self) -> bool {
        self.flag & 2 != 0
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let field = self.fields.iter().find(|field| field.name == name.as_bytes())?;
        Some(String::from_utf8_lossy(&field.value).into_owned())
    }

    /// Where values lie that must not be kept.
    pub(super) fn secrets(&self) -> Vec<Range<usize>> {
        let secret = |field: &&Field<'_>| SECRET.contains(&field.name);
        let mut ranges: Vec<Range<usize>> =
            self.fields.iter().filter(secret).map(|field| field.range.clone()).collect();
        if self.is_cut {
            // What follows the last field that is there may be one of them, in part.
            let end = self.fields.iter().map(|field| field.range.end).max();
            ranges.push(end.unwrap_or(LENGTHS)..usize::MAX);
        }
        ranges
    }
}

/// Whether a header in RocketMQ's own form may be here: its lengths must fit to the byte.
fn may_begin(bytes: &[u8], header_len: usize) -> bool {
    let Some(fixed) = bytes.get(..17) else { return true };
    let int =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (flag, remark_len) = (int(9), int(13) as usize);
    // Languages are numbered to 12; versions by about forty for each release.
    let is_known = fixed[2] <= 16 && fixed[3] <= 8 && flag <= 3;
    if !is_known || remark_len > header_len - FIXED {
        return false;
    }
    let fields = bytes.get(17 + remark_len..FIXED + remark_len);
    fields.is_none_or(|len| {
        let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
        len == header_len - FIXED - remark_len
    })
}

/// Whether bytes that are cut leave little doubt.
pub(super) fn is_likely(bytes: &[u8]) -> bool {
    match bytes.get(4) {
        Some(0) => bytes.get(LENGTHS..LENGTHS + 8) == Some(b"{\"code\":"),
        Some(1) => bytes.len() >= LENGTHS + FIXED && bytes[13..17] != [0; 4],
        _ => false,
    }
}
