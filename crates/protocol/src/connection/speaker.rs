//! Speaker: what a connection speaks. It is asked for, tried, believed, and given up when wrong.
//!
//! A row that says it is sure is believed at once, another one after its parser cut a whole
//! message. Either is given up when it does not know too many of the bytes, or after long finding no
//! start; one that was not sure is then not believed again.

use deeptrace_model::Direction;

use super::{Connection, Stage, client_direction, side, work};
use crate::half::{Half, Stop};
use crate::recognition::{Guess, Question, ask};
use crate::reorder::Piece;
use crate::{CopyPolicy, Parser, Side};

/// Doubt at which the protocol is given up.
const DOUBT_MAX: u32 = 12;

/// Doubt that bytes bring which the protocol does not know. A message takes one away: so neither
/// some of the words of another protocol keep it in place, nor does a loss drive it out.
const FAILURE: u32 = 4;

/// Calls in which no start was found, after which the protocol is in doubt.
const MISSES_MAX: u32 = 256;

/// Calls of an unknown connection that are all looked at; later ones now and then.
const ASKED_MAX: u32 = 32;

/// Bytes kept of an unknown connection, in case that a head came in pieces.
const KEPT_MAX: usize = 256;

/// The protocol of a connection.
pub(crate) struct Speaker {
    pub(super) row: usize,
    pub(super) parser: Box<dyn Parser>,
    /// Whether it is sure: a parser that was only tried has cut a whole message.
    pub(super) confirmed: bool,
    /// Whether its row was sure.
    is_sure: bool,
    /// For each direction.
    doubt: [u32; 2],
    misses: u32,
}

impl Speaker {
    /// The protocol in `row`, beyond doubt.
    pub(super) fn sure(row: usize, parser: Box<dyn Parser>) -> Self {
        Self::new(row, parser, true)
    }

    fn new(row: usize, parser: Box<dyn Parser>, is_sure: bool) -> Self {
        Self { row, parser, confirmed: is_sure, is_sure, doubt: [0; 2], misses: 0 }
    }
}

impl Connection {
    /// Looks for the protocol of a call of an unknown connection, and parses it when found.
    pub(super) fn recognise(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) -> Option<Stop> {
        self.asked = self.asked.saturating_add(1);
        let late = self.asked > ASKED_MAX;
        if late {
            self.halves[piece.direction as usize].forget();
            if self.asked == ASKED_MAX + 1 {
                self.demand(stage.options.unknown_bytes, stage);
            }
            if !self.asked.is_multiple_of(ASKED_MAX) {
                return None;
            }
            self.rejected = self.doubted;
        }
        if piece.bytes.is_empty() {
            self.halves[piece.direction as usize].forget();
            return None;
        }
        let half = &mut self.halves[piece.direction as usize];
        if !half.kept().is_empty() {
            half.keep(piece);
            let call_len = half.kept().len() + piece.len as usize - piece.bytes.len();
            if let Some(guess) = self.guess(piece.direction, call_len, None, stage) {
                return Some(self.begin(guess, piece, true, stage));
            }
        }
        if let Some(guess) =
            self.guess(piece.direction, piece.len as usize, Some(piece.bytes), stage)
        {
            let half = &mut self.halves[piece.direction as usize];
            if !half.kept().is_empty() {
                half.forget();
            }
            return Some(self.begin(guess, piece, false, stage));
        }
        let half = &mut self.halves[piece.direction as usize];
        if half.kept().is_empty() && !late {
            half.keep(piece);
        }
        if half.kept().len() > KEPT_MAX || (piece.bytes.len() as u64) < piece.len {
            half.forget();
        }
        None
    }

    fn guess(
        &self,
        direction: Direction,
        call_len: usize,
        bytes: Option<&[u8]>,
        stage: &Stage<'_>,
    ) -> Option<Guess> {
        let from = self.client.map(|client| side(client, direction));
        ask(
            stage.rows,
            &Question {
                bytes: bytes.unwrap_or_else(|| self.halves[direction as usize].kept()),
                call_len,
                transport: self.transport,
                from,
                server_port: self.server_port,
                rejected: self.rejected,
            },
        )
    }

    /// A protocol is believed, or tried: parses what came of the other direction and this call.
    fn begin(
        &mut self,
        guess: Guess,
        piece: &Piece<'_>,
        kept: bool,
        stage: &mut Stage<'_>,
    ) -> Stop {
        let Some(mut parser) = stage.rows.parser(guess.row) else { return Stop::Drained };
        let direction = piece.direction;
        self.client = Some(match guess.from {
            Side::Client => direction,
            Side::Server => direction.opposite(),
        });
        for half in [direction, direction.opposite()] {
            if !self.halves[half as usize].fresh {
                let is_asker = self.client == Some(half);
                let _ = parser.lost(if is_asker { Side::Client } else { Side::Server });
            }
        }
        self.speaker = Some(Speaker::new(guess.row, parser, guess.sure));
        if guess.sure {
            self.know(stage);
        }
        self.begin_other(direction.opposite(), stage);
        let half = &mut self.halves[direction as usize];
        half.finished = 0;
        half.synced = true;
        if kept {
            self.replay(direction, stage)
        } else {
            half.restart(piece.start, true);
            self.parse(piece, stage)
        }
    }

    /// The direction in which the protocol was not recognised: from its start, if that is known.
    fn begin_other(&mut self, direction: Direction, stage: &mut Stage<'_>) {
        let Some(speaker) = &mut self.speaker else { return };
        let half = &mut self.halves[direction as usize];
        let from = work(self.id, speaker.row, self.client, direction, stage).from;
        half.finished = 0;
        let kept = !half.kept().is_empty();
        half.synced = half.fresh || (kept && speaker.parser.is_start(from, half.kept()));
        if !kept || !half.synced {
            half.restart(half.next.unwrap_or(0), half.synced && half.next.is_some());
        } else if self.replay(direction, stage) != Stop::Drained {
            let half = &mut self.halves[direction as usize];
            half.restart(half.next.unwrap_or(0), false);
        }
    }

    /// Parses what was kept while the protocol was unknown.
    fn replay(&mut self, direction: Direction, stage: &mut Stage<'_>) -> Stop {
        let Some(speaker) = &mut self.speaker else { return Stop::Drained };
        let half = &mut self.halves[direction as usize];
        let mut work = work(self.id, speaker.row, self.client, direction, stage);
        let stop = half.replay(speaker.parser.as_mut(), &mut work);
        if half.finished > 0 && !speaker.confirmed {
            speaker.confirmed = true;
            self.know(stage);
        }
        stop
    }

    /// Gives a call to the parser, if the direction is in step or the call starts a message.
    pub(super) fn parse(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) -> Stop {
        let Some(speaker) = &mut self.speaker else { return Stop::Drained };
        let half = &mut self.halves[piece.direction as usize];
        let mut work = work(self.id, speaker.row, self.client, piece.direction, stage);
        if !half.synced {
            let is_start =
                |bytes: &[u8]| !bytes.is_empty() && speaker.parser.is_start(work.from, bytes);
            // Some read a header by itself, and byte by byte: it goes with the calls that follow.
            if half.joins(piece, is_start) {
                let counted = &mut work.counters.unsynchronised_bytes;
                *counted = counted.saturating_sub(half.kept().len() as u64);
            } else if is_start(piece.bytes) {
                half.restart(piece.start, true);
            } else {
                half.keep_apart(piece);
                work.counters.unsynchronised_bytes += piece.len;
                speaker.misses += 1;
                return if speaker.misses > MISSES_MAX { Stop::NotMine } else { Stop::Drained };
            }
            work.counters.resynchronised += 1;
            // Answers to what was asked before may be lost.
            self.unanswered = 0;
        }
        let finished = half.finished;
        let stop = half.feed(speaker.parser.as_mut(), &mut work, piece);
        let (finished, from) = (half.finished > finished, work.from);
        if finished {
            self.halves[piece.direction.opposite() as usize].forget_apart();
            let doubt = &mut speaker.doubt[piece.direction as usize];
            *doubt = doubt.saturating_sub(1);
            speaker.misses = 0;
            if !speaker.confirmed {
                speaker.confirmed = true;
                self.know(stage);
            }
        }
        self.overtake(piece.direction.opposite(), from.opposite(), stage);
        stop
    }

    /// Gives out the message that is open in `direction`, if what the other side said ends it.
    fn overtake(&mut self, direction: Direction, from: Side, stage: &mut Stage<'_>) {
        let Some(speaker) = &mut self.speaker else { return };
        if speaker.parser.is_overtaken(from) {
            let mut work = work(self.id, speaker.row, self.client, direction, stage);
            self.halves[direction as usize].overtake(speaker.parser.as_mut(), &mut work);
        }
    }

    /// The protocol is sure.
    pub(super) fn know(&mut self, stage: &mut Stage<'_>) {
        stage.counters.recognised += 1;
        let Some(row) = self.row() else { return };
        let bytes = match stage.rows.copy(row) {
            CopyPolicy::Head => stage.options.head_bytes,
            CopyPolicy::All => 16384,
        };
        self.demand(bytes, stage);
    }

    /// Bytes that the parser does not know: it looks for the next start, or is in doubt.
    pub(super) fn failed(&mut self, direction: Direction, stage: &mut Stage<'_>) {
        stage.counters.not_mine += 1;
        let Some(speaker) = &mut self.speaker else { return };
        let half = &mut self.halves[direction as usize];
        let mut from = work(self.id, speaker.row, self.client, direction, stage).from;
        if self.client.is_none() {
            from = Side::Client;
        }
        let _ = speaker.parser.lost(from);
        half.restart(half.next.unwrap_or(0), false);
        half.forget();
        let doubt = &mut speaker.doubt[direction as usize];
        *doubt += FAILURE;
        if speaker.confirmed && *doubt < DOUBT_MAX && speaker.misses <= MISSES_MAX {
            return;
        }
        stage.counters.misrecognised += 1;
        if !speaker.is_sure {
            let row = 1u128.checked_shl(speaker.row as u32).unwrap_or(0);
            self.rejected |= row;
            if speaker.confirmed {
                self.doubted |= row;
            }
        }
        self.asked = 0;
        self.forget_speaker(stage);
        self.halves.iter_mut().for_each(Half::forget);
    }

    pub(super) fn forget_speaker(&mut self, stage: &mut Stage<'_>) {
        self.speaker = None;
        self.unanswered = 0;
        self.client = self.origin_side.map(client_direction);
        if self.demanded != 0 {
            self.demand(stage.options.head_bytes, stage);
        }
    }

    /// Whether a datagram is to be looked at: of unknown sockets only the first, then now and then.
    pub(super) fn worth_asking(&mut self) -> bool {
        if self.speaker.is_some() {
            return true;
        }
        self.asked = self.asked.saturating_add(1);
        self.asked <= ASKED_MAX || self.asked.is_multiple_of(ASKED_MAX)
    }
}
