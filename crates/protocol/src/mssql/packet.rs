//! Packet: eight bytes of header, content ([MS-TDS] §2.2.3.1); and the packet of a session around it
//! ([MC-SMP] §2.2.1).

use crate::reader::Reader;

// Types.
pub(super) const BATCH: u8 = 1;
pub(super) const RPC: u8 = 3;
pub(super) const RESPONSE: u8 = 4;
pub(super) const ATTENTION: u8 = 6;
pub(super) const BULK_LOAD: u8 = 7;
pub(super) const FEDERATED_TOKEN: u8 = 8;
pub(super) const TRANSACTION: u8 = 14;
pub(super) const LOGIN: u8 = 16;
pub(super) const SSPI: u8 = 17;
pub(super) const PRELOGIN: u8 = 18;

/// What is at the front of some bytes.
pub(super) enum Front<T> {
    Packet(T),
    More,
    NotMine,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Packet {
    pub(super) kind: u8,
    /// The last of its message.
    pub(super) is_end: bool,
    /// Bytes with the header.
    pub(super) len: u64,
    /// Counts up within a message.
    pub(super) number: u8,
}

impl Packet {
    pub(super) const HEADER: usize = 8;

    /// Status bits that there are.
    const STATUS: u8 = 0x1f;

    pub(super) fn read(bytes: &[u8]) -> Front<Self> {
        let kinds = [
            BATCH,
            RPC,
            RESPONSE,
            ATTENTION,
            BULK_LOAD,
            FEDERATED_TOKEN,
            TRANSACTION,
            LOGIN,
            SSPI,
            PRELOGIN,
        ];
        if bytes.first().is_some_and(|kind| !kinds.contains(kind)) {
            return Front::NotMine;
        }
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let (kind, status, len) = (reader.u8()?, reader.u8()?, reader.u16()?);
            let (_, number, window) = (reader.u16()?, reader.u8()?, reader.u8()?);
            let is_known = status & !Self::STATUS == 0 && window == 0;
            // A packet of 32,767 bytes is the longest that can be agreed on.
            let fits = (Self::HEADER as u16..=0x7fff).contains(&len);
            let packet = Self { kind, is_end: status & 1 != 0, len: len.into(), number };
            Some(if is_known && fits { Front::Packet(packet) } else { Front::NotMine })
        };
        read().unwrap_or(Front::More)
    }
}

/// Header of a packet of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Smp {
    flags: u8,
    /// The session.
    pub(super) id: u16,
    /// Bytes with the header.
    pub(super) len: u64,
}

impl Smp {
    pub(super) const HEADER: usize = 16;

    const MARK: u8 = 0x53;
    const SYN: u8 = 1;
    const ACK: u8 = 2;
    const FIN: u8 = 4;
    const DATA: u8 = 8;

    pub(super) fn read(bytes: &[u8]) -> Front<Self> {
        if bytes.first().is_none_or(|mark| *mark != Self::MARK) {
            return Front::NotMine;
        }
        let Some(header) = bytes.first_chunk::<{ Self::HEADER }>() else { return Front::More };
        let flags = header[1];
        let id = u16::from_le_bytes([header[2], header[3]]);
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let is_data = flags == Self::DATA;
        let is_kind = is_data || matches!(flags, Self::SYN | Self::ACK | Self::FIN);
        let least = Self::HEADER as u32 + if is_data { Packet::HEADER as u32 } else { 0 };
        let fits = if is_data { (least..0x1_0000).contains(&len) } else { len == least };
        if is_kind && fits {
            Front::Packet(Self { flags, id, len: len.into() })
        } else {
            Front::NotMine
        }
    }

    pub(super) fn has_data(&self) -> bool {
        self.flags == Self::DATA
    }

    pub(super) fn is_syn(&self) -> bool {
        self.flags == Self::SYN
    }

    pub(super) fn is_fin(&self) -> bool {
        self.flags == Self::FIN
    }
}
