//! Due: the requests that are not answered yet, where answers come in the order of requests; and
//! what of that order is still known after a loss.
//!
//! A lost call may have held any number of requests or answers, so afterwards nobody knows what
//! answers what: answers are then *stray* until both sides are in step again. That is when the
//! client begins a new turn, because most clients wait for all answers before they ask again.
//! Bias: a client is taken for such a one until it is seen to ask while older answers are due; then
//! only a long silence brings both sides into step.

use std::collections::VecDeque;

use crate::Side;

/// Requests of one connection that are remembered.
const DUE_MAX: usize = 64 * 1024;

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers<T> {
    /// This request.
    To(T),
    /// One that was not seen: none is due.
    Unseen,
    /// Nobody knows: requests or answers before it are lost.
    Stray,
}

/// Requests that wait for their answers, oldest first, with what the parser keeps of each.
#[derive(Debug)]
pub(crate) struct Due<T> {
    queue: VecDeque<T>,
    /// Answers that came before their requests: calls of several threads are stamped in any order.
    early: usize,
    /// What comes after the answers to `queue` answers something that is not known.
    is_astray: bool,
    /// Requests are forgotten that will not be answered any more.
    has_skipped: bool,
    /// An answer came, or was lost, since the last request.
    is_heard: bool,
    /// The client asked on when older answers were due.
    overlaps: bool,
}

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            early: 0,
            is_astray: false,
            has_skipped: false,
            is_heard: false,
            overlaps: false,
        }
    }
}

impl<T> Due<T> {
    /// A request was sent that will be answered.
    pub(crate) fn ask(&mut self, request: T) {
        self.turn();
        self.push(request);
    }

    /// A request became known that was begun before the client's last turn.
    pub(crate) fn push(&mut self, request: T) {
        if !self.is_astray && self.queue.len() >= DUE_MAX {
            self.is_astray = true;
        }
        if self.early > 0 {
            self.early -= 1;
        } else if self.is_astray {
            self.has_skipped = true;
        } else {
            self.queue.push_back(request);
        }
    }

    /// The client says something that asks, or belongs to what asks later.
    pub(crate) fn turn(&mut self) {
        if !std::mem::take(&mut self.is_heard) {
            return;
        }
        if !self.is_astray {
            self.overlaps |= !self.queue.is_empty();
        } else if !self.overlaps {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.skip();
        self.is_astray = false;
    }

    fn skip(&mut self) {
        self.has_skipped |= !self.queue.is_empty();
        self.queue.clear();
    }

    /// Whether the answer that just came is the first after such as are lost, so that older
    /// requests stay without one; see [`Draft::skips`](crate::Draft::skips).
    pub(crate) fn skips(&mut self) -> bool {
        !self.is_astray && std::mem::take(&mut self.has_skipped)
    }

    /// The request that the next answer answers.
    pub(crate) fn next(&mut self) -> Answers<&mut T> {
        match self.queue.front_mut() {
            Some(request) => Answers::To(request),
            None if self.is_astray => Answers::Stray,
            None => Answers::Unseen,
        }
    }

    /// The oldest request, where the next answer answers it.
    pub(crate) fn oldest(&self) -> Option<&T> {
        self.queue.front()
    }

    /// The newest request, where it is known to wait.
    pub(crate) fn newest(&mut self) -> Option<&mut T> {
        if self.is_astray { None } else { self.queue.back_mut() }
    }

    /// Whether the next answer is stray.
    pub(crate) fn is_stray(&self) -> bool {
        self.is_astray && self.queue.is_empty()
    }

    /// Whether nothing is known to be due.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A stray answer came.
    pub(crate) fn heard(&mut self) {
        self.is_heard = true;
    }

    /// An answer came: what was it to?
    pub(crate) fn answer(&mut self) -> Answers<T> {
        self.is_heard = true;
        match self.queue.pop_front() {
            Some(request) => Answers::To(request),
            None if self.is_astray => Answers::Stray,
            None => {
                self.early = (self.early + 1).min(DUE_MAX);
                Answers::Unseen
            }
        }
    }

    /// Bytes that `from` sent are lost, or were sent before the agent came.
    pub(crate) fn lost(&mut self, from: Side) {
        self.is_astray = true;
        self.early = 0;
        if from == Side::Server {
            // Of the answers that are due any number may be lost.
            self.skip();
            self.is_heard = true;
        }
    }

    /// Nothing moved for so long that no answer is under way.
    pub(crate) fn quiet(&mut self) {
        if self.is_astray {
            self.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `script` and returns what each answer was to: a letter asks, `.` answers, `<` and `>`
    /// are losses of the server's and the client's bytes, `_` is silence. A capital letter in what
    /// is returned: older requests stay without an answer.
    fn play(script: &str) -> String {
        let mut due = Due::<char>::default();
        let mut answers = String::new();
        for step in script.chars() {
            match step {
                '.' => answers.push(match due.answer() {
                    Answers::To(request) if due.skips() => request.to_ascii_uppercase(),
                    Answers::To(request) => request,
                    Answers::Unseen => '!',
                    Answers::Stray => '?',
                }),
                '<' => due.lost(Side::Server),
                '>' => due.lost(Side::Client),
                '_' => due.quiet(),
                request => due.ask(request),
            }
        }
        answers
    }

    #[test]
    fn answers_are_stray_until_both_sides_are_in_step() {
        let table = [
            ("a.b.", "ab"),
            ("abc...d.", "abcd"),
            // Recorded before its request; or that was lost, which shows with the next one.
            (".ab.c.", "!bc"),
            ("a..>b.", "a!b"),
            // Attached in the middle.
            ("><.a.", "?a"),
            // One at a time: the answer is lost, and that shows with the next one.
            ("a.b<c.", "aC"),
            ("a.bc<.d.", "a?D"),
            // A batch whose second answer is lost.
            ("abcd.<..ef..", "a??Ef"),
            // Requests are lost: those before them are answered in order, then nobody knows.
            ("ab>c...d.", "ab?D"),
            (">a.b.", "?B"),
            // A client that does not wait.
            ("ab.c.<.d.e.", "ab???"),
            ("ab.c.<._d.", "ab?D"),
            ("ab.c.>.d.", "abc?"),
        ];
        for (script, answers) in table {
            assert_eq!(play(script), answers, "{script}");
        }
    }

    #[test]
    fn too_many_to_remember_are_stray() {
        let mut due = Due::default();
        (0..DUE_MAX + 10).for_each(|number| due.ask(number));
        for number in 0..DUE_MAX {
            assert_eq!(due.answer(), Answers::To(number));
        }
        assert_eq!(due.answer(), Answers::Stray);
    }
}
