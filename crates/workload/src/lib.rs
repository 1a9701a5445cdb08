//! Workloads of our own: a queueing simulation of services that call each other, with known truth, from
//! a seed. So what is claimed of correlation can be tested on shapes that nobody tuned for.
//!
//! [`SETS`] are the named workloads; [`simulate`] runs one; [`spans`] and [`truth`] write the files that
//! `deeptrace correlate` reads.
#![forbid(unsafe_code)]

mod observe;
mod plan;
mod random;
mod sets;
mod simulation;
mod write;

pub use observe::Seen;
pub use plan::{Call, Operation, Server, Service, Step, Workload};
pub use sets::{SETS, Set};
pub use write::{spans, truth};

/// What the tracer saw of the workload, by start.
pub fn simulate(workload: &Workload, seed: u64) -> Vec<Seen> {
    observe::observe(workload, simulation::run(workload, seed), seed)
}

#[cfg(test)]
mod tests;
