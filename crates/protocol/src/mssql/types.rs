//! Types: how long the values of a column or a parameter are ([MS-TDS] §2.2.5.4, §2.2.5.5).

use super::token::Bytes;

/// How values of a type say how long they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    Fixed(usize),
    /// One byte.
    Byte,
    /// Two bytes; all ones is NULL.
    Short,
    /// Four bytes.
    Long,
    /// A pointer with its length, a time, then four bytes.
    Pointer,
    /// In pieces, each with its length.
    Pieces,
}

/// A type as a column or a parameter has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Type {
    pub(super) code: u8,
    pub(super) length: Length,
}

const INT_N: u8 = 0x26;
const N_TEXT: u8 = 0x63;
const N_VARCHAR: u8 = 0xe7;
const N_CHAR: u8 = 0xef;

impl Type {
    /// Reads a type; `None` if it is not known or not whole.
    pub(super) fn read(bytes: &mut Bytes<'_>, is_parameter: bool) -> Option<Self> {
        const COLLATION: usize = 5;
        let code = bytes.u8()?;
        let mut short = |skip: usize| {
            let most = bytes.u16()?;
            bytes.skip(skip)?;
            Some(if most == u16::MAX { Length::Pieces } else { Length::Short })
        };
        let length = match code {
            0x1f => Length::Fixed(0),
            0x30 | 0x32 => Length::Fixed(1),
            0x34 => Length::Fixed(2),
            0x38 | 0x3a | 0x3b | 0x7a => Length::Fixed(4),
            0x3c..=0x3e | 0x7f => Length::Fixed(8),
            0x28 => Length::Byte,
            0x24 | INT_N | 0x68 | 0x6d..=0x6f | 0x29..=0x2b | 0x25 | 0x2d => {
                bytes.skip(1)?;
                Length::Byte
            }
            0x27 | 0x2f => {
                bytes.skip(1 + COLLATION)?;
                Length::Byte
            }
            0x37 | 0x3f | 0x6a | 0x6c => {
                bytes.skip(3)?;
                Length::Byte
            }
            0xa5 | 0xad => short(0)?,
            0xa7 | 0xaf | N_VARCHAR | N_CHAR => short(COLLATION)?,
            0x22 | 0x23 | N_TEXT => {
                bytes.skip(if code == 0x22 { 4 } else { 4 + COLLATION })?;
                if is_parameter { Length::Long } else { Length::Pointer }
            }
            0x62 => {
                bytes.skip(4)?;
                Length::Long
            }
            0xf1 => {
                if bytes.u8()? == 1 {
                    bytes.byte_text()?;
                    bytes.byte_text()?;
                    bytes.short_text()?;
                }
                Length::Pieces
            }
            0xf0 => {
                if !is_parameter {
                    bytes.skip(2)?;
                }
                for _ in 0..3 {
                    bytes.byte_text()?;
                }
                if !is_parameter {
                    bytes.short_text()?;
                }
                Length::Pieces
            }
            _ => return None,
        };
        Some(Self { code, length })
    }

    /// Whether its column definition names the table behind it.
    pub(super) fn has_table(self) -> bool {
        self.length == Length::Pointer
    }

    pub(super) fn is_wide_text(self) -> bool {
        matches!(self.code, N_VARCHAR | N_CHAR | N_TEXT)
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self.code, INT_N | 0x38)
    }

    /// The bytes of a value, of what is in one piece or the first of several: all of them, or as
    /// many as there are (the reader is then at its end). NULL is empty.
    pub(super) fn value<'a>(self, bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
        match self.length {
            Length::Fixed(len) => bytes.part(len),
            Length::Byte => {
                let len = bytes.u8()?;
                bytes.part(len.into())
            }
            Length::Short => match bytes.u16()? {
                u16::MAX => Some(&[]),
                len => bytes.part(len.into()),
            },
            Length::Long => match bytes.u32()? {
                u32::MAX => Some(&[]),
                len => bytes.part(len as usize),
            },
            Length::Pointer => {
                let len = usize::from(bytes.u8()?);
                if len == 0 {
                    return Some(&[]);
                }
                bytes.skip(len + 8)?;
                let len = bytes.u32()?;
                bytes.part(len as usize)
            }
            Length::Pieces => pieces(bytes),
        }
    }
}

/// Total length (all ones is NULL, one less is unknown), pieces, an empty one.
fn pieces<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    if bytes.u64()? == u64::MAX {
        return Some(&[]);
    }
    let mut first = None;
    loop {
        let len = bytes.u32()? as usize;
        if len == 0 {
            return Some(first.unwrap_or(&[]));
        }
        let piece = bytes.part(len)?;
        let first = *first.get_or_insert(piece);
        if bytes.is_empty() {
            return Some(first);
        }
    }
}
