//! Message: header, question and the records of its answer (RFC 1035 §4.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name;

/// Bytes of the header.
pub(super) const HEADER: usize = 12;
/// Answers that are told.
const ANSWERS_MAX: usize = 16;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const OPT: u16 = 41;
pub(super) const IXFR: u16 = 251;
pub(super) const AXFR: u16 = 252;

/// Classes of a question: IN, CH, HS, NONE (updates), ANY.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];

/// What a message says.
#[derive(Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) wants_recursion: bool,
    pub(super) opcode: u8,
    /// Code of a response, with what EDNS adds to it.
    pub(super) code: u16,
    /// Name and type of the only question.
    pub(super) question: Option<(String, u16)>,
    /// Addresses and canonical names.
    pub(super) answers: Vec<String>,
    /// Whether all records are there and end where the message does.
    pub(super) is_whole: bool,
    /// Whether records may be missing at the end: cut when copied, or said to be truncated.
    is_open: bool,
    /// Questions, answers, authorities, additional records.
    counts: [u16; 4],
}

impl<'a> Message<'a> {
    /// Reads a message of `len` bytes of which `bytes` were copied; `None` if it is none.
    pub(super) fn read(bytes: &'a [u8], len: usize) -> Option<Self> {
        let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let flags = short(2)?;
        let mut message = Self {
            bytes,
            id: short(0)?,
            is_response: flags & 0x8000 != 0,
            wants_recursion: flags & 0x0100 != 0,
            opcode: (flags >> 11) as u8 & 0xf,
            code: flags & 0xf,
            question: None,
            answers: Vec::new(),
            is_whole: false,
            is_open: flags & 0x0200 != 0 || bytes.len() < len,
            counts: [short(4)?, short(6)?, short(8)?, short(10)?],
        };
        // An error may come without the question; nobody asks two.
        if message.counts[0] > 1 || (message.counts[0] == 0 && !message.is_response) {
            return None;
        }
        opcode_name(message.opcode)?;
        let mut at = HEADER;
        if message.counts[0] == 1 {
            let (name, end) = name::read(bytes, at)?;
            if name::has_pointer(bytes, at) || !CLASSES.contains(&short(end + 2)?) {
                return None;
            }
            message.question = Some((name, short(end)?));
            at = end + 4;
        }
        match message.records(at) {
            Some(end) => message.is_whole = end == len,
            // Records go beyond what was copied, or nonsense.
            None if !message.is_open => return None,
            None => {}
        }
        Some(message)
    }

    /// Whether nothing speaks against it: asked before the protocol is known.
    pub(super) fn is_believable(&self) -> bool {
        let [questions, answers, authorities, additional] = self.counts;
        let is_query = !self.is_response && self.opcode == 0;
        if questions != 1 || matches!(&self.question, Some((_, 0))) {
            return false;
        }
        // A query has nothing to answer; an incremental transfer tells its SOA.
        if is_query && (answers > 0 || authorities > 1 || additional > 4 || self.code != 0) {
            return false;
        }
        // Records that do not end with the message are of something else.
        self.is_whole || self.is_open
    }

    /// Passes over all records from `at` on, and takes what they say. `None` where they are cut.
    fn records(&mut self, mut at: usize) -> Option<usize> {
        let [_, answers, authorities, additional] = self.counts.map(usize::from);
        for number in 0..answers + authorities + additional {
            let owner_end = name::skip(self.bytes, at)?;
            let head = self.bytes.get(owner_end..owner_end + 10)?;
            let code = u16::from_be_bytes([head[0], head[1]]);
            let start = owner_end + 10;
            let end = start + usize::from(u16::from_be_bytes([head[8], head[9]]));
            let data = self.bytes.get(start..end)?;
            if code == OPT {
                // RFC 6891 §6.1.3: eight more bits of the code, where other records have a TTL.
                self.code |= u16::from(head[4]) << 4;
            } else if number < answers && self.answers.len() < ANSWERS_MAX {
                self.answers.extend(answer(self.bytes, start, data, code));
            }
            at = end;
        }
        Some(at)
    }
}

/// What a record says, where it is an address or a canonical name.
fn answer(message: &[u8], start: usize, data: &[u8], code: u16) -> Option<String> {
    match code {
        A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string()),
        AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string()),
        CNAME => Some(name::read(message, start)?.0),
        _ => None,
    }
}

/// Name of an operation; `None` for those that are not assigned or obsolete.
pub(super) fn opcode_name(opcode: u8) -> Option<&'static str> {
    match opcode {
        0 => Some("QUERY"),
        4 => Some("NOTIFY"),
        5 => Some("UPDATE"),
        _ => None,
    }
}

/// Name of a record type (IANA, "Resource Record (RR) TYPEs"), of those that are in use.
pub(super) fn type_name(code: u16) -> Option<&'static str> {
    Some(match code {
        A => "A",
        2 => "NS",
        CNAME => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        AAAA => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        39 => "DNAME",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        59 => "CDS",
        60 => "CDNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        IXFR => "IXFR",
        AXFR => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        _ => return None,
    })
}
