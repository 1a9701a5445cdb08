//! Header and body of a message, told apart by its operation code.

use super::bson::{Elements, number};
use crate::Side;

/// Length, ids and operation code.
pub(super) const HEADER: usize = 16;

/// Lengths above are not believed (`maxMessageSizeBytes` of the server is 48 000 000).
pub(super) const LEN_MAX: u32 = 48_000_000;

/// Bytes of a message that are looked at.
pub(super) const WINDOW: usize = 16 * 1024;

/// Elements of a document that are checked before it is believed.
const CHECKED_MAX: usize = 64;

/// Sections of a message that are looked at; drivers send one of kind 0 and at most two of kind 1.
const SECTIONS_MAX: usize = 8;

const CHECKSUM: u32 = 1;
pub(super) const MORE_TO_COME: u32 = 1 << 1;
/// Bits that a receiver must understand, and that the specification does not define.
const RESERVED: u32 = 0xfffc;

/// What a message is ("Opcodes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Reply,
    Update,
    Insert,
    Query,
    GetMore,
    Delete,
    KillCursors,
    Compressed,
    Msg,
}

impl Opcode {
    fn new(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Reply,
            2001 => Self::Update,
            2002 => Self::Insert,
            2004 => Self::Query,
            2005 => Self::GetMore,
            2006 => Self::Delete,
            2007 => Self::KillCursors,
            2012 => Self::Compressed,
            2013 => Self::Msg,
            _ => return None,
        })
    }

    /// Least length of a message.
    fn len_min(self) -> u32 {
        match self {
            Self::Reply => 36,
            Self::Update => 35,
            Self::Insert => 22,
            Self::Query => 35,
            Self::GetMore | Self::KillCursors => 32,
            Self::Delete => 31,
            Self::Compressed => 25,
            Self::Msg => 26,
        }
    }
}

/// A message at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) len: u32,
    pub(super) id: u32,
    pub(super) answers: u32,
    pub(super) opcode: Opcode,
    /// What is there after the header.
    pub(super) body: &'a [u8],
    /// Length of the body.
    pub(super) room: u32,
    /// Whether bytes that are looked at were not copied.
    pub(super) is_cut: bool,
}

pub(super) enum Front<'a> {
    Message(Message<'a>),
    More,
    NotMine,
}

impl<'a> Message<'a> {
    /// Reads a message that `from` sent, of which at most [`WINDOW`] bytes are looked at.
    pub(super) fn read(bytes: &'a [u8], from: Side, is_last: bool) -> Front<'a> {
        let field = |at| number(bytes, at);
        let (Some(len), Some(id), Some(answers), Some(code)) =
            (field(0), field(4), field(8), field(12))
        else {
            let is_hopeless = field(0).is_some_and(|len| !(22..=LEN_MAX).contains(&len));
            return if is_hopeless { Front::NotMine } else { Front::More };
        };
        let Some(opcode) = Opcode::new(code) else { return Front::NotMine };
        let by_server = match opcode {
            Opcode::Reply => true,
            Opcode::Msg | Opcode::Compressed => from == Side::Server,
            _ => false,
        };
        let is_length = (opcode.len_min()..=LEN_MAX).contains(&len);
        if !is_length || by_server != (from == Side::Server) || (!by_server && answers != 0) {
            return Front::NotMine;
        }
        let wanted = WINDOW.min(len as usize);
        if bytes.len() < wanted && !is_last {
            return Front::More;
        }
        let body = &bytes[HEADER..bytes.len().min(wanted)];
        let room = len - HEADER as u32;
        let is_cut = bytes.len() < wanted;
        let message = Self { len, id, answers, opcode, body, room, is_cut };
        if message.is_sound() { Front::Message(message) } else { Front::NotMine }
    }

    /// Flags of `OP_MSG`.
    pub(super) fn flags(&self) -> u32 {
        match self.opcode {
            Opcode::Msg => number(self.body, 0).unwrap_or_default(),
            _ => 0,
        }
    }

    /// Whether the body, as far as it is there, is what the operation code announces.
    fn is_sound(&self) -> bool {
        let sound = |elements: Option<Elements<'_>>| match elements {
            Some(elements) => elements.is_sound(CHECKED_MAX),
            None => false,
        };
        match self.opcode {
            Opcode::Msg if self.flags() & RESERVED != 0 => false,
            Opcode::Msg => Sections::of(self).fit(),
            Opcode::Compressed => {
                let Some(compressor) = self.body.get(8) else { return true };
                Opcode::new(number(self.body, 0).unwrap_or_default()).is_some() && *compressor <= 3
            }
            Opcode::Reply if self.body.len() < 24 => true,
            Opcode::Reply => {
                let document = &self.body[20..];
                let (count, room) = (number(self.body, 16).unwrap_or_default(), self.room - 20);
                number(self.body, 0).is_some_and(|flags| flags < 16)
                    && (count == 0 || sound(Elements::of(document, room.into())))
            }
            Opcode::KillCursors => number(self.body, 0).is_none_or(|zero| zero == 0),
            Opcode::GetMore | Opcode::Update | Opcode::Delete => {
                number(self.body, 0).is_none_or(|zero| zero == 0)
                    && self.full_name().is_none_or(is_full_name)
            }
            Opcode::Insert | Opcode::Query => self.full_name().is_none_or(is_full_name),
        }
    }

    /// Database and collection of a legacy request, as `db.collection`.
    pub(super) fn full_name(&self) -> Option<&'a [u8]> {
        /// A namespace is at most 255 bytes long.
        const NAME_MAX: usize = 256;
        let rest = self.body.get(4..)?;
        let end = rest.iter().take(NAME_MAX).position(|byte| *byte == 0);
        match end {
            Some(end) => Some(&rest[..end]),
            None if rest.len() >= NAME_MAX => Some(b""),
            None => None,
        }
    }

    /// The document that `OP_QUERY` asks with.
    pub(super) fn query(&self) -> Option<Elements<'a>> {
        let at = 4 + self.full_name()?.len() + 1 + 8;
        Elements::of(self.body.get(at..)?, self.room.into())
    }
}

/// `db.collection`, of readable text.
fn is_full_name(name: &[u8]) -> bool {
    let is_text = std::str::from_utf8(name).is_ok_and(|text| !text.contains(char::is_control));
    is_text && name.iter().skip(1).any(|byte| *byte == b'.')
}

/// A section of `OP_MSG`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section<'a> {
    /// Kind 0: the command or the reply.
    Body(Elements<'a>),
    /// Kind 1: its name, and what is there of its documents.
    Documents(&'a [u8], &'a [u8]),
}

/// The sections of `OP_MSG`, as far as they are there.
pub(super) struct Sections<'a> {
    rest: &'a [u8],
    /// Bytes of the message that follow, there or not.
    room: u32,
    is_bad: bool,
}

impl<'a> Sections<'a> {
    pub(super) fn of(message: &Message<'a>) -> Self {
        let checksum = if message.flags() & CHECKSUM == 0 { 0 } else { 4 };
        let room = message.room.saturating_sub(4 + checksum);
        let rest = message.body.get(4..).unwrap_or_default();
        Self { rest: &rest[..rest.len().min(room as usize)], room, is_bad: false }
    }

    /// Whether a body is among them and fits, as far as they are there.
    fn fit(mut self) -> bool {
        for _ in 0..SECTIONS_MAX {
            match self.next() {
                Some(Section::Body(elements)) if !elements.is_sound(CHECKED_MAX) => return false,
                Some(_) => {}
                None => break,
            }
        }
        !self.is_bad
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = &[];
        self.is_bad |= *kind > 1;
        let len = number(rest, 0).filter(|_| !self.is_bad)?;
        self.is_bad |= len < 5 || len >= self.room;
        if self.is_bad {
            return None;
        }
        self.room -= 1 + len;
        let (section, after) = rest.split_at(rest.len().min(len as usize));
        self.rest = after;
        if *kind == 0 {
            return Elements::of(section, len.into()).map(Section::Body);
        }
        let name = &section[4..];
        let end = name.iter().position(|byte| *byte == 0)?;
        Some(Section::Documents(&name[..end], &name[end + 1..]))
    }
}
