//! Stories: a few spans and links written down in lines, stored for real.
//!
//! A line is `ID KIND SERVICE NAME START END`, times in milliseconds, with words after it:
//! `x=N` the exchange, `r=N` its request (`N` if not given), `sure=CONFIDENCE` of it, `unanswered`, `error`, `lost`,
//! `host=NAME`, `app=N` the application's trace, `in=ID` the span that the request names; `sdk` for a span that an SDK
//! reported, with `in=ID` for its parent; `p=N` the process, which without it is that of all of the service that was
//! seen. Or it is `ID <- PARENT CONFIDENCE METHOD START`, with words `g=N`
//! (generation) and `follows`, the start of the child before them. `-` stands for no parent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::sync::Arc;

use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    REPORTED, Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, TraceContext, TraceId,
    UnitId, WallTime,
};
use deeptrace_store::{Batch, Mode, Options, Store};

/// Where the stories begin, nanoseconds since the epoch.
pub const BEGIN: u64 = 1_700_000_000_000_000_000;

/// A store, with the folder it lies in.
pub struct Stored {
    pub store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

/// Stores the story in one batch; an empty line begins the next batch.
pub fn stored(story: &str) -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let store = deeptrace_store::open("embedded", &Options::new(folder.path()), Mode::Write);
    let stored = Stored { store: store.unwrap(), _folder: folder };
    let story: Vec<&str> = story.lines().map(str::trim).collect();
    for batch in story.split(|line| line.is_empty()) {
        stored.store.write(&read(batch)).unwrap();
    }
    stored
}

fn read(lines: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[1] {
            "<-" => batch.links.push(link(&words)),
            _ => {
                let span = span(&words);
                batch.links.extend(span.is_reported().then(|| reported_link(&span)));
                batch.spans.push(span);
            }
        }
    }
    batch
}

fn time(millis: &str) -> u64 {
    BEGIN + (millis.parse::<f64>().unwrap() * 1e6) as u64
}

/// The value of the word `name=value`.
fn word<T: std::str::FromStr>(words: &[&str], name: &str) -> Option<T> {
    let value = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok())
}

/// A number for each service.
fn of_service(name: &str) -> u32 {
    1 + (deeptrace_model::hash_bytes(name.as_bytes()) % 4_000_000) as u32
}

pub fn span(words: &[&str]) -> Span {
    let id: u64 = words[0].parse().unwrap();
    let touch =
        Touch { event: EventId(id), time: BootTime(id), pid: Pid(1), tid: Tid(1), unit: UnitId(1) };
    let exchange: u64 = word(words, "x").unwrap_or(1000 + id);
    let answered = !words.contains(&"unanswered");
    let is_reported = words.contains(&"sdk");
    Span {
        id: SpanId(id),
        kind: match words[1] {
            "S" => SpanKind::Server,
            "C" => SpanKind::Client,
            "P" => SpanKind::Producer,
            "Q" => SpanKind::Consumer,
            "I" => SpanKind::Internal,
            other => panic!("kind {other}"),
        },
        service: words[2].into(),
        name: words[3].into(),
        protocol: if is_reported { REPORTED } else { "http" }.into(),
        start: WallTime(time(words[4])),
        end: WallTime(time(words[5])),
        status: match words {
            _ if !answered => SpanStatus::Unset,
            _ if words.contains(&"error") => SpanStatus::Error,
            _ => SpanStatus::Ok,
        },
        status_message: None,
        attributes: word::<String>(words, "host")
            .map(|name| ("host.name".into(), name.into()))
            .into_iter()
            .collect(),
        request_size: 1,
        response_size: 1,
        request_payload: Default::default(),
        response_payload: Default::default(),
        process: ProcessKey {
            pid: Pid(word(words, "p").unwrap_or(if is_reported {
                0
            } else {
                of_service(words[2])
            })),
            started: BootTime(1),
        },
        connection: ConnectionId(id),
        exchange: if is_reported {
            Exchange::unseen(SpanId(id))
        } else {
            Exchange {
                kind: ExchangeKind::Tcp,
                request: word(words, "r").unwrap_or(exchange),
                response: answered.then_some(exchange),
                stream: 0,
                request_hash: 1,
                confidence: word(words, "sure").unwrap_or(1.0),
            }
        },
        request: [touch; 2],
        response: answered.then_some([touch; 2]),
        trace_context: word(words, "app").map(|trace| TraceContext {
            trace: TraceId(trace),
            parent: word(words, "in").unwrap_or(if is_reported { 0 } else { 9 }),
        }),
        unknown: Vec::new(),
        truncated: false,
        lost_events: u32::from(words.contains(&"lost")),
    }
}

fn reported_link(span: &Span) -> Link {
    let parent = span.trace_context.map(|own| own.parent).filter(|id| *id != 0);
    let id = span.id.0.to_string();
    let text =
        format!("{id} <- {} 1 trace-context 0", parent.map_or("-".into(), |id| id.to_string()));
    let words: Vec<&str> = text.split_whitespace().collect();
    Link { child_start: span.start, algorithm: "sdk".into(), ..link(&words) }
}

fn link(words: &[&str]) -> Link {
    let id: u64 = words[0].parse().unwrap();
    let method = match words[4] {
        "trace-context" => Method::TraceContext,
        "thread" => Method::Thread,
        "order" => Method::Order,
        "inferred" => Method::Inferred,
        other => panic!("method {other}"),
    };
    Link {
        child: SpanId(id),
        parent: words[2].parse().ok().map(SpanId),
        child_start: WallTime(time(words[5])),
        method,
        relation: if words.contains(&"follows") { Relation::Follows } else { Relation::Child },
        confidence: words[3].parse().unwrap(),
        algorithm: "auto".into(),
        candidates: 1,
        generation: word(words, "g").unwrap_or(0),
        is_final: true,
    }
}
