//! Recognition: which protocol the first bytes of a call are of.
//!
//! Bias: a row that is sure wins, the first in the table if there are two. Rows that are not sure
//! are believed only if one is alone, or alone in cutting a whole message out of the bytes, or
//! alone on its well-known port; and then only tried. Handlers are asked between the two, and tried.

use deeptrace_model::Transport;

use crate::rows::Rows;
use crate::{Head, Input, Protocol, Recognition, Side, Verdict};

/// What is known of the call.
pub(crate) struct Question<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) call_len: usize,
    pub(crate) transport: Transport,
    pub(crate) from: Option<Side>,
    pub(crate) server_port: Option<u16>,
    /// Rows that were tried in vain.
    pub(crate) rejected: u128,
}

impl<'a> Question<'a> {
    fn head(&self) -> Head<'a> {
        Head {
            bytes: self.bytes,
            call_len: self.call_len,
            transport: self.transport,
            from: self.from,
            server_port: self.server_port,
        }
    }

    fn is_rejected(&self, row: usize) -> bool {
        row < 128 && self.rejected & (1 << row) != 0
    }
}

/// A protocol that the bytes may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    pub(crate) row: usize,
    pub(crate) from: Side,
    pub(crate) sure: bool,
}

/// Asks every row.
pub(crate) fn ask(rows: &Rows, question: &Question<'_>) -> Option<Guess> {
    let table = rows.table;
    let mut maybe: Vec<Guess> = Vec::new();
    for row in 0..table.len() {
        match ask_row(table, row, question) {
            Some(guess) if guess.sure => return Some(guess),
            Some(guess) => maybe.push(guess),
            None => {}
        }
    }
    ask_handlers(rows, question).or_else(|| choose(table, question, &maybe))
}

/// Asks one row of the table.
pub(crate) fn ask_row(table: &[Protocol], row: usize, question: &Question<'_>) -> Option<Guess> {
    let protocol = table.get(row)?;
    if question.is_rejected(row) || !protocol.transports.contains(&question.transport) {
        return None;
    }
    let (from, sure) = match (protocol.recognise)(&question.head()) {
        Recognition::No => return None,
        Recognition::Maybe(from) => (from, false),
        Recognition::Yes(from) => (from, true),
    };
    question.from.is_none_or(|known| known == from).then_some(Guess { row, from, sure })
}

/// The first handler that knows the bytes; it is tried.
fn ask_handlers(rows: &Rows, question: &Question<'_>) -> Option<Guess> {
    let mut handlers = rows.handlers().filter(|(row, _)| !question.is_rejected(*row));
    handlers.find_map(|(row, handler)| match handler.recognise(&question.head()) {
        Recognition::Yes(from) => Some(Guess { row, from, sure: false }),
        _ => None,
    })
}

fn choose(table: &[Protocol], question: &Question<'_>, maybe: &[Guess]) -> Option<Guess> {
    let only = |keep: &dyn Fn(&Guess) -> bool| {
        let mut kept = maybe.iter().filter(|guess| keep(guess));
        kept.next().filter(|_| kept.next().is_none()).copied()
    };
    if maybe.len() < 2 {
        return maybe.first().copied();
    }
    let on_port =
        |guess: &Guess| question.server_port.is_some_and(|p| table[guess.row].ports.contains(&p));
    only(&on_port).or_else(|| only(&|guess| cuts_whole_message(&table[guess.row], guess, question)))
}

/// Whether the parser, tried on these bytes, finds a message that ends within the call.
fn cuts_whole_message(protocol: &Protocol, guess: &Guess, question: &Question<'_>) -> bool {
    let mut parser = (protocol.parser)();
    let mut rest = question.bytes;
    let is_last = question.call_len > question.bytes.len();
    for _ in 0..16 {
        if rest.is_empty() {
            return false;
        }
        match parser.parse(Input { bytes: rest, from: guess.from, is_last }) {
            Verdict::Done { len, .. } => {
                let unseen = question.call_len - question.bytes.len();
                return len <= (rest.len() + unseen) as u64;
            }
            Verdict::Skip(len) | Verdict::Part { len, .. } if len <= rest.len() as u64 => {
                rest = &rest[len as usize..];
            }
            _ => return false,
        }
    }
    false
}
