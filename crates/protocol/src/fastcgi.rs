//! FastCGI 1.0 (specification of 1996: records §3.3, name-value pairs §3.4, roles §6), with the CGI
//! header of responses (RFC 3875 §6).
//!
//! A request is everything from `BEGIN_REQUEST` to the end of its last stream; its id is the stream
//! of the span. An id is in use until `END_REQUEST`, so an answer is to the one request that uses
//! its id; where the beginning of requests is lost, answers to ids that are not known are stray.
//! The status is that of the CGI header, and 200 where there is none.

mod params;
mod record;
mod response;

use deeptrace_model::Transport;

use self::params::Params;
use self::record::{Front, Kind, Record, STREAM_WAIT_MAX};
use self::response::Response;
use crate::{CopyPolicy, Draft, Input, Pairing, Parser, Protocol, Side, Support, Verdict};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "fastcgi",
    title: "FastCGI 1.0",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[9000],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id"),
        errors: "status 5xx; an application that is overloaded or has another role",
        context: "HTTP_TRACEPARENT and its like",
        tls: "",
        limits: &[],
    },
    recognise: record::recognise,
    parser: || Box::<FastCgi>::default(),
};

/// Requests at once on one connection that are remembered; web servers send one.
const ACTIVE_MAX: usize = 64;

/// A filter also gets data (specification §6.4).
const AUTHORIZER: u16 = 2;
const FILTER: u16 = 3;

/// A request that is not answered.
struct Request {
    id: u16,
    /// What ends it.
    last: Kind,
    /// Bytes of it so far.
    size: usize,
    params: Params,
    /// It was given out.
    is_done: bool,
    /// Answers are lost since it began: perhaps its own, and what comes is to a later one.
    is_doubtful: bool,
}

#[derive(Default)]
struct FastCgi {
    requests: Vec<Request>,
    responses: Vec<(u16, Response)>,
    /// Requests may be missing.
    is_astray: bool,
    /// Requests were given up whose answers are lost.
    has_skipped: bool,
}

impl Parser for FastCgi {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let record = match Record::read(input.bytes, input.from) {
            Front::Record(record) => record,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        if record.id == 0 {
            // About the server itself.
            return Verdict::Skip(record.len);
        }
        match input.from {
            Side::Client => self.request(&record, input.is_last),
            Side::Server => self.response(&record, input.is_last),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        record::is_start(from, bytes)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                self.is_astray = true;
                let open = self.requests.iter().position(|request| !request.is_done);
                let draft = open.and_then(|at| {
                    let request = &mut self.requests[at];
                    request.is_done = true;
                    request.params.draft(request.id, true)
                });
                self.requests.retain(|request| request.is_done);
                draft
            }
            Side::Server => {
                let known = self.responses.pop().filter(|(id, _)| !self.is_stray(*id));
                self.responses.clear();
                let draft = known.map(|(id, response)| {
                    self.answered(id);
                    Draft { skips: self.skips(), ..response.unfinished(id) }
                });
                // Which of the others are answered shows when their ids are used again.
                self.requests.iter_mut().for_each(|request| request.is_doubtful = true);
                draft
            }
        }
    }
}

impl FastCgi {
    fn request(&mut self, record: &Record<'_>, is_last: bool) -> Verdict {
        if record.kind == Kind::Begin {
            return self.begin(record, is_last);
        }
        let open = |request: &&mut Request| request.id == record.id && !request.is_done;
        let Some(request) = self.requests.iter_mut().find(open) else {
            return Verdict::Skip(record.len);
        };
        if record.kind == Kind::Params && record.content_len > 0 {
            if !record.has(STREAM_WAIT_MAX) && !is_last {
                return Verdict::More;
            }
            request.params.add(record.content(), record.is_whole(), request.size);
        }
        request.size = request.size.saturating_add(record.len as usize);
        if record.kind == request.last && record.content_len == 0 {
            request.is_done = true;
            if let Some(draft) = request.params.draft(record.id, false) {
                return Verdict::Done { len: record.len, draft: Box::new(draft) };
            }
        }
        Verdict::Part { len: record.len, stream: u64::from(record.id) }
    }

    fn begin(&mut self, record: &Record<'_>, is_last: bool) -> Verdict {
        let Some(role) = record.role() else {
            return if is_last { Verdict::NotMine } else { Verdict::More };
        };
        let before = self.requests.len();
        self.requests.retain(|request| request.id != record.id);
        if self.requests.len() >= ACTIVE_MAX {
            self.requests.remove(0);
        }
        self.has_skipped |= self.requests.len() < before;
        let last = match role {
            AUTHORIZER => Kind::Params,
            FILTER => Kind::Data,
            _ => Kind::Stdin,
        };
        let (id, size) = (record.id, record.len as usize);
        let params = Params::default();
        let (is_done, is_doubtful) = (false, false);
        self.requests.push(Request { id, last, size, params, is_done, is_doubtful });
        Verdict::Part { len: record.len, stream: u64::from(id) }
    }

    fn response(&mut self, record: &Record<'_>, is_last: bool) -> Verdict {
        let id = record.id;
        if self.is_stray(id) {
            if record.kind != Kind::End {
                return Verdict::Skip(record.len);
            }
            self.has_skipped |= self.answered(id);
            return Verdict::Stray(record.len);
        }
        let at = match self.responses.iter().position(|response| response.0 == id) {
            Some(at) => at,
            None => {
                if self.responses.len() >= ACTIVE_MAX {
                    self.responses.remove(0);
                }
                self.responses.push((id, Response::default()));
                self.responses.len() - 1
            }
        };
        let response = &mut self.responses[at].1;
        match record.kind {
            Kind::Stdout | Kind::Stderr => {
                if response.wants(record) && !is_last {
                    return Verdict::More;
                }
                response.take(record);
                Verdict::Part { len: record.len, stream: u64::from(id) }
            }
            _ => {
                let Some(end) = record.end() else {
                    return if is_last { Verdict::NotMine } else { Verdict::More };
                };
                let (_, response) = self.responses.swap_remove(at);
                self.answered(id);
                let draft = Draft { skips: self.skips(), ..response.draft(id, end) };
                Verdict::Done { len: record.len, draft: Box::new(draft) }
            }
        }
    }

    /// Whether what is sent with this id answers something that is not known.
    fn is_stray(&self, id: u16) -> bool {
        let request = self.requests.iter().find(|request| request.id == id);
        request.map_or(self.is_astray, |request| request.is_doubtful)
    }

    /// The id is free again. Returns whether it was in use.
    fn answered(&mut self, id: u16) -> bool {
        let before = self.requests.len();
        // A request may go on when its answer is there; it is still to be given out.
        self.requests.retain(|request| request.id != id || !request.is_done);
        self.requests.len() < before
    }

    fn skips(&mut self) -> bool {
        std::mem::take(&mut self.has_skipped)
    }
}

#[cfg(test)]
mod tests;
