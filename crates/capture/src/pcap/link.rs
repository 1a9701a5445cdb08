//! Link: from a captured frame to the IP packet in it.
//!
//! Layouts as in tcpdump's list of link types (<https://www.tcpdump.org/linktypes.html>).

use pcap_parser::Linktype;

/// Tags that one frame may carry: two (802.1ad) and one that a switch added.
const TAGS_MAX: usize = 3;

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Network<'a> {
    /// An IP packet, of either version.
    Ip(&'a [u8]),
    /// Something else, e.g. ARP.
    Other,
    /// The frame is shorter than its own header.
    Headless,
    /// A link type that is not read.
    Unknown,
}

/// The network layer of a frame of type `link`.
pub(super) fn network(link: Linktype, frame: &[u8]) -> Network<'_> {
    match link {
        Linktype::ETHERNET => by_type(frame, 12, 14),
        // Protocol type in the last two bytes of 16.
        Linktype::LINUX_SLL => by_type(frame, 14, 16),
        // Protocol type first, header of 20 bytes.
        Linktype::LINUX_SLL2 => by_type(frame, 0, 20),
        // 101 is what files say; 12 and 14 are what some systems wrote there.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => ip(frame),
        // Four bytes of address family, in the byte order of a host that is not known; the
        // version of what follows tells as much.
        Linktype::NULL | Linktype::LOOP => frame.get(4..).map_or(Network::Headless, ip),
        _ => Network::Unknown,
    }
}

/// A header of `len` bytes that has an EtherType at `type_at`, then perhaps VLAN tags.
fn by_type(frame: &[u8], type_at: usize, len: usize) -> Network<'_> {
    let Some(mut rest) = frame.get(len..) else { return Network::Headless };
    let mut ether_type = number(&frame[type_at..]);
    for _ in 0..TAGS_MAX {
        match ether_type {
            Some(0x0800 | 0x86dd) => return ip(rest),
            // 802.1Q, 802.1ad, and what was used for outer tags before.
            Some(0x8100 | 0x88a8 | 0x9100 | 0x9200) => {
                let Some(tagged) = rest.get(4..) else { return Network::Headless };
                ether_type = number(&rest[2..]);
                rest = tagged;
            }
            _ => return Network::Other,
        }
    }
    if let Some(0x0800 | 0x86dd) = ether_type { ip(rest) } else { Network::Other }
}

fn ip(packet: &[u8]) -> Network<'_> {
    match packet.first().map(|b| b >> 4) {
        Some(4 | 6) => Network::Ip(packet),
        Some(_) => Network::Other,
        None => Network::Headless,
    }
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
