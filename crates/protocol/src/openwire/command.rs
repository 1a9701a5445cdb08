//! Command: size, type, and what all commands have.

use super::marshal::{self, Bits};
use crate::Side;

/// Bytes of a frame that are believed; brokers take 100 MiB unless they are told otherwise.
const FRAME_MAX: usize = 512 * 1024 * 1024;

/// Bytes of a frame that are waited for.
const WANTED_MAX: usize = 4 * 1024;

/// Type of what both ends say first, and what stands behind it.
const WIRE_FORMAT: u8 = 1;
const MAGIC: &[u8] = b"ActiveMQ";

/// Versions of the protocol.
const VERSION_MAX: u32 = 20;

const CONNECTION_INFO: u8 = 3;
const EXCEPTION_RESPONSE: u8 = 31;

/// What stands before the destination of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// The id of a producer, consumer or connection.
    Id,
    /// The id of a consumer, and whether it only browses.
    IdAndFlag,
    /// It has no destination.
    NoDestination,
}

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// If it requires a response.
    Asks(&'static str),
    Message,
    Dispatch,
    Ack,
    Response,
    /// An error of the connection.
    Failure,
    /// It is passed over.
    Other,
}

/// A type of command: number, who sends it unless both do, its role, where its destination is.
type Row = (u8, Option<Side>, Role, Before);

const CLIENT: Option<Side> = Some(Side::Client);
const SERVER: Option<Side> = Some(Side::Server);

const ROWS: &[Row] = &[
    (2, None, Role::Other, Before::NoDestination),
    (CONNECTION_INFO, CLIENT, Role::Asks("connect"), Before::NoDestination),
    (4, CLIENT, Role::Asks("create_session"), Before::NoDestination),
    (5, CLIENT, Role::Asks("subscribe"), Before::IdAndFlag),
    (6, CLIENT, Role::Asks("create_producer"), Before::Id),
    (7, CLIENT, Role::Asks("transaction"), Before::NoDestination),
    (8, CLIENT, Role::Asks("destination"), Before::Id),
    (9, CLIENT, Role::Asks("unsubscribe"), Before::NoDestination),
    (10, None, Role::Other, Before::NoDestination),
    (11, None, Role::Other, Before::NoDestination),
    (12, CLIENT, Role::Asks("remove"), Before::NoDestination),
    (14, None, Role::Other, Before::NoDestination),
    (15, None, Role::Other, Before::NoDestination),
    (16, SERVER, Role::Failure, Before::NoDestination),
    (17, None, Role::Other, Before::NoDestination),
    (18, None, Role::Other, Before::NoDestination),
    (19, SERVER, Role::Other, Before::NoDestination),
    (20, CLIENT, Role::Asks("pull"), Before::Id),
    (21, SERVER, Role::Dispatch, Before::Id),
    (22, CLIENT, Role::Ack, Before::Nothing),
    (23, CLIENT, Role::Message, Before::Id),
    (24, CLIENT, Role::Message, Before::Id),
    (25, CLIENT, Role::Message, Before::Id),
    (26, CLIENT, Role::Message, Before::Id),
    (27, CLIENT, Role::Message, Before::Id),
    (28, CLIENT, Role::Message, Before::Id),
    (29, CLIENT, Role::Message, Before::Id),
    (30, None, Role::Response, Before::NoDestination),
    (EXCEPTION_RESPONSE, None, Role::Response, Before::NoDestination),
    (32, None, Role::Response, Before::NoDestination),
    (33, None, Role::Response, Before::NoDestination),
    (34, None, Role::Response, Before::NoDestination),
];

#[derive(Debug)]
pub(super) struct Command<'a> {
    number: u8,
    pub(super) role: Role,
    pub(super) before: Before,
    pub(super) is_tight: bool,
    pub(super) id: u32,
    /// Whether it requires a response.
    pub(super) is_answered: bool,
    /// In tight encoding: the flags of its fields.
    pub(super) bits: Bits<'a>,
    /// What is there of its fields.
    pub(super) fields: &'a [u8],
    /// Bytes before its fields.
    pub(super) head_len: usize,
    /// Bytes of the frame.
    pub(super) len: u64,
}

pub(super) enum Front<'a> {
    Command(Command<'a>),
    /// A greeting of so many bytes.
    Skip(u64),
    More,
    NotMine,
}

impl<'a> Command<'a> {
    /// Reads the head; `is_loose` where loose encoding was seen.
    pub(super) fn read(bytes: &'a [u8], from: Side, is_loose: bool, is_last: bool) -> Front<'a> {
        let Some((size, rest)) = marshal::integer(bytes) else { return Front::More };
        let Some((number, rest)) = rest.split_first() else { return Front::More };
        let size = size as usize;
        if !(2..=FRAME_MAX).contains(&size) {
            return Front::NotMine;
        }
        let len = size as u64 + 4;
        if *number == WIRE_FORMAT {
            let seen = rest.len().min(MAGIC.len());
            return match rest[..seen] == MAGIC[..seen] {
                true if seen == MAGIC.len() => Front::Skip(len),
                true => Front::More,
                false => Front::NotMine,
            };
        }
        let row = ROWS.iter().find(|row| row.0 == *number);
        let Some(row) = row.filter(|row| row.1.is_none_or(|side| side == from)) else {
            return Front::NotMine;
        };
        if rest.len() < (size - 1).min(WANTED_MAX) && !is_last {
            return Front::More;
        }
        let rest = &rest[..rest.len().min(size - 1)];
        let is_whole = rest.len() == size - 1;
        match Self::head(row, rest, bytes.len(), is_loose, len) {
            Some(command) => Front::Command(command),
            None if is_whole => Front::NotMine,
            None => Front::More,
        }
    }

    fn head(row: &Row, rest: &'a [u8], seen: usize, is_loose: bool, len: u64) -> Option<Self> {
        let is_tight = !is_loose && *rest.first()? != 0;
        let (bits, id, is_answered, fields) = if is_tight {
            let (mut bits, rest) = Bits::read(rest)?;
            let (id, rest) = marshal::integer(rest)?;
            let is_answered = bits.next()?;
            (bits, id, is_answered, rest)
        } else {
            let (id, rest) = marshal::integer(rest)?;
            let (flag, rest) = rest.split_first()?;
            (Bits::default(), id, marshal::flag(*flag)?, rest)
        };
        let frame_seen = seen.min(usize::try_from(len).ok()?);
        let head_len = frame_seen.checked_sub(fields.len())?;
        let (number, _, role, before) = *row;
        Some(Self { number, role, before, is_tight, id, is_answered, bits, fields, head_len, len })
    }

    /// Whether its fields have a password.
    pub(super) fn is_secret(&self) -> bool {
        self.number == CONNECTION_INFO
    }

    pub(super) fn is_exception(&self) -> bool {
        self.number == EXCEPTION_RESPONSE
    }
}

/// Whether this is what both ends say first.
pub(super) fn is_hello(bytes: &[u8]) -> bool {
    let Some((size, [WIRE_FORMAT, rest @ ..])) = marshal::integer(bytes) else { return false };
    let version = rest.strip_prefix(MAGIC).and_then(marshal::integer);
    (13..64 * 1024).contains(&size)
        && version.is_some_and(|(version, _)| (1..=VERSION_MAX).contains(&version))
}

/// Whether a command of `from` begins here that has so much of its form that it is hardly anything
/// else: a destination with its type, or a response of just its size.
pub(super) fn is_certain(bytes: &[u8], from: Side) -> bool {
    let Front::Command(command) = Command::read(bytes, from, false, true) else { return false };
    match command.role {
        Role::Response if command.number == 30 => {
            from == Side::Server
                && command.len == command.head_len as u64 + 4
                && !command.is_answered
        }
        Role::Message | Role::Dispatch | Role::Ack => marshal::has_destination(&command),
        Role::Asks(_) if command.before != Before::NoDestination => {
            marshal::has_destination(&command)
        }
        _ => false,
    }
}
