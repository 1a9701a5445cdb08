//! Headers apart: many clients read the header of a message by a call of its own, some byte by byte. A
//! direction that is out of step finds no start in any of these calls; so short ones are kept, and tried
//! together with what follows.

use super::Half;
use crate::reorder::Piece;

/// Bytes of short calls that are kept, at most.
const APART_MAX: usize = 32;

impl Half {
    /// Whether a message starts with one of the short calls that were kept and goes on in `piece`: then
    /// the direction is in step again, and what was kept from there on waits for `piece`.
    pub(crate) fn joins(&mut self, piece: &Piece<'_>, is_start: impl Fn(&[u8]) -> bool) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let joined = [&self.pending, piece.bytes].concat();
        // The oldest mark may lie before what is kept: a message ended within its call.
        let place = |start: u64| usize::try_from(start.saturating_sub(self.at)).ok();
        let starts =
            |start: u64| place(start).and_then(|at| joined.get(at..)).is_some_and(&is_start);
        let Some(mark) = self.marks.iter().position(|mark| starts(mark.0)) else { return false };
        let start = self.marks[mark].0.max(self.at);
        self.marks.drain(..mark);
        self.pending.drain(..((start - self.at) as usize).min(self.pending.len()));
        self.at = start;
        self.synced = true;
        true
    }

    /// The other side said something new: what was kept is not what answers it.
    pub(crate) fn forget_apart(&mut self) {
        if !self.synced && !self.pending.is_empty() {
            self.restart(self.next.unwrap_or(self.at), false);
        }
    }

    /// Keeps a call that starts nothing by itself, if it is short and all of it was copied.
    pub(crate) fn keep_apart(&mut self, piece: &Piece<'_>) {
        let is_whole = piece.bytes.len() as u64 == piece.len;
        if !is_whole || piece.bytes.len() > APART_MAX {
            return self.restart(piece.end(), false);
        }
        while self.pending.len() + piece.bytes.len() > APART_MAX {
            let second = self.marks.get(1).map_or(piece.start, |mark| mark.0);
            let gone = usize::try_from(second.saturating_sub(self.at)).unwrap_or(usize::MAX);
            self.pending.drain(..gone.min(self.pending.len()));
            if !self.marks.is_empty() {
                self.marks.remove(0);
            }
            self.at = second;
        }
        self.keep(piece);
    }
}
