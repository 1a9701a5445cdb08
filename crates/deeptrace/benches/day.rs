//! A day of traffic, played as fast as the stages take it: does what they keep, and what an event costs them,
//! stay the same, and when is a parent decided? `cargo bench -p deeptrace --bench day`, with the hours to play
//! if not 24. Prints a line for each twelfth: hours, events, CPU nanoseconds an event, resident MiB, parents,
//! and how long after its answer the last of 1,000 calls, and the very last one, had its parent (ms).
//!
//! The traffic is that of the recorded cells of the arena (`corpus/arena`), one after the other without a
//! pause, over and over. Each time it comes on new connections, at other positions, from the same processes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use deeptrace_agent::pipeline::{Options, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_capture::host::{cpu_time, resident_memory_bytes};
use deeptrace_capture::recording::Reader;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Duration, Event, EventBody, EventId, SpanId, SpanKind,
    Transport, WallTime,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the agent does it.
const TICK: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const SLICES: u64 = 12;
/// Calls without a parent are forgotten after so many.
const OPEN_MAX: usize = 100_000;
/// Spans are taken away as often as the agent does it under load.
const BATCH: usize = 4096;

/// What was counted in a part of the day.
#[derive(Default)]
struct Slice {
    events: u64,
    parents: u64,
    /// Milliseconds from the answer of a call to its parent.
    waits: Vec<u64>,
}

/// The stages, and what they said.
struct Day {
    pipeline: Pipeline,
    batch: Batch,
    /// Times of the recording are so much earlier.
    shift: u64,
    /// How often the recordings were played.
    lap: u64,
    now: BootTime,
    ticked: BootTime,
    /// The wall clock at the beginning, less the other one.
    wall: Option<u64>,
    /// When calls without a parent were answered.
    open: HashMap<SpanId, WallTime>,
    slice: Slice,
}

fn main() {
    let hours = std::env::args().skip(1).find_map(|argument| argument.parse::<f64>().ok());
    let end = (hours.unwrap_or(24.0) * HOUR.0 as f64) as u64;
    let recordings = recordings();
    let mut day = Day {
        pipeline: Pipeline::new(Options {
            max_payload_size: 512,
            correlation: Default::default(),
            handlers: Vec::new(),
            rules: Default::default(),
        }),
        batch: Batch::default(),
        shift: 0,
        lap: 0,
        now: BootTime(0),
        ticked: BootTime(0),
        wall: None,
        open: HashMap::new(),
        slice: Slice::default(),
    };
    println!(
        "{:>6} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "hours", "events", "ns", "MiB", "parents", "late ms", "last ms"
    );
    let (mut begun, mut slices) = (None, 1);
    let mut before = cpu_time();
    while slices <= SLICES {
        for recording in &recordings {
            day.play(recording);
        }
        day.lap += 1;
        let begun = *begun.get_or_insert(day.now);
        if day.now.since(begun).0 >= end / SLICES * slices {
            let hours = day.now.since(begun).0 as f64 / HOUR.0 as f64;
            std::mem::take(&mut day.slice).print(hours, cpu_time().0 - before.0);
            before = cpu_time();
            slices += 1;
        }
    }
}

fn recordings() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/arena");
    let entries = std::fs::read_dir(&folder).expect("corpus/arena is there").flatten();
    let mut recordings: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    recordings.retain(|path| path.extension().is_some_and(|ending| ending == "rec"));
    recordings.sort();
    assert!(!recordings.is_empty(), "there is no recording in {}", folder.display());
    recordings
}

impl Day {
    /// Plays one recording right after what came before.
    fn play(&mut self, recording: &Path) {
        let mut reader = Reader::open(recording).expect("a recording of the corpus can be read");
        let mut transports = HashMap::new();
        let mut first = None;
        loop {
            let progress = reader.poll(&mut |event| {
                let first = *first.get_or_insert(event.time);
                if self.shift == 0 {
                    self.shift = first.0;
                }
                let since = event.time.since(first);
                self.feed(event, self.shift + since.0, &mut transports);
            });
            if progress.expect("a recording of the corpus is whole") == Progress::End {
                break;
            }
        }
        // What was still open when the recording ended was closed one day.
        let mut left: Vec<ConnectionId> = transports.keys().copied().collect();
        left.sort_unstable();
        for connection in left {
            let body = EventBody::Close(Close { connection, errno: 0 });
            let event = Event { id: EventId(u64::from(u32::MAX)), time: self.now, body };
            self.feed(&event, self.now.0, &mut transports);
        }
        self.shift = self.now.0;
    }

    fn feed(
        &mut self,
        event: &Event<'_>,
        time: u64,
        transports: &mut HashMap<ConnectionId, Transport>,
    ) {
        let mut event = Event { time: BootTime(time), ..event.clone() };
        event.id = EventId(self.lap << 40 | event.id.0);
        let lap = self.lap;
        let another = |connection: ConnectionId| ConnectionId(connection.0 ^ lap << 32);
        let positions =
            |at: &mut u64| *at = u64::from((*at as u32).wrapping_add(lap as u32 * 7919));
        let call = |call: &mut Call<'_>, transports: &HashMap<ConnectionId, Transport>| {
            if transports.get(&call.connection) == Some(&Transport::Tcp) {
                positions(&mut call.start);
            }
            call.connection = another(call.connection);
        };
        match &mut event.body {
            EventBody::Clock(wall) => {
                // It goes on as the other clock does.
                *wall = WallTime(*self.wall.get_or_insert(wall.0 - time) + time);
            }
            EventBody::Open(open) => {
                transports.insert(open.connection, open.transport);
                if open.transport == Transport::Tcp {
                    positions(&mut open.sent);
                    positions(&mut open.received);
                }
                open.connection = another(open.connection);
            }
            EventBody::Close(close) => {
                transports.remove(&close.connection);
                close.connection = another(close.connection);
            }
            EventBody::Call(moved) => call(moved, transports),
            EventBody::Plaintext(plain) => call(&mut plain.call, transports),
            _ => {}
        }
        self.now = self.now.max(event.time);
        if self.now.since(self.ticked) >= TICK {
            self.ticked = self.now;
            self.pipeline.tick(self.now, &mut self.batch, &mut |_| {});
            self.pipeline.follows(&mut |_| {});
        }
        self.pipeline.feed(&event, &mut self.batch, &mut |_| {});
        self.slice.events += 1;
        if self.batch.spans.len() >= BATCH || self.now == self.ticked {
            self.take();
        }
    }

    /// Looks at what was finished, and throws it away.
    fn take(&mut self) {
        let calls = self.batch.spans.iter().filter(|span| span.kind == SpanKind::Client);
        self.open.extend(calls.map(|span| (span.id, span.end)));
        let now = WallTime(self.wall.unwrap_or_default() + self.now.0);
        for link in self.batch.links.iter().filter(|link| link.parent.is_some()) {
            if let Some(answered) = self.open.remove(&link.child) {
                self.slice.parents += 1;
                self.slice.waits.push(now.since(answered).0 / 1_000_000);
            }
        }
        if self.open.len() > OPEN_MAX {
            self.open.clear();
        }
        self.batch.clear();
    }
}

impl Slice {
    fn print(mut self, hours: f64, nanoseconds: u64) {
        self.waits.sort_unstable();
        let late = self.waits.get(self.waits.len() * 999 / 1000).copied().unwrap_or_default();
        let last = self.waits.last().copied().unwrap_or_default();
        let each = nanoseconds as f64 / self.events as f64;
        let Self { events, parents, .. } = self;
        let resident = resident_memory_bytes() as f64 / f64::from(1 << 20);
        println!(
            "{hours:>6.1} {events:>11} {each:>9.0} {resident:>9.1} {parents:>9} {late:>9} {last:>9}"
        );
    }
}
