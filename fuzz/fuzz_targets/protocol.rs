//! Any bytes as calls of a connection, through one parser and through the whole stage.
//!
//! `cargo +nightly fuzz run protocol` (`cargo install cargo-fuzz`); with `DEEPTRACE_PROTOCOL=redis`
//! one row of the table only. Input: a byte that picks the row, then calls: a byte of flags (who,
//! cut, gap, tick, end), a byte of length, the bytes.
#![no_main]

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Event, EventBody, EventId, Pid, Tid, UnitId,
};
use deeptrace_protocol::{
    Input, Options, Output, Parser, Protocol, Protocols, Side, TABLE, Verdict,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((pick, calls)) = data.split_first() else { return };
    parse(row(*pick), calls);
    run(calls);
});

fn row(pick: u8) -> &'static Protocol {
    let named = std::env::var("DEEPTRACE_PROTOCOL").ok();
    let named = named.and_then(|name| TABLE.iter().find(|row| row.name == name));
    named.unwrap_or(&TABLE[usize::from(pick) % TABLE.len()])
}

/// Flags and bytes of each call.
fn calls(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [flags, len, rest @ ..] = data else { return None };
        let (bytes, after) = rest.split_at(rest.len().min(usize::from(*len)));
        data = after;
        Some((*flags, bytes))
    })
}

/// One parser, which must move on with every verdict.
fn parse(protocol: &Protocol, data: &[u8]) {
    let mut parser = (protocol.parser)();
    let mut waiting = [Vec::new(), Vec::new()];
    for (flags, bytes) in calls(data) {
        let from = if flags & 1 == 0 { Side::Client } else { Side::Server };
        waiting[from as usize].extend_from_slice(bytes);
        drive(parser.as_mut(), from, &mut waiting[from as usize], flags & 2 != 0);
        if flags & 8 != 0 {
            let _ = parser.end(from);
            let _ = parser.lost(from);
            waiting[from as usize].clear();
        }
    }
}

fn drive(parser: &mut dyn Parser, from: Side, bytes: &mut Vec<u8>, is_last: bool) {
    let mut zero_progress = 0;
    while !bytes.is_empty() {
        let _ = parser.is_start(from, bytes);
        match parser.parse(Input { bytes, from, is_last }) {
            Verdict::Skip(len)
            | Verdict::Stray(len)
            | Verdict::Part { len, .. }
            | Verdict::Done { len, .. } => {
                assert!(len > 0);
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
                bytes.drain(..len);
            }
            Verdict::More if !is_last && bytes.len() < 128 * 1024 => return,
            Verdict::More | Verdict::NotMine | Verdict::Switch => {
                let _ = parser.lost(from);
                bytes.clear();
            }
        }
        zero_progress += 1;
        assert!(zero_progress < 1 << 20);
    }
}

/// The whole stage, with cuts, gaps, overlaps and time.
fn run(data: &[u8]) {
    let mut stage = Protocols::new(Options { connections: 4, ..Options::default() });
    let mut out = Output::default();
    let mut at = [0u64; 2];
    for (id, (flags, bytes)) in (1u64..).zip(calls(data)) {
        let time = BootTime(id * 10_000_000);
        let direction = if flags & 1 == 0 { Direction::Received } else { Direction::Sent };
        let place = &mut at[direction as usize];
        if flags & 4 != 0 {
            *place = place.wrapping_add(u64::from(flags)).wrapping_sub(100) & 0xffff_ffff;
        }
        let connection = ConnectionId(u64::from(flags >> 5));
        let unseen = if flags & 2 == 0 { 0 } else { 300 };
        let call = Call {
            connection,
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction,
            start: *place,
            len: bytes.len() as u32 + unseen,
            payload: bytes,
            drained: false,
            peer: None,
        };
        *place = (*place + u64::from(call.len)) & 0xffff_ffff;
        stage.feed(&Event { id: EventId(id), time, body: EventBody::Call(call) }, &mut out);
        if flags & 16 != 0 {
            stage.tick(time, &mut out);
        }
        if flags & 24 == 24 {
            let close = Close { connection, errno: u16::from(flags) };
            stage.feed(&Event { id: EventId(id), time, body: EventBody::Close(close) }, &mut out);
        }
        for message in out.messages.drain(..) {
            assert!(message.payload.len() <= 512);
        }
        out.demands.clear();
    }
}
