//! Plaintext, told as if it were calls on the socket.

use deeptrace_model::{BootTime, Call, ConnectionId, Direction, Pid, Plaintext, Tid, UnitId};

use super::{Part, Sink};
use crate::live::record::Header;

/// Of what is told: the connection, and who said it when.
pub(super) struct Place {
    time: BootTime,
    connection: ConnectionId,
    pid: Pid,
    tid: Tid,
    unit: UnitId,
}

impl Place {
    pub(super) fn of(header: &Header, connection: ConnectionId, unit: Option<UnitId>) -> Self {
        let Header { time, pid, tid, .. } = *header;
        Self { time, connection, pid, tid, unit: unit.unwrap_or(UnitId::of(tid)) }
    }
}

/// Tells the parts of a write, each with what was copied of it.
pub(super) fn tell_all(place: &Place, parts: &[Part], payload: &[u8], sink: &mut Sink<'_>) {
    let mut rest = payload;
    for part in parts {
        let (bytes, others) = rest.split_at(rest.len().min(part.len as usize));
        rest = others;
        tell(place, Direction::Sent, *part, bytes, sink);
    }
}

/// Tells what was read in two pieces, as one if they are neighbours in a record.
pub(super) fn tell_both(
    place: &Place,
    first: (Part, &[u8]),
    second: (Part, &[u8]),
    sink: &mut Sink<'_>,
) {
    let (one, two) = (first.0, second.0);
    let follows = one.start + u64::from(one.len) == two.start
        && one.position.wrapping_add(one.len) == two.position;
    if follows {
        let whole = Part { len: one.len + two.len, ..one };
        let payload = [first.1, second.1].concat();
        return tell(place, Direction::Received, whole, &payload, sink);
    }
    tell(place, Direction::Received, one, first.1, sink);
    tell(place, Direction::Received, two, second.1, sink);
}

pub(super) fn tell(
    place: &Place,
    direction: Direction,
    part: Part,
    payload: &[u8],
    sink: &mut Sink<'_>,
) {
    let call = Call {
        connection: place.connection,
        pid: place.pid,
        tid: place.tid,
        unit: place.unit,
        direction,
        start: part.start,
        len: part.len,
        payload,
        drained: false,
        peer: None,
    };
    sink(place.time, Plaintext { call, position: part.position });
}
