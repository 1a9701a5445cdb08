//! Frame: header, mask and what a frame holds (RFC 6455 §5.2); and how a connection is told by it.

use crate::{Head, Recognition, Side};

/// Frames above are not believed.
const FRAME_MAX: u64 = 1 << 40;

/// The longest control frame (RFC 6455 §5.5).
const CONTROL_MAX: u64 = 125;

/// Characters of text that tell a frame of which the end is not there.
const TEXT_MIN: usize = 16;

/// Characters of text after which there is no doubt, if it was masked.
const SURE_MIN: usize = 4;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// It goes on with a message.
    More,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame, of which not all may be there.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) is_compressed: bool,
    /// Bytes with the header.
    pub(super) len: u64,
    payload_len: u64,
    mask: Option<[u8; 4]>,
    /// What is there of the payload, as sent.
    raw: &'a [u8],
}

/// What is at the front of some bytes.
pub(super) enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

impl<'a> Frame<'a> {
    /// Reads a frame that `from` sent: clients mask, servers do not (RFC 6455 §5.1).
    pub(super) fn read(bytes: &'a [u8], from: Side) -> Front<'a> {
        let Some(&first) = bytes.first() else { return Front::More };
        let opcode = match first & 0x0f {
            0 => Opcode::More,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Front::NotMine,
        };
        let (is_final, is_compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        let is_control = first & 0x08 != 0;
        // RFC 7692 §6: only the first frame of a message says that it is compressed.
        let is_odd = is_control && !is_final
            || is_compressed && !matches!(opcode, Opcode::Text | Opcode::Binary)
            || first & 0x30 != 0;
        if is_odd {
            return Front::NotMine;
        }
        let Some(&second) = bytes.get(1) else { return Front::More };
        if (second & 0x80 != 0) != (from == Side::Client) {
            return Front::NotMine;
        }
        let (payload_len, mut header) = match second & 0x7f {
            126 => {
                let Some(len) = bytes.get(2..4) else { return Front::More };
                (u64::from(u16::from_be_bytes([len[0], len[1]])), 4)
            }
            127 => {
                let Some(Ok(len)) = bytes.get(2..10).map(<[u8; 8]>::try_from) else {
                    return Front::More;
                };
                (u64::from_be_bytes(len), 10)
            }
            len => (u64::from(len), 2),
        };
        // The shortest form must be used.
        let is_short = match second & 0x7f {
            126 => payload_len > CONTROL_MAX,
            127 => payload_len > u64::from(u16::MAX),
            _ => true,
        };
        if !is_short || payload_len > FRAME_MAX || (is_control && payload_len > CONTROL_MAX) {
            return Front::NotMine;
        }
        let mut mask = None;
        if from == Side::Client {
            let Some(key) = bytes.get(header..header + 4) else { return Front::More };
            mask = Some([key[0], key[1], key[2], key[3]]);
            header += 4;
        }
        let there = bytes.len() - header;
        let seen = usize::try_from(payload_len).map_or(there, |len| len.min(there));
        let raw = &bytes[header..header + seen];
        let len = payload_len + header as u64;
        Front::Frame(Self { opcode, is_final, is_compressed, len, payload_len, mask, raw })
    }

    /// Whether the whole payload is there.
    pub(super) fn is_all_there(&self) -> bool {
        self.raw.len() as u64 == self.payload_len
    }

    /// Whether so many bytes of the payload are there, or all.
    pub(super) fn has(&self, len: usize) -> bool {
        self.is_all_there() || self.raw.len() >= len
    }

    /// What is there of the payload's first bytes, unmasked.
    pub(super) fn payload(&self, max: usize) -> Vec<u8> {
        let raw = &self.raw[..self.raw.len().min(max)];
        let Some(mask) = self.mask else { return raw.to_vec() };
        raw.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    /// Characters of text that are there; `None` if it is none.
    fn text(&self) -> Option<usize> {
        let payload = self.payload(usize::MAX);
        let text = match std::str::from_utf8(&payload) {
            Ok(text) => text,
            // Cut within a character.
            Err(error) if error.error_len().is_none() && !self.is_all_there() => {
                std::str::from_utf8(&payload[..error.valid_up_to()]).ok()?
            }
            // A fragment may end within a character too.
            Err(_) => return None,
        };
        let is_plain = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
        text.chars().all(is_plain).then(|| text.chars().count())
    }
}

/// Bytes of a call as frames.
struct Chain {
    /// The first frame begins a message that must be text, with so many characters of it.
    text: Option<usize>,
    /// It begins a message.
    is_data: bool,
    /// All that is there fits, and the frames end where the call does.
    is_exact: bool,
}

fn chain(bytes: &[u8], from: Side, call_len: usize) -> Option<Chain> {
    let (mut at, mut first) = (0u64, None);
    while let Some(rest) = usize::try_from(at).ok().and_then(|at| bytes.get(at..)) {
        if rest.is_empty() {
            break;
        }
        let frame = match Frame::read(rest, from) {
            Front::Frame(frame) => frame,
            Front::More if first.is_some() => break,
            _ => return None,
        };
        at += frame.len;
        if frame.opcode == Opcode::Text && !frame.is_compressed {
            let text = frame.text()?;
            first.get_or_insert((Some(text), true));
        } else {
            let is_data = matches!(frame.opcode, Opcode::Text | Opcode::Binary);
            first.get_or_insert((None, is_data));
        }
    }
    let (text, is_data) = first?;
    Some(Chain { text, is_data, is_exact: at == call_len as u64 })
}

/// See the head of `websocket.rs`.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let Some(second) = head.bytes.get(1) else { return Recognition::No };
    let side = if second & 0x80 != 0 { Side::Client } else { Side::Server };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    let Some(chain) = chain(head.bytes, side, head.call_len) else { return Recognition::No };
    if !chain.is_data {
        return Recognition::No;
    }
    match chain.text {
        Some(text) if side == Side::Client && chain.is_exact && text >= SURE_MIN => {
            Recognition::Yes(side)
        }
        Some(text) if text >= TEXT_MIN || (chain.is_exact && text > 0) => Recognition::Maybe(side),
        Some(_) => Recognition::No,
        // Many a protocol begins with a byte like these and a length.
        None if chain.is_exact && (side == Side::Client || head.from.is_some()) => {
            Recognition::Maybe(side)
        }
        None => Recognition::No,
    }
}

/// Whether frames, one header at least, may begin here.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    chain(bytes, from, bytes.len()).is_some()
}
