//! A row of the table: its parser alone, then the stage with no other row; and the stage with all.

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Event, EventBody, EventId, Pid, Tid, UnitId,
};
use deeptrace_protocol::{
    Input, Options, Output, Parser, Protocol, Protocols, Side, TABLE, Verdict,
};

use crate::calls::{self, CUT, END, MOVED, SERVER, TICK};

/// Calls to a parser for the same bytes; each must take some.
const ROUNDS_MAX: usize = 1 << 20;
/// Bytes that a parser may have together.
const TOGETHER_MAX: usize = 128 * 1024;

/// One row.
pub fn run(row: usize, data: &[u8]) {
    parse(&TABLE[row], data);
    stage(&TABLE[row..=row], data);
}

/// All rows.
pub fn table(data: &[u8]) {
    stage(TABLE, data);
}

fn parse(protocol: &Protocol, data: &[u8]) {
    let mut parser = (protocol.parser)();
    let mut waiting = [Vec::new(), Vec::new()];
    for (flags, bytes) in calls::read(data) {
        let from = if flags & SERVER == 0 { Side::Client } else { Side::Server };
        waiting[from as usize].extend_from_slice(bytes);
        drive(parser.as_mut(), from, &mut waiting[from as usize], flags & CUT != 0);
        if flags & END != 0 {
            let _ = parser.end(from);
            let _ = parser.lost(from);
            waiting[from as usize].clear();
        }
        if flags & TICK != 0 {
            parser.quiet();
        }
    }
}

fn drive(parser: &mut dyn Parser, from: Side, bytes: &mut Vec<u8>, is_last: bool) {
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "the parser goes round in circles");
        if bytes.is_empty() {
            return;
        }
        let _ = parser.is_start(from, bytes);
        match parser.parse(Input { bytes, from, is_last }) {
            Verdict::Skip(len) | Verdict::Stray(len) | Verdict::Part { len, .. } => {
                take(bytes, len);
            }
            Verdict::Done { len, draft } => {
                assert!(draft.redact.iter().all(|range| range.start <= range.end));
                assert!(draft.name.len() <= 64 * 1024, "a name of {} bytes", draft.name.len());
                take(bytes, len);
            }
            Verdict::More if !is_last && bytes.len() < TOGETHER_MAX => return,
            Verdict::More | Verdict::NotMine | Verdict::Switch => {
                let _ = parser.lost(from);
                bytes.clear();
            }
        }
    }
}

fn take(bytes: &mut Vec<u8>, len: u64) {
    assert!(len > 0, "the parser took nothing");
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    bytes.drain(..len);
}

/// The stage, with cuts, gaps, overlaps and time, over up to eight connections.
fn stage(table: &'static [Protocol], data: &[u8]) {
    let mut stage = Protocols::with_table(Options { connections: 4, ..Options::default() }, table);
    let mut out = Output::default();
    let mut at = [0u64; 2];
    for (id, (flags, bytes)) in (1u64..).zip(calls::read(data)) {
        let time = BootTime(id * 10_000_000);
        let feed = |stage: &mut Protocols, out: &mut Output, body| {
            stage.feed(&Event { id: EventId(id), time, body }, out);
        };
        let direction = if flags & SERVER == 0 { Direction::Received } else { Direction::Sent };
        let place = &mut at[direction as usize];
        if flags & MOVED != 0 {
            *place = place.wrapping_add(u64::from(flags)).wrapping_sub(100) & 0xffff_ffff;
        }
        let connection = ConnectionId(u64::from(flags >> 5));
        let unseen = if flags & CUT == 0 { 0 } else { 300 };
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
        feed(&mut stage, &mut out, EventBody::Call(call));
        if flags & TICK != 0 {
            stage.tick(time, &mut out);
        }
        if flags & (TICK | END) == TICK | END {
            let close = Close { connection, errno: u16::from(flags) };
            feed(&mut stage, &mut out, EventBody::Close(close));
        }
        for message in out.messages.drain(..) {
            assert!(message.payload.len() <= 512, "a payload of {} bytes", message.payload.len());
        }
        out.demands.clear();
    }
    stage.counters(&mut |name, value| {
        let bound = match name {
            "protocol_connections" => 4,
            "protocol_reorder_bytes" => 16 << 20,
            _ => u64::MAX,
        };
        assert!(value <= bound, "{name} is {value}");
    });
}
