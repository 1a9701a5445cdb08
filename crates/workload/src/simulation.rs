//! The simulation: events in the order of time; a request holds a worker of its service while it works.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::plan::{Call, Server, Step, Workload};
use crate::random::Random;

/// Microseconds that a worker needs at least to take up what is next.
const READING: f64 = 2.0;

/// An exchange as it was: what each side would see.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) trace: u32,
    /// The exchange whose request caused it; `None`: from outside, or nobody.
    pub(crate) parent: Option<usize>,
    /// Who called; `None`: from outside.
    pub(crate) caller: Option<usize>,
    pub(crate) service: usize,
    pub(crate) operation: usize,
    /// The caller's times and threads.
    pub(crate) sent: [u64; 2],
    pub(crate) sent_by: [u32; 2],
    /// The service's times and threads.
    pub(crate) served: [u64; 2],
    pub(crate) served_by: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request reaches its service.
    Arrives(usize),
    /// It can go on, as soon as a worker is free.
    Ready(usize),
    /// A worker has done a piece of it.
    Worked(usize),
    /// The answer to a call reaches its caller.
    Answered(usize),
    /// The caller waits no longer.
    GivenUp(usize),
    /// A service calls for no request.
    Background(usize),
}

/// A request in a service; its number is that of its exchange.
struct Task {
    /// What is left, last first.
    steps: Vec<Step>,
    waits: u32,
    /// The call whose answer it goes on with.
    answered: Option<usize>,
    worker: Option<u32>,
    is_open: bool,
}

struct Simulation<'a> {
    workload: &'a Workload,
    random: Random,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    exchanges: Vec<Exchange>,
    tasks: Vec<Task>,
    /// Calls whose caller waits, with the attempts that may follow.
    pending: BTreeMap<usize, VecDeque<Call>>,
    free: Vec<Vec<u32>>,
    ready: Vec<VecDeque<usize>>,
    met: BTreeMap<(u32, usize, usize), u32>,
}

/// Runs it to the end.
pub(crate) fn run(workload: &Workload, seed: u64) -> Vec<Exchange> {
    let workers = |server| match server {
        Server::Threads(many) | Server::Pool(many) => (0..many).rev().collect(),
        Server::Loop => vec![0],
        Server::Store(_) => Vec::new(),
    };
    let services = &workload.services;
    let mut simulation = Simulation {
        workload,
        random: Random::new(seed),
        now: 0,
        events: BinaryHeap::new(),
        serial: 0,
        exchanges: Vec::new(),
        tasks: Vec::new(),
        pending: BTreeMap::new(),
        free: services.iter().map(|service| workers(service.server)).collect(),
        ready: vec![VecDeque::new(); services.len()],
        met: BTreeMap::new(),
    };
    let mut time = 1e9;
    for trace in 0..workload.requests {
        if trace % workload.burst.max(1) == 0 {
            let mean = 1e9 / workload.rate * f64::from(workload.burst.max(1));
            time += simulation.random.exponential(mean);
        }
        let operation = simulation.random.below(services[0].operations.len());
        let first = simulation.exchange(trace, None, None, (0, operation), time as u64);
        let delay = simulation.random.exponential(20e3) as u64;
        simulation.at(time as u64 + delay, Event::Arrives(first));
    }
    for (number, service) in services.iter().enumerate().filter(|(_, s)| s.background > 0.0) {
        let mut at = 1e9;
        while at < time {
            at += simulation.random.exponential(1e9 / service.background);
            simulation.at(at as u64, Event::Background(number));
        }
    }
    while let Some(Reverse((time, _, event))) = simulation.events.pop() {
        simulation.now = time;
        simulation.happens(event);
    }
    simulation.exchanges
}

impl Simulation<'_> {
    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((time, self.serial, event)));
    }

    fn after(&mut self, microseconds: f64, event: Event) {
        self.at(self.now + (microseconds * 1e3) as u64, event);
    }

    fn exchange(
        &mut self,
        trace: u32,
        parent: Option<usize>,
        caller: Option<usize>,
        (service, operation): (usize, usize),
        time: u64,
    ) -> usize {
        self.exchanges.push(Exchange {
            trace,
            parent,
            caller,
            service,
            operation,
            sent: [time; 2],
            sent_by: [0; 2],
            served: [0; 2],
            served_by: [0; 2],
        });
        let steps = Vec::new();
        self.tasks.push(Task { steps, waits: 0, answered: None, worker: None, is_open: false });
        self.exchanges.len() - 1
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives(task) => self.arrives(task),
            Event::Ready(task) => {
                let service = self.exchanges[task].service;
                self.ready[service].push_back(task);
                self.schedule(service);
            }
            Event::Worked(task) => self.next_step(task),
            Event::Answered(call) => self.ends(call, true),
            Event::GivenUp(call) => self.ends(call, false),
            Event::Background(service) => {
                let last = self.workload.services.len() - 1;
                let trace = self.workload.requests + self.exchanges.len() as u32;
                let call = self.exchange(trace, None, Some(service), (last, 0), self.now);
                self.travel(call);
            }
        }
    }

    fn server(&self, task: usize) -> Server {
        self.workload.services[self.exchanges[task].service].server
    }

    fn arrives(&mut self, task: usize) {
        let Exchange { trace, service, operation, .. } = self.exchanges[task];
        self.exchanges[task].served = [self.now; 2];
        if let Server::Store(mean) = self.server(task) {
            let time = mean * (0.4 * self.random.normal()).exp();
            self.after(time, Event::Answered(task));
            return;
        }
        let plan = &self.workload.services[service].operations[operation];
        let met = self.met.entry((trace, service, operation)).or_default();
        *met += 1;
        let mut steps: Vec<Step> = plan.steps.iter().rev().cloned().collect();
        if plan.joins > 0 && !met.is_multiple_of(plan.joins) {
            steps = vec![Step::Work(20.0, 0.3)];
        } else if self.random.chance(plan.fails) {
            let kept = self.random.below(steps.len()) + 1;
            steps.drain(..steps.len() - kept);
        }
        self.tasks[task].steps = steps;
        self.tasks[task].is_open = true;
        self.at(self.now, Event::Ready(task));
    }

    /// Gives free workers to what is ready.
    fn schedule(&mut self, service: usize) {
        while let Some(task) = self.ready[service].front().copied() {
            // A thread that waits for the answer goes on with its own request.
            let worker = match self.tasks[task].worker {
                Some(own) => own,
                None if self.free[service].is_empty() => return,
                None => {
                    let many = self.free[service].len();
                    let any = self.random.below(many);
                    self.free[service].swap_remove(any)
                }
            };
            self.ready[service].pop_front();
            let is_new = self.exchanges[task].served_by[1] == 0;
            self.tasks[task].worker = Some(worker);
            self.exchanges[task].served_by[1] = worker + 1;
            // It is read when a worker gets to it, which is a little after that has left the last.
            let reading = READING * (1.0 + self.random.share());
            let read = self.now + (reading * 1e3) as u64;
            if is_new {
                self.exchanges[task].served_by[0] = worker + 1;
                self.exchanges[task].served[0] = read;
            }
            if let Some(call) = self.tasks[task].answered.take() {
                self.exchanges[call].sent[1] = read;
            }
            self.at(read, Event::Worked(task));
        }
    }

    fn release(&mut self, task: usize) {
        let service = self.exchanges[task].service;
        if let Some(worker) = self.tasks[task].worker.take() {
            self.free[service].push(worker);
            self.schedule(service);
        }
    }

    fn next_step(&mut self, task: usize) {
        match self.tasks[task].steps.pop() {
            Some(Step::Work(median, sigma)) => {
                let time = median * (sigma * self.random.normal()).exp();
                self.after(time, Event::Worked(task));
            }
            Some(Step::Sleep(mean)) => {
                let time = self.random.exponential(mean);
                self.after(time, Event::Ready(task));
                self.pause(task);
            }
            Some(Step::Calls(calls)) => {
                for call in calls {
                    if self.random.chance(call.probability) {
                        let times = 1 + self.random.below(call.times as usize);
                        self.tasks[task].waits += 1;
                        self.call(task, std::iter::repeat_n(call, times).collect());
                    }
                }
                if self.tasks[task].waits == 0 {
                    self.next_step(task);
                } else {
                    self.pause(task);
                }
            }
            None => {
                let caller = self.exchanges[task].caller;
                self.exchanges[task].served[1] = self.now;
                self.tasks[task].is_open = false;
                let delay = self.delay();
                if caller.is_some() {
                    self.after(delay, Event::Answered(task));
                }
                self.release(task);
            }
        }
    }

    /// Nothing to do for now: only a thread of its own stays with it.
    fn pause(&mut self, task: usize) {
        if !matches!(self.server(task), Server::Threads(_)) {
            self.release(task);
        }
    }

    /// Microseconds on the network.
    fn delay(&mut self) -> f64 {
        60.0 * (0.3 * self.random.normal()).exp()
    }

    /// Makes the first of `attempts`; the others follow.
    fn call(&mut self, task: usize, mut attempts: VecDeque<Call>) {
        let Some(plan) = attempts.pop_front() else { return };
        let Exchange { trace, service, .. } = self.exchanges[task];
        let to = (plan.service, plan.operation);
        let call = self.exchange(trace, Some(task), Some(service), to, self.now);
        let worker = self.exchanges[task].served_by[1];
        self.exchanges[call].sent_by = [worker; 2];
        if self.random.chance(plan.retried) {
            attempts.push_front(plan);
        }
        self.pending.insert(call, attempts);
        self.travel(call);
        self.after(plan.timeout, Event::GivenUp(call));
    }

    fn travel(&mut self, call: usize) {
        let delay = self.delay();
        self.after(delay, Event::Arrives(call));
    }

    /// The caller has its answer, or waits no longer.
    fn ends(&mut self, call: usize, is_answer: bool) {
        if is_answer && matches!(self.server(call), Server::Store(_)) {
            self.exchanges[call].served[1] = self.now;
        }
        let Some(attempts) = self.pending.remove(&call) else {
            if self.exchanges[call].parent.is_none() {
                self.exchanges[call].sent[1] = self.now;
            }
            return;
        };
        self.exchanges[call].sent[1] = self.now;
        let Some(task) = self.exchanges[call].parent else { return };
        if let Server::Pool(many) = self.server(task) {
            self.exchanges[call].sent_by[1] = 1 + self.random.below(many as usize) as u32;
        }
        if !attempts.is_empty() {
            self.call(task, attempts);
            return;
        }
        self.tasks[task].waits -= 1;
        self.tasks[task].answered = Some(call);
        if self.tasks[task].waits == 0 && self.tasks[task].is_open {
            self.at(self.now, Event::Ready(task));
        }
    }
}
