//! Control packet: the fixed header and the length behind it (§2.1).

use super::publish;
use crate::Side;

/// Bytes that are waited for: a topic of the longest length, and properties. What is needed of
/// packets lies before that.
pub(super) const NEEDED_MAX: usize = 60 * 1024;

/// Bytes of a body that are waited for, where all of it may be of use.
const WANTED_MAX: usize = 4 * 1024;

/// Kind of a control packet (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

/// Who may send it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
    Either,
}

/// By number, from one on: kind, who sends it, flags (`PUBLISH` has its own), least and greatest
/// length of the body.
const KINDS: [(Kind, Sender, u8, u32, u32); 15] = [
    (Kind::Connect, Sender::Client, 0, 12, BODY_MAX),
    (Kind::Connack, Sender::Server, 0, 2, 64 * 1024),
    (Kind::Publish, Sender::Either, 0, 2, BODY_MAX),
    (Kind::Puback, Sender::Either, 0, 2, 64 * 1024),
    (Kind::Pubrec, Sender::Either, 0, 2, 64 * 1024),
    (Kind::Pubrel, Sender::Either, 2, 2, 64 * 1024),
    (Kind::Pubcomp, Sender::Either, 0, 2, 64 * 1024),
    (Kind::Subscribe, Sender::Client, 2, 6, 1 << 20),
    (Kind::Suback, Sender::Server, 0, 3, 64 * 1024),
    (Kind::Unsubscribe, Sender::Client, 2, 5, 1 << 20),
    (Kind::Unsuback, Sender::Server, 0, 2, 64 * 1024),
    (Kind::Pingreq, Sender::Client, 0, 0, 0),
    (Kind::Pingresp, Sender::Server, 0, 0, 0),
    (Kind::Disconnect, Sender::Either, 0, 0, 64 * 1024),
    (Kind::Auth, Sender::Either, 0, 0, 64 * 1024),
];

/// The greatest length that four bytes tell (§1.5.5).
const BODY_MAX: u32 = 268_435_455;

/// A packet at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    flags: u8,
    /// Bytes before the body.
    pub(super) head_len: usize,
    /// Bytes of the body, whether they are there or not.
    pub(super) body_len: usize,
    /// What is there of the body.
    pub(super) body: &'a [u8],
}

pub(super) enum Front<'a> {
    Packet(Packet<'a>),
    More,
    NotMine,
}

impl<'a> Packet<'a> {
    /// Reads the fixed header.
    pub(super) fn read(bytes: &'a [u8], from: Side) -> Front<'a> {
        let Some((first, rest)) = bytes.split_first() else { return Front::More };
        let (number, flags) = (usize::from(first >> 4), first & 0x0f);
        let Some((kind, sender, reserved, least, most)) =
            number.checked_sub(1).and_then(|index| KINDS.get(index)).copied()
        else {
            return Front::NotMine;
        };
        let may_send = match sender {
            Sender::Client => from == Side::Client,
            Sender::Server => from == Side::Server,
            Sender::Either => true,
        };
        let flags_fit = match kind {
            // Quality 3 is malformed, and what is sent once is never sent again (§3.3.1).
            Kind::Publish => flags & 6 != 6 && flags & 0x0e != 8,
            _ => flags == reserved,
        };
        if !may_send || !flags_fit {
            return Front::NotMine;
        }
        let (body_len, len_len) = match variable(rest) {
            Variable::Number(number, len) => (number, len),
            Variable::More => return Front::More,
            Variable::Bad => return Front::NotMine,
        };
        if !(least..=most).contains(&body_len) {
            return Front::NotMine;
        }
        let body = &rest[len_len..];
        let body_len = body_len as usize;
        let body = &body[..body.len().min(body_len)];
        Front::Packet(Packet { kind, flags, head_len: 1 + len_len, body_len, body })
    }

    /// Bytes of the packet.
    pub(super) fn len(&self) -> u64 {
        (self.head_len + self.body_len) as u64
    }

    /// Whether all bytes are there.
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() == self.body_len
    }

    /// Whether as much is there as may be wanted. Of publications the parser knows itself.
    pub(super) fn is_enough(&self) -> bool {
        self.kind == Kind::Publish || self.body.len() >= self.body_len.min(WANTED_MAX)
    }

    /// Quality of service of a publication.
    pub(super) fn quality(&self) -> u8 {
        self.flags >> 1 & 3
    }
}

pub(super) enum Variable {
    /// A number, and how many bytes it takes.
    Number(u32, usize),
    More,
    Bad,
}

/// A variable byte integer (§1.5.5).
pub(super) fn variable(bytes: &[u8]) -> Variable {
    let mut number = 0u32;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        number |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let is_shortest = index == 0 || *byte != 0;
            return if is_shortest { Variable::Number(number, index + 1) } else { Variable::Bad };
        }
    }
    if bytes.len() < 4 { Variable::More } else { Variable::Bad }
}

/// Takes `len` bytes from the front.
pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, back) = rest.split_at_checked(len)?;
    *rest = back;
    Some(front)
}

/// Takes a number of two bytes (§1.5.2).
pub(super) fn short(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Takes text or binary data behind its length (§1.5.4, §1.5.6).
pub(super) fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut after = *rest;
    let len = short(&mut after)?;
    let field = take(&mut after, usize::from(len))?;
    *rest = after;
    Some(field)
}

/// Whether a call of `call_len` bytes that begins with `bytes` is made of packets of `from`. At least
/// one must be there in whole, or up to its topic. Where the sender is only guessed, the first packet
/// must be one that the other end never sends.
pub(super) fn fits(bytes: &[u8], call_len: usize, from: Side, is_sure: bool) -> bool {
    let (mut at, mut found) = (0usize, false);
    while at < bytes.len() {
        let Front::Packet(packet) = Packet::read(&bytes[at..], from) else { return false };
        let is_own = !matches!(Packet::read(&bytes[at..], from.opposite()), Front::Packet(_));
        if at == 0 && !is_sure && !is_own {
            return false;
        }
        if packet.kind == Kind::Connect || !is_plausible(&packet) {
            return false;
        }
        found = true;
        at = at.saturating_add(packet.head_len).saturating_add(packet.body_len);
        // A long body comes in calls of its own only behind a publication's topic.
        if at > call_len && packet.kind != Kind::Publish {
            return false;
        }
    }
    found
}

/// Whether what is there of the body is such as the kind has.
fn is_plausible(packet: &Packet<'_>) -> bool {
    let mut body = packet.body;
    match packet.kind {
        Kind::Publish => publish::topic_fits(packet),
        Kind::Connack => match body {
            [flags @ 0..=1, code, ..] => {
                (packet.body_len == 2 && *code <= 5 || packet.body_len > 2 && known_code(*code))
                    && (*flags == 0 || *code == 0)
            }
            _ => false,
        },
        Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
            let number = short(&mut body);
            number.is_some_and(|number| number != 0) && body.first().is_none_or(|c| known_code(*c))
        }
        Kind::Suback | Kind::Unsuback => {
            let number = short(&mut body);
            let last = packet.is_whole().then(|| body.last()).flatten();
            number.is_some_and(|number| number != 0) && last.is_none_or(|code| known_code(*code))
        }
        Kind::Subscribe | Kind::Unsubscribe => {
            packet.is_whole() && super::subscribe::request(packet, None).is_some()
        }
        Kind::Disconnect | Kind::Auth => {
            packet.body_len == 0 || body.first().is_some_and(|code| known_code(*code))
        }
        Kind::Connect | Kind::Pingreq | Kind::Pingresp => true,
    }
}

/// Whether it is a reason code (§2.4).
fn known_code(code: u8) -> bool {
    matches!(code, 0..=2 | 0x04 | 0x10 | 0x11 | 0x18 | 0x19 | 0x80..=0xa2)
}
