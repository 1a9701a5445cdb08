//! The agent's own limits: when it uses more than `[agents.limits]` allows it steps down, one step
//! at a time, and up again when there is room. The rule is a state machine over samples
//! ([`Governor`]); [`Meter`] takes the samples.
//!
//! Known bias: what our programs cost inside the kernel is charged to whoever made the call, not
//! to us, so it is not in these samples; the benchmark measures it.

use std::fs;
use std::io;
use std::num::NonZero;

use deeptrace_model::Duration;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::config::Budget;

/// How much is done; each step leaves out more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Everything that is configured.
    #[default]
    Full,
    /// Payloads are cut to what names and statuses need.
    LessPayload,
    /// No payload beyond recognition: spans say who and how long.
    Metadata,
    /// New connections are not followed.
    FewerConnections,
}

impl Step {
    /// All steps, from the least to the most that is left out.
    pub const ALL: [Self; 4] =
        [Self::Full, Self::LessPayload, Self::Metadata, Self::FewerConnections];

    /// As printed in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::LessPayload => "less_payload",
            Self::Metadata => "metadata",
            Self::FewerConnections => "fewer_connections",
        }
    }

    /// How far down, 0 to 3.
    pub fn level(self) -> u8 {
        self as u8
    }
}

/// What the process has used up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since some fixed moment; does not stand still while the process is stopped.
    pub elapsed: Duration,
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Resident memory that is not shared with the kernel or other processes.
    pub memory_bytes: u64,
}

/// What made the step change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// CPU time is above the limit.
    Cpu,
    /// Memory is above the limit.
    Memory,
    /// There has been room for a while.
    Room,
}

/// A change of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The step from now on.
    pub to: Step,
    /// Why.
    pub cause: Cause,
}

/// Samples above the limit in a row before a step down: a burst is not a state.
const OVER_SAMPLES: u32 = 3;
/// Samples with room in a row before a step up.
const ROOM_SAMPLES: u32 = 10;
/// The same after steps up that did not last, at most.
const ROOM_SAMPLES_MAX: u32 = 300;
/// Room is below this share of the limit, so that one limit does not mean two steps.
const ROOM_SHARE: f64 = 0.7;

/// Decides the step from samples about a second apart.
#[derive(Clone, Debug)]
pub struct Governor {
    budget: Budget,
    processors: f64,
    step: Step,
    last: Option<Sample>,
    over: u32,
    room: u32,
    room_needed: u32,
    /// Samples since the last step up; a step down soon after makes the next wait longer.
    since_up: u32,
    cpu_share: f64,
}

impl Governor {
    /// At the first step, for a host with so many processors.
    pub fn new(budget: Budget, processors: NonZero<usize>) -> Self {
        Self {
            budget,
            processors: processors.get() as f64,
            step: Step::Full,
            last: None,
            over: 0,
            room: 0,
            room_needed: ROOM_SAMPLES,
            since_up: u32::MAX,
            cpu_share: 0.0,
        }
    }

    /// Other limits from now on; the step follows with the next samples.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// The step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Share of all processors used between the last two samples, 0 to 1.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_share
    }

    /// Takes a sample; says when the step changes.
    pub fn observe(&mut self, sample: Sample) -> Option<Change> {
        let last = self.last.replace(sample)?;
        let elapsed = sample.elapsed.0.saturating_sub(last.elapsed.0);
        if elapsed == 0 {
            return None;
        }
        let used = sample.cpu.0.saturating_sub(last.cpu.0);
        self.cpu_share = used as f64 / elapsed as f64 / self.processors;
        self.since_up = self.since_up.saturating_add(1);

        let cpu = load(self.cpu_share, self.budget.cpu);
        let memory =
            load(sample.memory_bytes as f64, self.budget.memory_bytes.map(|bytes| bytes as f64));
        let worst = cpu.max(memory);
        self.over = if worst > 1.0 { self.over + 1 } else { 0 };
        self.room = if worst < ROOM_SHARE { self.room + 1 } else { 0 };
        if self.over >= OVER_SAMPLES {
            self.down(if memory > 1.0 { Cause::Memory } else { Cause::Cpu })
        } else if self.room >= self.room_needed {
            self.up()
        } else {
            None
        }
    }

    fn down(&mut self, cause: Cause) -> Option<Change> {
        self.over = 0;
        let to = *Step::ALL.get(self.step as usize + 1)?;
        if self.since_up < self.room_needed {
            self.room_needed = (self.room_needed * 2).min(ROOM_SAMPLES_MAX);
        }
        self.step = to;
        Some(Change { to, cause })
    }

    fn up(&mut self) -> Option<Change> {
        self.room = 0;
        if self.step == Step::Full {
            // It lasted: the next time need not be waited for longer.
            self.room_needed = ROOM_SAMPLES;
            return None;
        }
        self.step = Step::ALL[self.step as usize - 1];
        self.since_up = 0;
        Some(Change { to: self.step, cause: Cause::Room })
    }
}

/// Used as a share of the limit; zero without one.
fn load(used: f64, limit: Option<f64>) -> f64 {
    limit.map_or(0.0, |limit| used / limit)
}

/// Takes samples of this process.
#[derive(Debug)]
pub struct Meter {
    page_bytes: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { page_bytes: rustix::param::page_size() as u64 }
    }
}

impl Meter {
    /// Processors that this process may use.
    pub fn processors() -> NonZero<usize> {
        std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
    }

    /// What was used up to now. Memory is `resident` less `shared` of `/proc/self/statm`, which
    /// leaves out the mapping of the ring buffer.
    pub fn sample(&self) -> io::Result<Sample> {
        let statm = fs::read_to_string("/proc/self/statm")?;
        let mut pages = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let (Some(Ok(resident)), Some(Ok(shared))) = (pages.next(), pages.next()) else {
            let message = "/proc/self/statm has another form than proc(5) says";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        Ok(Sample {
            elapsed: nanos(ClockId::Boottime),
            cpu: nanos(ClockId::ProcessCPUTime),
            memory_bytes: resident.saturating_sub(shared) * self.page_bytes,
        })
    }
}

fn nanos(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { cpu: Some(0.10), memory_bytes: Some(100) };

    /// Feeds one sample a second: percent of two processors, and bytes.
    struct Run {
        governor: Governor,
        now: Sample,
    }

    impl Run {
        fn new(budget: Budget) -> Self {
            let governor = Governor::new(budget, NonZero::new(2).unwrap());
            let mut run = Self { governor, now: Sample::default() };
            assert_eq!(run.governor.observe(run.now), None);
            run.now.memory_bytes = 1;
            run
        }

        fn seconds(&mut self, count: u32, percent: u64, memory_bytes: u64) -> Vec<Change> {
            let mut changes = Vec::new();
            for _ in 0..count {
                self.now.elapsed.0 += 1_000_000_000;
                self.now.cpu.0 += 2 * percent * 10_000_000;
                self.now.memory_bytes = memory_bytes;
                changes.extend(self.governor.observe(self.now));
            }
            changes
        }
    }

    #[test]
    fn steps_down_to_the_last_and_up_again() {
        let mut run = Run::new(BUDGET);
        assert_eq!(run.seconds(2, 50, 1), []);
        let down: Vec<Change> =
            Step::ALL[1..].iter().map(|to| Change { to: *to, cause: Cause::Cpu }).collect();
        assert_eq!(run.seconds(20, 50, 1), down);
        assert_eq!(run.seconds(60, 8, 1), [], "between room and limit nothing moves");
        let up = run.seconds(30, 1, 1);
        assert_eq!(up.iter().map(|c| c.to.level()).collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn a_burst_is_not_a_state() {
        let mut run = Run::new(BUDGET);
        for _ in 0..10 {
            assert_eq!(run.seconds(2, 90, 1), []);
            assert_eq!(run.seconds(1, 5, 1), []);
        }
    }

    #[test]
    fn memory_counts_like_time() {
        let mut run = Run::new(BUDGET);
        let expected = Change { to: Step::LessPayload, cause: Cause::Memory };
        assert_eq!(run.seconds(3, 0, 101), [expected]);
        assert_eq!(run.seconds(10, 0, 71), []);
        assert_eq!(run.seconds(10, 0, 69).len(), 1);
    }

    #[test]
    fn steps_up_that_do_not_last_are_tried_less_often() {
        let mut run = Run::new(BUDGET);
        let mut tries = Vec::new();
        for _ in 0..2_000 {
            // Full costs too much, one step down has room: the worst case for flapping.
            let percent = if run.governor.step() == Step::Full { 20 } else { 1 };
            let changes = run.seconds(1, percent, 1).len();
            tries.push(changes);
        }
        let early: usize = tries[..200].iter().sum();
        let late: usize = tries[1_000..].iter().sum();
        assert!((2..=20).contains(&early), "{early}");
        assert!(late <= 8, "{late} changes in the last 1000 s");
    }

    #[test]
    fn no_limit_never_steps() {
        let mut run = Run::new(Budget { cpu: None, memory_bytes: None });
        assert_eq!(run.seconds(100, 100, u64::MAX), []);
    }

    #[test]
    fn the_meter_sees_this_process() {
        let meter = Meter::default();
        let before = meter.sample().unwrap();
        let mut sum = 0_u64;
        while meter.sample().unwrap().cpu.0 < before.cpu.0 + 5_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let after = meter.sample().unwrap();
        assert!(after.elapsed > before.elapsed);
        assert!(after.memory_bytes > 100 << 10);
    }
}
