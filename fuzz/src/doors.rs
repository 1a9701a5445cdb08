//! The other doors: header compression, packet captures, recordings, the configuration.

use std::io::Cursor;

use deeptrace_agent::pipeline::{Options, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_capture::pcap::Pcap;
use deeptrace_capture::recording::Reader;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{BootTime, Duration};
use deeptrace_protocol::{Input, Side, TABLE, Verdict};

use crate::seeds;

/// A door.
pub struct Door {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const DOORS: &[Door] = &[
    Door { name: "hpack", run: hpack, seeds: seeds::header_blocks },
    Door { name: "pcap", run: pcap, seeds: || seeds::files("pcap", &["pcap", "pcapng"]) },
    Door { name: "recording", run: recording, seeds: seeds::recordings },
    Door { name: "config", run: config, seeds: seeds::configurations },
];

/// Events that are taken from a file.
const EVENTS_MAX: u64 = 20_000;
/// Bytes of a file.
const FILE_MAX: usize = 256 * 1024;

/// Header blocks (RFC 7541), each in a frame of its own (RFC 9113 §6.2): a length of one byte, so
/// many bytes.
fn hpack(data: &[u8]) {
    let row = TABLE.iter().find(|row| row.name == "http2").expect("the protocol that has them");
    let mut parser = (row.parser)();
    let mut rest = data;
    for stream in (1u32..0x7fff_0000).step_by(2) {
        let [len, after @ ..] = rest else { return };
        let (block, next) = after.split_at(after.len().min(usize::from(*len)));
        rest = next;
        // HEADERS with END_STREAM and END_HEADERS.
        let mut frame = vec![0, 0, block.len() as u8, 1, 5];
        frame.extend(stream.to_be_bytes());
        frame.extend(block);
        let from = if stream % 4 == 1 { Side::Client } else { Side::Server };
        if let Verdict::NotMine = parser.parse(Input { bytes: &frame, from, is_last: false }) {
            let _ = parser.lost(from);
        }
    }
}

fn pcap(data: &[u8]) {
    if let Ok(source) = Pcap::new("input", Cursor::new(bounded(data).to_vec())) {
        replay(source);
    }
}

/// What is in a recording after its header, unless the first byte is odd: then the file as it is.
fn recording(data: &[u8]) {
    let [kind, rest @ ..] = bounded(data) else { return };
    let file = if kind % 2 == 1 { rest.to_vec() } else { seeds::pack(rest) };
    if let Ok(source) = Reader::new("input", Cursor::new(file)) {
        replay(source);
    }
}

/// Through all stages.
fn replay(mut source: impl Source) {
    let options = Options {
        max_payload_size: 512,
        correlation: Default::default(),
        handlers: Vec::new(),
        rules: Default::default(),
    };
    let mut pipeline = Pipeline::new(options);
    let (mut batch, mut events, mut now) = (Batch::default(), 0, BootTime(0));
    loop {
        let progress = source.poll(&mut |event| {
            events += 1;
            now = now.max(event.time);
            pipeline.feed(event, &mut batch, &mut |_| {});
        });
        pipeline.tick(now, &mut batch, &mut |_| {});
        if !matches!(progress, Ok(Progress::More)) || events > EVENTS_MAX {
            break;
        }
    }
    pipeline.tick(now.plus(Duration::from_secs(600)), &mut batch, &mut |_| {});
}

fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bounded(data)) {
        match deeptrace::config::check("input", text) {
            Ok(loaded) => drop(loaded.rows()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn bounded(data: &[u8]) -> &[u8] {
    &data[..data.len().min(FILE_MAX)]
}
