//! Alignment: positions on UNIX sockets mean the same on both ends.
//!
//! Each end counts bytes since it was opened or found. Where it was found half-way, the queue may
//! have held bytes that only the reader will count. Whenever the reader has drained the queue, both
//! ends stand at the same byte: what the writer has sent less what the reader has read is the offset
//! between them. Calls are stamped at their end, so the writer may be seen late and the offset come out
//! too small, never too large: the largest one observed is right.

use std::collections::BTreeMap;

use deeptrace_model::{Call, Direction};

/// Pairs that are remembered; the one with the least name makes room.
const PAIRS_MAX: usize = 16_384;

/// One direction of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    sent: Option<u64>,
    offset: Option<u64>,
}

/// Every pair of UNIX sockets, each with two flows: from its first socket, and from its second.
#[derive(Debug, Default)]
pub(crate) struct Alignment {
    pairs: BTreeMap<u64, [Flow; 2]>,
}

impl Alignment {
    /// A call on one socket of `pair`; `first` tells which of the two.
    pub(crate) fn observe(&mut self, (pair, first): (u64, bool), call: &Call<'_>) {
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&pair) {
            self.pairs.pop_first();
        }
        let end = call.start + u64::from(call.len);
        let flows = self.pairs.entry(pair).or_default();
        let flow = &mut flows[sender(first, call.direction)];
        match call.direction {
            Direction::Sent => flow.sent = Some(end),
            Direction::Received if call.drained => {
                if let Some(sent) = flow.sent {
                    let offset = sent.saturating_sub(end);
                    flow.offset = Some(flow.offset.map_or(offset, |best| best.max(offset)));
                }
            }
            Direction::Received => {}
        }
    }

    /// A position as both ends name it, and whether the ends were ever seen aligned.
    pub(crate) fn position(
        &self,
        (pair, first): (u64, bool),
        direction: Direction,
        position: u64,
    ) -> (u64, bool) {
        let from = sender(first, direction);
        let flow = self.pairs.get(&pair).map(|flows| flows[from]).unwrap_or_default();
        let offset = match direction {
            Direction::Sent => 0,
            Direction::Received => flow.offset.unwrap_or_default(),
        };
        let name = deeptrace_model::hash64(&[pair, from as u64, position + offset]);
        (name, flow.offset.is_some())
    }

    /// The pair is gone.
    pub(crate) fn forget(&mut self, pair: u64) {
        self.pairs.remove(&pair);
    }
}

/// Which socket of the pair these bytes come from.
fn sender(first: bool, direction: Direction) -> usize {
    usize::from(first != (direction == Direction::Sent))
}

#[cfg(test)]
mod tests {
    use deeptrace_model::{ConnectionId, Pid, Tid, UnitId};

    use super::*;

    fn call(direction: Direction, start: u64, len: u32, drained: bool) -> Call<'static> {
        Call {
            connection: ConnectionId(1),
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction,
            start,
            len,
            payload: &[],
            drained,
            peer: None,
        }
    }

    #[test]
    fn an_end_found_half_way_is_aligned_when_the_queue_is_seen_empty() {
        let mut alignment = Alignment::default();
        // 100 bytes were written and seen, 40 of them had been read before the reader was found.
        alignment.observe((7, true), &call(Direction::Sent, 0, 100, false));
        let before = alignment.position((7, false), Direction::Received, 10);
        assert!(!before.1);
        alignment.observe((7, false), &call(Direction::Received, 0, 60, true));
        let sent = alignment.position((7, true), Direction::Sent, 100);
        let read = alignment.position((7, false), Direction::Received, 60);
        assert_eq!(sent, read);
        assert!(read.1);
        // The writer of the next bytes is seen after their reader: the offset must not shrink.
        alignment.observe((7, false), &call(Direction::Received, 60, 10, true));
        assert_eq!(
            alignment.position((7, true), Direction::Sent, 110),
            alignment.position((7, false), Direction::Received, 70)
        );
    }
}
