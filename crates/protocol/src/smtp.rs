//! SMTP: RFC 5321, with pipelining (RFC 2920), `AUTH` (RFC 4954), `STARTTLS` (RFC 3207) and `BDAT`
//! (RFC 3030).
//!
//! Each command is a request, answered in order. `DATA` is answered when the mail was taken or
//! refused: the `354` between is passed over, as is the mail, up to the line with a dot alone. What
//! a client says in a dialogue of `AUTH` is never looked at. Addresses and mails are personal: they
//! are in no name and no attribute, and are not kept. After `STARTTLS` another protocol follows.
//!
//! Bias: LMTP (RFC 2033) answers `DATA` once for each recipient, and is not followed. When replies
//! are lost, what follows `DATA` is taken for the mail until the server speaks again.

mod command;
mod reply;

use deeptrace_model::Transport;

use self::command::{Command, Verb};
use self::reply::Reply;
use crate::due::{Answers, Due};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "smtp",
    title: "SMTP (RFC 5321)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[25, 587, 2525, 1025],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "replies 4xx and 5xx",
        context: "",
        tls: "STARTTLS",
        limits: &["LMTP is not followed", "mails and addresses are never kept"],
    },
    recognise,
    parser: || Box::<Smtp>::default(),
};

/// The longest line or reply that is waited for; RFC 4954 §4 allows lines of 12288 bytes.
const LINE_MAX: usize = 16 * 1024;

/// What the client's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Commands,
    /// A mail; so many bytes of [`END`] were seen.
    Mail(usize),
    /// A line with credentials.
    Secret,
}

/// What ends a mail (RFC 5321 §4.1.1.4); its first line end may be that of `DATA`.
const END: &[u8] = b"\r\n.\r\n";

#[derive(Default)]
struct Smtp {
    due: Due<Verb>,
    mode: Mode,
    /// Bytes are lost since the mail began: its end may be, too.
    is_mail_lost: bool,
    /// `DATA` was sent, and what the server says to it was not seen.
    is_data_due: bool,
    /// The command that follows was sent with what is before it.
    is_batch: bool,
    /// The server has greeted, or that was not seen.
    is_greeted: bool,
    /// The bytes that follow are of another protocol.
    is_switched: bool,
}

fn recognise(head: &Head<'_>) -> Recognition {
    let side = if command::is_opening(head.bytes) {
        Side::Client
    } else if reply::is_greeting(head.bytes) {
        Side::Server
    } else {
        return Recognition::No;
    };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    Recognition::Yes(side)
}

impl Parser for Smtp {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if self.is_switched {
            return Verdict::Switch;
        }
        match (input.from, self.mode) {
            (Side::Server, _) => self.reply(&input),
            (Side::Client, Mode::Mail(seen)) => self.mail(input.bytes, seen),
            (Side::Client, _) => self.command(&input),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Server => reply::is_start(bytes),
            // A mail can hold anything.
            Side::Client if matches!(self.mode, Mode::Mail(_)) => false,
            Side::Client => command::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        self.due.lost(from);
        self.is_greeted = true;
        match (from, self.mode) {
            (Side::Client, Mode::Mail(_)) => self.is_mail_lost = true,
            (Side::Server, Mode::Mail(_)) if !self.is_mail_lost => {}
            (Side::Server, _) if std::mem::take(&mut self.is_data_due) => {
                self.begin_mail();
                self.is_mail_lost = true;
            }
            _ => self.mode = Mode::Commands,
        }
        None
    }

    fn quiet(&mut self) {
        self.due.quiet();
    }
}

impl Smtp {
    fn mail(&mut self, bytes: &[u8], mut seen: usize) -> Verdict {
        for (index, byte) in bytes.iter().enumerate() {
            seen = match *byte {
                byte if byte == END[seen] => seen + 1,
                b'\r' => 1,
                _ => 0,
            };
            if seen == END.len() {
                self.mode = Mode::Commands;
                self.is_batch = index + 1 < bytes.len();
                return Verdict::Skip(index as u64 + 1);
            }
        }
        self.mode = Mode::Mail(seen);
        Verdict::Skip(bytes.len() as u64)
    }

    fn command(&mut self, input: &Input<'_>) -> Verdict {
        if self.is_data_due && self.mode == Mode::Commands {
            // The client does not go on before the server spoke, so that is lost.
            self.begin_mail();
            self.is_mail_lost = true;
            return self.mail(input.bytes, END.len() - 3);
        }
        let Some(end) = line_end(input.bytes) else { return unfinished(input.bytes) };
        let len = end as u64;
        if std::mem::take(&mut self.mode) == Mode::Secret {
            return Verdict::Skip(len);
        }
        let Some(command) = Command::read(&input.bytes[..end]) else {
            // What is said in a dialogue whose questions are lost; or to go on after a loss.
            let is_secret = matches!(self.due.next(), Answers::To(Verb::Auth) | Answers::Stray);
            return if is_secret { Verdict::Skip(len) } else { Verdict::NotMine };
        };
        let len = len.saturating_add(command.chunk);
        let is_last = input.bytes.len() as u64 <= len;
        if std::mem::replace(&mut self.is_batch, !is_last) || !is_last {
            // Answers to what was sent before may still come: no turn of the client begins.
            self.due.push(command.verb);
        } else {
            self.due.ask(command.verb);
        }
        self.is_data_due |= command.verb == Verb::Data;
        Verdict::Done { len, draft: Box::new(command.draft()) }
    }

    fn begin_mail(&mut self) {
        self.mode = Mode::Mail(END.len() - 3);
        self.is_mail_lost = false;
        self.is_data_due = false;
    }

    fn reply(&mut self, input: &Input<'_>) -> Verdict {
        let reply = match Reply::read(input.bytes) {
            Ok(Some(reply)) => reply,
            Ok(None) => return unfinished(input.bytes),
            Err(()) => return Verdict::NotMine,
        };
        let len = reply.len as u64;
        if !std::mem::replace(&mut self.is_greeted, true) {
            return match reply.code {
                200..=299 => Verdict::Skip(len),
                _ => Verdict::Done { len, draft: Box::new(reply.unasked("greeting")) },
            };
        }
        match reply.code {
            334 => self.mode = Mode::Secret,
            354 => self.begin_mail(),
            _ if self.is_mail_lost => {
                self.is_mail_lost = false;
                self.mode = Mode::Commands;
            }
            _ => {}
        }
        if (300..400).contains(&reply.code) {
            return Verdict::Skip(len);
        }
        if reply.code == 421 && self.due.is_empty() && !self.due.is_stray() {
            // RFC 5321 §3.8: the server closes, whatever was asked.
            return Verdict::Done { len, draft: Box::new(reply.unasked("close")) };
        }
        let mut draft = reply.draft();
        match self.due.answer() {
            Answers::Stray => return Verdict::Stray(len),
            Answers::To(Verb::Data) => self.is_data_due = false,
            Answers::To(Verb::StartTls) => self.is_switched = reply.code == 220,
            Answers::To(_) | Answers::Unseen => {}
        }
        draft.skips = self.due.skips();
        Verdict::Done { len, draft: Box::new(draft) }
    }
}

/// Where the first line ends.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|at| at + 1)
}

/// A line or reply that is not whole.
fn unfinished(bytes: &[u8]) -> Verdict {
    if bytes.len() < LINE_MAX { Verdict::More } else { Verdict::NotMine }
}

#[cfg(test)]
mod tests;
