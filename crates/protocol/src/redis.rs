//! Redis: RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! Each command is a request of its own, also in a pipeline. What a server sends without being
//! asked (RESP3 pushes, published items, what `MONITOR` shows) is one-way. A command that is
//! answered several times (`SUBSCRIBE a b`) has its last answer as its response, those before are
//! interim. Arrays are walked, not kept; bulk strings are passed over by their length.

mod command;
mod element;
mod reply;

use std::collections::VecDeque;

use deeptrace_model::{MessageRole, Transport};

use self::command::{Command, Silence};
use self::element::{Step, Walk};
use self::reply::Reply;
use crate::{CopyPolicy, Draft, Head, Input, Parser, Protocol, Recognition, Side, Verdict};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol {
    name: "redis",
    title: "Redis and Valkey (RESP2, RESP3)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[6379, 6380, 26379],
    copy: CopyPolicy::All,
    recognise,
    parser: || Box::new(Redis::default()),
};

/// Commands under way on one connection that are remembered.
const PIPELINE_MAX: usize = 64 * 1024;

/// Bytes of an inline command (`PROTO_INLINE_MAX_SIZE` of the server).
const INLINE_MAX: usize = 64 * 1024;

fn recognise(head: &Head<'_>) -> Recognition {
    if head.from != Some(Side::Server) && command::is_known(head.bytes) {
        Recognition::Yes(Side::Client)
    } else if head.from != Some(Side::Server) && command::is_start(head.bytes) {
        Recognition::Maybe(Side::Client)
    } else if reply::is_start(head.bytes) {
        Recognition::Maybe(Side::Server)
    } else {
        Recognition::No
    }
}

#[derive(Default)]
struct Redis {
    request: Command,
    reply: Reply,
    walks: [Walk; 2],
    /// How many answers each command under way gets.
    answers: VecDeque<u32>,
    /// What `SELECT` chose.
    database: Option<u32>,
    /// Part of an answer is lost, and no other answer is due.
    is_astray: bool,
    /// Which commands are not answered.
    silence: Silence,
    /// The server sends items without being asked.
    listening: bool,
}

impl Parser for Redis {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match input.from {
            Side::Client => self.command(input.bytes),
            Side::Server => self.answer(input.bytes),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Client => command::is_start(bytes),
            Side::Server => !self.is_astray && reply::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let begun = self.walks[from as usize].is_begun();
        self.walks[from as usize] = Walk::default();
        match from {
            Side::Client => {
                let command = std::mem::take(&mut self.request);
                if !begun || command.name.is_empty() {
                    self.answers.clear();
                    return None;
                }
                let mut draft = self.finish(command);
                // What was still to come might have said that these are secrets.
                draft.redact.push(0..usize::MAX);
                Some(draft)
            }
            Side::Server => {
                let reply = std::mem::take(&mut self.reply);
                let known = begun.then(|| self.conclude(reply));
                // The rest of an aggregate looks like answers: none is due before a command.
                self.is_astray = begun && self.answers.is_empty() && !self.listening;
                known
            }
        }
    }
}

impl Redis {
    fn command(&mut self, bytes: &[u8]) -> Verdict {
        let walk = &mut self.walks[Side::Client as usize];
        if !walk.is_begun() && bytes.first() != Some(&b'*') {
            return self.inline(bytes);
        }
        let request = &mut self.request;
        match walk.advance(bytes, &mut |element, depth, at| request.element(element, depth, at)) {
            Step::More => Verdict::More,
            Step::Broken => Verdict::NotMine,
            Step::Part(len) => {
                self.request.passed(len);
                Verdict::Part { len, stream: 0 }
            }
            Step::Done(len) => {
                self.request.passed(len);
                let command = std::mem::take(&mut self.request);
                if command.name.is_empty() {
                    // An empty array: the server ignores it.
                    return Verdict::Skip(len);
                }
                Verdict::Done { len, draft: Box::new(self.finish(command)) }
            }
        }
    }

    /// A command typed by hand: words on a line.
    fn inline(&mut self, bytes: &[u8]) -> Verdict {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            let may_become = bytes.iter().all(|byte| *byte >= b' ' || *byte == b'\r');
            return if may_become && bytes.len() < INLINE_MAX {
                Verdict::More
            } else {
                Verdict::NotMine
            };
        };
        let len = end as u64 + 1;
        let line = &bytes[..end];
        if line.trim_ascii().is_empty() {
            return Verdict::Skip(len);
        }
        match Command::inline(line) {
            Some(command) => Verdict::Done { len, draft: Box::new(self.finish(command)) },
            None => Verdict::NotMine,
        }
    }

    /// A command is whole.
    fn finish(&mut self, command: Command) -> Draft {
        if self.answers.len() >= PIPELINE_MAX {
            self.answers.clear();
        }
        self.is_astray = false;
        let is_answered = command.is_answered(&mut self.silence);
        if is_answered {
            self.answers.push_back(command.answers());
        }
        self.listening |= command.starts_listening();
        self.listening &= command.name != "RESET";
        self.database = command.selects().or(self.database);
        let mut draft = command.draft(self.database);
        if !is_answered {
            draft.role = MessageRole::OneWay;
        }
        draft
    }

    fn answer(&mut self, bytes: &[u8]) -> Verdict {
        let walk = &mut self.walks[Side::Server as usize];
        let reply = &mut self.reply;
        match walk.advance(bytes, &mut |element, depth, _| reply.element(element, depth)) {
            Step::More => Verdict::More,
            Step::Broken => Verdict::NotMine,
            Step::Part(len) => Verdict::Part { len, stream: 0 },
            Step::Done(len) => {
                let reply = std::mem::take(&mut self.reply);
                Verdict::Done { len, draft: Box::new(self.conclude(reply)) }
            }
        }
    }

    /// An answer is whole: to what?
    fn conclude(&mut self, reply: Reply) -> Draft {
        let asked = !self.answers.is_empty();
        let is_item = reply.is_push() && !reply.is_confirmation()
            || self.listening && reply.is_item()
            || self.listening && !asked;
        self.listening &= !reply.stops_listening();
        if is_item {
            return reply.one_way();
        }
        if !asked {
            // Commands are answered after all: the one that asked for it was not seen.
            self.silence = Silence::None;
        }
        let mut draft = reply.response();
        if let Some(left) = self.answers.front_mut() {
            *left = left.saturating_sub(1);
            draft.interim = *left > 0 && reply.is_confirmation();
            if !draft.interim {
                self.answers.pop_front();
            }
        }
        draft
    }
}
