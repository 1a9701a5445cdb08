//! Scenarios as text: when requests and calls of a process were open, and which links that must give.

use std::borrow::Cow;

use deeptrace_model::{
    ConnectionId, EventId, EvidenceKind, Exchange, ExchangeKind, ProcessKey, SpanId, SpanStatus,
    StreamKey, Tid, Touch, UnitId, WallTime,
};

use deeptrace_model::Method;

use super::*;
use crate::process::GUESSED_AMONG_MAX;

const MS: u64 = 1_000_000;

/// `r1[0-10]` is a request open from 0 to 10 ms, `c1[2-4]` a call, `t1[2-4]` one of a runtime's task; `c1=r1` observes its parent. Given in
/// the order of their ends. Returns `call→request method` by call, those above 0.8 with `!`.
fn run(script: &str) -> String {
    let mut correlator = Correlator::new(Options::default());
    let mut links = Vec::new();
    let mut words: Vec<(u64, &str)> = Vec::new();
    let (mut spans, mut steps) = (BTreeMap::new(), Vec::new());
    for word in script.split_whitespace() {
        if let Some((call, request)) = word.split_once('=') {
            words.push((0, call));
            steps.push((u64::MAX, format!("{call}={request}")));
            continue;
        }
        let (name, times) = word.trim_end_matches(']').split_once('[').expect("name[from-to]");
        let (from, to) = times.split_once('-').expect("from-to");
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        spans.insert(name.to_owned(), span(name, from, to));
        if name.starts_with('r') {
            steps.push((from, format!("open {name}")));
        }
        steps.push((to, format!("end {name}")));
    }
    for (time, step) in &mut steps {
        // What is observed is observed when the request is answered, right before its span.
        if let Some((call, request)) = step.split_once('=') {
            assert!(spans.contains_key(call));
            *time = spans[request].response.unwrap()[1].time.0 / MS;
        }
    }
    steps.sort_by_key(|(time, step)| (*time, step.starts_with("end r"), step.starts_with("end")));
    for (_, step) in &steps {
        if let Some(name) = step.strip_prefix("open ") {
            let message = request(&spans[name]);
            correlator.feed(Input::Message(&message), &mut links);
        } else if let Some(name) = step.strip_prefix("end ") {
            correlator.feed(Input::Span(&spans[name]), &mut links);
        } else if let Some((call, request)) = step.split_once('=') {
            let evidence = Evidence {
                pid: Pid(1),
                child: spans[call].id,
                parent: Some(spans[request].id),
                kind: EvidenceKind::Pin,
                confidence: 0.99,
                time: BootTime(0),
            };
            correlator.feed(Input::Evidence(evidence), &mut links);
        }
    }
    correlator.tick(BootTime(20_000 * MS), &mut links);
    let name = |id: SpanId| spans.iter().find(|(_, span)| span.id == id).unwrap().0.clone();
    let mut told: Vec<String> = links
        .iter()
        .map(|link| {
            let sure = if link.confidence >= 0.8 { "!" } else { "" };
            format!("{}→{}{sure}", name(link.child), name(link.parent.unwrap()))
        })
        .collect();
    told.sort();
    told.join(" ")
}

fn touch(time: u64) -> Touch {
    Touch {
        event: EventId(0),
        time: BootTime(time * MS),
        pid: Pid(1),
        tid: Tid(1),
        unit: UnitId(1),
    }
}

fn stream(name: &str) -> StreamKey {
    StreamKey { connection: ConnectionId(hash_bytes(name.as_bytes())), stream: 0 }
}

fn span(name: &str, from: u64, to: u64) -> Span {
    let is_server = name.starts_with('r');
    let direction = if is_server { Direction::Received } else { Direction::Sent };
    let unit = if name.starts_with('t') { UnitId(1 << 56 | 7) } else { touch(0).unit };
    Span {
        id: SpanId::derive(1, stream(name), direction, 7),
        kind: if is_server { SpanKind::Server } else { SpanKind::Client },
        name: "GET".into(),
        service: "test".into(),
        protocol: Cow::Borrowed("test"),
        start: WallTime(from * MS),
        end: WallTime(to * MS),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: Default::default(),
        request_size: 1,
        response_size: 1,
        request_payload: Default::default(),
        response_payload: Default::default(),
        process: ProcessKey { pid: Pid(1), started: BootTime(0) },
        connection: stream(name).connection,
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: 7,
            response: Some(7),
            stream: 0,
            request_hash: 0,
            confidence: 1.0,
        },
        request: [Touch { unit, ..touch(from) }; 2],
        response: Some([Touch { unit, ..touch(to) }; 2]),
        trace_context: None,
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

fn request(span: &Span) -> Message {
    Message {
        protocol: "test",
        stream: StreamKey { connection: span.connection, stream: 0 },
        direction: Direction::Received,
        role: MessageRole::Request,
        start: 7,
        size: 1,
        first: span.request[0],
        last: span.request[1],
        span: span.id,
        trace_context: span.trace_context,
        ..Message::default()
    }
}

#[test]
fn among_very_many_requests_there_is_no_guess() {
    let guesses = |many: usize| {
        let requests: Vec<String> = (0..many).map(|number| format!("r{number}[0-10]")).collect();
        run(&format!("{} c1[2-4]", requests.join(" "))).contains("c1→")
    };
    assert!(guesses(GUESSED_AMONG_MAX));
    assert!(!guesses(GUESSED_AMONG_MAX + 1));
}

#[test]
fn scenarios() {
    let table: &[(&str, &str, &str)] = &[
        ("one request, one call", "r1[0-10] c1[2-4]", "c1→r1!"),
        ("one after the other", "r1[0-10] c1[2-4] r2[11-20] c2[12-14]", "c1→r1! c2→r2!"),
        ("two at once are a guess", "r1[0-10] r2[1-11] c1[2-4] c2[5-7]", "c1→r1 c2→r2"),
        ("nor that where tasks are told", "r1[0-10] r2[1-11] t1[2-4] c2[5-7]", ""),
        (
            "tasks that are alone, or observed",
            "r1[0-9] t1[2-4] r2[4-9] t2[5-7] t2=r2",
            "t1→r1! t2→r2!",
        ),
        ("observed beats order", "r1[0-10] r2[1-11] c1[2-4] c2[5-7] c1=r2 c2=r1", "c1→r2! c2→r1!"),
        ("a call that outlives its request has no parent", "r1[0-10] c1[2-14]", ""),
        ("a call that ends with its request", "r1[0-10] c1[2-11]", "c1→r1!"),
        ("a request that has just ended is not in the way", "r1[0-3] r2[1-11] c1[2-4]", "c1→r2!"),
        ("a call before any request", "c1[0-1] r1[2-10]", ""),
        (
            "calls wait for requests that are still open",
            "r1[0-90] r2[1-11] c1[2-4] c1=r1",
            "c1→r1!",
        ),
        ("repeated calls", "r1[0-10] c1[2-4] c2[5-6] c3[7-8]", "c1→r1! c2→r1! c3→r1!"),
    ];
    for (name, script, expected) in table {
        assert_eq!(run(script), *expected, "{name}: {script}");
    }
}

#[test]
fn order_is_believed_where_it_was_seen_to_hold() {
    let mut script = String::new();
    for i in 0..60 {
        let (t, a, b) = (i * 100, 2 * i, 2 * i + 1);
        script += &format!("r{a}[{t}-{}] r{b}[{}-{}] ", t + 20, t + 1, t + 21);
        script += &format!("c{a}[{}-{}] c{b}[{}-{}] ", t + 2, t + 4, t + 5, t + 7);
        if i < 59 {
            script += &format!("c{a}=r{a} c{b}=r{b} ");
        }
    }
    let told = run(&script);
    assert!(told.contains("c118→r118!") && told.contains("c119→r119!"), "{told}");
}

#[test]
fn memory_is_bounded() {
    let mut correlator = Correlator::new(Options::default());
    let mut links = Vec::new();
    for i in 0..20_000 {
        let call = span(&format!("c{i}"), i, i + 1);
        let open = request(&span(&format!("r{i}"), i, i + 1));
        correlator.feed(Input::Message(&open), &mut links);
        correlator.feed(Input::Span(&call), &mut links);
    }
    correlator.tick(BootTime(20_000 * MS), &mut links);
    let mut shed = 0;
    correlator.counters(&mut |name, value| {
        if name == "correlate_shed_total" {
            shed = value;
        }
    });
    assert!(shed > 0);
}

/// Feeds a long poll from 0 to 30 s, a request `r2[1-11]` and a call `c1[2-4]`; returns the links with
/// the time at which they came, in ms.
fn beside_a_long_poll(observed: bool) -> Vec<(u64, Link)> {
    let mut correlator = Correlator::new(Options::default());
    let (poll, short, call) = (span("r1", 0, 30_000), span("r2", 1, 11), span("c1", 2, 4));
    let mut links = Vec::new();
    let mut came = Vec::new();
    for now in (0..=40_000).step_by(1) {
        match now {
            0 => correlator.feed(Input::Message(&request(&poll)), &mut links),
            1 => correlator.feed(Input::Message(&request(&short)), &mut links),
            4 => correlator.feed(Input::Span(&call), &mut links),
            11 => {
                if observed {
                    let evidence = Evidence {
                        pid: Pid(1),
                        child: call.id,
                        parent: Some(short.id),
                        kind: EvidenceKind::Pin,
                        confidence: 0.99,
                        time: BootTime(11 * MS),
                    };
                    correlator.feed(Input::Evidence(evidence), &mut links);
                }
                correlator.feed(Input::Span(&short), &mut links);
            }
            30_000 => correlator.feed(Input::Span(&poll), &mut links),
            _ if now % 100 == 0 => correlator.tick(BootTime(now * MS), &mut links),
            _ => {}
        }
        came.extend(links.drain(..).map(|link| (now, link)));
    }
    came
}

#[test]
fn what_was_observed_does_not_wait_for_a_long_poll() {
    let came = beside_a_long_poll(true);
    assert_eq!(came.len(), 1, "{came:?}");
    let (now, link) = &came[0];
    assert!(*now <= 100 && link.is_final && link.parent == Some(span("r2", 1, 11).id));
}

#[test]
fn a_guess_is_provisional_until_the_long_poll_is_answered() {
    let came = beside_a_long_poll(false);
    let told: Vec<_> =
        came.iter().map(|(now, link)| (now / 1000, link.generation, link.is_final)).collect();
    assert_eq!(told, [(10, 0, false), (30, 1, true)]);
    assert_eq!(came[0].1.parent, came[1].1.parent);
    assert!(came[1].1.beats(&came[0].1));
}

proptest::proptest! {
    /// Whatever comes in whatever order: no panic, and the same twice.
    #[test]
    fn any_order_is_taken(steps in proptest::collection::vec((0u8..5, 0u64..20, 0u64..2000, 0u64..500), 0..200)) {
        let run = || {
            let mut correlator = Correlator::new(Options::default());
            let mut links = Vec::new();
            for (kind, number, from, length) in &steps {
                let server = span(&format!("r{number}"), *from, from + length);
                let client = span(&format!("c{number}"), *from, from + length);
                match kind {
                    0 => correlator.feed(Input::Message(&request(&server)), &mut links),
                    1 => correlator.feed(Input::Span(&server), &mut links),
                    2 => correlator.feed(Input::Span(&client), &mut links),
                    3 => {
                        let evidence = Evidence {
                            pid: Pid(1),
                            child: client.id,
                            parent: Some(server.id),
                            kind: EvidenceKind::Pin,
                            confidence: 0.99,
                            time: BootTime(from * MS),
                        };
                        correlator.feed(Input::Evidence(evidence), &mut links);
                    }
                    _ => correlator.tick(BootTime(from * 100 * MS), &mut links),
                }
            }
            links
        };
        proptest::prop_assert_eq!(run(), run());
    }
}

/// Slow and fast requests at random for `seconds`: a fast one calls before the slow ones that came before
/// it have called, so that first-free is wrong. `observed`: what of each fourth call
/// is observed, its own request or another. `chosen`: who infers in the second half. Returns when the request
/// of each call came, in milliseconds, whether its parent is right, and the link that won.
fn slow_and_fast(
    seconds: u64,
    observed: Option<bool>,
    chosen: &'static crate::Row,
) -> Vec<(u64, bool, Link)> {
    let mut steps: Vec<(u64, u8, Span)> = Vec::new();
    let mut parents = BTreeMap::new();
    let mut t = 0;
    for i in 0.. {
        let random = deeptrace_model::hash64(&[i]);
        let is_slow = random.is_multiple_of(2);
        t += 3 + random / 2 % 14;
        if t >= seconds * 1000 {
            break;
        }
        let (end, from, to) = if is_slow { (30, 20, 24) } else { (12, 3, 6) };
        let mut served = span(&format!("r{i}"), t, t + end);
        let call = span(&format!("c{i}"), t + from, t + to);
        served.name = if is_slow { "slow" } else { "fast" }.into();
        parents.insert(call.id, (t, served.id));
        steps.push((t, 0, served.clone()));
        steps.push((t + to, 1, call));
        steps.push((t + end, 2, served));
    }
    steps.sort_by_key(|(time, kind, _)| (*time, *kind));
    let mut correlator = Correlator::new(Options::default());
    let (mut links, mut ticked) = (Vec::new(), 0);
    for (nth, (time, kind, it)) in steps.iter().enumerate() {
        while ticked + 100 <= *time {
            ticked += 100;
            if ticked >= seconds * 500 {
                correlator.set_options(Options { algorithm: chosen, ..Options::default() });
            }
            correlator.tick(BootTime(ticked * MS), &mut links);
        }
        match kind {
            0 => correlator.feed(Input::Message(&request(it)), &mut links),
            _ => {
                if let (1, Some(truthful), true) = (kind, observed, nth.is_multiple_of(4)) {
                    let (_, own) = parents[&it.id];
                    let other = parents.values().find(|(start, id)| {
                        *id != own && *start <= time - 4 && start + 12 >= *time
                    });
                    let parent = if truthful { Some(own) } else { other.map(|(_, id)| *id) };
                    let (pid, child, kind) = (Pid(1), it.id, EvidenceKind::Pin);
                    let time = BootTime(time * MS);
                    let evidence = Evidence { pid, child, parent, kind, confidence: 0.99, time };
                    correlator.feed(Input::Evidence(evidence), &mut links);
                }
                correlator.feed(Input::Span(it), &mut links);
            }
        }
    }
    correlator.tick(BootTime((seconds * 1000 + 2000) * MS), &mut links);
    let mut won: BTreeMap<SpanId, Link> = BTreeMap::new();
    for link in links {
        match won.get(&link.child) {
            Some(known) if !link.beats(known) => {}
            _ => {
                won.insert(link.child, link);
            }
        }
    }
    let judged = |link: Link| {
        let (start, own) = parents[&link.child];
        (start, link.parent == Some(own), link)
    };
    won.into_values().map(judged).collect()
}

#[test]
fn where_nothing_is_observed_the_model_answers_within_seconds() {
    let links = slow_and_fast(10, None, crate::AUTO);
    let late: Vec<_> = links.iter().filter(|(start, ..)| *start > 3000).collect();
    let right = late.iter().filter(|(_, is_right, _)| *is_right).count();
    let sure = late.iter().filter(|(.., link)| link.confidence >= 0.8).count();
    assert!(right * 100 >= late.len() * 97, "{right} of {} right", late.len());
    assert!(sure * 100 >= late.len() * 80, "{sure} of {} sure", late.len());
    assert!(late.iter().all(|(.., link)| link.method == Method::Inferred));
    // Before that there were guesses, and they were wrong.
    let early: Vec<_> = links.iter().filter(|(start, ..)| *start < 900).collect();
    assert!(early.iter().all(|(.., link)| link.generation == 0));
    assert!(early.iter().filter(|(_, is_right, _)| !is_right).count() > 20);
}

#[test]
fn whoever_is_chosen_infers_from_then_on() {
    let links = slow_and_fast(12, Some(true), crate::algorithm("wap5").unwrap_or(crate::AUTO));
    let named = |from: u64, to: u64, name: &str| {
        let some = links.iter().filter(|(start, ..)| (from..to).contains(start));
        let inferred =
            some.filter(|(.., link)| link.method == Method::Inferred && link.candidates > 1);
        inferred.map(|(.., link)| link.algorithm == name).collect::<Vec<_>>()
    };
    let (before, after) = (named(0, 5000, "auto"), named(9000, 10_500, "wap5"));
    assert!(before.len() > 100 && before.iter().all(|is_so| *is_so));
    assert!(after.len() > 30 && after.iter().all(|is_so| *is_so), "{after:?}");
    // What was observed is nobody's choice.
    let observed = links.iter().filter(|(.., link)| link.method == Method::Thread);
    assert!(observed.clone().count() > 100);
    assert!(observed.into_iter().all(|(_, is_right, link)| *is_right && link.algorithm == "auto"));
}

#[test]
fn the_model_is_as_sure_as_it_was_seen_to_be_right() {
    let sure = |observed| {
        let links = slow_and_fast(12, Some(observed), crate::AUTO);
        let inferred = links
            .iter()
            .filter(|(start, _, link)| *start > 8000 && link.method == Method::Inferred)
            .map(|(.., link)| link.confidence);
        let (mut sum, mut count) = (0.0, 0.0);
        inferred.for_each(|confidence| (sum, count) = (sum + confidence, count + 1.0));
        assert!(count > 100.0, "{count}");
        sum / count
    };
    let (truthful, contradicted) = (sure(true), sure(false));
    assert!(truthful > 0.9 && contradicted < truthful - 0.2, "{truthful} {contradicted}");
}
