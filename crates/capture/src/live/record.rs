//! Record: what the kernel programs put into the ring buffer, decoded without copying payloads.
//!
//! Offsets are those of `bpf/event.h`; a test holds them to the BTF of the object. Bytes are in
//! the host's order: they never leave it in this form.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use deeptrace_model::{
    BootTime, ConnectionId, Direction, HandOverKind, Pid, Tid, Transport, UnitId,
};

/// Bytes of `struct dt_call` before its payload.
pub(super) const CALL: usize = 64;
/// Bytes of `struct dt_open`.
pub(super) const OPEN: usize = 352;
/// Bytes of a path in it.
const PATH: usize = 108;

/// `dt_header.kind` of a call, and of plaintext.
const DT_CALL: u16 = 2;
const DT_PLAINTEXT: u16 = 9;
/// Bytes of `struct dt_records` before the records, and of one of them.
pub(super) const RECORDS: usize = 40;
pub(super) const TLS_RECORD: usize = 8;

/// What every record starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) time: BootTime,
    pub(super) connection: ConnectionId,
    pub(super) pid: Pid,
    pub(super) tid: Tid,
    pub(super) errno: u16,
    pub(super) len: u32,
}

/// What a record says beyond its header.
#[derive(Debug, PartialEq)]
pub(super) enum Body<'a> {
    Open(Box<OpenRecord>),
    Call(CallRecord<'a>),
    Close,
    Listen,
    Exec,
    Exit,
    Fork,
    Records(RecordsRecord<'a>),
    Plaintext(PlaintextRecord<'a>),
    /// A TLS session was freed; its name travels in the place of the cookie.
    TlsFree,
    HandOver(HandOverRecord),
}

/// `struct dt_records`.
#[derive(Debug, PartialEq)]
pub(super) struct RecordsRecord<'a> {
    pub(super) direction: Direction,
    /// The chain of records was lost, or there were more than are told.
    pub(super) is_broken: bool,
    records: &'a [u8],
}

impl<'a> RecordsRecord<'a> {
    /// As the kernel tells `records`.
    #[cfg(test)]
    pub(super) fn of(direction: Direction, records: &'a [u8]) -> Self {
        Self { direction, is_broken: false, records }
    }

    /// Position of the header, bytes after it, and type.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u16, u8)> {
        self.records
            .chunks_exact(TLS_RECORD)
            .filter_map(|record| Some((u32_at(record, 0)?, u16_at(record, 4)?, *record.get(6)?)))
    }
}

/// `struct dt_plaintext`.
#[derive(Debug, PartialEq)]
pub(super) struct PlaintextRecord<'a> {
    pub(super) session: u64,
    pub(super) direction: Direction,
    /// Calls on sockets meanwhile; 255: on more than one.
    pub(super) sockets: u8,
    /// Bytes that there was room for.
    pub(super) asked: u64,
    pub(super) unit: Option<UnitId>,
    pub(super) payload: &'a [u8],
}

/// `struct dt_handover`.
#[derive(Debug, PartialEq)]
pub(super) struct HandOverRecord {
    pub(super) kind: HandOverKind,
    /// Zero: the thread.
    pub(super) from: UnitId,
    pub(super) to: UnitId,
    /// Address of the futex; the number of the reason for which a unit waited that is made ready.
    pub(super) word: u64,
}

/// `struct dt_open`.
#[derive(Debug, PartialEq)]
pub(super) struct OpenRecord {
    pub(super) transport: Transport,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) local_path: String,
    pub(super) remote_path: String,
    pub(super) connected: bool,
    pub(super) fresh: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) netns: u64,
    pub(super) cgroup: u64,
    pub(super) unix_self: u64,
    pub(super) unix_peer: u64,
    pub(super) comm: String,
}

/// `struct dt_call`.
#[derive(Debug, PartialEq)]
pub(super) struct CallRecord<'a> {
    pub(super) start: u64,
    pub(super) direction: Direction,
    pub(super) drained: bool,
    pub(super) peer: Option<SocketAddr>,
    /// What ran on the thread, where that was seen.
    pub(super) unit: Option<UnitId>,
    pub(super) payload: &'a [u8],
}

/// Decodes a record; `None` if it is shorter than it says or of an unknown kind.
pub(super) fn decode(bytes: &[u8]) -> Option<(Header, Body<'_>)> {
    let header = Header {
        time: BootTime(u64_at(bytes, 0)?),
        connection: ConnectionId(u64_at(bytes, 8)?),
        pid: Pid(u32_at(bytes, 16)?),
        tid: Tid(u32_at(bytes, 20)?),
        errno: u16_at(bytes, 26)?,
        len: u32_at(bytes, 28)?,
    };
    let body = match u16_at(bytes, 24)? {
        1 => Body::Open(Box::new(open(bytes)?)),
        DT_CALL => Body::Call(call(bytes)?),
        3 => Body::Close,
        4 => Body::Listen,
        5 => Body::Exec,
        6 => Body::Exit,
        7 => Body::Fork,
        8 => Body::Records(records(bytes, header.len)?),
        DT_PLAINTEXT => Body::Plaintext(plaintext(bytes)?),
        10 => Body::TlsFree,
        20 => Body::HandOver(hand_over(bytes)?),
        _ => return None,
    };
    Some((header, body))
}

/// A record without the room behind its payload: what is reserved in the ring is rounded up.
pub(super) fn used(record: &[u8]) -> &[u8] {
    match (u16_at(record, 24), u32_at(record, 40)) {
        // Both have the count at the same place.
        (Some(DT_CALL | DT_PLAINTEXT), Some(copied)) => {
            let end = CALL.saturating_add(copied as usize);
            record.get(..end).unwrap_or(record)
        }
        _ => record,
    }
}

fn call(bytes: &[u8]) -> Option<CallRecord<'_>> {
    let copied = u32_at(bytes, 40)? as usize;
    let flags = *bytes.get(44)?;
    Some(CallRecord {
        start: u64_at(bytes, 32)?,
        direction: direction(u32::from(flags)),
        drained: flags & 2 != 0,
        peer: if flags & 8 != 0 { Some(address(bytes, 48, u16_at(bytes, 46)?)?) } else { None },
        unit: if flags & 16 != 0 { Some(UnitId(u64_at(bytes, 48)?)) } else { None },
        payload: bytes.get(CALL..CALL + copied)?,
    })
}

fn records(bytes: &[u8], count: u32) -> Option<RecordsRecord<'_>> {
    Some(RecordsRecord {
        direction: direction(u32_at(bytes, 32)?),
        is_broken: u32_at(bytes, 36)? != 0,
        records: bytes.get(RECORDS..RECORDS + count as usize * TLS_RECORD)?,
    })
}

fn plaintext(bytes: &[u8]) -> Option<PlaintextRecord<'_>> {
    let copied = u32_at(bytes, 40)? as usize;
    Some(PlaintextRecord {
        session: u64_at(bytes, 32)?,
        direction: direction(u32::from(*bytes.get(44)?)),
        sockets: *bytes.get(45)?,
        asked: u64_at(bytes, 48)?,
        unit: Some(UnitId(u64_at(bytes, 56)?)).filter(|unit| unit.0 != 0),
        payload: bytes.get(CALL..CALL + copied)?,
    })
}

fn direction(flags: u32) -> Direction {
    if flags & 1 != 0 { Direction::Sent } else { Direction::Received }
}

fn hand_over(bytes: &[u8]) -> Option<HandOverRecord> {
    let word = u64_at(bytes, 48)?;
    let kind = match u16_at(bytes, 26)? {
        1 => HandOverKind::Futex,
        2 => HandOverKind::Write,
        3 => HandOverKind::Copy,
        4 => HandOverKind::Ready,
        5 => HandOverKind::Birth,
        6 => HandOverKind::Put,
        7 => HandOverKind::Got,
        _ => return None,
    };
    let (from, to) = (UnitId(u64_at(bytes, 32)?), UnitId(u64_at(bytes, 40)?));
    Some(HandOverRecord { kind, from, to, word })
}

fn open(bytes: &[u8]) -> Option<OpenRecord> {
    Some(OpenRecord {
        local: address(bytes, 32, u16_at(bytes, 64)?)?,
        remote: address(bytes, 48, u16_at(bytes, 66)?)?,
        transport: match bytes.get(68)? {
            0 => Transport::Tcp,
            1 => Transport::Udp,
            2 => Transport::UnixStream,
            _ => Transport::UnixDatagram,
        },
        connected: *bytes.get(69)? != 0,
        fresh: *bytes.get(70)? != 0,
        sent: u64_at(bytes, 72)?,
        received: u64_at(bytes, 80)?,
        netns: u64_at(bytes, 88)?,
        cgroup: u64_at(bytes, 96)?,
        unix_self: u64_at(bytes, 104)?,
        unix_peer: u64_at(bytes, 112)?,
        comm: text(bytes.get(120..136)?),
        local_path: path(bytes.get(136..136 + PATH)?),
        remote_path: path(bytes.get(136 + PATH..OPEN)?),
    })
}

/// IPv4 comes mapped, and is given as IPv4.
fn address(bytes: &[u8], at: usize, port: u16) -> Option<SocketAddr> {
    let raw: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    let v6 = Ipv6Addr::from(raw);
    let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    Some(SocketAddr::new(ip, port))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Path of a UNIX socket; an abstract one starts with a zero byte and is shown with `@`.
fn path(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] if rest.first().is_some_and(|&b| b != 0) => format!("@{}", text(rest)),
        _ => text(bytes),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
