//! What is fuzzed: a target for each row of the table, and one for each other door that data of
//! strangers comes in by. `./x fuzz` has libFuzzer drive them; `cargo test` drives them everywhere,
//! from the same seeds, for a bounded time.
//!
//! A target panics where something is wrong: a parser that does, one that does not move on, a limit
//! that does not hold.
#![forbid(unsafe_code)]

mod calls;
mod doors;
mod row;
mod seeds;
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared with the tests of the table, which use more of it and may fail"
)]
#[path = "../../crates/protocol/tests/table/session/mod.rs"]
mod session;

use deeptrace_protocol::TABLE;

/// Something that takes any bytes.
pub struct Target {
    /// Name of a protocol, or of another door.
    pub name: &'static str,
    run: Run,
    /// Inputs to begin with.
    pub seeds: Vec<Vec<u8>>,
}

enum Run {
    Row(usize),
    Door(fn(&[u8])),
}

impl Target {
    /// Takes an input; panics if something is wrong.
    pub fn run(&self, data: &[u8]) {
        match self.run {
            Run::Row(row) => row::run(row, data),
            Run::Door(door) => door(data),
        }
    }
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let mut sessions = seeds::sessions();
    let all: Vec<Vec<u8>> =
        sessions.values().flat_map(|seeds| seeds.iter().step_by(4)).cloned().collect();
    let mut targets: Vec<Target> = doors::DOORS
        .iter()
        .map(|door| Target { name: door.name, run: Run::Door(door.run), seeds: (door.seeds)() })
        .collect();
    targets.push(Target { name: "table", run: Run::Door(row::table), seeds: all });
    for (row, protocol) in TABLE.iter().enumerate() {
        let seeds = sessions.remove(protocol.name).unwrap_or_default();
        targets.push(Target { name: protocol.name, run: Run::Row(row), seeds });
    }
    targets
}
