//! Session: an application in a process of its own, watched, with what was seen of it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use deeptrace_capture::live::{CheckStatus, Hook, Live, Options, checks};
use deeptrace_capture::service::Names;
use deeptrace_capture::watch::Rules;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{
    Close, ConnectionId, Direction, Event, EventBody, LossCause, Open, Pid, Process,
};

use crate::driver::SCENARIO;

/// A call with its own copy of the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenCall {
    pub connection: ConnectionId,
    pub pid: Pid,
    pub sent: bool,
    pub start: u64,
    pub len: u32,
    pub payload: String,
    pub drained: bool,
    pub peer: Option<SocketAddr>,
}

/// Everything that was seen, in order.
#[derive(Debug, Default)]
pub struct Seen {
    pub processes: Vec<Process>,
    pub opens: Vec<Open>,
    pub calls: Vec<SeenCall>,
    pub closes: Vec<Close>,
    pub exits: Vec<Pid>,
    pub lost: Vec<(LossCause, u64)>,
    events: u64,
    introduced: BTreeSet<Pid>,
    open: BTreeSet<ConnectionId>,
}

impl Seen {
    /// Takes an event, and holds the source to the order it promises.
    fn take(&mut self, event: &Event<'_>) {
        self.events += 1;
        assert_eq!(event.id.0, self.events, "ids count up");
        match &event.body {
            EventBody::Host(host) => assert!(self.events == 1 && host.boot != 0),
            EventBody::Clock(_) => assert!(self.events >= 2),
            EventBody::Process(process) => {
                self.introduced.insert(process.key.pid);
                self.processes.push(process.clone());
            }
            EventBody::Exit(pid) => self.exits.push(*pid),
            EventBody::Open(open) => {
                assert!(self.introduced.contains(&open.pid), "process before {open:?}");
                self.open.insert(open.connection);
                self.opens.push(open.clone());
            }
            EventBody::Call(call) => {
                assert!(self.open.contains(&call.connection), "open before {call:?}");
                self.calls.push(SeenCall {
                    connection: call.connection,
                    pid: call.pid,
                    sent: call.direction == Direction::Sent,
                    start: call.start,
                    len: call.len,
                    payload: String::from_utf8_lossy(call.payload).into_owned(),
                    drained: call.drained,
                    peer: call.peer,
                });
            }
            EventBody::Close(close) => self.closes.push(close.clone()),
            EventBody::Redacted | EventBody::Message(_) => {
                panic!("the kernel does not tell {event:?}")
            }
            EventBody::Lost { cause, count } => self.lost.push((*cause, *count)),
            EventBody::Plaintext(_) => panic!("no scenario speaks TLS"),
            EventBody::HandOver(_) => {}
        }
    }

    /// Payloads of the calls on a connection, in order.
    pub fn texts(&self, connection: ConnectionId, sent: bool) -> Vec<&str> {
        self.of(connection, sent).map(|call| call.payload.as_str()).collect()
    }

    /// The calls on a connection.
    pub fn of(&self, connection: ConnectionId, sent: bool) -> impl Iterator<Item = &SeenCall> {
        self.calls.iter().filter(move |call| call.connection == connection && call.sent == sent)
    }

    /// The errors with which a connection was closed.
    pub fn errors(&self, connection: ConnectionId) -> Vec<u16> {
        let of = |close: &&Close| close.connection == connection;
        self.closes.iter().filter(of).map(|close| close.errno).collect()
    }

    /// What is known of the connection on which `text` went that way.
    pub fn with(&self, text: &str, sent: bool) -> &Open {
        let call = self.calls.iter().find(|call| call.sent == sent && call.payload == text);
        let id = call.unwrap_or_else(|| panic!("no {text:?} in {self:#?}")).connection;
        self.opens.iter().find(|open| open.connection == id).unwrap()
    }
}

/// An application that is watched.
pub struct Session {
    child: Child,
    out: BufReader<ChildStdout>,
    pub live: Live,
    pub seen: Seen,
    /// What the scenario told when it was ready.
    pub detail: String,
}

impl Session {
    /// Starts a scenario and watches it, by its pid if `tune` does not say otherwise.
    pub fn start(scenario: &str, hook: Hook, tune: impl FnOnce(&mut Options, &str)) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["driver", "--exact", "--nocapture"])
            .env(SCENARIO, scenario)
            // With one thread the harness begins the line on which the scenario tells that it is ready.
            .env("RUST_TEST_THREADS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let detail = ready(&mut out);
        let rules = Rules { pids: [Pid(child.id())].into(), containers: true, ..Rules::default() };
        let mut options = Options::new(rules, Names::new(&[], "test").unwrap());
        options.hook = hook;
        options.ring_bytes = 1 << 20;
        tune(&mut options, &detail);
        let live = Live::open(options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(live.hook(), hook);
        Self { child, out, live, seen: Seen::default(), detail }
    }

    pub fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Gives the scenario its word.
    pub fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Gives the scenario its word and waits, without reading, until it is ready for the next one.
    pub fn go_unread(&mut self) {
        self.go();
        ready(&mut self.out);
    }

    /// The same, and takes what was seen.
    pub fn round(&mut self) -> Seen {
        self.go_unread();
        self.drain();
        let Seen { events, introduced, open, .. } = &self.seen;
        let (events, introduced, open) = (*events, introduced.clone(), open.clone());
        let next = Seen { events, introduced, open, ..Seen::default() };
        std::mem::replace(&mut self.seen, next)
    }

    /// Takes what there is, losses included, which are told a little later.
    pub fn drain(&mut self) {
        for _ in 0..2 {
            while self.poll() == Progress::More {}
            std::thread::sleep(Duration::from_millis(60));
        }
        while self.poll() == Progress::More {}
    }

    fn poll(&mut self) -> Progress {
        self.live.poll(&mut |event| self.seen.take(event)).unwrap()
    }

    /// Watches until the scenario has ended well.
    pub fn finish(mut self) -> Seen {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            self.poll();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the application hangs");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success(), "the application failed: {status}");
        self.drain();
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Where a test failed half-way, the application would wait for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(out: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the application ended early");
        if let Some(detail) = line.strip_prefix("ready") {
            return detail.trim().to_owned();
        }
    }
}

/// Plays a scenario to its end.
pub fn watch(scenario: &str, hook: Hook) -> Seen {
    let mut session = Session::start(scenario, hook, |_, _| {});
    session.go();
    session.finish()
}

/// Runs `test` on every hook that this machine has; says so where it has none.
pub fn on_each_hook(test: impl Fn(Hook)) {
    // Past the test harness's capture of output: a skipped test must be seen.
    let mut stderr = std::io::stderr();
    for check in checks() {
        if check.status == CheckStatus::Fail {
            let text = format!("SKIPPED: live capture: {}; {}\n", check.detail, check.remedy);
            stderr.write_all(text.as_bytes()).unwrap();
            return;
        }
    }
    for hook in [Hook::SocketTracepoints, Hook::SyscallExit] {
        let there = checks().iter().any(|c| c.name == "hook" && c.status == CheckStatus::Ok);
        if hook == Hook::SocketTracepoints && !there {
            stderr.write_all(b"SKIPPED: socket tracepoints: not in this kernel\n").unwrap();
            continue;
        }
        test(hook);
    }
}
