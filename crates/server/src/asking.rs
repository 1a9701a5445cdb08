//! Asking: the store as one question sees it: what is stored, and what agents keep that are asked for it.
//! One for each question, because it remembers what it was told, and who did not answer.
//!
//! An agent answers with everything around what it was asked for, so links and ids are asked once, and
//! then only the other sides of exchanges, of the agents that may have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deeptrace_model::{Duration, Link, Span, SpanId, WallTime};
use deeptrace_store::{
    Cursor, Filter, Layer, LinkKey, LinkLookup, Operation, OperationSums, Page, SpanKey,
    SpanLookup, Store, StoreError, Window,
};
use deeptrace_wire::{Found, Key, Question};
use serde::{Deserialize, Serialize};

use crate::orders::{Keeper, Orders, Reply};
use crate::{clock, question};

/// An agent that was not heard of for so long is away, and not waited for.
const AWAY: Duration = Duration::from_secs(30);
/// By how much a lookup of another side is wider than the span that it is for.
const WITHIN: Duration = Duration::from_secs(60);
/// Spans that one question is told by agents, at most; then no agent is asked any more.
const SPANS_MAX: usize = 200_000;

/// The store as one question sees it.
pub struct Asking {
    store: Arc<dyn Store>,
    orders: Arc<Orders>,
    keepers: Vec<Keeper>,
    told: Mutex<Told>,
}

/// A part that is or may be missing because an agent did not answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// Its id, as in `GET /agents`.
    pub agent_id: String,
    /// `host.name`.
    pub host_name: String,
    /// `away`: it was not heard of for 30 s; `late`: it did not answer in time; `failed`: it could not;
    /// `busy`: more was asked than can be.
    pub reason: String,
}

/// What agents told.
#[derive(Default)]
struct Told {
    spans: BTreeMap<SpanId, Arc<Span>>,
    by_key: BTreeMap<SpanKey, Vec<SpanId>>,
    /// Which agent told of a span, as index.
    owners: BTreeMap<SpanId, usize>,
    links: BTreeMap<LinkKey, Vec<Link>>,
    /// Spans of which all links are here.
    whole: BTreeSet<SpanId>,
    /// Keys of spans of agents that send theirs, and whether one of these saw an answer.
    stored: BTreeMap<SpanKey, bool>,
    missing: BTreeSet<Missing>,
}

impl Asking {
    /// Of what is in `store`, and what agents keep.
    pub fn new(store: Arc<dyn Store>, orders: Arc<Orders>) -> Self {
        let keepers = orders.directory().keepers();
        Self { store, orders, keepers, told: Mutex::default() }
    }

    /// Who did not answer so far.
    pub fn missing(&self) -> Vec<Missing> {
        self.told().missing.iter().cloned().collect()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks each agent its question, those that are not away, and takes in what they answer. Returns the
    /// answers with the index of who gave them.
    fn ask(&self, questions: Vec<(usize, Question)>) -> Vec<(usize, Vec<Found>)> {
        let now = clock::now();
        if self.told().spans.len() > SPANS_MAX {
            questions.iter().for_each(|(keeper, _)| self.miss(*keeper, "busy"));
            return Vec::new();
        }
        let is_here =
            |keeper: &Keeper| self.orders.has(&keeper.agent) || now.since(keeper.last_seen) < AWAY;
        let (here, away): (Vec<_>, Vec<_>) =
            questions.into_iter().partition(|(keeper, _)| is_here(&self.keepers[*keeper]));
        let order: Vec<usize> = here.iter().map(|(keeper, _)| *keeper).collect();
        let of = |(keeper, question): (usize, Question)| {
            (Arc::clone(&self.keepers[keeper].agent), question)
        };
        let replies = self.orders.ask(here.into_iter().map(of).collect());
        let mut answers = Vec::new();
        for (keeper, reply) in order.into_iter().zip(replies) {
            match reply {
                Reply::Parts(parts) => {
                    self.take(keeper, &parts);
                    answers.push((keeper, parts));
                }
                Reply::Late => self.miss(keeper, "late"),
                Reply::Busy => self.miss(keeper, "busy"),
            }
        }
        for (keeper, question) in away {
            if self.is_in_doubt(keeper, &question) {
                self.miss(keeper, "away");
            }
        }
        answers
    }

    /// Whether an agent that is away may have something that nobody else has.
    fn is_in_doubt(&self, keeper: usize, question: &Question) -> bool {
        let Question::Lookups(lookups) = question else { return true };
        let (told, directory) = (self.told(), self.orders.directory());
        lookups.spans.iter().any(|(key, _)| match *key {
            // Only one agent has it: perhaps another one has answered.
            Key::Span(id) => !told.spans.contains_key(&id),
            Key::Trace(_) => directory.has_told(&self.keepers[keeper].agent, *key),
            // It was asked for because the directory says that it may be there.
            Key::Exchange(_) | Key::Request(_) => true,
        })
    }

    fn miss(&self, keeper: usize, reason: &str) {
        let Keeper { agent, host_name, .. } = &self.keepers[keeper];
        let (agent_id, host_name) = (agent.to_string(), host_name.clone());
        self.told().missing.insert(Missing { agent_id, host_name, reason: reason.to_owned() });
    }

    /// Takes in what an agent answered.
    fn take(&self, keeper: usize, parts: &[Found]) {
        for part in parts {
            if let Some(error) = &part.error {
                tracing::warn!(
                    agent = &*self.keepers[keeper].agent,
                    error,
                    "an agent cannot answer"
                );
                self.miss(keeper, "failed");
            }
            if part.batch.is_empty() {
                continue;
            }
            match deeptrace_wire::decode(&part.batch) {
                Ok(batch) => self.told().add(keeper, batch.spans, batch.links, part.is_whole),
                Err(error) => {
                    tracing::warn!(agent = &*self.keepers[keeper].agent, %error, "an answer is none");
                    self.miss(keeper, "failed");
                }
            }
        }
    }

    /// What `keeper` is to be asked of these lookups.
    fn wanted(
        &self,
        told: &Told,
        keeper: usize,
        spans: &[SpanLookup],
        links: &[LinkLookup],
    ) -> (Vec<SpanLookup>, Vec<LinkLookup>) {
        let agent = &self.keepers[keeper].agent;
        let directory = self.orders.directory();
        let is_whole =
            |id: &SpanId| told.owners.get(id) == Some(&keeper) && told.whole.contains(id);
        let has_whole = |key: &SpanKey| told.by_key.get(key).into_iter().flatten().any(is_whole);
        let may_have = |it: &&SpanLookup| match it.key {
            SpanKey::Id(id) => !told.whole.contains(&id) && !told.is_stored(it.key),
            // It has looked for the other side already.
            SpanKey::Exchange(_) | SpanKey::Request(_) if has_whole(&it.key) => false,
            // Where one side saw no answer it is not told under the key of the other.
            SpanKey::Request(_) if told.is_open(it.key) => true,
            _ => {
                let key: Key = question::key(it.key);
                directory.may_have(agent, key, it.window, it.window.to.minus(WITHIN))
            }
        };
        let is_cut = |it: &&LinkLookup| {
            let (LinkKey::Child(id) | LinkKey::Parent(id)) = it.key;
            told.owners.get(&id) == Some(&keeper) && !told.whole.contains(&id)
        };
        (
            spans.iter().filter(may_have).copied().collect(),
            links.iter().filter(is_cut).copied().collect(),
        )
    }
}

impl Told {
    fn add(&mut self, keeper: usize, spans: Vec<Span>, links: Vec<Link>, is_whole: bool) {
        for span in spans {
            let id = span.id;
            if is_whole {
                self.whole.insert(id);
            }
            self.owners.entry(id).or_insert(keeper);
            if let std::collections::btree_map::Entry::Vacant(place) = self.spans.entry(id) {
                SpanKey::all_of(&span).for_each(|key| self.by_key.entry(key).or_default().push(id));
                place.insert(Arc::new(span));
            }
        }
        for link in links {
            let ids = [Some(link.child), link.parent];
            // What a link names and was not told is not there.
            self.whole.extend(ids.into_iter().flatten().filter(|_| is_whole));
            let keys = [Some(LinkKey::Child(link.child)), link.parent.map(LinkKey::Parent)];
            for key in keys.into_iter().flatten() {
                let known = self.links.entry(key).or_default();
                if !known.contains(&link) {
                    known.push(link.clone());
                }
            }
        }
    }

    /// Spans of agents that send theirs were found.
    fn note(&mut self, stored: &[Arc<Span>]) {
        for span in stored {
            for key in SpanKey::all_of(span) {
                *self.stored.entry(key).or_default() |= span.exchange.response.is_some();
            }
        }
    }

    /// Whether a span of the store has this id.
    fn is_stored(&self, key: SpanKey) -> bool {
        self.stored.contains_key(&key)
    }

    /// Whether a span that has this request saw no answer, or none is known that did.
    fn is_open(&self, key: SpanKey) -> bool {
        let told = self.by_key.get(&key).into_iter().flatten();
        let mut told = told.filter_map(|id| self.spans.get(id)).map(|it| it.exchange.response);
        let stored = self.stored.get(&key).copied();
        stored.is_none_or(|is_answered| !is_answered) && !told.any(|response| response.is_some())
    }

    fn spans(&self, lookups: &[SpanLookup], out: &mut Vec<Arc<Span>>) {
        for it in lookups {
            let ids = self.by_key.get(&it.key).into_iter().flatten();
            let spans = ids.filter_map(|id| self.spans.get(id));
            out.extend(spans.filter(|span| it.window.overlaps(span.start, span.end)).cloned());
        }
    }

    fn links(&self, lookups: &[LinkLookup], out: &mut Vec<Link>) {
        for it in lookups {
            let links = self.links.get(&it.key).into_iter().flatten();
            out.extend(links.filter(|link| it.window.contains(link.child_start)).cloned());
        }
    }
}

impl Layer for Asking {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn look_up(
        &self,
        spans: &[SpanLookup],
        links: &[LinkLookup],
        limit: usize,
    ) -> Result<(Vec<Arc<Span>>, Vec<Link>), StoreError> {
        let (mut found, mut found_links) = self.store.look_up(spans, links, limit)?;
        if self.keepers.is_empty() {
            return Ok((found, found_links));
        }
        let mut questions = Vec::new();
        {
            let mut told = self.told();
            told.note(&found);
            for keeper in 0..self.keepers.len() {
                let (spans, links) = self.wanted(&told, keeper, spans, links);
                if !(spans.is_empty() && links.is_empty()) {
                    let lookups = question::lookups(&spans, &links, limit);
                    questions.push((keeper, Question::Lookups(lookups)));
                }
            }
        }
        if !questions.is_empty() {
            self.ask(questions);
        }
        let told = self.told();
        told.spans(spans, &mut found);
        told.links(links, &mut found_links);
        drop(told);
        found.sort_by_key(|span| (span.start, span.id));
        found.dedup_by_key(|span| span.id);
        found.truncate(limit);
        let order = |link: &Link| (link.child_start, link.child, link.parent, link.generation);
        found_links.sort_by_key(order);
        found_links.dedup();
        found_links.truncate(limit);
        Ok((found, found_links))
    }

    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError> {
        Layer::look_up(self, lookups, &[], limit).map(|(spans, _)| spans)
    }

    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError> {
        Layer::look_up(self, &[], lookups, limit).map(|(_, links)| links)
    }

    /// A page is as long as every store can answer for: where one has more behind its page, what lies
    /// behind that of the others waits for the next page.
    fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = self.store.scan(filter, after, limit)?;
        self.told().note(&page.spans);
        let may_pass =
            |keeper: &usize| self.orders.directory().may_pass(&self.keepers[*keeper].agent, filter);
        let scan = || Question::Scan(question::scan(filter, after, limit));
        let asked = (0..self.keepers.len()).filter(may_pass).map(|keeper| (keeper, scan()));
        let place = |span: &Span| (span.start, span.id);
        let mut ends: Vec<(WallTime, SpanId)> = Vec::new();
        ends.extend(page.next.map(|next| (next.start, next.id)));
        for (keeper, parts) in self.ask(asked.collect()) {
            let end = parts.iter().find_map(|part| part.next);
            ends.extend(end);
            let told = self.told();
            let own = told.owners.iter().filter(|(_, owner)| **owner == keeper);
            let own = own.filter_map(|(id, _)| told.spans.get(id));
            let is_in = |span: &&Arc<Span>| {
                filter.matches(span)
                    && after.is_none_or(|after| place(span) < (after.start, after.id))
                    && end.is_none_or(|end| place(span) >= end)
            };
            page.spans.extend(own.filter(is_in).cloned());
        }
        page.spans.sort_by_key(|span| std::cmp::Reverse(place(span)));
        page.spans.dedup_by_key(|span| span.id);
        let end = ends.into_iter().max();
        page.spans.retain(|span| end.is_none_or(|end| place(span) >= end));
        let is_more = end.is_some() || page.spans.len() > limit;
        page.spans.truncate(limit);
        page.next = page.spans.last().filter(|_| is_more).map(|last| Cursor::of(last));
        Ok(page)
    }

    fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError> {
        let mut sums = OperationSums::default();
        self.store.operations(window, service)?.into_iter().for_each(|it| sums.add(it));
        self.orders.directory().each_operation(window, service, &mut |it| sums.add(it));
        Ok(sums.into_vec())
    }
}
