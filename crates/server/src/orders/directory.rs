//! Directory: which agents keep their spans, and what they have told of them, so that only those are asked
//! that may have something. In memory: of what is not known here, an agent is asked in any case.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deeptrace_model::{Duration, WallTime};
use deeptrace_store::{Filter, Window};
use deeptrace_wire::{Key, Operation, Summary};

/// Bytes of all summaries, at most; beyond, the oldest of the agent with most go.
const BYTES_MAX: usize = 64 << 20;
/// Agents that keep their spans, at most.
const AGENTS_MAX: usize = 10_000;
/// How far clocks of hosts may be apart for it to be known that a summary holds a span.
const CLOCKS: Duration = Duration::from_secs(5);

/// Agents that keep their spans.
#[derive(Default)]
pub struct Directory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    agents: BTreeMap<Arc<str>, Entry>,
    bytes: usize,
}

#[derive(Default)]
struct Entry {
    host_name: String,
    last_seen: WallTime,
    summaries: VecDeque<Arc<Summary>>,
    bytes: usize,
    /// What was finished before is not known.
    since: WallTime,
}

/// An agent that keeps its spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Its id.
    pub agent: Arc<str>,
    /// Where it is.
    pub host_name: String,
    /// When it was heard of last.
    pub last_seen: WallTime,
}

impl Directory {
    /// An agent that keeps its spans was heard of.
    pub fn heard(&self, agent: &str, host_name: &str, at: WallTime) {
        let mut inner = self.lock();
        if !inner.agents.contains_key(agent) && inner.agents.len() >= AGENTS_MAX {
            return;
        }
        let entry = inner.agents.entry(agent.into()).or_default();
        if at >= entry.last_seen {
            (entry.host_name, entry.last_seen) = (host_name.to_owned(), at);
        }
    }

    /// An agent has told what it has finished.
    pub fn add(&self, agent: &str, summary: Summary) {
        let mut inner = self.lock();
        let Some(entry) = inner.agents.get_mut(agent) else { return };
        let follows = entry
            .summaries
            .back()
            .is_some_and(|last| last.run == summary.run && last.number + 1 == summary.number);
        if !follows {
            // What lies between them is not known.
            let before = entry.forget(usize::MAX);
            // The first tells of all that was finished in its run, others of what came after the last.
            entry.since = if summary.number == 0 { summary.run } else { summary.made };
            inner.bytes -= before;
        }
        let Some(entry) = inner.agents.get_mut(agent) else { return };
        let bytes = size(&summary);
        entry.bytes += bytes;
        entry.summaries.push_back(Arc::new(summary));
        inner.bytes += bytes;
        while inner.bytes > BYTES_MAX
            && let Some(most) = inner.agents.values_mut().max_by_key(|entry| entry.bytes)
            && !most.summaries.is_empty()
        {
            let freed = most.forget(1);
            inner.bytes -= freed;
        }
    }

    /// All agents that keep their spans, by id.
    pub fn keepers(&self) -> Vec<Keeper> {
        let inner = self.lock();
        let keepers = inner.agents.iter().map(|(agent, entry)| Keeper {
            agent: Arc::clone(agent),
            host_name: entry.host_name.clone(),
            last_seen: entry.last_seen,
        });
        keepers.collect()
    }

    /// Whether `agent` may have a span with `key` that overlaps `window`, whose own span ended at `ended`
    /// at the latest; `false` is sure.
    pub fn may_have(&self, agent: &str, key: Key, window: Window, ended: WallTime) -> bool {
        let inner = self.lock();
        let Some(entry) = inner.agents.get(agent) else { return false };
        entry.is_unknown(window.from, ended)
            || entry.over(window).any(|summary| summary.keys.may_have(key))
    }

    /// Whether `agent` has told, at any time, of a span that may have `key`.
    pub fn has_told(&self, agent: &str, key: Key) -> bool {
        let inner = self.lock();
        let told = inner.agents.get(agent).into_iter().flat_map(|entry| &entry.summaries);
        told.into_iter().any(|summary| summary.keys.may_have(key))
    }

    /// Whether `agent` may have a span that passes `filter`; `false` is sure.
    pub fn may_pass(&self, agent: &str, filter: &Filter) -> bool {
        let inner = self.lock();
        let Some(entry) = inner.agents.get(agent) else { return false };
        let Window { from, to } = filter.window;
        let passes = |it: &Operation| {
            filter.service.as_ref().is_none_or(|service| *service == it.service)
                && filter.name.as_ref().is_none_or(|name| *name == it.name)
                && filter.kind.is_none_or(|kind| kind == it.kind)
                && filter.min_duration.is_none_or(|min| it.longest >= min)
                && filter.max_duration.is_none_or(|max| it.shortest <= max)
                && (!filter.errors_only || it.errors > 0)
        };
        entry.is_unknown(from, to)
            || entry.over(filter.window).any(|summary| summary.operations.iter().any(passes))
    }

    /// Tells what was told of spans in `window`, widened to whole summaries, by each agent and summary.
    pub fn each_operation(
        &self,
        window: Window,
        service: Option<&str>,
        take: &mut dyn FnMut(deeptrace_store::Operation),
    ) {
        let inner = self.lock();
        let summaries = inner.agents.values().flat_map(|entry| entry.over(window));
        let all = summaries.flat_map(|summary| &summary.operations);
        for it in all.filter(|it| service.is_none_or(|service| service == it.service)) {
            take(deeptrace_store::Operation {
                service: it.service.clone(),
                name: it.name.clone(),
                kind: it.kind,
                spans: it.spans,
                errors: it.errors,
                total: it.total,
                longest: it.longest,
            });
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether what overlaps the time may not have been told: it was before the first summary, or after
    /// the last.
    fn is_unknown(&self, from: WallTime, to: WallTime) -> bool {
        let told = self.summaries.back().map_or(WallTime(0), |last| last.made);
        from < self.since || to.plus(CLOCKS) >= told
    }

    fn over(&self, window: Window) -> impl Iterator<Item = &Arc<Summary>> {
        self.summaries.iter().filter(move |summary| window.overlaps(summary.from, summary.to))
    }

    /// Forgets the oldest summaries; returns their bytes.
    fn forget(&mut self, count: usize) -> usize {
        let count = count.min(self.summaries.len());
        let mut freed = 0;
        for summary in self.summaries.drain(..count) {
            freed += size(&summary);
            self.since = self.since.max(summary.made);
        }
        self.bytes -= freed;
        freed
    }
}

fn size(summary: &Summary) -> usize {
    let texts = |it: &Operation| size_of::<Operation>() + it.service.len() + it.name.len();
    let operations: usize = summary.operations.iter().map(texts).sum();
    size_of::<Summary>() + summary.keys.len() * 4 + operations
}

#[cfg(test)]
mod tests {
    use deeptrace_model::ExchangeKey;
    use deeptrace_wire::KeySet;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn summary(number: u64, key: u64) -> Summary {
        Summary {
            run: WallTime(0),
            number,
            made: WallTime((number + 1) * 10 * SECOND),
            from: WallTime(number * 10 * SECOND),
            to: WallTime((number + 1) * 10 * SECOND),
            keys: KeySet::of(&[Key::Exchange(ExchangeKey(key))]),
            operations: Vec::new(),
        }
    }

    #[test]
    fn who_has_told_that_it_has_not_is_not_asked() {
        let directory = Directory::default();
        directory.heard("a", "here", WallTime(1));
        let asks = |key, at: u64| {
            let window = Window { from: WallTime(at * SECOND), to: WallTime((at + 1) * SECOND) };
            directory.may_have("a", Key::Exchange(ExchangeKey(key)), window, window.to)
        };
        assert!(asks(1, 15), "nothing was told yet");
        (1..10).for_each(|number| directory.add("a", summary(number, number)));
        assert!(asks(3, 35), "it is there");
        assert!(!asks(4, 35), "it is not there at that time");
        assert!(asks(4, 5), "what was before the first summary is not known");
        assert!(asks(4, 99), "what comes after the last is not known");
        assert!(!directory.may_have("b", Key::Exchange(ExchangeKey(3)), Window::ALL, WallTime(0)));
        directory.add("a", summary(11, 11));
        assert!(asks(4, 35), "one was lost on its way");
    }
}
