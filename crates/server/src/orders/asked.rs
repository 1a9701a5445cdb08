//! Asked: questions that are with agents, until they are answered or nobody waits any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deeptrace_wire::Found;

/// Questions that wait at once, at most.
const WAITING_MAX: usize = 4_096;
/// Bytes of one answer as it is sent, at most.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Questions that are with agents.
#[derive(Default)]
pub struct Asked {
    waiting: Mutex<Waiting>,
    answered: Condvar,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    questions: BTreeMap<u64, Question>,
}

struct Question {
    agent: Arc<str>,
    parts: BTreeMap<u32, Found>,
    bytes: usize,
    /// How many parts there are, once that is known.
    count: Option<usize>,
}

/// An answer, as it came.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// In order.
    Parts(Vec<Found>),
    /// There was none in time.
    Late,
    /// More is asked than can be.
    Busy,
}

impl Asked {
    /// A number for a question to `agent`; `None` where too many wait.
    pub fn begin(&self, agent: &str) -> Option<u64> {
        let mut waiting = self.lock();
        if waiting.questions.len() >= WAITING_MAX {
            return None;
        }
        waiting.last += 1;
        let (number, agent) = (waiting.last, agent.into());
        let question = Question { agent, parts: BTreeMap::new(), bytes: 0, count: None };
        waiting.questions.insert(number, question);
        Some(number)
    }

    /// A part of an answer came; whether somebody waits for it.
    pub fn hear(&self, agent: &str, found: Found) -> bool {
        let mut waiting = self.lock();
        let Some(question) = waiting.questions.get_mut(&found.id) else { return false };
        if question.parts.contains_key(&found.part) {
            return true;
        }
        question.bytes += found.batch.len();
        if *question.agent != *agent || question.bytes > ANSWER_BYTES_MAX {
            return false;
        }
        if found.is_last {
            question.count = Some(found.part as usize + 1);
        }
        question.parts.insert(found.part, found);
        let is_whole = question.is_whole();
        drop(waiting);
        if is_whole {
            self.answered.notify_all();
        }
        true
    }

    /// Whether somebody waits for the answer to a question.
    pub fn is_waiting(&self, number: u64) -> bool {
        self.lock().is_open(number)
    }

    /// The oldest question for which somebody waits.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.lock();
        let mut open = waiting.questions.iter().filter(|(_, question)| !question.is_whole());
        open.next().map(|(number, _)| *number)
    }

    /// Waits for the answers to these questions, for all of them no longer than `time`.
    pub fn end(&self, numbers: &[Option<u64>], time: Duration) -> Vec<Reply> {
        let end = Instant::now() + time;
        let mut waiting = self.lock();
        while numbers.iter().flatten().any(|number| waiting.is_open(*number)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.answered.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut take = |number: &Option<u64>| match number {
            None => Reply::Busy,
            Some(number) => match waiting.questions.remove(number) {
                Some(question) if question.is_whole() => {
                    Reply::Parts(question.parts.into_values().collect())
                }
                _ => Reply::Late,
            },
        };
        numbers.iter().map(&mut take).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_open(&self, number: u64) -> bool {
        self.questions.get(&number).is_some_and(|question| !question.is_whole())
    }
}

impl Question {
    fn is_whole(&self) -> bool {
        self.count.is_some_and(|count| self.parts.len() == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: u64, part: u32, is_last: bool) -> Found {
        Found { id, part, is_last, ..Found::default() }
    }

    #[test]
    fn an_answer_is_whole_with_all_its_parts_from_who_was_asked() {
        let asked = Asked::default();
        let numbers = [asked.begin("a"), asked.begin("b"), None];
        let [one, other] = [numbers[0].unwrap(), numbers[1].unwrap()];
        assert!(asked.hear("a", part(one, 1, true)));
        assert!(!asked.hear("a", part(other, 0, true)), "another was asked");
        assert!(!asked.hear("a", part(99, 0, true)), "nobody asked");
        assert!(asked.hear("a", part(one, 0, false)));
        let replies = asked.end(&numbers, Duration::from_millis(1));
        let parts = vec![part(one, 0, false), part(one, 1, true)];
        assert_eq!(replies, [Reply::Parts(parts), Reply::Late, Reply::Busy]);
        assert!(!asked.hear("b", part(other, 0, true)), "too late");
    }
}
