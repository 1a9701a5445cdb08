//! Redis: RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! Each command is a request of its own, also in a pipeline. What a server sends without being
//! asked (RESP3 pushes, published items, what `MONITOR` shows) is one-way. A command that is
//! answered several times (`SUBSCRIBE a b`) has its last answer as its response, those before are
//! interim. Arrays are walked, not kept; bulk strings are passed over by their length.

mod command;
mod element;
mod reply;

use deeptrace_model::{MessageRole, Transport};

use self::command::{Command, Silence};
use self::element::{Step, Walk};
use self::reply::Reply;
use crate::due::{Answers, Due};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol {
    name: "redis",
    title: "Redis and Valkey (RESP2, RESP3)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[6379, 6380, 26379],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "an error reply",
        context: "",
        tls: "",
        limits: &["RESP has no place for trace context"],
    },
    recognise,
    parser: || Box::new(Redis::default()),
};

/// Bytes of an inline command (`PROTO_INLINE_MAX_SIZE` of the server).
const INLINE_MAX: usize = 64 * 1024;

fn recognise(head: &Head<'_>) -> Recognition {
    if head.from != Some(Side::Server) && command::is_known(head.bytes) {
        Recognition::Yes(Side::Client)
    } else if head.from != Some(Side::Server) && command::is_start(head.bytes) {
        Recognition::Maybe(Side::Client)
    } else if !matches!(head.bytes, [b'+' | b'-', ..]) && reply::is_start(head.bytes) {
        // Servers of mail say `+OK` and `-ERR` as well; a command will tell.
        Recognition::Maybe(Side::Server)
    } else {
        Recognition::No
    }
}

/// What is kept of a command until it is answered.
struct Awaited {
    /// How many answers it gets.
    answers: u32,
    /// Whether it chooses a database, unless it fails.
    selects: bool,
}

/// The database that commands are for.
#[derive(Clone, Copy, Default)]
enum Database {
    /// The one with which connections begin; it is not told.
    #[default]
    First,
    /// What `SELECT` or `RESET` chose.
    Chosen(u32),
    /// Another may have been chosen in what was not seen.
    Unknown,
}

#[derive(Default)]
struct Redis {
    request: Command,
    reply: Reply,
    walks: [Walk; 2],
    due: Due<Awaited>,
    database: Database,
    /// The reply that is being read answers something that is not known.
    is_stray: bool,
    /// Which commands are not answered.
    silence: Silence,
    /// The server sends items without being asked.
    listening: bool,
    /// Commands were seen that wait for something to happen.
    blocks: bool,
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
            Side::Server => reply::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let begun = self.walks[from as usize].is_begun();
        self.walks[from as usize] = Walk::default();
        let draft = match from {
            Side::Client => {
                let command = std::mem::take(&mut self.request);
                let known = begun && !command.name.is_empty();
                let mut draft = known.then(|| self.finish(command));
                if let Some(draft) = &mut draft {
                    // What was still to come might have said that these are secrets.
                    draft.redact.push(0..usize::MAX);
                }
                self.database = Database::Unknown;
                draft
            }
            Side::Server => {
                let reply = std::mem::take(&mut self.reply);
                (begun && !self.is_stray).then(|| self.conclude(reply))
            }
        };
        self.due.lost(from);
        draft
    }

    fn quiet(&mut self) {
        if !self.blocks {
            self.due.quiet();
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
        let is_answered = command.is_answered(&mut self.silence);
        let selects = command.name == "SELECT";
        if is_answered {
            self.due.ask(Awaited { answers: command.answers(), selects });
        }
        self.listening |= command.starts_listening();
        self.listening &= command.name != "RESET";
        self.blocks |= command.blocks();
        if selects {
            self.database = command.selects().map_or(Database::Unknown, Database::Chosen);
        } else if command.name == "RESET" {
            self.database = Database::Chosen(0);
        }
        let chosen = match self.database {
            Database::Chosen(number) => Some(number),
            Database::First | Database::Unknown => None,
        };
        let mut draft = command.draft(chosen);
        if matches!(self.database, Database::Unknown) {
            draft.unknown.push("db.namespace");
        }
        if !is_answered {
            draft.role = MessageRole::OneWay;
        }
        draft
    }

    fn answer(&mut self, bytes: &[u8]) -> Verdict {
        let walk = &mut self.walks[Side::Server as usize];
        if !walk.is_begun() {
            // Items and pushes are nobody's answers.
            let is_push = self.listening || bytes.first() == Some(&b'>');
            self.is_stray = self.due.is_stray() && !is_push;
        }
        let reply = &mut self.reply;
        match walk.advance(bytes, &mut |element, depth, _| reply.element(element, depth)) {
            Step::More => Verdict::More,
            Step::Broken => Verdict::NotMine,
            Step::Part(len) if self.is_stray => Verdict::Skip(len),
            Step::Part(len) => Verdict::Part { len, stream: 0 },
            Step::Done(len) => {
                let reply = std::mem::take(&mut self.reply);
                if self.is_stray {
                    self.due.heard();
                    return Verdict::Stray(len);
                }
                Verdict::Done { len, draft: Box::new(self.conclude(reply)) }
            }
        }
    }

    /// An answer is whole: to what?
    fn conclude(&mut self, reply: Reply) -> Draft {
        let asked = !self.due.is_empty();
        let is_item = reply.is_push() && !reply.is_confirmation()
            || self.listening && reply.is_item()
            || self.listening && !asked;
        self.listening &= !reply.stops_listening();
        if is_item {
            return reply.one_way();
        }
        if let Answers::To(awaited) = self.due.next() {
            awaited.answers = awaited.answers.saturating_sub(1);
            if awaited.answers > 0 && reply.is_confirmation() {
                return Draft { interim: true, ..reply.response() };
            }
        }
        match self.due.answer() {
            Answers::To(awaited) => {
                if awaited.selects && reply.is_error() {
                    self.database = Database::Unknown;
                }
            }
            // Commands are answered after all: the one that asked for it was not seen.
            Answers::Unseen => self.silence = Silence::None,
            // A subscription is confirmed that was not seen.
            Answers::Stray => return reply.one_way(),
        }
        Draft { skips: self.due.skips(), ..reply.response() }
    }
}

#[cfg(test)]
mod tests;
