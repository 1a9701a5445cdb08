//! PostgreSQL's frontend/backend protocol 3.0 and 3.2 (manual, chapter "Frontend/Backend Protocol").
//!
//! One request is one `Query`, one `FunctionCall`, or all extended-query messages up to a `Sync`;
//! its response is everything up to `ReadyForQuery`. So several `Execute` before one `Sync` are one
//! request, a batch (`db.operation.batch.size`), and each `Sync` of a pipeline ends a request of its
//! own. The reason is errors: after one the server skips to the `Sync`, so only there are
//! both sides in step again. `StartupMessage` is a request too; what follows it until the first
//! `ReadyForQuery` authenticates and none of its bytes are kept.

mod backend;
mod frame;
mod frontend;
mod group;
mod prepared;

use deeptrace_model::{MessageRole, Transport};

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use backend::Backend;
use frontend::Frontend;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "postgresql",
    title: "PostgreSQL (frontend/backend protocol 3.0 and 3.2)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[5432, 6432],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "ErrorResponse",
        context: "comments of SQL (sqlcommenter)",
        tls: "SSLRequest",
        limits: &[
            "several Execute before one Sync are one span, a batch",
            "texts of statements prepared before the attach are unknown",
        ],
    },
    recognise,
    parser: || Box::<PostgreSql>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    head.judge(frontend::recognise, backend::recognise)
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Encryption {
    #[default]
    None,
    /// The client asked for it; the server answers with one byte.
    Asked,
    /// What follows is not ours.
    Agreed,
}

#[derive(Default)]
struct PostgreSql {
    encryption: Encryption,
    frontend: Frontend,
    backend: Backend,
}

impl PostgreSql {
    /// The server's answer to `SSLRequest` or `GSSENCRequest` (manual, "SSL Session Encryption").
    fn encryption_answer(&mut self, byte: u8) -> Option<Verdict> {
        match byte {
            b'S' | b'G' => self.encryption = Encryption::Agreed,
            b'N' => self.encryption = Encryption::None,
            // `ErrorResponse` of a server that does not know the question.
            _ => {
                self.encryption = Encryption::None;
                return None;
            }
        }
        Some(Verdict::Skip(1))
    }
}

impl Parser for PostgreSql {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let Some(first) = input.bytes.first() else { return Verdict::More };
        if self.encryption == Encryption::Agreed {
            return Verdict::Switch;
        }
        match input.from {
            Side::Client => {
                let verdict = self.frontend.parse(&input, &mut self.encryption);
                match &verdict {
                    Verdict::Done { draft, .. } if draft.role == MessageRole::Request => {
                        self.backend.due.ask(());
                    }
                    // The server may begin to answer before the `Sync`.
                    Verdict::Part { .. } => self.backend.due.turn(),
                    _ => {}
                }
                verdict
            }
            Side::Server => {
                let is_asked = self.encryption == Encryption::Asked;
                let answer = is_asked.then(|| self.encryption_answer(*first)).flatten();
                answer.unwrap_or_else(|| self.backend.parse(&input))
            }
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Client => frontend::is_start(bytes),
            Side::Server => backend::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                let draft = self.frontend.lost();
                if draft.is_some() {
                    self.backend.due.push(());
                }
                self.backend.due.lost(Side::Client);
                draft
            }
            Side::Server => self.backend.lost(),
        }
    }
}

#[cfg(test)]
mod tests;
