//! Header of a Bolt message, in both versions, and the statuses of answers.

use crate::Side;
use crate::reader::Reader;
use crate::remote_call::is_name;

/// The longest content that is believed.
const CONTENT_MAX: u32 = 1 << 28;
/// The longest name of a class that is believed.
pub(super) const CLASS_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    OneWay,
    Response,
    Heartbeat,
}

/// Header of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: u32,
    pub(super) status: u16,
    /// Bytes before the class name.
    pub(super) fixed: usize,
    pub(super) class: usize,
    pub(super) map: usize,
    pub(super) len: u64,
}

pub(super) enum Front {
    Header(Header),
    More,
    NotMine,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Front {
        match Self::fields(bytes) {
            Some(Some(header)) => Front::Header(header),
            Some(None) => Front::NotMine,
            None => Front::More,
        }
    }

    /// `None` if there are too few, `Some(None)` if they can't be a header.
    fn fields(bytes: &[u8]) -> Option<Option<Self>> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        // Version 2 has a version of its own, and a switch for a checksum at the end.
        let minor = if version == 2 { reader.u8()? } else { 1 };
        if !matches!((version, minor), (1, _) | (2, 1 | 2)) {
            return Some(None);
        }
        let (direction, command) = (reader.u8()?, reader.u16()?);
        let kind = match (direction, command) {
            (0 | 1, 0) => Kind::Heartbeat,
            (1, 1) => Kind::Request,
            (2, 1) => Kind::OneWay,
            (0, 2) => Kind::Response,
            _ => return Some(None),
        };
        let (command_version, id, codec) = (reader.u8()?, reader.u32()?, reader.u8()?);
        let switch = if version == 2 { reader.u8()? } else { 0 };
        if command_version != 1 || codec > 0x1f || switch > 1 {
            return Some(None);
        }
        let status = if direction == 0 { reader.u16()? } else { 0 };
        if direction != 0 {
            let _timeout = reader.u32()?;
        }
        let (class, map) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let content = reader.u32()?;
        let checksum = if minor == 2 && switch == 1 { 4 } else { 0 };
        let fixed = reader.at();
        let name = reader.rest();
        let name = &name[..name.len().min(class)];
        let is_named = match kind {
            Kind::Request | Kind::OneWay => class > 0,
            Kind::Response | Kind::Heartbeat => true,
        };
        let is_mine = is_named
            && class <= CLASS_MAX
            && content <= CONTENT_MAX
            && (name.is_empty() || is_name(name))
            && status_name(status).is_some();
        let len = (fixed + class + map + checksum) as u64 + u64::from(content);
        Some(is_mine.then_some(Self { kind, id, status, fixed, class, map, len }))
    }

    /// Who sends this; heartbeats are of both.
    pub(super) fn side(&self) -> Option<Side> {
        match self.kind {
            Kind::Request | Kind::OneWay => Some(Side::Client),
            Kind::Response => Some(Side::Server),
            Kind::Heartbeat => None,
        }
    }
}

/// `ResponseStatus` of SOFABolt.
pub(super) fn status_name(status: u16) -> Option<&'static str> {
    Some(match status {
        0 => "SUCCESS",
        1 => "ERROR",
        2 => "SERVER_EXCEPTION",
        3 => "UNKNOWN",
        4 => "SERVER_THREADPOOL_BUSY",
        5 => "ERROR_COMM",
        6 => "NO_PROCESSOR",
        7 => "TIMEOUT",
        8 => "CLIENT_SEND_ERROR",
        9 => "CODEC_EXCEPTION",
        16 => "CONNECTION_CLOSED",
        17 => "SERVER_SERIAL_EXCEPTION",
        18 => "SERVER_DESERIAL_EXCEPTION",
        _ => return None,
    })
}
