//! The named workloads. Each has a shape of its own; the last ones are watched badly.

use crate::plan::{Call, Operation, Server, Service, Step, Workload};

/// A named workload.
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub title: &'static str,
    /// It.
    pub make: fn() -> Workload,
}

/// All of them.
pub const SETS: &[Set] = &[
    Set {
        name: "threads",
        title: "thread per request, three tiers, sequential calls",
        make: threads,
    },
    Set { name: "busy", title: "the same at three times the rate", make: busy },
    Set { name: "loop", title: "event loops, first in, first out", make: event_loop },
    Set { name: "pool", title: "any thread goes on with any request; bursts of six", make: pool },
    Set { name: "fan-out", title: "four parallel calls, then two", make: fan_out },
    Set {
        name: "repeated",
        title: "the same callee up to eight times, many shapes",
        make: repeated,
    },
    Set { name: "few", title: "the same with a tenth of the requests", make: few },
    Set {
        name: "join",
        title: "five requests of a trace meet; the last to come makes the calls",
        make: join,
    },
    Set {
        name: "retries",
        title: "time-outs, second attempts, answers nobody waits for",
        make: retries,
    },
    Set { name: "caches", title: "caches and errors: calls that are not made", make: caches },
    Set { name: "background", title: "a third of the calls is for no request", make: background },
    Set { name: "sleeps", title: "event loops with timers: order does not hold", make: sleeps },
    Set { name: "fields", title: "payloads with one of 200 users", make: fields },
    Set { name: "ticks", title: "clocks of 1 ms, many equal times", make: ticks },
    Set { name: "clocks", title: "clocks of hosts differ by up to 5 ms", make: clocks },
    Set { name: "sampled", title: "30 % of the traces are watched", make: sampled },
    Set { name: "lost-1", title: "1 % of the spans are lost", make: || lost(0.01) },
    Set { name: "lost-5", title: "5 % of the spans are lost", make: || lost(0.05) },
    Set { name: "lost-20", title: "20 % of the spans are lost", make: || lost(0.2) },
];

fn service(name: &'static str, server: Server, operations: Vec<Operation>) -> Service {
    Service { name, server, operations, background: 0.0 }
}

fn operation(steps: Vec<Step>) -> Operation {
    Operation { steps, ..Operation::default() }
}

fn work(median: f64) -> Step {
    Step::Work(median, 0.4)
}

fn call(service: usize, operation: usize) -> Step {
    Step::Calls(vec![Call::to(service, operation)])
}

fn store(name: &'static str, mean: f64) -> Service {
    service(name, Server::Store(mean), vec![operation(Vec::new())])
}

/// A front, two services, a store.
fn tiers(server: [Server; 3]) -> Workload {
    let front = vec![
        operation(vec![work(300.0), call(1, 0), work(200.0), call(2, 0), work(150.0)]),
        operation(vec![work(400.0), call(2, 1), work(250.0), call(1, 0), work(100.0)]),
    ];
    let users = vec![operation(vec![work(500.0), call(3, 0), work(300.0)])];
    let orders = vec![
        operation(vec![work(250.0), call(3, 0), work(200.0), call(3, 0), work(200.0)]),
        operation(vec![work(350.0), call(3, 0), work(150.0)]),
    ];
    Workload {
        services: vec![
            service("front", server[0], front),
            service("users", server[1], users),
            service("orders", server[2], orders),
            store("database", 900.0),
        ],
        requests: 1500,
        rate: 250.0,
        ..Workload::default()
    }
}

fn threads() -> Workload {
    tiers([Server::Threads(64); 3])
}

fn busy() -> Workload {
    Workload { rate: 750.0, ..threads() }
}

fn event_loop() -> Workload {
    Workload { rate: 400.0, ..tiers([Server::Loop; 3]) }
}

fn pool() -> Workload {
    Workload { burst: 6, rate: 300.0, ..tiers([Server::Pool(8); 3]) }
}

fn fan_out() -> Workload {
    let front = vec![operation(vec![
        work(300.0),
        Step::Calls((1..5).map(|to| Call::to(to, 0)).collect()),
        work(250.0),
        Step::Calls(vec![Call::to(1, 1), Call::to(5, 0)]),
        work(200.0),
    ])];
    let leaf = |name| {
        let twice = vec![
            operation(vec![work(600.0), call(5, 0), work(200.0)]),
            operation(vec![work(300.0), call(5, 0), work(100.0), call(5, 0), work(80.0)]),
        ];
        service(name, Server::Pool(16), twice)
    };
    Workload {
        services: vec![
            service("front", Server::Pool(16), front),
            leaf("text"),
            leaf("media"),
            leaf("ids"),
            leaf("users"),
            store("database", 700.0),
        ],
        requests: 1200,
        rate: 300.0,
        ..Workload::default()
    }
}

fn repeated() -> Workload {
    let many = |service, operation, times| {
        Step::Calls(vec![Call { times, ..Call::to(service, operation) }])
    };
    let front = vec![
        operation(vec![work(300.0), many(1, 0, 8), work(200.0), many(2, 0, 4), work(200.0)]),
        operation(vec![work(300.0), many(2, 0, 6), work(150.0), call(1, 0), work(150.0)]),
        operation(vec![work(250.0), call(1, 0), work(200.0), many(3, 0, 3), many(1, 0, 5)]),
    ];
    let leaf = |name| {
        service(
            name,
            Server::Pool(8),
            vec![operation(vec![work(350.0), many(4, 0, 2), work(150.0)])],
        )
    };
    Workload {
        services: vec![
            service("front", Server::Pool(16), front),
            leaf("catalogue"),
            leaf("currency"),
            leaf("shipping"),
            store("cache", 300.0),
        ],
        requests: 1200,
        rate: 160.0,
        ..Workload::default()
    }
}

fn few() -> Workload {
    Workload { requests: 120, ..repeated() }
}

fn join() -> Workload {
    let front = vec![operation(vec![
        work(200.0),
        Step::Calls((1..6).map(|to| Call::to(to, 0)).collect()),
        work(150.0),
    ])];
    let part = |name, median| {
        let steps = vec![work(median), call(7, 0), work(100.0), call(6, 0), work(100.0)];
        service(name, Server::Threads(32), vec![operation(steps)])
    };
    let steps = vec![work(150.0), call(7, 0), work(120.0), call(7, 0), work(120.0), call(7, 0)];
    let compose = vec![Operation { steps, joins: 5, ..Operation::default() }];
    Workload {
        services: vec![
            service("front", Server::Pool(16), front),
            part("text", 500.0),
            part("media", 700.0),
            part("ids", 300.0),
            part("users", 800.0),
            part("rating", 400.0),
            service("compose", Server::Threads(64), compose),
            store("database", 600.0),
        ],
        requests: 1200,
        rate: 350.0,
        ..Workload::default()
    }
}

fn retries() -> Workload {
    let mut workload = tiers([Server::Pool(16); 3]);
    for service in &mut workload.services[..3] {
        for step in service.operations.iter_mut().flat_map(|operation| &mut operation.steps) {
            if let Step::Calls(calls) = step {
                for call in calls {
                    call.retried = 0.08;
                    call.timeout = 3500.0;
                }
            }
        }
    }
    workload
}

fn caches() -> Workload {
    let mut workload = tiers([Server::Pool(16); 3]);
    workload.rate = 350.0;
    for service in &mut workload.services[..3] {
        for operation in &mut service.operations {
            operation.fails = 0.05;
            for step in &mut operation.steps {
                if let Step::Calls(calls) = step {
                    calls.iter_mut().for_each(|call| call.probability = 0.6);
                }
            }
        }
    }
    workload
}

fn background() -> Workload {
    let mut workload = tiers([Server::Threads(64); 3]);
    for service in &mut workload.services[..3] {
        service.background = 150.0;
    }
    workload
}

fn sleeps() -> Workload {
    let mut workload = tiers([Server::Loop; 3]);
    for service in &mut workload.services[..3] {
        for operation in &mut service.operations {
            operation.steps.insert(1, Step::Sleep(2000.0));
        }
    }
    workload
}

fn fields() -> Workload {
    Workload { fields: 200, rate: 500.0, ..pool() }
}

fn ticks() -> Workload {
    Workload { tick: 1_000_000, ..threads() }
}

fn clocks() -> Workload {
    Workload { clock_offset: 5_000_000, ..threads() }
}

fn sampled() -> Workload {
    Workload { requests: 5000, rate: 900.0, sampled: 0.3, ..tiers([Server::Pool(32); 3]) }
}

fn lost(share: f64) -> Workload {
    Workload { lost: share, rate: 400.0, ..threads() }
}
