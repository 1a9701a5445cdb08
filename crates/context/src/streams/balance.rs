//! Balance: where as many things went out of a process as came in, time is cut. What is alone on both sides
//! of a piece is a pair: what came in led to what went out.
//!
//! Assumes that each request and each response leads to one call or answer. Handlers that make several
//! calls at once make few such pieces, and wrong ones: chains of pairs from a request to its answer close, or
//! come to another one's, and nothing is said unless nearly all close. It begins when nothing is open.

use std::collections::VecDeque;

use deeptrace_model::SpanId;
use rustc_hash::FxHashMap;

/// Things on a side of a piece; a longer one says nothing.
const SIDE_MAX: usize = 96;
/// Pieces in which more than a pair is left, that wait for more to be known.
const PIECES_MAX: usize = 64;
/// Chains that must have come to an answer, and the share of them that must close.
const CHAINS_MIN: f32 = 4.0;
const CLOSED_MIN: f32 = 0.97;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 400.0;

#[derive(Debug, Default)]
pub(super) struct Balance {
    is_synced: bool,
    now: Piece,
    pieces: VecDeque<Piece>,
    /// Towards the request: of calls that are known to be of the same one, the next of them.
    same: FxHashMap<SpanId, SpanId>,
    /// Chains that closed, and that came to an answer.
    closed: f32,
    chains: f32,
}

/// What came in and went out: a request and its answer, a call and its response are named by their span.
#[derive(Debug, Default)]
struct Piece {
    ins: Vec<SpanId>,
    outs: Vec<SpanId>,
}

impl Balance {
    /// Nothing is open: what is counted begins anew.
    pub(super) fn idle(&mut self) {
        let now = std::mem::take(&mut self.now);
        if self.is_synced && now.ins.len() == now.outs.len() {
            self.cut(now);
        }
        self.is_synced = true;
    }

    /// Something was missed: nothing is said until nothing is open.
    pub(super) fn lost(&mut self) {
        self.now = Piece::default();
        self.is_synced = false;
    }

    pub(super) fn came(&mut self, span: SpanId) {
        if !self.is_synced {
            return;
        }
        if !self.now.ins.is_empty() && self.now.ins.len() == self.now.outs.len() {
            let now = std::mem::take(&mut self.now);
            self.cut(now);
        }
        self.now.ins.push(span);
        if self.now.ins.len() > SIDE_MAX {
            self.lost();
        }
    }

    pub(super) fn went(&mut self, span: SpanId) {
        if self.is_synced {
            self.now.outs.push(span);
            if self.now.outs.len() > SIDE_MAX {
                self.lost();
            }
        }
    }

    fn cut(&mut self, piece: Piece) {
        if self.pieces.len() >= PIECES_MAX {
            self.pieces.pop_front();
        }
        self.pieces.push_back(piece);
    }

    /// Looks at the pieces until nothing more is learned; `is_request` says what a span is.
    pub(super) fn settle(&mut self, is_request: &dyn Fn(SpanId) -> bool) {
        let mut pieces = std::mem::take(&mut self.pieces);
        loop {
            let before = pieces.len();
            pieces.retain_mut(|piece| !self.solve(piece, is_request));
            if pieces.len() == before {
                break;
            }
        }
        self.pieces = pieces;
    }

    /// True: nothing is left in the piece.
    fn solve(&mut self, piece: &mut Piece, is_request: &dyn Fn(SpanId) -> bool) -> bool {
        let Piece { ins, outs } = piece;
        let mut closed = 0;
        outs.retain(|out| {
            let root = self.root(*out);
            let pair = ins.iter().position(|it| self.root(*it) == root);
            let pair = pair.map(|at| ins.remove(at));
            closed += usize::from(is_request(*out) && pair.is_some_and(|came| came != *out));
            pair.is_none()
        });
        (0..closed).for_each(|_| self.count(true));
        match (ins[..].first(), outs[..].first()) {
            (Some(came), Some(went)) if ins.len() == 1 && outs.len() == 1 => {
                let (came, went) = (self.root(*came), self.root(*went));
                match (is_request(came), is_request(went)) {
                    // Both are known, and differ: not so simple here.
                    (true, true) => self.count(false),
                    (true, false) => drop(self.same.insert(went, came)),
                    _ => drop(self.same.insert(came, went)),
                }
                true
            }
            (None, None) => true,
            _ => false,
        }
    }

    fn root(&self, mut span: SpanId) -> SpanId {
        while let Some(next) = self.same.get(&span) {
            span = *next;
        }
        span
    }

    fn count(&mut self, closed: bool) {
        self.closed += f32::from(u8::from(closed));
        self.chains += 1.0;
        if self.chains > COUNT_MAX {
            (self.closed, self.chains) = (self.closed / 2.0, self.chains / 2.0);
        }
    }

    /// The request or call that is known to be of the same request, last in the chain, as far as it is
    /// believed.
    pub(super) fn of(&self, call: SpanId) -> Option<SpanId> {
        let is_believed = self.chains >= CHAINS_MIN && self.closed >= CLOSED_MIN * self.chains;
        is_believed.then(|| self.root(call))
    }

    /// Forgets spans that are over.
    pub(super) fn forget(&mut self, is_kept: impl Fn(SpanId) -> bool) {
        self.same.retain(|span, _| is_kept(*span));
    }
}
