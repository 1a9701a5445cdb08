//! What an algorithm sees and says.

use deeptrace_model::Method;

/// An algorithm, as a row of [`TABLE`](crate::TABLE).
#[derive(Debug)]
pub struct Row {
    /// Name, as in `asso algo`.
    pub name: &'static str,
    /// What it does and where it is published, in one line for people.
    pub title: &'static str,
    /// A fresh one, for one process.
    pub make: fn() -> Box<dyn Algorithm>,
}

/// Names tell rows apart.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Requests and calls of one process over some time. Times are nanoseconds of its clock.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// By start.
    pub requests: Vec<Request>,
    /// By start.
    pub calls: Vec<Call>,
    /// Step of the clock in nanoseconds: all times are multiples of it, but for an offset.
    pub tick: i64,
}

impl Window {
    /// Both by start.
    pub fn new(requests: Vec<Request>, calls: Vec<Call>) -> Self {
        Self { tick: tick(&requests, &calls), requests, calls }
    }
}

/// A request that the process served.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// First byte of the request.
    pub start: i64,
    /// Last byte of the response; `i64::MAX` while it is open.
    pub end: i64,
    /// Hash of what is asked for: protocol, caller and name.
    pub class: u64,
    /// Execution context, or else thread, at the request and at the response.
    pub units: [Option<u64>; 2],
    /// Requests of one trace that are open together in this process share it.
    pub meeting: u32,
    /// Hashes of values in its payloads, ordered.
    pub tokens: Vec<u64>,
}

/// A call that the process made.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// First byte of the request.
    pub start: i64,
    /// Last byte of the response; `i64::MAX` while there is none.
    pub end: i64,
    /// Hash of what is called: protocol, peer and name.
    pub class: u64,
    /// Hash of who is called.
    pub callee: u64,
    /// Execution context, or else thread, at the request and at the response.
    pub units: [Option<u64>; 2],
    /// Hashes of values in its payloads, ordered.
    pub tokens: Vec<u64>,
    /// Index of its request, where stronger evidence told it.
    pub known: Option<usize>,
}

/// Which request it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Index among the requests of the window.
    pub request: usize,
    /// How it was found.
    pub method: Method,
    /// Probability that it is right.
    pub confidence: f32,
}

/// Decides for the calls of one process.
///
/// MUST give the same answers for the same sequence of windows. MUST answer once for each call of the
/// window, in their order, and for a `known` one what is known or nothing. MAY abstain: a wrong parent
/// is worse than none. MUST keep no more than a bounded amount from one window to the next.
pub trait Algorithm: Send {
    /// The parents of the calls of `window`.
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>>;
}

/// Asks `decide` for each call in turn, with the requests, by start, that contain it in time.
pub(crate) fn each_call(
    window: &Window,
    mut decide: impl FnMut(&Call, &[usize]) -> Option<Guess>,
) -> Vec<Option<Guess>> {
    let mut next = 0;
    let (mut open, mut containing): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut guesses = Vec::with_capacity(window.calls.len());
    for call in &window.calls {
        while window.requests.get(next).is_some_and(|request| request.start <= call.start) {
            open.push(next);
            next += 1;
        }
        open.retain(|request| window.requests[*request].end >= call.start);
        containing.clear();
        let contains = |request: &&usize| window.requests[**request].end >= call.end;
        containing.extend(open.iter().filter(contains));
        guesses.push(decide(call, &containing));
    }
    guesses
}

/// The step of the clock: the greatest number of which all times differ by multiples.
fn tick(requests: &[Request], calls: &[Call]) -> i64 {
    let times = requests.iter().map(|it| [it.start, it.end]);
    let mut times = times.chain(calls.iter().map(|it| [it.start, it.end])).flatten();
    let Some(first) = times.next() else { return 1 };
    let mut step = 0_u64;
    for time in times.filter(|time| *time != i64::MAX) {
        let mut apart = time.abs_diff(first);
        while apart != 0 {
            (step, apart) = (apart, step % apart);
        }
        if step == 1 {
            break;
        }
    }
    i64::try_from(step.max(1)).unwrap_or(1)
}
