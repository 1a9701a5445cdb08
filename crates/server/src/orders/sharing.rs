//! Sharing: what a server has in common with others over the same store. Orders, summaries and answers go to where
//! the agent, or whoever asked, is.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use deeptrace_store::StoreError;
use deeptrace_wire::{Answer, Found, Order, Summary, decode_answers, encode_answers};
use tokio::sync::watch;

use super::relay::{Exchange, Relayed};
use super::{Orders, TICK, To, forward};

impl Orders {
    /// An agent has told what it has finished and keeps.
    pub(super) fn told(&self, agent: &str, summary: Summary) {
        let answer = if self.is_shared { Some(Answer::Summary(summary.clone())) } else { None };
        self.directory.add(agent, summary);
        // One that is too large is not told: others ask this agent in any case then.
        if let Some(answer) = answer.and_then(|answer| encode_answers(&[answer])) {
            let agent = agent.to_owned();
            let dropped = self.relay.push(Relayed::Summary { agent, answer });
            self.counts.dropped.fetch_add(dropped, Relaxed);
        }
    }

    /// A part of an answer has come. May wait for the store, where another server has asked.
    pub(super) fn answered(&self, agent: &str, found: Found) -> Result<(), StoreError> {
        if self.peers().contains(&found.epoch) {
            self.counts.forwarded.fetch_add(1, Relaxed);
            return forward::put(&*self.store, agent, &found);
        }
        self.counts.answered_bytes.fetch_add(found.batch.len() as u64, Relaxed);
        if found.epoch != self.epoch || !self.asked.hear(agent, found) {
            self.counts.unasked.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Agents get what other servers have for them, and whoever asked here the answers that came there.
    pub(super) fn exchange(&self, exchange: &mut Exchange) -> Result<(), StoreError> {
        if !self.is_shared {
            return Ok(());
        }
        let mut take = |relayed: Relayed| self.relayed(relayed);
        let has_missed = exchange.run(&self.relay, &*self.store, &mut take)?;
        if has_missed {
            self.skip();
        }
        *self.peers() = exchange.peers();
        if let Some(oldest) = self.asked.oldest() {
            let heard = forward::take(&*self.store, self.epoch, oldest, &mut |agent, found| {
                let bytes = found.batch.len() as u64;
                if self.asked.is_waiting(found.id) && self.asked.hear(agent, found) {
                    self.counts.answered_bytes.fetch_add(bytes, Relaxed);
                }
            })?;
            self.has_answers.fetch_or(heard, Relaxed);
        }
        Ok(())
    }

    /// Removes answers from the store that have been taken, or came too late.
    fn tidy(&self) {
        if self.has_answers.swap(false, Relaxed) {
            let is_waiting = |id| self.asked.is_waiting(id);
            let is_left = forward::tidy(&*self.store, self.epoch, &is_waiting);
            let is_left = is_left.unwrap_or_else(|error| {
                tracing::debug!(%error, "answers that were taken stay for a while");
                true
            });
            self.has_answers.fetch_or(is_left, Relaxed);
        }
    }

    /// Another server has told something.
    fn relayed(&self, relayed: Relayed) {
        match relayed {
            Relayed::Order { to, but, record } => {
                let to = match (to.as_str(), but.as_str()) {
                    ("", "") => To::All,
                    ("", but) => To::AllBut(but),
                    (one, _) => To::One(one),
                };
                if self.deliver(to, &record.into()) && matches!(to, To::One(_)) {
                    // Whoever asked an agent of ours will ask for more.
                    self.pace.hurry();
                }
            }
            Relayed::Summary { agent, answer } => {
                let told = decode_answers(&answer).unwrap_or_default();
                for answer in told.answers {
                    if let Answer::Summary(summary) = answer {
                        self.directory.add(&agent, summary);
                    }
                }
            }
        }
    }

    /// Orders of other servers were lost: all agents of this one are told so.
    fn skip(&self) {
        self.counts.missed.fetch_add(1, Relaxed);
        let Some(record) = self.record(&Order::Keep(Vec::new())) else { return };
        for queue in self.queues().values() {
            self.counts.dropped.fetch_add(queue.skip(Arc::clone(&record)), Relaxed);
        }
    }

    /// A thread of its own for that: nobody waits for it.
    pub(super) fn tidying(
        self: &Arc<Self>,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<JoinHandle<()>> {
        let orders = Arc::clone(self);
        let work = move || {
            while !*stop.borrow() {
                std::thread::sleep(TICK);
                orders.tidy();
            }
        };
        std::thread::Builder::new().name("deeptrace-answers".to_owned()).spawn(work)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
