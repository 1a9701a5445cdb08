//! Asked: the requests that wait for an answer which names them by a number.
//!
//! Numbers are used again, so after a loss a request may still wait for an answer that is lost when
//! another one asks under its number. Answers that were lost therefore make all who waited forgotten;
//! later answers to them are *stray*. Requests that were lost harm nobody: a number is used again only
//! after its answer came.

use std::collections::{BTreeMap, BTreeSet};

/// Requests of one direction that are remembered (and twice as many forgotten numbers); with more,
/// all are forgotten.
const ASKED_MAX: usize = 64 * 1024;

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named<T> {
    /// This request; `skips` as in [`Draft::skips`](crate::Draft::skips): others before it used
    /// its number and stay without an answer.
    To {
        /// What is kept of the request.
        request: T,
        /// Whether others stay without an answer.
        skips: bool,
    },
    /// One that is on its way yet: nothing was lost so far.
    Early,
    /// Nobody knows: requests or answers are lost.
    Stray,
}

/// Requests of one direction that wait for their answers, with what the parser keeps of each.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    open: BTreeMap<u64, (T, bool)>,
    /// Numbers of forgotten requests, which still wait in the layer above.
    forgotten: BTreeSet<u64>,
    /// Numbers whose answers came before them: calls of several threads are stamped in any order.
    early: Vec<u64>,
    /// Numbers may still be waited for that are not in `open`.
    is_astray: bool,
}

/// Answers before their requests that are remembered.
const EARLY_MAX: usize = 64;

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            early: Vec::new(),
            is_astray: false,
        }
    }
}

impl<T> Asked<T> {
    /// A request was sent that will be answered under this number.
    pub(crate) fn ask(&mut self, number: u64, request: T) {
        if let Some(at) = self.early.iter().position(|early| *early == number) {
            self.early.swap_remove(at);
            return;
        }
        if self.open.len() >= ASKED_MAX {
            self.forget();
        }
        let reuses = self.forgotten.remove(&number) | self.open.contains_key(&number);
        self.open.insert(number, (request, reuses));
    }

    /// The request that waits under this number.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.open.get(&number).map(|open| &open.0)
    }

    /// The final answer came under this number.
    pub(crate) fn answer(&mut self, number: u64) -> Named<T> {
        match self.open.remove(&number) {
            Some((request, skips)) => Named::To { request, skips },
            None if self.is_astray => Named::Stray,
            None => {
                if self.early.len() >= EARLY_MAX {
                    self.early.remove(0);
                }
                self.early.push(number);
                Named::Early
            }
        }
    }

    /// Requests are lost, or were sent before the agent came.
    pub(crate) fn lost_requests(&mut self) {
        self.is_astray = true;
        self.early.clear();
    }

    /// Answers are lost, or were sent before the agent came.
    pub(crate) fn lost_answers(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        if self.forgotten.len() >= ASKED_MAX {
            self.forgotten.clear();
        }
        self.forgotten.extend(std::mem::take(&mut self.open).into_keys());
        self.early.clear();
        self.is_astray = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_to_the_request_of_its_number() {
        let mut asked = Asked::default();
        asked.ask(1, 'a');
        asked.ask(2, 'b');
        assert_eq!(asked.answer(2), Named::To { request: 'b', skips: false });
        assert_eq!(asked.answer(1), Named::To { request: 'a', skips: false });
        assert_eq!(asked.answer(3), Named::Early);
        asked.ask(3, 'c');
        assert_eq!(asked.get(3), None);
        // Its answer is lost, and its number used again.
        asked.ask(4, 'd');
        asked.lost_answers();
        asked.ask(4, 'e');
        assert_eq!(asked.answer(4), Named::To { request: 'e', skips: true });
        assert_eq!(asked.answer(4), Named::Stray);
    }

    #[test]
    fn lost_requests_leave_the_others() {
        let mut asked = Asked::default();
        asked.ask(1, 'a');
        asked.lost_requests();
        assert_eq!(asked.answer(1), Named::To { request: 'a', skips: false });
        assert_eq!(asked.answer(1), Named::Stray);
    }
}
