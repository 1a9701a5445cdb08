//! Packet: a length and a record of the jute encoding (`zookeeper.jute`), and which records they are.

use crate::Side;

/// The length before a packet.
pub(super) const PREFIX: usize = 4;

/// Longest packet believed; `jute.maxbuffer` is 1 MiB unless it was raised.
const LEN_MAX: u32 = 64 << 20;

/// Bytes of a packet that are looked at: its path, or the operations of a transaction.
const CLIENT_WINDOW: usize = 4096;
const SERVER_WINDOW: usize = 512;

/// Paths that are believed.
const PATH_MAX: u32 = 1 << 16;

/// Length of a session's password.
const PASSWORD: u32 = 16;

pub(super) const WATCH_EVENT: i32 = -1;
pub(super) const PING: i32 = -2;
pub(super) const AUTH: i32 = -4;
pub(super) const SET_WATCHES: i32 = -8;

/// What follows the header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Path,
    Transaction,
    /// Proofs of who the client is.
    Secret,
    Other,
}

/// Operation codes (`ZooDefs.OpCode`).
const OPERATIONS: &[(i32, &str, Body)] = &[
    (1, "create", Body::Path),
    (2, "delete", Body::Path),
    (3, "exists", Body::Path),
    (4, "getData", Body::Path),
    (5, "setData", Body::Path),
    (6, "getACL", Body::Path),
    (7, "setACL", Body::Path),
    (8, "getChildren", Body::Path),
    (9, "sync", Body::Path),
    (11, "ping", Body::Other),
    (12, "getChildren2", Body::Path),
    (13, "check", Body::Path),
    (14, "multi", Body::Transaction),
    (15, "create2", Body::Path),
    (16, "reconfig", Body::Other),
    (17, "checkWatches", Body::Path),
    (18, "removeWatches", Body::Path),
    (19, "createContainer", Body::Path),
    (20, "deleteContainer", Body::Path),
    (21, "createTTL", Body::Path),
    (22, "multiRead", Body::Transaction),
    (100, "auth", Body::Secret),
    (101, "setWatches", Body::Other),
    (102, "sasl", Body::Secret),
    (103, "getEphemerals", Body::Path),
    (104, "getAllChildrenNumber", Body::Path),
    (105, "setWatches2", Body::Other),
    (106, "addWatch", Body::Path),
    (107, "whoAmI", Body::Other),
    (-11, "closeSession", Body::Other),
];

/// Name of an operation, and what its record begins with.
pub(super) fn operation(code: i32) -> Option<(&'static str, Body)> {
    OPERATIONS.iter().find(|row| row.0 == code).map(|row| (row.1, row.2))
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `ConnectRequest` or `ConnectResponse`.
    Connect,
    Request {
        xid: i32,
        code: i32,
    },
    Reply {
        xid: i32,
        error: i32,
    },
}

/// A packet at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// Bytes with the length before it.
    pub(super) len: u64,
    /// What is there after the header.
    pub(super) body: &'a [u8],
    pub(super) is_cut: bool,
}

pub(super) enum Front<'a> {
    Packet(Packet<'a>),
    More,
    NotMine,
}

impl<'a> Packet<'a> {
    pub(super) fn read(bytes: &'a [u8], from: Side, is_last: bool) -> Front<'a> {
        let Some(length) = int(bytes, 0) else { return Front::More };
        let length = length.cast_unsigned();
        let (header, window) = match from {
            Side::Client => (8, CLIENT_WINDOW),
            Side::Server => (16, SERVER_WINDOW),
        };
        if !(header..=LEN_MAX).contains(&length) {
            return Front::NotMine;
        }
        let wanted = PREFIX + window.min(length as usize);
        if bytes.len() < wanted && (!is_last || bytes.len() < PREFIX + header as usize) {
            return Front::More;
        }
        let record = &bytes[PREFIX..bytes.len().min(wanted)];
        let kind = match from {
            Side::Client => request(record, length),
            Side::Server => reply(record, length),
        };
        let Some(kind) = kind else { return Front::NotMine };
        let is_cut = bytes.len() < wanted;
        let body = &record[header as usize..];
        Front::Packet(Self { kind, len: u64::from(length) + PREFIX as u64, body, is_cut })
    }
}

fn request(record: &[u8], length: u32) -> Option<Kind> {
    let (xid, code) = (int(record, 0)?, int(record, 4)?);
    let is_connect = xid == 0
        && matches!(length, 44 | 45)
        && int(record, 12).is_none_or(|timeout| timeout >= 0)
        && int(record, 24).is_none_or(|len| len.cast_unsigned() == PASSWORD);
    if is_connect {
        return Some(Kind::Connect);
    }
    let (_, body) = operation(code)?;
    let is_right = match xid {
        PING => code == 11 && length == 8,
        AUTH => code == 100,
        SET_WATCHES => matches!(code, 101 | 105),
        xid => xid > 0 && !matches!(code, 11 | 100),
    };
    let has_path = body != Body::Path || path(&record[8..]).is_ok();
    (is_right && has_path && (code != -11 || length == 8)).then_some(Kind::Request { xid, code })
}

fn reply(record: &[u8], length: u32) -> Option<Kind> {
    let xid = int(record, 0)?;
    let is_connect = xid == 0
        && matches!(length, 36 | 37)
        && int(record, 4).is_some_and(|timeout| timeout >= 0)
        && int(record, 16).is_none_or(|len| len.cast_unsigned() == PASSWORD);
    if is_connect {
        return Some(Kind::Connect);
    }
    let (zxid, error) = (int(record, 4)?, int(record, 12)?);
    let is_error = error == 0 || super::reply::error_name(error).is_some();
    let is_right = match xid {
        WATCH_EVENT => error == 0 && length >= 28,
        PING => length == 16,
        AUTH | SET_WATCHES => true,
        // An error has no record.
        xid => xid > 0 && zxid >= -1 && (error == 0 || length == 16),
    };
    (is_right && is_error).then_some(Kind::Reply { xid, error })
}

/// A big-endian number of four bytes.
pub(super) fn int(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// A buffer or a string at the front: what is there of it, and what follows.
pub(super) fn buffer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // -1 is none.
    let len = usize::try_from(int(bytes, 0)?.max(0)).ok()?;
    let rest = &bytes[4..];
    Some(rest.split_at(len.min(rest.len())))
}

/// The path at the front, or what is there of it; an error where it can't be one.
pub(super) fn path(bytes: &[u8]) -> Result<&[u8], ()> {
    let Some(len) = int(bytes, 0) else { return Ok(b"") };
    let (path, _) = buffer(bytes).ok_or(())?;
    let is_path = (0..=PATH_MAX).contains(&len.cast_unsigned())
        && path.first().is_none_or(|first| *first == b'/')
        && !path.contains(&0);
    is_path.then_some(path).ok_or(())
}
