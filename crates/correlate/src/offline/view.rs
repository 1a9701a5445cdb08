//! What an algorithm sees of one process, and what its guesses mean for the spans.

use std::collections::BTreeMap;

use super::Held;
use super::order::Process;
use crate::algorithm::{Call, Guess, Request, Window};

/// A window of one process, with where its requests and calls are held.
pub(super) struct View<'a> {
    pub(super) window: Window,
    process: &'a Process,
}

impl<'a> View<'a> {
    pub(super) fn new(held: &[Held], process: &'a Process) -> Self {
        let meetings = meetings(held, &process.requests);
        let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
        let mut requests = Vec::with_capacity(process.requests.len());
        for (number, at) in process.requests.iter().enumerate() {
            let seen = &held[*at].seen;
            numbers.insert(seen.id, number);
            requests.push(Request {
                start: seen.start,
                end: seen.end,
                class: seen.class,
                units: seen.units,
                meeting: meetings[number],
                tokens: seen.tokens.clone(),
            });
        }
        let call = |at: &usize| {
            let it = &held[*at];
            let decided = it.parent.filter(|_| it.is_decided).map(|(parent, ..)| parent);
            let known = it.seen.known.or(decided);
            Call {
                start: it.seen.start,
                end: it.seen.end,
                class: it.seen.class,
                callee: it.seen.peer,
                units: it.seen.units,
                tokens: it.seen.tokens.clone(),
                known: known.and_then(|parent| numbers.get(&parent).copied()),
            }
        };
        let calls: Vec<Call> = process.calls.iter().map(call).collect();
        let window = Window::new(requests, calls);
        Self { window, process }
    }

    /// Gives the calls their requests.
    pub(super) fn assign(&self, guesses: &[Option<Guess>], held: &mut [Held], cut: i64) {
        for (at, guess) in self.process.calls.iter().zip(guesses) {
            if held[*at].is_decided {
                continue;
            }
            let Some(guess) = guess else {
                held[*at].root = held[*at].seen.id;
                continue;
            };
            let request = &held[self.process.requests[guess.request]];
            let (id, root) = (request.seen.id, request.root);
            held[*at].root = root;
            if held[*at].seen.start < cut {
                held[*at].parent = Some((id, guess.method, guess.confidence));
            }
        }
    }
}

/// For each request, the number of its meeting: of the requests of its trace of which each begins before
/// all earlier ones have ended.
fn meetings(held: &[Held], requests: &[usize]) -> Vec<u32> {
    let mut open: BTreeMap<u64, (i64, u32)> = BTreeMap::new();
    let number = |(number, at): (u32, &usize)| {
        let it = &held[*at];
        let (end, meeting) = open.entry(it.root).or_insert((i64::MIN, number));
        if it.seen.start > *end {
            *meeting = number;
        }
        *end = it.seen.end.max(*end);
        *meeting
    };
    (0_u32..).zip(requests).map(number).collect()
}
