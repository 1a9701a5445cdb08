//! Packet: the TCP segment or UDP datagram in a captured frame, however much of it was captured.

use std::net::{IpAddr, SocketAddr};

use deeptrace_model::BootTime;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

use super::counters::Counters;
use super::link::{self, Network};

/// One frame of the file.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    /// When it was captured; `None` where the file does not say.
    pub(super) time: Option<BootTime>,
    /// What its first bytes are.
    pub(super) link: Linktype,
    /// Bytes it had on the wire.
    pub(super) wire_len: usize,
    /// What of them was captured.
    pub(super) data: &'a [u8],
}

/// A TCP segment or a UDP datagram.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) header: Header,
    /// Bytes it carried.
    pub(super) len: u32,
    /// What of them was captured.
    pub(super) payload: &'a [u8],
}

/// What the transport's header says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header {
    Tcp(Tcp),
    Udp,
}

/// RFC 9293 §3.1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tcp {
    pub(super) seq: u32,
    /// `None` without ACK.
    pub(super) ack: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

/// The segment in a frame; what is none is counted.
pub(super) fn read<'a>(packet: &Packet<'a>, counters: &mut Counters) -> Option<Segment<'a>> {
    let frame = packet.data;
    if frame.len() < packet.wire_len {
        counters.cut += 1;
    }
    let ip = match link::network(packet.link, frame) {
        Network::Ip(ip) => ip,
        Network::Other => return count(&mut counters.other),
        Network::Headless => return count(&mut counters.headless),
        Network::Unknown => return count(&mut counters.unknown_link),
    };
    let Ok(sliced) = LaxSlicedPacket::from_ip(ip) else { return count(&mut counters.headless) };
    let (source, destination, declared, content) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(v4)) => {
            let header = v4.header();
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, usize::from(header.total_len()), v4.payload())
        }
        Some(LaxNetSlice::Ipv6(v6)) => {
            let header = v6.header();
            let addresses: (IpAddr, IpAddr) =
                (header.source_addr().into(), header.destination_addr().into());
            let declared = match header.payload_length() {
                0 => 0,
                len => 40 + usize::from(len),
            };
            (addresses.0, addresses.1, declared, v6.payload())
        }
        _ => return count(&mut counters.other),
    };
    if content.fragmented {
        return count(&mut counters.fragments);
    }
    // Offloading cards take packets longer than the field can say, which then is zero.
    let on_wire = packet.wire_len.saturating_sub(frame.len() - ip.len()).max(ip.len());
    let declared = if declared == 0 { on_wire } else { declared };
    let missing = declared.saturating_sub(ip.len());

    let (ports, header, payload) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let header = Tcp {
                seq: tcp.sequence_number(),
                ack: tcp.ack().then(|| tcp.acknowledgment_number()),
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
            };
            ((tcp.source_port(), tcp.destination_port()), Header::Tcp(header), tcp.payload())
        }
        Some(TransportSlice::Udp(udp)) => {
            ((udp.source_port(), udp.destination_port()), Header::Udp, udp.payload())
        }
        Some(_) => return count(&mut counters.other),
        None if matches!(content.ip_number.0, 6 | 17) => return count(&mut counters.headless),
        None => return count(&mut counters.other),
    };
    Some(Segment {
        source: SocketAddr::new(source, ports.0),
        destination: SocketAddr::new(destination, ports.1),
        header,
        len: u32::try_from(payload.len() + missing).unwrap_or(u32::MAX),
        payload,
    })
}

fn count<T>(counter: &mut u64) -> Option<T> {
    *counter += 1;
    None
}
