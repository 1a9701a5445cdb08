//! File: blocks of pcap (microseconds, nanoseconds, both byte orders) and pcapng, one at a time.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex};

use deeptrace_model::BootTime;
use pcap_parser::pcapng::{InterfaceStatisticsBlock, OptionCode};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader};

use super::packet::Packet;
use crate::SourceError;

/// Bytes read at once.
const BUFFER: usize = 1 << 20;

/// Bytes of one block, at most: the buffer grows up to here.
const BLOCK_MAX: usize = 16 << 20;

/// Interfaces of one section of a pcapng, at most; packets of further ones have no known link.
const INTERFACES_MAX: usize = 4096;

/// What a block tells.
pub(super) enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// So many packets were dropped by who captured.
    Lost(u64),
}

/// Blocks of a capture file.
pub(super) struct Blocks {
    path: String,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// What the system said when the file could not be read; the parser does not pass it on.
    failure: Arc<Mutex<Option<io::Error>>>,
    interfaces: Vec<Interface>,
    capacity: usize,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of a timestamp in a second.
    resolution: u64,
    /// Seconds to add to each timestamp.
    offset: i64,
    /// Drops that were told.
    dropped: u64,
}

/// Whether a file that starts with `bytes` is a pcap or pcapng.
pub(super) fn is_pcap(bytes: &[u8]) -> bool {
    let Some(magic) = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return false;
    };
    let pcap = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34, 0xd4c3_b2a1, 0x4d3c_b2a1];
    pcap.contains(&magic) || magic == 0x0a0d_0d0a
}

impl Blocks {
    /// Reads the file's header.
    pub(super) fn new(path: &str, file: impl Read + Send + 'static) -> Result<Self, SourceError> {
        let failure = Arc::new(Mutex::new(None));
        let input = Input { file, failure: Arc::clone(&failure) };
        let reader = create_reader(BUFFER, input).map_err(|_| {
            let said = failure.lock().ok().and_then(|mut failure| failure.take());
            said.map_or_else(
                || {
                    format_error(
                        path,
                        "is neither a pcap nor a pcapng: give a file of tcpdump or Wireshark",
                    )
                },
                |source| SourceError::Read { path: path.to_owned(), source },
            )
        })?;
        let path = path.to_owned();
        Ok(Self { path, reader, failure, interfaces: Vec::new(), capacity: BUFFER })
    }

    /// Reads one block and tells what it holds; whether there may be more.
    pub(super) fn next(&mut self, tell: &mut dyn FnMut(Item<'_>)) -> Result<bool, SourceError> {
        loop {
            let problem = match self.reader.next() {
                Ok((len, block)) => {
                    read_block(&mut self.interfaces, &block, tell);
                    self.reader.consume(len);
                    return Ok(true);
                }
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::Incomplete(_)) => None,
                Err(PcapError::BufferTooSmall) => Some(TOO_LONG),
                Err(PcapError::UnexpectedEof) => return Err(format_error(&self.path, CUT_OFF)),
                Err(_) => return Err(format_error(&self.path, DAMAGED)),
            };
            if problem.is_some() {
                self.grow()?;
            }
            self.refill()?;
        }
    }

    fn grow(&mut self) -> Result<(), SourceError> {
        self.capacity *= 2;
        if self.capacity > BLOCK_MAX || !self.reader.grow(self.capacity) {
            return Err(format_error(&self.path, TOO_LONG));
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<(), SourceError> {
        if self.reader.refill().is_ok() {
            return Ok(());
        }
        let said = self.failure.lock().ok().and_then(|mut failure| failure.take());
        Err(said.map_or_else(
            || format_error(&self.path, CUT_OFF),
            |source| SourceError::Read { path: self.path.clone(), source },
        ))
    }
}

const CUT_OFF: &str = "ends in the middle of a packet (its writer was killed, or it was copied in part): \
     the packets before were read";

const DAMAGED: &str = "is damaged: the packets before the damage were read";

const TOO_LONG: &str = "is damaged (a packet longer than 16 MiB): the packets before it were read";

fn format_error(path: &str, problem: &str) -> SourceError {
    SourceError::Format { path: path.to_owned(), problem: problem.to_owned() }
}

fn read_block(
    interfaces: &mut Vec<Interface>,
    block: &PcapBlockOwned<'_>,
    tell: &mut dyn FnMut(Item<'_>),
) {
    match block {
        PcapBlockOwned::LegacyHeader(header) => interfaces.push(Interface::of_file(header)),
        PcapBlockOwned::Legacy(packet) => {
            let Some(interface) = interfaces.first() else { return };
            let part =
                u64::from(packet.ts_usec).saturating_mul(1_000_000_000 / interface.resolution);
            let time = u64::from(packet.ts_sec).saturating_mul(1_000_000_000).saturating_add(part);
            tell(Item::Packet(Packet {
                time: Some(BootTime(time)),
                link: interface.link,
                wire_len: packet.origlen as usize,
                data: packet.data,
            }));
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
            if interfaces.len() < INTERFACES_MAX {
                interfaces.push(Interface {
                    link: block.linktype,
                    resolution: block.ts_resolution().unwrap_or(1_000_000).max(1),
                    offset: block.if_tsoffset,
                    dropped: 0,
                });
            }
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface = interfaces.get(block.if_id as usize).copied();
            let interface = interface.unwrap_or(Interface::UNKNOWN);
            let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            let len = block.data.len().min(block.caplen as usize);
            tell(Item::Packet(Packet {
                time: Some(interface.time(ticks)),
                link: interface.link,
                wire_len: block.origlen as usize,
                data: &block.data[..len],
            }));
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            let interface = interfaces.first().copied().unwrap_or(Interface::UNKNOWN);
            let len = block.data.len().min(block.origlen as usize);
            tell(Item::Packet(Packet {
                time: None,
                link: interface.link,
                wire_len: block.origlen as usize,
                data: &block.data[..len],
            }));
        }
        PcapBlockOwned::NG(Block::InterfaceStatistics(block)) => {
            let Some(interface) = interfaces.get_mut(block.if_id as usize) else { return };
            // The counts are since the start of the capture.
            let dropped = drops(block);
            let lost = dropped.saturating_sub(interface.dropped);
            interface.dropped += lost;
            if lost > 0 {
                tell(Item::Lost(lost));
            }
        }
        PcapBlockOwned::NG(_) => {}
    }
}

/// Packets dropped by the interface and by the system, in the file's byte order.
fn drops(block: &InterfaceStatisticsBlock<'_>) -> u64 {
    let number = |code: OptionCode| {
        let option = block.options.iter().find(|option| option.code == code)?;
        let bytes = *option.value.first_chunk::<8>()?;
        // The parser gives the type as little-endian, whatever the file is.
        let is_big_endian = block.block_type != pcap_parser::ISB_MAGIC;
        Some(if is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    };
    let total =
        [OptionCode::IsbIfDrop, OptionCode::IsbOsDrop].map(|code| number(code).unwrap_or(0));
    total[0].saturating_add(total[1])
}

impl Interface {
    const UNKNOWN: Self =
        Self { link: Linktype(i32::MAX), resolution: 1_000_000, offset: 0, dropped: 0 };

    fn of_file(header: &PcapHeader) -> Self {
        let is_nanos = header.is_nanosecond_precision();
        let resolution = if is_nanos { 1_000_000_000 } else { 1_000_000 };
        // The upper bits say how long the checksum at the end of frames is.
        let link = Linktype(header.network.0 & 0xffff);
        Self { link, resolution, offset: 0, dropped: 0 }
    }

    fn time(&self, ticks: u64) -> BootTime {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.resolution);
        let nanos = nanos as i128 + i128::from(self.offset) * 1_000_000_000;
        BootTime(nanos.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

/// Reads full buffers, as the parser wants to see a whole header at once, and keeps the error.
struct Input<R> {
    file: R,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            match self.file.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What came before the error is delivered first; the next call meets it again.
                Err(_) if len > 0 => break,
                Err(error) => {
                    let kind = error.kind();
                    if let Ok(mut failure) = self.failure.lock() {
                        *failure = Some(error);
                    }
                    return Err(kind.into());
                }
            }
        }
        Ok(len)
    }
}
