//! Sequences of shared connections as text, after recordings: what was read and written on which unit,
//! repeated until it is believed, and what that gives.

use deeptrace_model::{Event, EventBody, Host, MessageRole, Pid, StreamKey, Tid};

use super::*;
use crate::{Contexts, Input, Options};

/// Bit of a unit that says that it is a task (`bpf/event.h`).
const TASK: u64 = 1 << 56;

/// What happens, and its evidence.
struct Play {
    contexts: Contexts,
    time: u64,
    round: u64,
    out: Vec<deeptrace_model::Evidence>,
}

/// One step a word, by a unit: a thread (`a`), a task that lives on (`A`), or one of this round (`1`).
/// `U<1.3,1.5` reads what completes the requests of streams 3 and 5 on connection 1, `U>1.3` writes the
/// answer to one, `U+9.1` writes calls, `U-9.1` reads responses; `U~1` reads from a connection what completes
/// nothing. `U!V` makes V ready, `U?V` does while V waits to be rid of data, `U*V` makes V. `.` lets time pass.
/// Returns what is told in the last round, calls and requests by their streams.
fn run(script: &str) -> String {
    let contexts = Contexts::new(Options::default());
    let mut play = Play { contexts, time: 1_000_000_000, round: 0, out: Vec::new() };
    play.event(EventBody::Host(Host { boot: 1, name: String::new() }));
    for round in 0..60 {
        play.round = round;
        play.out.clear();
        script.split_whitespace().for_each(|word| play.step(word));
        play.pass(400_000_000);
    }
    let name = |span: SpanId| span.0 % 1000;
    let mut told: Vec<String> = play
        .out
        .iter()
        .filter(|told| told.child.0 / 1_000_000 == 59)
        .map(|told| {
            let parent = told.parent.map_or(0, name);
            format!("{}:{parent}({:?})", name(told.child), told.kind)
        })
        .collect();
    told.sort();
    told.join(" ")
}

impl Play {
    fn event(&mut self, body: EventBody<'_>) {
        let event = Event { id: EventId(self.time), time: BootTime(self.time), body };
        self.contexts.feed(Input::Event(&event), &mut self.out);
    }

    fn pass(&mut self, time: u64) {
        for _ in 0..time / 20_000_000 {
            self.time += 20_000_000;
            self.contexts.tick(BootTime(self.time), &mut self.out);
        }
        if let Some(process) = self.contexts.process(Pid(1)) {
            process.flow.set_followed_once();
        }
    }

    fn unit(&self, name: &str) -> UnitId {
        let byte = u64::from(name.as_bytes()[0]);
        match name.parse::<u64>() {
            Ok(number) => UnitId(TASK | (1000 + self.round * 100 + number)),
            Err(_) if name.as_bytes()[0].is_ascii_uppercase() => UnitId(TASK | byte),
            Err(_) => UnitId(byte),
        }
    }

    fn step(&mut self, word: &str) {
        if word == "." {
            return self.pass(100_000_000);
        }
        self.time += 100_000;
        let at = word.find(['<', '>', '+', '-', '~', '!', '?', '*']).expect("an action");
        let (unit, what) = (self.unit(&word[..at]), &word[at + 1..]);
        let tid = Tid(if unit.kind() == UnitKind::Task { 7 } else { unit.0 as u32 });
        let (event, time) = (EventId(self.time), BootTime(self.time));
        let touch = Touch { event, time, pid: Pid(1), tid, unit };
        let (role, direction, base) = match &word[at..=at] {
            "<" => (MessageRole::Request, Direction::Received, 0),
            ">" => (MessageRole::Response, Direction::Sent, 0),
            "+" => (MessageRole::Request, Direction::Sent, 500),
            "-" => (MessageRole::Response, Direction::Received, 500),
            "~" => return self.moved(touch, what, Direction::Received),
            action => {
                let kind = match action {
                    "!" => HandOverKind::Ready,
                    "?" => HandOverKind::Taken,
                    _ => HandOverKind::Birth,
                };
                let to = self.unit(what);
                let hand_over = HandOver { pid: Pid(1), tid, kind, from: unit, to, word: 0 };
                return self.event(EventBody::HandOver(hand_over));
            }
        };
        let mut connection = "";
        for (place, stream) in what.split(',').enumerate() {
            let number: u64;
            (connection, number) = match stream.split_once('.') {
                Some((connection, number)) => (connection, number.parse().expect("a stream")),
                None => panic!("{stream} is no stream"),
            };
            let span = SpanId(self.round * 1_000_000 + base + number);
            let key = StreamKey {
                connection: ConnectionId(connection.parse().expect("a connection")),
                stream: self.round * 1_000_000 + number,
            };
            let message = Message {
                protocol: "http2",
                stream: key,
                direction,
                role,
                start: self.time + place as u64,
                size: 10,
                first: touch,
                last: touch,
                span,
                ..Message::default()
            };
            self.contexts.feed(Input::Message(&message), &mut self.out);
        }
        self.moved(touch, connection, direction);
    }

    fn moved(&mut self, touch: Touch, connection: &str, direction: Direction) {
        let call = Call {
            connection: ConnectionId(connection.parse().expect("a connection")),
            pid: touch.pid,
            tid: touch.tid,
            unit: touch.unit,
            direction,
            start: touch.time.0,
            len: 10,
            payload: &[],
            drained: false,
            peer: None,
        };
        self.event(EventBody::Call(call));
    }
}

#[test]
fn sequences() {
    let table: &[(&str, &str, &str)] = &[
        (
            "goroutines are born in the order of the frames of a read (grpc-go)",
            "R<1.1,1.3 R*1 R*2 W+9.1,9.2 Q-9.2,9.1 Q!2 Q!W Q!1 L>1.1,1.3 R~1",
            "501:1(Coroutine) 502:3(Coroutine)",
        ),
        (
            "one of them is not seen: nothing is said",
            "R<1.1,1.3 R*1 W+9.1,9.2 Q-9.2,9.1 Q!2 Q!W Q!1 L>1.1,1.3 R~1",
            "",
        ),
        (
            "what goes through carriers says nothing",
            "R<1.1,1.3 R*1 R*2 W+9.1,9.2 Q-9.2,9.1 Q!2 Q!1 1!L L!2 R!1 L>1.1,1.3",
            "501:1(Coroutine) 502:3(Coroutine)",
        ),
        (
            "a frame is in the hands of the reader's partner, who also makes those who answer (net/http)",
            "R<1.1 R!P P*1 P!R R~1 R!P P!R R<1.3 R!P P*2 P!R R~1 R!P P!R \
             W+9.1,9.2 Q-9.1 Q!1 Q-9.2 Q!2 P*3 3>1.1 3!P P*4 4>1.3 4!P",
            "501:1(Coroutine) 502:3(Coroutine)",
        ),
        (
            "a partner that is busy lets the reader wait, and waits for it",
            "R<1.1 R!P P*1 P!R R<1.3 P!R P*2 R?P R~1 R!P P!R R~1 R!P P!R \
             W+9.1,9.2 Q-9.1 Q!1 Q-9.2 Q!2 P*3 3>1.1 3!P P*4 4>1.3 4!P",
            "501:1(Coroutine) 502:3(Coroutine)",
        ),
        (
            "calls of tasks that were born for a request, by writers of their own",
            "R<1.1,1.3 R*1 R*2 1*3 2*4 3+9.1 4+9.2 Q-9.2 Q!4 Q!2 Q-9.1 Q!1 Q!3 L>1.3 L>1.1",
            "501:1(Wake) 502:3(Wake)",
        ),
        (
            "a saturated pool: only its results wake anybody",
            "R<1.1,1.3 R*1 R*2 W+9.1 Q-9.1 Q!A A!2 W+9.2 L>1.3 Q-9.2 Q!A A!1 L>1.1",
            "501:3(Wake) 502:1(Wake)",
        ),
        (
            "threads that write their own frames (gRPC's C core)",
            "p<1.1 q<1.3 a+9.1 b+9.2 p-9.2 p-9.1 b+9.4 a+9.3 q-9.3,9.4 a>1.1 b>1.3",
            "501:1(Thread) 502:3(Thread) 503:1(Thread) 504:3(Thread)",
        ),
        (
            "a thread that writes for another one has a call too many",
            "p<1.1 q<1.3 a+9.1 a+9.2 p-9.2 p-9.1 b+9.4 a+9.3 q-9.3,9.4 a>1.1 b>1.3",
            "",
        ),
        (
            "rounds of a loop (Node): single ones, and several in order",
            "l<1.1 l+9.1 l<1.3,1.5 l+9.2,9.3 l-9.2 l>1.3 l-9.1 l>1.1 l-9.3 l>1.5",
            "501:1(Turn) 502:3(Turn) 503:5(Turn)",
        ),
        (
            "two calls each at once",
            "l<1.1 l+9.1,9.2 l<1.3 l+9.3,9.4 l-9.1 l-9.3 l-9.4 l>1.3 l-9.2 l>1.1",
            "501:1(Turn) 502:1(Turn) 503:3(Turn) 504:3(Turn)",
        ),
        (
            "requests and responses together, and what they led to is written in parts",
            "l<1.1,1.3 l+9.1,9.2 l<1.5 l-9.2 l+9.3 l-9.1 l+9.4,9.5 l-9.4,9.3 l>1.3 l-9.5 l>1.5 l>1.1",
            "501:1(Turn) 502:3(Turn) 503:5(Turn) 504:3(Turn) 505:1(Turn)",
        ),
        (
            "answers in another order than what should have led to them",
            "l<1.1,1.3 l+9.1,9.2 l-9.1,9.2 l>1.3,1.1",
            "",
        ),
        (
            "a loop that answers another one than it heard of is not believed",
            "l<1.1 l+9.1 l<1.3 l+9.2 l-9.2 l>1.1 l-9.1 l>1.3",
            "",
        ),
        (
            "as many went out as came in (readers and writers that are no loop)",
            "r<1.1 w+9.1 r<1.3 w+9.2 r-9.2 w>1.3 r-9.1 w>1.1",
            "501:1(Turn) 502:3(Turn)",
        ),
    ];
    for (name, script, expected) in table {
        assert_eq!(run(script), *expected, "{name}: {script}");
    }
}

#[test]
fn nothing_grows_without_end() {
    let mut play = Play {
        contexts: Contexts::new(Options::default()),
        time: 1_000_000_000,
        round: 0,
        out: Vec::new(),
    };
    for round in 0..30_000 {
        play.round = round;
        for word in ["R<1.1,1.3", "R*1", "W+9.1,9.2", "a<2.1,2.3", "b+8.1,8.2", "R!W"] {
            play.step(word);
        }
    }
    let process = play.contexts.process(Pid(1)).expect("the process");
    assert!(process.streams.streams.len() <= STREAMS_MAX);
    assert!(process.streams.things.len() <= THINGS_MAX);
    play.time += 300_000_000_000;
    play.pass(2_000_000_000);
    assert!(play.contexts.process(Pid(1)).is_none_or(|process| process.streams.is_empty()));
}
