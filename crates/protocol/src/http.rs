//! HTTP/1.0 and 1.1: RFC 9110 (semantics), RFC 9112 (messages).
//!
//! The parser remembers the methods of requests that are not answered, because the length of a
//! response depends on them (RFC 9112 §6.3). Where the request is not known, after a loss, a
//! response that announces a body has none if the next response follows its head: it answers
//! `HEAD`. It is given to no request until both sides are in step again (`due.rs`).
//!
//! Status: 5xx is an error of both sides. 4xx is one of the client only, and a parser does not
//! know for whom the span will be: the span stage makes it an error on client spans.

mod body;
mod head;
mod heads;
mod request;
mod response;
mod watch;

use deeptrace_model::Transport;

use self::body::{Body, Progress};
use self::heads::Summary;
use self::watch::{Reader, Watch, Watched};
use crate::due::{Answers, Due};
use crate::web::meaning::Row;
use crate::{
    CopyPolicy, Draft, Form, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support,
    Verdict,
};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol {
    name: "http",
    title: "HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[80, 8080, 8000, 3000, 5000],
    copy: CopyPolicy::Head,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "status 5xx; 4xx too, for clients; an error of JSON-RPC",
        context: "headers",
        tls: "",
        limits: &[
            "of a body only the start is read, and only of JSON: for JSON-RPC, GraphQL and generative AI",
            "Elasticsearch, OpenSearch and S3 are told only of clients that name themselves or sign",
            "of a batch of JSON-RPC and of a streamed answer nothing is told",
        ],
    },
    recognise,
    parser: || Box::new(Http::default()),
};

/// Bytes of a head that are looked at; servers refuse longer ones.
const HEAD_MAX: usize = 64 * 1024;

/// What the response's length depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Head,
    Connect,
    Other,
    /// A detector reads the body of the response.
    Meant(Row),
}

#[derive(Default)]
struct Http {
    due: Due<Asked>,
    halves: [HalfState; 2],
    /// The bytes that follow are of another protocol.
    switched: bool,
}

/// A message that is being read in one direction.
#[derive(Default)]
struct HalfState {
    body: Body,
    /// What its head said; also of a head that will never be whole.
    draft: Option<Box<Draft>>,
    /// It is a response, and nobody knows to what.
    is_stray: bool,
    /// It is a response whose request was not seen, and waits for what follows its head.
    waits: bool,
    /// Such a one whose request is lost: it answers none of those that are seen meanwhile.
    is_orphan: bool,
    /// Who looks at its body, of which no byte was taken yet.
    watch: Option<Watch>,
}

fn recognise(head: &Head<'_>) -> Recognition {
    if response::is_start(head.bytes) {
        Recognition::Yes(Side::Server)
    } else if request::is_start(head.bytes) {
        Recognition::Yes(Side::Client)
    } else {
        Recognition::No
    }
}

impl Parser for Http {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if self.switched {
            return Verdict::Switch;
        }
        if let Some(verdict) = self.watch(&input) {
            return verdict;
        }
        let half = &mut self.halves[input.from as usize];
        match half.body.advance(input.bytes) {
            Progress::None => self.parse_head(input),
            Progress::More => Verdict::More,
            Progress::Broken => Verdict::NotMine,
            Progress::Part(len) if half.is_stray => Verdict::Skip(len),
            Progress::Part(len) => Verdict::Part { len, stream: 0 },
            Progress::End(len) if half.is_stray => Verdict::Stray(len),
            Progress::End(len) => match half.draft.take() {
                Some(draft) => Verdict::Done { len, draft },
                None => Verdict::NotMine,
            },
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Client => request::is_start(bytes),
            Side::Server => response::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let half = &mut self.halves[from as usize];
        half.body = Body::None;
        half.watch = None;
        let draft = half.draft.take();
        self.due.lost(from);
        let response = &mut self.halves[Side::Server as usize];
        response.is_orphan = response.waits && from == Side::Client;
        response.waits &= response.is_orphan;
        draft.map(|draft| *draft)
    }

    fn end(&mut self, from: Side) -> Option<Draft> {
        let half = &mut self.halves[from as usize];
        if half.body != Body::UntilClose {
            return None;
        }
        half.body = Body::None;
        half.draft.take().map(|draft| *draft)
    }
}

impl Http {
    /// Lets a detector look at the start of a body; nothing if there is none, or after that.
    fn watch(&mut self, input: &Input<'_>) -> Option<Verdict> {
        let half = &mut self.halves[input.from as usize];
        let watch = half.watch.as_ref()?;
        let chunk = (half.body == Body::Chunk).then(|| body::first_chunk(input.bytes));
        let (seen, is_last) = match watch.look(input, chunk) {
            Watched::More => return Some(Verdict::More),
            Watched::Seen(seen, is_last) => (seen, is_last),
        };
        let watch = half.watch.take()?;
        let draft = half.draft.as_mut()?;
        if let (Some(row), Some(newest)) = (watch.read(seen, draft), self.due.newest()) {
            *newest = Asked::Meant(row);
        }
        if !is_last {
            return None;
        }
        let draft = half.draft.take()?;
        Some(Verdict::Done { len: watch.length, draft })
    }

    fn parse_head(&mut self, input: Input<'_>) -> Verdict {
        let blank = input.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            // RFC 9112 §2.2: empty lines before a request are to be ignored.
            return Verdict::Skip(blank as u64);
        }
        match input.from {
            Side::Client => self.parse_request(input),
            Side::Server => self.parse_response(input),
        }
    }

    fn parse_request(&mut self, input: Input<'_>) -> Verdict {
        let head = match heads::recall(input.bytes) {
            Some(head) => head,
            None => match read_request(&input) {
                Ok(head) => head,
                Err(verdict) => return verdict,
            },
        };
        self.due.ask(head.framing.asked);
        let body = if head.framing.is_chunked { Body::chunked() } else { Body::None };
        let reader = head.framing.wanted.map(Reader::Request);
        self.begin(Side::Client, head, body, reader)
    }

    fn parse_response(&mut self, input: Input<'_>) -> Verdict {
        let mut head = match heads::recall(input.bytes) {
            Some(head) => head,
            None => match read_response(&input) {
                Ok(head) => head,
                Err(verdict) => return verdict,
            },
        };
        let Summary { draft, framing } = &mut head;
        let half = &mut self.halves[Side::Server as usize];
        half.is_stray = half.is_orphan || self.due.is_stray();
        if draft.interim {
            self.switched = framing.is_whole && framing.status == 101;
            if half.is_stray && framing.is_whole {
                return Verdict::Skip(framing.end as u64);
            }
            framing.length = None;
            return self.begin(Side::Server, head, Body::None, None);
        }
        let mut asked = None;
        let is_known = !half.is_orphan && !self.due.is_empty();
        if !is_known && framing.is_whole && framing.length != Some(0) {
            let next = response::follows(&input.bytes[framing.end..], input.is_last);
            half.waits = next.is_none();
            half.is_orphan |= half.waits && half.is_stray;
            match next {
                Some(true) => asked = Some(Asked::Head),
                Some(false) => {}
                None => return unfinished(input.bytes, true),
            }
        }
        if std::mem::take(&mut half.is_orphan) {
            self.due.heard();
        } else if let Answers::To(request) = self.due.answer() {
            asked = Some(request);
        }
        draft.skips = self.due.skips();
        // RFC 9112 §6.3, in its order.
        let is_tunnel = asked == Some(Asked::Connect) && (200..300).contains(&framing.status);
        if framing.is_whole && (framing.status == 101 || is_tunnel) {
            self.switched = true;
        }
        let has_body =
            asked != Some(Asked::Head) && !is_tunnel && !matches!(framing.status, 101 | 204 | 304);
        let body = if !has_body {
            framing.length = None;
            Body::None
        } else if framing.is_chunked {
            Body::chunked()
        } else if framing.length.is_some() {
            Body::None
        } else {
            Body::UntilClose
        };
        let reader = match asked {
            Some(Asked::Meant(row)) if framing.is_json => Some(Reader::Response(row)),
            _ => None,
        };
        self.begin(Side::Server, head, body, reader)
    }

    /// The head is read: is that all, or what follows?
    fn begin(&mut self, from: Side, head: Summary, body: Body, reader: Option<Reader>) -> Verdict {
        let half = &mut self.halves[from as usize];
        let Summary { mut draft, framing } = head;
        draft.form = Form::Http;
        let draft = (!half.is_stray).then_some(draft);
        if !framing.is_whole {
            half.draft = draft;
            return Verdict::More;
        }
        let head = framing.end as u64;
        let has_body = body == Body::Chunk || framing.length.is_some_and(|length| length > 0);
        let reader = reader.filter(|_| has_body && body != Body::UntilClose && draft.is_some());
        half.watch = reader.map(|reader| Watch { reader, length: framing.length.unwrap_or(0) });
        if half.watch.is_some() {
            half.draft = draft;
            half.body = body;
            return Verdict::Part { len: head, stream: 0 };
        }
        if body == Body::None {
            let len = head.saturating_add(framing.length.unwrap_or(0));
            return draft.map_or(Verdict::Stray(len), |draft| Verdict::Done { len, draft });
        }
        half.body = body;
        // The body may come without bytes to look at (`sendfile`), so it is taken at once.
        let len = if body == Body::UntilClose { Verdict::ENDLESS } else { head };
        half.draft = draft;
        if half.is_stray { Verdict::Skip(len) } else { Verdict::Part { len, stream: 0 } }
    }
}

/// The head of a request, or what to say of bytes that are none, or not yet.
fn read_request(input: &Input<'_>) -> Result<Summary, Verdict> {
    let Some(line) = request::line(input.bytes) else {
        return Err(unfinished(input.bytes, request::may_become_start(input.bytes)));
    };
    let Ok(line) = line else { return Err(Verdict::NotMine) };
    let fields = head::Fields::read(input.bytes, line.len);
    if !fields.is_whole && !input.is_last {
        return Err(unfinished(input.bytes, true));
    }
    let asked = match line.method {
        b"HEAD" => Asked::Head,
        b"CONNECT" => Asked::Connect,
        _ => Asked::Other,
    };
    let (draft, wanted) = request::draft(&line, &fields, input.bytes);
    let mut head = Summary::new(draft, &fields, asked, 0);
    head.framing.wanted = wanted;
    heads::remember(input.bytes, &head);
    Ok(head)
}

/// The same of a response.
fn read_response(input: &Input<'_>) -> Result<Summary, Verdict> {
    let Some(line) = response::line(input.bytes) else {
        return Err(unfinished(input.bytes, response::may_become_start(input.bytes)));
    };
    let Ok(line) = line else { return Err(Verdict::NotMine) };
    let fields = head::Fields::read(input.bytes, line.len);
    if !fields.is_whole && !input.is_last {
        return Err(unfinished(input.bytes, true));
    }
    let draft = response::draft(&line, &fields);
    let head = Summary::new(draft, &fields, Asked::Other, line.status);
    heads::remember(input.bytes, &head);
    Ok(head)
}

/// A head that is not whole: it may still become one, if it is not too long.
fn unfinished(bytes: &[u8], may_become: bool) -> Verdict {
    if may_become && bytes.len() < HEAD_MAX { Verdict::More } else { Verdict::NotMine }
}
