//! Scenarios as text: who did what on which unit, repeated until it is believed, and what that gives.

use std::collections::BTreeMap;

use deeptrace_model::{EventId, Follow, Pid, Tid};

use super::*;

/// Bits of a unit that say what it is (`bpf/event.h`).
const TASK: u64 = 1 << 56;
const CONTEXT: u64 = 2 << 56;
const ITEM: u64 = 3 << 56;

/// One step a word. `T<N` reads request N on thread T, `T>N` answers it, `T+N` sends call N, `T-N` reads its
/// response; `T/U` before the action: while unit U runs on T (digits: a task, a letter: a context).
/// `T*I` puts item I (a letter) into a queue, `T~I` gets it out.
/// `T^V@W` wakes thread V on futex W, `T&V` ends its poll, `T/U=V` copies the context of U to V, `T/1!2` makes task 2 ready.
fn run(script: &str) -> String {
    let mut flow = Flow::default();
    flow.set_followed(true);
    let (mut told, mut names, mut time) = (String::new(), BTreeMap::new(), 0);
    for round in 0..60u64 {
        told.clear();
        for word in script.split_whitespace() {
            time += 1000;
            step(&mut flow, word, round, time, &mut names, &mut told);
        }
    }
    told.trim_end().to_owned()
}

fn unit(name: &str) -> UnitId {
    match name.parse::<u64>() {
        Ok(task) => UnitId(TASK | task),
        Err(_) => UnitId(CONTEXT | u64::from(name.as_bytes()[0])),
    }
}

fn item(name: &str) -> UnitId {
    UnitId(ITEM | u64::from(name.as_bytes()[0]))
}

fn step(
    flow: &mut Flow,
    word: &str,
    round: u64,
    time: u64,
    names: &mut BTreeMap<SpanId, String>,
    told: &mut String,
) {
    let at = word.find(['<', '>', '+', '-', '^', '&', '=', '!', '*', '~']).expect("an action");
    let (who, what) = (&word[..at], &word[at + 1..]);
    let (thread, runs) = who.split_once('/').unwrap_or((who, ""));
    let tid = Tid(u32::from(thread.as_bytes()[0]));
    let runs = if runs.is_empty() { UnitId::of(tid) } else { unit(runs) };
    let touch = Touch { event: EventId(time), time: BootTime(time), pid: Pid(1), tid, unit: runs };
    let number = || what.parse::<u64>().expect("a number");
    let (request, call) = (|n| SpanId(round * 1000 + n), |n| SpanId(round * 1000 + 500 + n));
    let mut hand = |kind, to, word| {
        let hand_over = HandOver { pid: Pid(1), tid, kind, from: runs, to, word };
        flow.handed(BootTime(time), &hand_over);
    };
    match &word[at..=at] {
        "^" => {
            let (to, futex) = what.split_once('@').expect("a futex");
            let to = UnitId(u64::from(to.as_bytes()[0]));
            hand(HandOverKind::Futex, to, futex.parse().expect("a number"));
        }
        "&" => hand(HandOverKind::Write, UnitId(u64::from(what.as_bytes()[0])), 0),
        "*" => hand(HandOverKind::Put, item(what), 0),
        "~" => {
            let (kind, to) = (HandOverKind::Got, UnitId::of(tid));
            let hand_over = HandOver { pid: Pid(1), tid, kind, from: item(what), to, word: 0 };
            flow.handed(BootTime(time), &hand_over);
        }
        "=" => hand(HandOverKind::Copy, unit(what), 0),
        "!" => hand(HandOverKind::Ready, unit(what), 0),
        "<" => {
            names.insert(request(number()), format!("r{what}"));
            flow.read(request(number()), BootTime(time), ConnectionId(number()), &touch);
        }
        "+" => {
            names.insert(call(number()), format!("c{what}"));
            flow.called(call(number()), &touch);
        }
        "-" => flow.returned(call(number()), ConnectionId(500 + number()), &touch),
        _ => {
            let mut out = Vec::new();
            flow.answered(request(number()), &touch, &touch);
            flow.decide(BootTime(time), None, &mut out);
            for Decided { call, parent, kind, .. } in out {
                *told += &format!("{}:{}({kind:?}) ", names[&call], names[&parent]);
            }
        }
    }
}

#[test]
fn scenarios() {
    let table: &[(&str, &str, &str)] = &[
        ("a pool whose worker is asleep", "a<1 a^w@7 w+1 w-1 w^a@8 a>1", "c1:r1(Wake)"),
        (
            "a saturated pool: only the results wake anybody",
            "a<1 b<2 w+1 v+2 w-1 w^a@8 a>1 v-2 v^b@9 b>2",
            "c1:r1(Wake) c2:r2(Wake)",
        ),
        (
            "a worker that works for one after the other",
            "a<1 b<2 w+1 w-1 w^a@8 w+2 a>1 w-2 w^b@9 b>2",
            "c1:r1(Wake) c2:r2(Wake)",
        ),
        (
            "an interpreter's lock says nothing",
            "a<1 b<2 a^b@7 b^a@7 w^a@7 a^w@7 w+1 w-1 w^b@7 b^w@7 a>1 b>2",
            "",
        ),
        ("no hand-over, no answer", "a<1 b<2 w+1 w-1 a>1 b>2", ""),
        (
            "a loop that reads for a worker, and then wakes another for something else",
            "a<1 b<2 x&s s+3 s-3 s+1 s-1 s^w@7 s^v@9 w^a@8 v^b@10 a>1 b>2",
            "c1:r1(Wake)",
        ),
        (
            "a worker that wakes two at once: one of them by a lock of its own",
            "a<1 b<2 s+1 s-1 s^w@7 w^b@9 w^a@8 b>2 a>1",
            "",
        ),
        (
            "each task of a loop has its context",
            "l<1 l<2 l/x+1 l/y+2 l-2 l-1 l/x>1 l/y>2",
            "c1:r1(Coroutine) c2:r2(Coroutine)",
        ),
        (
            "a copied context works for whom the original does",
            "l<1 l<2 l/x=p l/y=q l/q+2 l/p+1 l-2 l-1 l/x>1 l/y>2",
            "c2:r2(Coroutine) c1:r1(Coroutine)",
        ),
        (
            "a copied context on another thread",
            "l<1 l<2 l/x=p l/y=q w/q+2 v/p+1 w-2 v-1 l/x>1 l/y>2",
            "c2:r2(Coroutine) c1:r1(Coroutine)",
        ),
        (
            "items of a queue, put by tasks of a loop",
            "l<1 l<2 l/x*i l/y*j w~j v~i w+2 v+1 w-2 v-1 l/x>1 l/y>2",
            "c2:r2(Coroutine) c1:r1(Coroutine)",
        ),
        ("an item that nobody saw put", "a<1 b<2 a*i w~i w~k w+1 w-1 a>1 b>2", ""),
        (
            "an item that is put twice, by saturated threads",
            "a<1 b<2 a*i b*i w~i w+1 w-1 v~i v+2 v-2 a>1 b>2",
            "",
        ),
        (
            "tasks that make others ready",
            "a/1<1 b/2<2 b/2!8 a/1!9 c/9+1 a/8+2 a/8-2 c/9-1 c/9!1 a/8!2 a/1>1 b/2>2",
            "c1:r1(Wake) c2:r2(Wake)",
        ),
    ];
    for (name, script, expected) in table {
        assert_eq!(run(script), *expected, "{name}: {script}");
    }
}

#[test]
fn what_is_missing_is_not_made_up_for() {
    let (mut flow, mut names, mut told) = (Flow::default(), BTreeMap::new(), String::new());
    flow.set_followed(true);
    for round in 0..100 {
        told.clear();
        for (at, word) in "a<1 w+1 w-1 w^a@8 a>1".split(' ').enumerate() {
            let time = round * 10_000 + 1000 * at as u64;
            if round == 99 && at == 2 {
                flow.lost(BootTime(time));
            }
            step(&mut flow, word, round, time, &mut names, &mut told);
        }
        assert_eq!(told.is_empty(), round < ANSWERS_MIN - 1 || round == 99, "round {round}");
    }
}

#[test]
fn locks_are_muted_and_need_ends() {
    let (mut flow, mut names, mut told) = (Flow::default(), BTreeMap::new(), String::new());
    let script = "a<1 b<2 a^b@7 b^a@7 w+1 a^b@7 b^a@7 w-1 a>1 b>2";
    let mut wanted = Vec::new();
    for round in 0..200 {
        for (at, word) in script.split(' ').enumerate() {
            let time = round * 20_000 + 1000 * at as u64;
            step(&mut flow, word, round, time, &mut names, &mut told);
        }
        flow.wants(Pid(1), &mut wanted);
    }
    assert_eq!(wanted, [Follow::Begin(Pid(1)), Follow::Mute(Pid(1), 7)]);
    for _ in 0..300 {
        flow.wants(Pid(1), &mut wanted);
    }
    assert_eq!(wanted.last(), Some(&Follow::End(Pid(1))));
}

#[test]
fn a_client_of_others_keeps_nothing_of_its_calls() {
    let (mut flow, mut names, mut told) = (Flow::default(), BTreeMap::new(), String::new());
    for (time, word) in (1000..).zip("a+1 b+2 a-1 b-2 a+3".split(' ')) {
        step(&mut flow, word, 0, time, &mut names, &mut told);
    }
    assert!(flow.log.is_empty() && flow.calls.is_empty() && flow.pending.is_empty());
    assert_eq!(told, "");
}

#[test]
fn a_request_that_nobody_answers_does_not_hold_those_behind_it() {
    let (mut flow, mut names, mut told) = (Flow::default(), BTreeMap::new(), String::new());
    step(&mut flow, "a<0", 0, 1, &mut names, &mut told);
    // A hundred a second: those of the last two seconds may still be parents.
    for number in 1..1000 {
        let time = 10_000_000 * number;
        for word in [format!("b<{number}"), format!("b>{number}")] {
            step(&mut flow, &word, 0, time, &mut names, &mut told);
        }
        flow.decide(BootTime(time), None, &mut Vec::new());
    }
    assert!(flow.open.len() <= OPEN_SPARE + 2, "{}", flow.open.len());
    assert!(flow.requests.len() <= 512, "{}", flow.requests.len());
}

#[test]
fn units_are_asked_for_once_when_a_thread_has_two_requests() {
    let (mut names, mut time) = (BTreeMap::new(), 0);
    let mut run = |script: &str, flow: &mut Flow| {
        let mut told = String::new();
        for word in script.split(' ') {
            time += 1000;
            step(flow, word, 0, time, &mut names, &mut told);
        }
        told
    };
    let mut flow = Flow::default();
    run("a<1 a+1 a-1 a>1 b<2", &mut flow);
    assert!(!flow.needs_units(), "each thread has one request at a time");
    run("a<1 a<2", &mut flow);
    assert_eq!([flow.needs_units(), flow.needs_units()], [true, false]);
    let mut wanted = Vec::new();
    for _ in 0..=300 {
        flow.wants(Pid(1), &mut wanted);
    }
    assert_eq!(wanted, [Follow::End(Pid(1))], "nothing of it was told");

    let mut flow = Flow::default();
    run("l<1 l<2", &mut flow);
    assert!(flow.needs_units() && !flow.is_followed);
    let told = run("l/x=p l/y=q l/q+3 l/x+1 l/p+2 l-3 l-1 l-2 l/x>1 l/y>2", &mut flow);
    assert!(flow.is_followed, "a copy of a context was told");
    assert_eq!(told, "c3:r2(Coroutine) c1:r1(Coroutine) c2:r1(Coroutine) ", "no futex to wait for");
}

#[test]
fn nothing_grows_without_end() {
    let (mut flow, mut names, mut told) = (Flow::default(), BTreeMap::new(), String::new());
    flow.set_followed(true);
    for round in 0..20_000 {
        let time = round * 20_000;
        for (at, word) in "a<1 w+1 w^a@8 v^w@9 a^v@10".split(' ').enumerate() {
            step(&mut flow, word, round, time + at as u64 * 1000, &mut names, &mut told);
        }
    }
    assert!(flow.log.len() <= STEPS_MAX && flow.shed > 0);
    flow.expire(BootTime(u64::MAX / 2));
    let left = flow.log.len() + flow.requests.len() + flow.calls.len() + flow.open.len();
    assert_eq!(left + flow.pending.len() + flow.forward.len(), 0);
}

#[test]
fn ids_of_tasks_that_are_read_wrong_cost_answers_only() {
    let truth = ["c1:r1(Coroutine)", "c2:r2(Coroutine)"];
    let script = "a/1<1 b/2<2 b/1+1 a/2+2 a/1-1 b/2-2 b/1>1 a/2>2";
    assert_eq!(run(script), truth.join(" "));
    // The same for all, and another one each time.
    let mut count = 100;
    let mut fresh = || {
        count += 1;
        count.to_string()
    };
    let same = script.replace("/1", "/9").replace("/2", "/9");
    let other: Vec<String> = script
        .split(' ')
        .map(|word| word.replace("/1", &format!("/{}", fresh())))
        .map(|word| word.replace("/2", "/8"))
        .collect();
    for wrong in [same, other.join(" ")] {
        let told = run(&wrong);
        assert!(told.split_whitespace().all(|link| truth.contains(&link)), "{wrong}: {told}");
    }
}
