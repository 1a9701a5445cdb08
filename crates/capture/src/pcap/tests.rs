//! Captures made here, byte by byte, and what becomes of them.

use std::io::Cursor;

use deeptrace_model::Direction::{Received, Sent};
use deeptrace_model::{Direction, Endpoint, Origin, Transport};
use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, UdpHeader};
use proptest::prelude::*;

use super::*;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 2], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

/// A packet from the client or the server: flags, sequence, acknowledgement, payload.
type Row<'a> = (Direction, &'a str, u32, u32, &'a [u8]);

/// An IPv4 packet of a row.
fn packet(row: &Row<'_>) -> Vec<u8> {
    let (from, flags, seq, ack, payload) = row;
    let (source, destination) = if *from == Received { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let mut header = TcpHeader::new(source.1, destination.1, *seq, 1000);
    header.syn = flags.contains('S');
    header.ack = flags.contains('A');
    header.fin = flags.contains('F');
    header.rst = flags.contains('R');
    header.acknowledgment_number = *ack;
    let builder = PacketBuilder::ipv4(source.0, destination.0, 64).tcp_header(header);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).expect("memory");
    bytes
}

fn datagram(builder: PacketBuilderStep<UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).expect("memory");
    bytes
}

/// A pcap of link type `link`; packets are 1 ms apart and cut to `snaplen`.
fn pcap(link: u32, packets: &[Vec<u8>], snaplen: usize) -> Vec<u8> {
    variant(0xa1b2_c3d4, 1000, false, link, packets, snaplen)
}

fn variant(
    magic: u32,
    ticks: u32,
    is_big: bool,
    link: u32,
    packets: &[Vec<u8>],
    snaplen: usize,
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |numbers: &[u32], bytes: &[u8]| {
        for number in numbers {
            file.extend(if is_big { number.to_be_bytes() } else { number.to_le_bytes() });
        }
        file.extend_from_slice(bytes);
    };
    let version = if is_big { 2 << 16 | 4 } else { 4 << 16 | 2 };
    put(&[magic, version, 0, 0, 262_144, link], &[]);
    for (packet, n) in packets.iter().zip(0..) {
        let data = &packet[..packet.len().min(snaplen)];
        put(&[1_700_000_000, n * ticks, data.len() as u32, packet.len() as u32], data);
    }
    file
}

/// A pcapng of the same, in nanoseconds, with statistics of dropped packets at its end.
fn pcapng(is_big: bool, link: u16, packets: &[Vec<u8>], dropped: u64) -> Vec<u8> {
    let u32s = |n: u32| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
    let u16s = |n: u16| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let len = u32s(body.len() as u32 + 12);
        file.extend([&u32s(kind)[..], &len, body, &len].concat());
    };
    block(0x0a0d_0d0a, &[&u32s(0x1a2b_3c4d)[..], &u16s(1), &u16s(0), &[0xff; 8]].concat());
    let nanoseconds = [&u16s(9)[..], &u16s(1), &[9, 0, 0, 0], &u32s(0)].concat();
    block(1, &[&u16s(link)[..], &u16s(0), &u32s(0), &nanoseconds].concat());
    for (packet, n) in packets.iter().zip(0_u64..) {
        let time = 1_700_000_000_000_000_000 + n * 1_000_000;
        let len = u32s(packet.len() as u32);
        let times = [u32s((time >> 32) as u32), u32s(time as u32)].concat();
        let padding = vec![0; packet.len().next_multiple_of(4) - packet.len()];
        block(6, &[&u32s(0)[..], &times, &len, &len, packet, &padding].concat());
    }
    let count = if is_big { dropped.to_be_bytes() } else { dropped.to_le_bytes() };
    let drops = [&u16s(5)[..], &u16s(8), &count, &u32s(0)].concat();
    block(5, &[&u32s(0)[..], &[0; 8], &drops].concat());
    file
}

/// One line for each event after host and clock, the error if there was one, and the counters.
fn replay(file: &[u8]) -> Vec<String> {
    let mut source = match Pcap::new("x.pcap", Cursor::new(file.to_vec())) {
        Ok(source) => source,
        Err(error) => return vec![error.to_string()],
    };
    let (mut lines, mut expected_id) = (Vec::new(), 1);
    loop {
        let progress = source.poll(&mut |event| {
            assert_eq!(event.id, EventId(expected_id));
            expected_id += 1;
            lines.extend(line(event));
        });
        match progress {
            Ok(Progress::End) => break,
            Ok(_) => {}
            Err(error) => lines.push(error.to_string()),
        }
    }
    source.counters(&mut |name, value| {
        if value > 0 && !["pcap_packets_total", "pcap_connections_total"].contains(&name) {
            lines.push(format!("{name} {value}"));
        }
    });
    lines
}

fn line(event: &Event<'_>) -> Option<String> {
    Some(match &event.body {
        EventBody::Host(_) | EventBody::Clock(_) => return None,
        EventBody::Process(process) => format!("process {}", process.service),
        EventBody::Open(open) => {
            let Endpoint::Inet(remote) = &open.remote else { return Some(String::new()) };
            let origin = if open.origin == Origin::Accepted { "accepted" } else { "found" };
            let kind = if open.transport == Transport::Tcp { "tcp" } else { "udp" };
            let id = open.connection.0;
            format!("{origin} {kind} {id} from {remote} at {} {}", open.received, open.sent)
        }
        EventBody::Call(call) => {
            let direction = if call.direction == Received { '>' } else { '<' };
            let text = String::from_utf8_lossy(call.payload);
            format!("{} {direction} {}+{} {text}", call.connection.0, call.start, call.len)
        }
        EventBody::Close(close) => format!("close {} {}", close.connection.0, close.errno),
        EventBody::Lost { count, .. } => format!("lost {count}"),
        EventBody::Exit(_) => "exit".to_owned(),
        EventBody::Plaintext(_) => return None,
        EventBody::HandOver(_) => "hand-over".to_owned(),
        EventBody::Redacted | EventBody::Message(_) => panic!("no packet tells {event:?}"),
    })
}

/// What becomes of rows in a raw IP capture that keeps everything.
fn of(rows: &[Row<'_>]) -> Vec<String> {
    replay(&pcap(101, &rows.iter().map(packet).collect::<Vec<_>>(), 65_535))
}

const HELLO: [Row<'_>; 5] = [
    (Received, "S", 99, 0, b""),
    (Sent, "SA", 499, 100, b""),
    (Received, "A", 100, 500, b"ask"),
    (Sent, "A", 500, 103, b"answer"),
    (Received, "A", 103, 506, b""),
];

const HELLO_LINES: [&str; 4] = [
    "process 10.0.0.1:80",
    "accepted tcp 1 from 10.0.0.2:40000 at 100 500",
    "1 > 100+3 ask",
    "1 < 500+6 answer",
];

#[test]
fn a_connection_from_syn_to_fin() {
    let end: [Row<'_>; 3] = [
        (Received, "FA", 103, 506, b""),
        (Sent, "FA", 506, 104, b""),
        (Received, "A", 104, 507, b""),
    ];
    let lines = of(&[&HELLO[..], &end].concat());
    let expected: [&[&str]; 2] = [&HELLO_LINES, &["1 > 103+0 ", "1 < 506+0 ", "close 1 0"]];
    assert_eq!(lines, expected.concat());
}

#[test]
fn segments_repeat_and_come_out_of_order() {
    let rows: [Row<'_>; 5] = [
        (Received, "A", 106, 506, b"ghi"),
        (Received, "A", 103, 506, b"def"),
        (Received, "A", 100, 506, b"askdefghijkl"),
        (Sent, "A", 500, 112, b"answer"),
        (Received, "RA", 112, 506, b""),
    ];
    let expected: [&[&str]; 2] = [
        &HELLO_LINES,
        &[
            "1 > 106+3 ghi",
            "1 > 103+3 def",
            "1 > 109+3 jkl",
            "close 1 104",
            "pcap_packets_repeated_total 1",
        ],
    ];
    assert_eq!(of(&[&HELLO[..], &rows].concat()), expected.concat());
}

#[test]
fn a_syn_on_the_same_addresses_is_another_connection() {
    let rows: [Row<'_>; 3] = [
        (Received, "S", 7000, 0, b""),
        (Received, "S", 7000, 0, b""),
        (Received, "A", 7001, 9000, b"again"),
    ];
    let expected: [&[&str]; 2] = [
        &HELLO_LINES,
        &["close 1 0", "accepted tcp 2 from 10.0.0.2:40000 at 7001 9000", "2 > 7001+5 again"],
    ];
    assert_eq!(of(&[&HELLO[..], &rows].concat()), expected.concat());
}

#[test]
fn a_capture_may_begin_in_the_middle_and_refusals_have_no_socket() {
    let found = of(&HELLO[3..]);
    let expected = [
        "process 10.0.0.1:80",
        "found tcp 1 from 10.0.0.2:40000 at 103 500",
        "1 < 500+6 answer",
        "pcap_connections_guessed_total 1",
    ];
    assert_eq!(found, expected);
    let refused = of(&[HELLO[0], (Sent, "RA", 0, 100, b"")]);
    assert_eq!(refused, ["process 10.0.0.1:80", "pcap_connections_refused_total 1"]);
}

/// The same connection under every link type, file format and byte order.
#[test]
fn links_and_formats_do_not_matter() {
    let ip: Vec<Vec<u8>> = HELLO.iter().map(packet).collect();
    let under = |header: &[u8]| -> Vec<Vec<u8>> {
        ip.iter().map(|packet| [header, packet].concat()).collect()
    };
    let sll = |len: usize, at: usize| {
        let mut header = vec![0; len];
        header[at] = 8;
        header
    };
    let mac = [2; 12];
    let tag = |kind: u16, next: u16| [kind.to_be_bytes(), [0, 7], next.to_be_bytes()].concat();
    let ethernet = under(&[&mac[..], &[8, 0]].concat());
    let vlan = under(&[&mac[..], &tag(0x8100, 0x0800)].concat());
    let double = under(&[&mac[..], &tag(0x88a8, 0x8100), &tag(0, 0x0800)[2..]].concat());
    let files = [
        ("raw", pcap(101, &ip, 65_535)),
        ("ethernet", pcap(1, &ethernet, 65_535)),
        ("vlan", pcap(1, &vlan, 65_535)),
        ("802.1ad", pcap(1, &double, 65_535)),
        ("sll", pcap(113, &under(&sll(16, 14)), 65_535)),
        ("sll2", pcap(276, &under(&sll(20, 0)), 65_535)),
        ("null", pcap(0, &under(&[2, 0, 0, 0]), 65_535)),
        ("big endian", variant(0xa1b2_c3d4, 1000, true, 101, &ip, 65_535)),
        ("nanoseconds", variant(0xa1b2_3c4d, 1_000_000, false, 101, &ip, 65_535)),
        ("pcapng", pcapng(false, 1, &ethernet, 0)),
        ("big-endian pcapng", pcapng(true, 1, &ethernet, 0)),
    ];
    for (name, file) in files {
        assert_eq!(replay(&file), HELLO_LINES, "{name}");
        assert!(is_pcap(&file), "{name}");
        let mut times = Vec::new();
        let mut source = Pcap::new("x", Cursor::new(file)).expect("it was read before");
        while source.poll(&mut |event| times.push(event.time.0)).expect("it is whole")
            != Progress::End
        {}
        assert_eq!(times.first(), Some(&1_700_000_000_000_000_000), "{name}");
        assert_eq!(times.last(), Some(&1_700_000_000_003_000_000), "{name}");
    }
    let lost = replay(&pcapng(true, 101, &ip, 9));
    assert_eq!(lost.last().map(String::as_str), Some("lost 9"));
}

#[test]
fn cut_packets_keep_their_length() {
    let ip: Vec<Vec<u8>> = HELLO.iter().map(packet).collect();
    let lines = replay(&pcap(101, &ip, 42));
    assert_eq!(lines[2..4], ["1 > 100+3 as", "1 < 500+6 an"]);
    assert_eq!(lines[4], "pcap_packets_cut_total 2");
    let lines = replay(&pcap(101, &ip, 30));
    assert_eq!(lines, ["pcap_packets_cut_total 5", "pcap_packets_headless_total 5"]);
}

#[test]
fn ipv6_and_datagrams() {
    let one = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let two = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let ask = datagram(PacketBuilder::ipv6(two, one, 64).udp(5000, 53), b"ask");
    let answer = datagram(PacketBuilder::ipv6(one, two, 64).udp(53, 5000), b"answer");
    let empty = datagram(PacketBuilder::ipv6(two, one, 64).udp(5000, 53), b"");
    let packets = [ask.clone(), ask.clone(), answer, empty];
    let expected = [
        "process [2001:db8::1]:53",
        "found udp 1 from [2001:db8::2]:5000 at 0 0",
        "1 > 0+3 ask",
        "1 < 0+6 answer",
        "pcap_packets_other_total 1",
        "pcap_connections_guessed_total 1",
        "pcap_packets_repeated_total 1",
    ];
    assert_eq!(replay(&pcap(101, &packets, 65_535)), expected);
}

#[test]
fn fragments_and_strangers_are_counted() {
    let mut fragment = packet(&HELLO[2]);
    fragment[6] |= 0x20;
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    let ethernet = [&[2; 12][..], &[8, 0], &fragment].concat();
    let lines = replay(&pcap(1, &[arp, ethernet], 65_535));
    assert_eq!(lines, ["pcap_packets_other_total 1", "pcap_fragments_total 1"]);
    let lines = replay(&pcap(4711, &[fragment], 65_535));
    assert_eq!(lines, ["pcap_packets_unknown_link_total 1"]);
}

#[test]
fn broken_files_give_what_was_before_and_one_error() {
    let ip: Vec<Vec<u8>> = HELLO.iter().map(packet).collect();
    let file = pcap(101, &ip, 65_535);
    let lines = replay(&file[..file.len() - 3]);
    assert_eq!(lines[..4], HELLO_LINES);
    assert!(lines[4].starts_with("x.pcap: ends in the middle of a packet"), "{lines:?}");
    let whole = pcapng(false, 101, &ip, 0);
    let lines = replay(&whole[..whole.len() - 50]);
    assert_eq!(lines[..4], HELLO_LINES);
    assert!(lines[4].starts_with("x.pcap: ends in the middle"), "{lines:?}");

    let mut endless = file.clone();
    endless.extend([0xff; 400]);
    let lines = replay(&endless);
    assert_eq!(lines[..4], HELLO_LINES);
    assert!(lines[4].starts_with("x.pcap: "), "{lines:?}");
    for bytes in [&b""[..], b"GET / HTTP/1.1", &file[..20]] {
        let lines = replay(bytes);
        assert!(lines[0].contains("is neither a pcap nor a pcapng"), "{lines:?}");
    }
}

#[test]
fn flows_beyond_the_limit_make_room() {
    let mut flows = Flows::new(2);
    let mut counters = Counters::default();
    for port in 1..=5 {
        let bytes =
            datagram(PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9).udp(port + 2000, 53), b"x");
        let packet = packet::Packet {
            time: None,
            link: pcap_parser::Linktype::RAW,
            wire_len: bytes.len(),
            data: &bytes,
        };
        let segment = packet::read(&packet, &mut counters).expect("it is a datagram");
        flows.feed(&segment, BootTime(0), &mut counters, &mut |_| {});
    }
    assert_eq!((counters.connections, counters.evicted), (5, 3));
}

proptest! {
    // Each case makes a buffer of a megabyte several times.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        link in prop::sample::select(vec![0, 1, 101, 113, 276, 4711]),
    ) {
        replay(&bytes);
        replay(&pcap(link, std::slice::from_ref(&bytes), 300));
        replay(&[&pcap(link, &[], 300), &bytes[..]].concat());
        replay(&[&pcapng(false, link as u16, &[], 0), &bytes[..]].concat());
    }

    #[test]
    fn any_flipped_byte_is_read_without_panic(at in any::<usize>(), by in 1_u8..) {
        let ip: Vec<Vec<u8>> = HELLO.iter().map(packet).collect();
        for mut file in [pcap(101, &ip, 65_535), pcapng(false, 101, &ip, 3), pcapng(true, 101, &ip, 3)] {
            let at = at % file.len();
            file[at] ^= by;
            replay(&file);
        }
    }
}
