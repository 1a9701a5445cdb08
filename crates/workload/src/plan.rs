//! What services do, and how well they are watched.

/// Services under load.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The first is asked from outside.
    pub services: Vec<Service>,
    /// Requests from outside.
    pub requests: u32,
    /// Requests a second; they arrive at random (Poisson).
    pub rate: f64,
    /// Requests that arrive at one moment.
    pub burst: u32,
    /// Clocks of hosts differ by up to this, in nanoseconds.
    pub clock_offset: i64,
    /// Clocks tell multiples of this, in nanoseconds.
    pub tick: i64,
    /// Share of traces that are watched.
    pub sampled: f64,
    /// Share of spans that are lost.
    pub lost: f64,
    /// Different values of a field that goes through all payloads of a trace; zero: no payloads.
    pub fields: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            requests: 1000,
            rate: 100.0,
            burst: 1,
            clock_offset: 0,
            tick: 1,
            sampled: 1.0,
            lost: 0.0,
            fields: 0,
        }
    }
}

/// How a service runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Server {
    /// Each request has a thread of its own until it is answered; so many threads.
    Threads(u32),
    /// One thread does all work, in the order in which it becomes ready.
    Loop,
    /// So many threads, any of which does what is ready.
    Pool(u32),
    /// Not watched: it answers after some microseconds.
    Store(f64),
}

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// How it runs.
    pub server: Server,
    /// What it can be asked. From outside one is taken at random.
    pub operations: Vec<Operation>,
    /// Calls a second to the last service that no request causes.
    pub background: f64,
}

/// What a request makes a service do.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// In this order.
    pub steps: Vec<Step>,
    /// Share of requests that fail: what is left is not done.
    pub fails: f64,
    /// Of so many requests of a trace the last to come does the work; zero: each does it.
    pub joins: u32,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Microseconds of work, log-normal: median and sigma.
    Work(f64, f64),
    /// Microseconds without work, exponential.
    Sleep(f64),
    /// Calls at the same time; all are waited for.
    Calls(Vec<Call>),
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Index of the service.
    pub service: usize,
    /// Index of its operation.
    pub operation: usize,
    /// Probability that it is made: a cache may have the answer.
    pub probability: f64,
    /// One after the other, at most so many; at least one.
    pub times: u32,
    /// Share of attempts that are tried again at once.
    pub retried: f64,
    /// Microseconds after which it is given up.
    pub timeout: f64,
}

impl Call {
    /// Once, always, with patience.
    pub fn to(service: usize, operation: usize) -> Self {
        Self { service, operation, probability: 1.0, times: 1, retried: 0.0, timeout: 30e6 }
    }
}
