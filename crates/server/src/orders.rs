//! Orders: how the server reaches its agents, wherever they are: each keeps one long poll open, which is
//! answered as soon as there is something for it.
//!
//! What agents must get even if they come later (configuration, tombstones) is in the store, and every
//! server tells it to the agents that poll it. The rest lives in the queues of connected agents; of
//! agents that poll another server over the same store it goes through the [relay].

mod asked;
mod directory;
mod forward;
mod local;
mod pace;
mod queue;
mod relay;
mod routes;
mod sharing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_erase::Tombstone;
use deeptrace_model::WallTime;
use deeptrace_store::{Store, StoreError};
use deeptrace_wire::{Ask, Configuration, Order, Question};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::agents;
use crate::duties::Tombstones;

use self::asked::Asked;
pub use self::asked::Reply;
pub use self::directory::{Directory, Keeper};
pub use self::local::Local;
use self::pace::Pace;
use self::queue::Queue;
use self::relay::{Exchange, Relay, Relayed};
pub(crate) use self::routes::routes;

/// Document with the configuration of agents.
const CONFIG: &str = "agents/config";
/// Agents that poll one server, at most.
const AGENTS_MAX: usize = 10_000;
/// An agent that did not poll for so long has no queue any more.
const GONE: Duration = Duration::from_secs(60);
/// One that polls here does so at least so often; later it may poll another server.
const HERE: Duration = Duration::from_secs(25);
/// Between two looks at the store.
const TICK: Duration = Duration::from_millis(500);
/// Looks after which it is read which agents keep their spans.
const KEEPERS_TICKS: u64 = 10;
/// How long agents have to answer, at each depth of a trace.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// So much longer where one of them polls another server.
const BY_STORE: Duration = Duration::from_secs(2);

/// What this server has for agents.
pub struct Orders {
    /// Names this process: numbers of orders mean something with it only.
    epoch: u64,
    store: Arc<dyn Store>,
    tombstones: Arc<Tombstones>,
    /// Whether other servers work over the same store.
    is_shared: bool,
    queues: Mutex<BTreeMap<String, Arc<Queue>>>,
    relay: Relay,
    /// Epochs of other servers that are there.
    peers: Mutex<BTreeSet<u64>>,
    pace: Pace,
    /// Whether there may be answers in the store that nobody needs any more.
    has_answers: AtomicBool,
    asked: Asked,
    answer_time: Duration,
    directory: Directory,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    too_large: AtomicU64,
    kept: AtomicU64,
    omitted: AtomicU64,
    unasked: AtomicU64,
    asked: AtomicU64,
    asked_bytes: AtomicU64,
    late: AtomicU64,
    answered_bytes: AtomicU64,
    forwarded: AtomicU64,
    missed: AtomicU64,
}

/// Whom an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// Every agent.
    All,
    /// Every agent but this one.
    AllBut(&'a str),
    /// This agent.
    One(&'a str),
}

/// The configuration of agents as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Counts up with each change.
    pub generation: u64,
    /// Nested like `deeptrace.toml`.
    pub config: serde_json::Value,
}

impl Orders {
    /// For agents of a server over `store`; `is_shared`: other servers may write to it as well.
    pub fn new(store: Arc<dyn Store>, tombstones: Arc<Tombstones>, is_shared: bool) -> Self {
        let mut bytes = [0; 8];
        // Without random bytes two servers that start in the same nanosecond would be taken for one.
        if getrandom::fill(&mut bytes).is_err() {
            bytes = crate::clock::now().0.to_le_bytes();
        }
        let epoch = u64::from_le_bytes(bytes).max(1);
        Self {
            epoch,
            store,
            tombstones,
            is_shared,
            queues: Mutex::default(),
            relay: Relay::default(),
            peers: Mutex::default(),
            has_answers: AtomicBool::new(false),
            pace: Pace::default(),
            asked: Asked::default(),
            answer_time: ANSWER_TIME,
            directory: Directory::default(),
            counts: Counts::default(),
        }
    }

    /// The same, where agents have so long to answer.
    #[must_use]
    pub fn waiting(self, answer_time: Duration) -> Self {
        Self { answer_time, ..self }
    }

    /// Starts to look, until `stop` turns true, for what agents are to get because it is in the store.
    pub fn start(self: &Arc<Self>, stop: watch::Receiver<bool>) -> std::io::Result<JoinHandle<()>> {
        let orders = Arc::clone(self);
        // Removing answers takes longer than whoever asks can wait.
        let tidying = self.is_shared.then(|| self.tidying(stop.clone())).transpose()?;
        let work = move || {
            let mut seen = Seen::of(&orders);
            let mut exchange = Exchange::new(orders.epoch);
            while !*stop.borrow() {
                orders.pace.rest(TICK);
                let told = orders.tick(&mut seen);
                let told = told.and_then(|()| orders.exchange(&mut exchange));
                if let Err(error) = told {
                    tracing::debug!(%error, "what agents are to get cannot be read now");
                }
            }
            // One that has panicked leaves answers to other servers.
            tidying.map(JoinHandle::join);
            if orders.is_shared {
                exchange.end(&*orders.store);
            }
        };
        std::thread::Builder::new().name("deeptrace-orders".to_owned()).spawn(work)
    }

    /// Has `order` for agents; returns its bytes. Never waits; an agent that is not connected does not get
    /// it.
    pub fn post(&self, to: To<'_>, order: &Order) -> usize {
        let Some(record) = self.record(order) else { return 0 };
        let (bytes, is_here) = (record.len(), self.deliver(to, &record));
        if self.is_shared && !(is_here && matches!(to, To::One(_))) {
            let (one, but) = match to {
                To::All => ("", ""),
                To::AllBut(but) => ("", but),
                To::One(one) => (one, ""),
            };
            let (to, but, record) = (one.to_owned(), but.to_owned(), record.to_vec());
            let dropped = self.relay.push(Relayed::Order { to, but, record });
            self.counts.dropped.fetch_add(dropped, Relaxed);
            if !one.is_empty() {
                self.pace.hurry();
            }
        }
        bytes
    }

    /// An order as it is sent; `None`, and counted, where it is too large.
    fn record(&self, order: &Order) -> Option<Arc<[u8]>> {
        let record = order.record();
        self.counts.too_large.fetch_add(record.is_none().into(), Relaxed);
        record.map(Arc::from)
    }

    /// Whether an agent polls this server now.
    pub fn has(&self, agent: &str) -> bool {
        self.queues().get(agent).is_some_and(|queue| queue.idle() < HERE)
    }

    /// Asks agents, each one thing, and waits for their answers.
    pub fn ask(&self, questions: Vec<(Arc<str>, Question)>) -> Vec<Reply> {
        self.counts.asked.fetch_add(questions.len() as u64, Relaxed);
        let begin = |(agent, question): (Arc<str>, Question)| {
            let id = self.asked.begin(&agent)?;
            let order = Order::Ask(Ask { epoch: self.epoch, id, question });
            let bytes = self.post(To::One(&agent), &order);
            self.counts.asked_bytes.fetch_add(bytes as u64, Relaxed);
            Some(id)
        };
        let is_here = questions.iter().all(|(agent, _)| self.has(agent));
        let time = self.answer_time + if is_here { Duration::ZERO } else { BY_STORE };
        let numbers: Vec<Option<u64>> = questions.into_iter().map(begin).collect();
        let replies = self.asked.end(&numbers, time);
        let late = replies.iter().filter(|reply| !matches!(reply, Reply::Parts(_))).count();
        self.counts.late.fetch_add(late as u64, Relaxed);
        replies
    }

    /// Which agents keep their spans, and what is known of these.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let Counts { sent, dropped, too_large, kept, omitted, unasked, .. } = &self.counts;
        let Counts { asked, asked_bytes, late, answered_bytes, forwarded, missed, .. } =
            &self.counts;
        out("orders_connected_agents", self.queues().len() as u64);
        out("orders_sent_total", sent.load(Relaxed));
        out("orders_dropped_total", dropped.load(Relaxed));
        out("orders_too_large_total", too_large.load(Relaxed));
        out("orders_kept_keys_total", kept.load(Relaxed));
        out("orders_omitted_answers_total", omitted.load(Relaxed));
        out("orders_unasked_answers_total", unasked.load(Relaxed));
        out("orders_questions_total", asked.load(Relaxed));
        out("orders_questions_bytes_total", asked_bytes.load(Relaxed));
        out("orders_late_answers_total", late.load(Relaxed));
        out("orders_answers_bytes_total", answered_bytes.load(Relaxed));
        out("orders_forwarded_answers_total", forwarded.load(Relaxed));
        out("orders_missed_total", missed.load(Relaxed));
        out("orders_directory_bytes", self.directory.bytes());
    }

    /// Puts a record into the queues of agents that poll here; whether one of them polled lately.
    fn deliver(&self, to: To<'_>, record: &Arc<[u8]>) -> bool {
        let queues = self.queues();
        let mut is_here = false;
        let is_meant = |agent: &str| match to {
            To::All => true,
            To::AllBut(but) => agent != but,
            To::One(one) => agent == one,
        };
        for (_, queue) in queues.iter().filter(|(agent, _)| is_meant(agent)) {
            is_here |= queue.idle() < HERE;
            self.counts.dropped.fetch_add(queue.push(Arc::clone(record)), Relaxed);
        }
        is_here
    }

    /// The queue of an agent, and whether it is new; `None`: there are too many agents.
    fn queue(&self, agent: &str) -> Option<(Arc<Queue>, bool)> {
        let mut queues = self.queues();
        if let Some(queue) = queues.get(agent) {
            return Some((Arc::clone(queue), false));
        }
        if queues.len() >= AGENTS_MAX {
            return None;
        }
        let queue = Arc::new(Queue::default());
        queues.insert(agent.to_owned(), Arc::clone(&queue));
        Some((queue, true))
    }

    /// What an agent gets when it comes to this server: configuration, and what was erased since
    /// `oldest`, the start of the oldest span that it has.
    fn greet(&self, queue: &Queue, oldest: Option<WallTime>) -> Result<(), StoreError> {
        let erased: Vec<Order> = {
            let held = self.tombstones.held();
            let is_meant = |at: WallTime| oldest.is_some_and(|oldest| oldest <= at);
            held.all().iter().filter(|it| is_meant(it.at())).filter_map(erase).collect()
        };
        let config = self.configuration()?.map(|(_, config)| config.order());
        for record in config.iter().chain(&erased).filter_map(|order| self.record(order)) {
            self.counts.dropped.fetch_add(queue.push(record), Relaxed);
        }
        Ok(())
    }

    /// The configuration of agents with the version of its document, if there is one.
    pub(crate) fn configuration(&self) -> Result<Option<(u64, Stored)>, StoreError> {
        let document = self.store.document(CONFIG)?;
        Ok(document.and_then(|it| Some((it.version, serde_json::from_slice(&it.body).ok()?))))
    }

    /// Agents get what is new in the store.
    fn tick(&self, seen: &mut Seen) -> Result<(), StoreError> {
        if seen.looked.is_some_and(|at| at.elapsed() < TICK) {
            return Ok(());
        }
        seen.looked = Some(Instant::now());
        self.queues().retain(|_, queue| queue.idle() < GONE);
        if seen.ticks.is_multiple_of(KEEPERS_TICKS) {
            // Also those that other servers hear of, and those that are away since before we started.
            let directory = &self.directory;
            agents::each_keeper(&*self.store, &mut |agent, host, at| {
                directory.heard(agent, host, at)
            })?;
        }
        seen.ticks += 1;
        let new: Vec<Order> = {
            let held = self.tombstones.held();
            let known: BTreeSet<&str> = held.all().iter().map(|it| it.id()).collect();
            seen.tombstones.retain(|id| known.contains(id.as_str()));
            let new = held.all().iter().filter(|it| seen.tombstones.insert(it.id().to_owned()));
            new.filter_map(erase).collect()
        };
        let config = self.configuration()?;
        let version = config.as_ref().map(|(version, _)| *version);
        let is_new = version != std::mem::replace(&mut seen.config, version);
        let config = config.filter(|_| is_new).map(|(_, config)| config.order());
        // Each server tells its own agents.
        for record in config.iter().chain(&new).filter_map(|order| self.record(order)) {
            self.deliver(To::All, &record);
        }
        Ok(())
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the store agents were told.
struct Seen {
    tombstones: BTreeSet<String>,
    config: Option<u64>,
    ticks: u64,
    looked: Option<Instant>,
}

impl Seen {
    /// All that there is: an agent gets it when it comes.
    fn of(orders: &Orders) -> Self {
        let held = orders.tombstones.held();
        let tombstones = held.all().iter().map(|it| it.id().to_owned()).collect();
        let config = orders.configuration().ok().flatten().map(|(version, _)| version);
        Self { tombstones, config, ticks: 0, looked: None }
    }
}

fn erase(tombstone: &Arc<Tombstone>) -> Option<Order> {
    serde_json::to_vec(&**tombstone).ok().map(Order::Erase)
}

impl Stored {
    fn order(&self) -> Order {
        let (generation, changes) = (self.generation, self.config.to_string());
        Order::Config(Configuration { generation, changes })
    }
}
