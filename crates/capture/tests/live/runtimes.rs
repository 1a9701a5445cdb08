//! Units of language runtimes: read where their places are known, and never made up where they are not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use deeptrace_capture::live::{Allowed, Hook, Live, Options};
use deeptrace_capture::service::Names;
use deeptrace_capture::watch::Rules;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{Direction, Event, EventBody, Follow, HandOverKind, Pid, UnitId, UnitKind};

use crate::session::on_each_hook;

/// Tasks that call a server of the same process; each has a context of its own.
const TASKS: usize = 20;
const SCRIPT: &str = r"
import asyncio, sys

async def serve(reader, writer):
    writer.write(await reader.read(100))
    await writer.drain()
    writer.close()

async def call(port):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'ping')
    await writer.drain()
    await reader.read(100)
    writer.close()

async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    while True:
        print('ready', flush=True)
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return
        await asyncio.gather(*(call(port) for _ in range(int(sys.argv[1]))))

asyncio.run(main())
";

/// What is read of the units of a program on asyncio.
struct Asyncio {
    child: Child,
    out: BufReader<ChildStdout>,
    live: Live,
}

#[derive(Debug, Default)]
struct Units {
    senders: BTreeSet<UnitId>,
    /// Calls that were seen, and hand-overs from a context.
    calls: usize,
    given: usize,
    put: usize,
    got: usize,
}

impl Asyncio {
    /// `None`: there is no Python.
    fn start() -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, &TASKS.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut out = BufReader::new(child.stdout.take().unwrap());
        ready(&mut out);
        let rules = Rules { pids: [Pid(child.id())].into(), containers: true, ..Rules::default() };
        let mut options = Options::new(rules, Names::new(&[], "test").unwrap());
        options.hook = Hook::SocketTracepoints;
        options.ring_bytes = 1 << 20;
        let live = Live::open(options).unwrap_or_else(|error| panic!("{error}"));
        Some(Self { child, out, live })
    }

    /// Follows the process with this place so many bytes off, and lets it call.
    fn units(&mut self, off_by: Option<(usize, i64)>) -> Units {
        let pid = Pid(self.child.id());
        self.live.follow(Follow::End(pid));
        self.live.allow(Allowed { off_by, ..Allowed::default() });
        self.live.follow(Follow::Begin(pid));
        while self.live.following(pid).is_none() {
            self.live.poll(&mut |_| {}).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        // What was told before is not of these places.
        while self.live.poll(&mut |_| {}).unwrap() == Progress::More {}
        let mut units = Units::default();
        // Once for what is told of a process before its first call, and for what its executor gets after it was
        // ready.
        for _ in 0..2 {
            self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
            ready(&mut self.out);
            while self.live.poll(&mut |event| units.take(event)).unwrap() == Progress::More {}
        }
        units
    }
}

impl Drop for Asyncio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Units {
    fn take(&mut self, event: &Event<'_>) {
        match &event.body {
            EventBody::Call(call) => {
                self.calls += 1;
                if call.direction == Direction::Sent && call.unit.kind() != UnitKind::Thread {
                    self.senders.insert(call.unit);
                }
            }
            EventBody::HandOver(hand_over) => {
                self.given += usize::from(hand_over.from.kind() == UnitKind::Context);
                self.put += usize::from(hand_over.kind == HandOverKind::Put);
                self.got += usize::from(hand_over.kind == HandOverKind::Got);
            }
            _ => {}
        }
    }
}

fn ready(out: &mut BufReader<ChildStdout>) {
    let mut line = String::new();
    assert_ne!(out.read_line(&mut line).unwrap(), 0, "the program ended early");
}

#[test]
fn a_wrong_table_finds_no_units() {
    on_each_hook(|hook| {
        if hook != Hook::SocketTracepoints {
            return;
        }
        let Some(mut asyncio) = Asyncio::start() else {
            std::io::stderr().write_all(b"SKIPPED: units of asyncio: no python3\n").unwrap();
            return;
        };
        let right = asyncio.units(None);
        let told = asyncio.live.following(Pid(asyncio.child.id())).cloned();
        assert!(right.senders.len() >= TASKS && right.given > 0, "{right:?} {told:?}");
        assert!(right.put > 0 && right.got > 0, "{right:?} {told:?}");
        // The slot, and the three places of CPython.
        for place in 0..4 {
            for by in [-16, -8, 8, 16, 64, 4096] {
                let wrong = asyncio.units(Some((place, by)));
                let found = wrong.senders.len() + wrong.given;
                assert!(found == 0 && wrong.calls > TASKS, "{place} off by {by}: {wrong:?}");
            }
        }
        assert!(asyncio.units(None).senders.len() >= TASKS, "and is right again");
    });
}
