//! What capture costs an application for each socket call: one thread writes to itself over loopback
//! TCP, bare and with capture in several ways, in turns. Prints one table; needs root.
//!
//! `cargo run --release -p deeptrace-capture --example event_cost [-- ROUNDS]`; `-- hold BYTES` only
//! attaches the floor.
//!
//! The application runs on the first processor and the reader on the second. Each row is the best
//! stretch of all rounds: what else the machine does can only add.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use deeptrace_capture::live::{Hook, Live, Options};
use deeptrace_capture::service::Names;
use deeptrace_capture::watch::Rules;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::Pid;
use libbpf_rs::{MapCore, MapHandle, ObjectBuilder, RingBufferBuilder};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Exchanges (two events each) of a stretch, and stretches of a measurement, of which the best counts.
const EXCHANGES: u32 = 1_000;
const STRETCHES: u32 = 20;
/// The least that a program can cost, built from `floor.bpf.c` by `bpf/build.sh`.
static FLOOR: &[u8] = include_bytes!("floor.bpf.o");

/// What listens during a measurement.
#[derive(Clone, Copy)]
enum Mode {
    Bare,
    Floor { copied: u32 },
    Capture { hook: Hook, watched: bool, copied: u32 },
}

/// A row of the table: its name, who listens, the bytes of a call, and the row that is its floor.
struct Row {
    name: &'static str,
    mode: Mode,
    bytes: usize,
    floor: Option<&'static str>,
}

const fn row(name: &'static str, mode: Mode, bytes: usize, floor: Option<&'static str>) -> Row {
    Row { name, mode, bytes, floor }
}

const fn capture(hook: Hook, watched: bool, copied: u32) -> Mode {
    Mode::Capture { hook, watched, copied }
}

const TABLE: &[Row] = {
    use Hook::{SocketTracepoints as Tracepoints, SyscallExit};
    &[
        row("bare, 256 bytes", Mode::Bare, 256, None),
        row("empty program", Mode::Floor { copied: 0 }, 256, None),
        row("floor: copy 256 bytes", Mode::Floor { copied: 256 }, 256, None),
        row("not watched", capture(Tracepoints, false, 256), 256, None),
        row("no payload", capture(Tracepoints, true, 0), 256, None),
        row("256 bytes", capture(Tracepoints, true, 256), 256, Some("floor: copy 256 bytes")),
        row("syscall exit, not watched", capture(SyscallExit, false, 256), 256, None),
        row("syscall exit, 256 bytes", capture(SyscallExit, true, 256), 256, None),
        row("bare, 1024 bytes", Mode::Bare, 1024, None),
        row("floor: copy 1024 bytes", Mode::Floor { copied: 1024 }, 1024, None),
        row("1024 bytes", capture(Tracepoints, true, 1024), 1024, Some("floor: copy 1024 bytes")),
        row("bare, 4096 bytes", Mode::Bare, 4096, None),
        row("floor: copy 4096 bytes", Mode::Floor { copied: 4096 }, 4096, None),
        row("4096 bytes", capture(Tracepoints, true, 4096), 4096, Some("floor: copy 4096 bytes")),
    ]
};

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        Some("application") => return application(),
        Some("hold") => return hold(),
        _ => {}
    }
    let rounds = argument.map_or(Ok(7), |rounds| rounds.parse())?;
    let mut application = Application::start()?;
    let mut best = vec![f64::INFINITY; TABLE.len()];
    let mut events = vec![0; TABLE.len()];
    for _ in 0..rounds {
        for (at, row) in TABLE.iter().enumerate() {
            let listener = Listener::start(row.mode, application.pid())?;
            let took = application.measure(row.bytes)?;
            events[at] = listener.stop()?;
            best[at] = best[at].min(took);
        }
    }
    print(&best, &events);
    Ok(())
}

/// `hold BYTES`: keeps the floor attached until it is killed, for whoever measures something else.
fn hold() -> Result<(), Failure> {
    let copied = std::env::args().nth(2).ok_or("hold how many bytes of a call?")?.parse()?;
    let mut poll = listen(Mode::Floor { copied }, Pid(0))?;
    println!("attached");
    loop {
        poll()?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Costs are differences to the bare row of the same size, for one event (half an exchange).
fn print(best: &[f64], events: &[u64]) {
    let of = |name: &str| TABLE.iter().position(|row| row.name == name);
    let cost = |at: usize| {
        let bare = format!("bare, {} bytes", TABLE[at].bytes);
        of(&bare).map_or(0.0, |bare| (best[at] - best[bare]) / 2.0)
    };
    println!(
        "{:<28} {:>14} {:>12} {:>10} {:>10}",
        "", "ns/exchange", "ns/event", "x floor", "seen"
    );
    for (at, row) in TABLE.iter().enumerate() {
        let ratio = row.floor.and_then(of).map(|floor| format!("{:.2}", cost(at) / cost(floor)));
        println!(
            "{:<28} {:>14.0} {:>12.0} {:>10} {:>10}",
            row.name,
            best[at],
            cost(at),
            ratio.unwrap_or_default(),
            events[at]
        );
    }
}

/// The other process: for each size that it is told it prints nanoseconds for one exchange.
fn application() -> Result<(), Failure> {
    pin(0)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = listener.accept()?.0;
    for line in std::io::stdin().lines() {
        let bytes: usize = line?.parse()?;
        let (out, mut into) = (vec![b'x'; bytes], vec![0; bytes]);
        let mut best = Duration::MAX;
        for _ in 0..STRETCHES {
            let started = Instant::now();
            for _ in 0..EXCHANGES {
                client.write_all(&out)?;
                server.read_exact(&mut into)?;
            }
            best = best.min(started.elapsed());
        }
        println!("{}", best.as_nanos() as f64 / f64::from(EXCHANGES));
    }
    Ok(())
}

struct Application {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Application {
    fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("application")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, stdin, stdout })
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn measure(&mut self, bytes: usize) -> Result<f64, Failure> {
        writeln!(self.stdin, "{bytes}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The thread that reads what is captured.
struct Listener {
    stop: Sender<()>,
    thread: JoinHandle<Result<u64, Failure>>,
}

impl Listener {
    fn start(mode: Mode, pid: Pid) -> Result<Self, Failure> {
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        let thread = spawn(move || {
            pin(1)?;
            let mut poll = listen(mode, pid)?;
            ready.send(())?;
            let mut seen = 0;
            while stopped.try_recv().is_err() {
                seen += poll()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(seen + poll()?)
        });
        match is_ready.recv() {
            Ok(()) => Ok(Self { stop, thread }),
            Err(_) => Err(thread
                .join()
                .map_err(|_| "the reader failed")?
                .err()
                .unwrap_or_else(|| "the reader ended".into())),
        }
    }

    fn stop(self) -> Result<u64, Failure> {
        self.stop.send(())?;
        self.thread.join().map_err(|_| "the reader failed")?
    }
}

type Poll = Box<dyn FnMut() -> Result<u64, Failure>>;

/// Loads and attaches what `mode` names; what comes back reads once and says how much it was.
fn listen(mode: Mode, pid: Pid) -> Result<Poll, Failure> {
    match mode {
        Mode::Bare => Ok(Box::new(|| Ok(0))),
        Mode::Floor { copied } => {
            let mut open = ObjectBuilder::default().open_memory(FLOOR)?;
            for mut map in open.maps_mut() {
                if map.name().to_string_lossy().ends_with(".rodata") {
                    let value = map.initial_value_mut().ok_or("no constants")?;
                    value[..4].copy_from_slice(&copied.to_ne_bytes());
                }
            }
            let object = open.load()?;
            let links: Result<Vec<_>, _> = object.progs_mut().map(|p| p.attach()).collect();
            let links = links?;
            let seen = std::rc::Rc::new(std::cell::Cell::new(0));
            let count = std::rc::Rc::clone(&seen);
            let ring = object.maps().find(|map| map.name() == "events").ok_or("no ring")?;
            let ring = MapHandle::try_from(&ring)?;
            let mut builder = RingBufferBuilder::new();
            builder.add(&ring, move |_| {
                count.set(count.get() + 1);
                0
            })?;
            let ring = builder.build()?;
            Ok(Box::new(move || {
                let _ = (&links, &object);
                ring.consume()?;
                Ok(seen.replace(0))
            }))
        }
        Mode::Capture { hook, watched, copied } => {
            let pids = [if watched { pid } else { Pid(1) }].into();
            let rules = Rules { pids, containers: true, ..Rules::default() };
            let mut options = Options::new(rules, Names::new(&[], "")?);
            (options.hook, options.bytes_default) = (hook, copied);
            let mut live = Live::open(options)?;
            Ok(Box::new(move || {
                let mut seen = 0;
                while live.poll(&mut |_| seen += 1)? == Progress::More {}
                Ok(seen)
            }))
        }
    }
}

fn pin(processor: usize) -> Result<(), Failure> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
