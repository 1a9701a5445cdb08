//! Pairing: a response answers the oldest open request of its stream.
//!
//! Calls are stamped at their end, so the response of a fast peer may be seen before the request: it is
//! held for a moment, but only where both sides are in step. Before the first pair of a connection that
//! we found half-way, and after a loss, a lone response answers a request that was not seen: held, it would
//! meet the next request and shift all that follow. It is counted, not guessed.
//!
//! After a loss, requests whose response may have been lost are given up rather than paired with a
//! later one. Bias: of a pipeline with a loss in it, requests are given up that were answered.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, Duration, Message};

/// How long a response waits for its request to be seen.
pub(crate) const RESPONSE_WAIT: Duration = Duration::from_millis(50);
/// Requests that wait on one stream: more than any pipeline is deep.
pub(crate) const REQUESTS_MAX: usize = 4096;
/// Responses that wait on one stream.
const RESPONSES_MAX: usize = 64;

/// What waits on one stream in one direction.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) requests: VecDeque<Message>,
    responses: VecDeque<Message>,
    in_step: bool,
}

/// What became of a response.
#[derive(Debug, PartialEq)]
pub(crate) enum Met {
    /// It answers this request; before it stand those that are given up.
    Request { request: Box<Message>, response: Box<Message>, given_up: Vec<Message> },
    /// It waits for its request.
    Waits,
    /// Its request was not seen.
    Orphan,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.responses.is_empty()
    }

    /// A request: its response, where that was seen first. `Err`: it waits.
    pub(crate) fn request(&mut self, request: Message) -> Option<(Message, Message)> {
        if request.lost_events > 0 {
            self.in_step = false;
            self.responses.clear();
        }
        let early = self.requests.is_empty().then(|| self.early(&request)).flatten();
        match early {
            Some(response) => Some((request, response)),
            None => {
                self.requests.push_back(request);
                None
            }
        }
    }

    /// A response that was seen before `request` was, although it answers it: it came a moment ago.
    fn early(&mut self, request: &Message) -> Option<Message> {
        let held = self.responses.front()?;
        let gap = request
            .last
            .time
            .since(held.first.time)
            .0
            .max(held.first.time.since(request.last.time).0);
        (gap <= RESPONSE_WAIT.0).then(|| self.responses.pop_front()).flatten()
    }

    /// A response. `is_new`: the connection was followed from its start.
    pub(crate) fn response(&mut self, response: Message, is_new: bool) -> Met {
        let lossy = response.lost_events > 0;
        let mut given_up = Vec::new();
        if lossy {
            self.in_step = false;
            self.responses.clear();
            let later = |next: &Message| next.first.time <= response.first.time;
            while self.requests.get(1).is_some_and(later) {
                given_up.extend(self.requests.pop_front());
            }
        }
        if let Some(request) = self.requests.pop_front() {
            self.in_step = true;
            let (request, response) = (Box::new(request), Box::new(response));
            return Met::Request { request, response, given_up };
        }
        if lossy || !(self.in_step || is_new) {
            return Met::Orphan;
        }
        if self.responses.len() >= RESPONSES_MAX {
            self.responses.pop_front();
        }
        self.responses.push_back(response);
        Met::Waits
    }

    /// Gives up on responses that nobody asked for; returns how many.
    pub(crate) fn drop_orphans(&mut self, now: BootTime) -> u64 {
        let before = self.responses.len();
        self.responses.retain(|response| now.since(response.last.time) <= RESPONSE_WAIT);
        (before - self.responses.len()) as u64
    }

    /// Responses that wait.
    pub(crate) fn orphans(&self) -> u64 {
        self.responses.len() as u64
    }
}
