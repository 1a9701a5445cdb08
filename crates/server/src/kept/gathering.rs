//! Gathering: what is to be told of the spans that were finished since the last summary.

use std::collections::{BTreeMap, VecDeque};

use deeptrace_model::{Duration, Span, SpanKind, SpanStatus, Text, WallTime};
use deeptrace_wire::{Key, KeySet, OPERATIONS_MAX, Operation, SUMMARY_KEYS_MAX, Summary};

/// Summaries that wait because there were more keys than one holds.
const FULL_MAX: usize = 64;

/// What is to be told. What has no place is not told, and the number of the summary is left out, so that
/// the server knows.
pub struct Gathering {
    run: WallTime,
    number: u64,
    keys: Vec<Key>,
    from: WallTime,
    to: WallTime,
    operations: BTreeMap<(Text, Text, u8), Operation>,
    full: VecDeque<Summary>,
}

impl Gathering {
    /// For a run that has started then.
    pub fn new(run: WallTime) -> Self {
        Self {
            run,
            number: 0,
            keys: Vec::new(),
            from: WallTime(u64::MAX),
            to: WallTime(0),
            operations: BTreeMap::new(),
            full: VecDeque::new(),
        }
    }

    /// A span was finished at `now`.
    pub fn add(&mut self, span: &Span, now: WallTime) {
        // One key for each side that may have another one elsewhere; an SDK's span is found by ids.
        if span.kind != SpanKind::Internal && !span.is_reported() {
            let request = || Key::Request(span.exchange.request_key());
            self.keys.push(span.exchange.key().map_or_else(request, Key::Exchange));
        }
        self.keys.extend(span.trace_context.map(|context| Key::Trace(context.trace)));
        (self.from, self.to) = (self.from.min(span.start), self.to.max(span.end));
        let duration = span.end.since(span.start);
        let operation = (span.service.clone(), span.name.clone(), span.kind as u8);
        let sums = self.operations.entry(operation).or_insert_with(|| Operation {
            service: span.service.to_string(),
            name: span.name.to_string(),
            kind: span.kind,
            spans: 0,
            errors: 0,
            total: Duration(0),
            shortest: duration,
            longest: duration,
        });
        sums.spans += 1;
        sums.errors += u64::from(span.status == SpanStatus::Error);
        sums.total = Duration(sums.total.0.saturating_add(duration.0));
        sums.shortest = sums.shortest.min(duration);
        sums.longest = sums.longest.max(duration);
        if self.keys.len() + 2 > SUMMARY_KEYS_MAX || self.operations.len() >= OPERATIONS_MAX {
            let summary = self.close(now);
            if self.full.len() < FULL_MAX {
                self.full.push_back(summary);
            }
        }
    }

    /// The next summary, and whether another one is full already.
    pub fn take(&mut self, now: WallTime) -> (Summary, bool) {
        match self.full.pop_front() {
            Some(summary) => (summary, true),
            None => (self.close(now), false),
        }
    }

    fn close(&mut self, made: WallTime) -> Summary {
        // Of one trace many spans have the same id.
        self.keys.sort_unstable();
        self.keys.dedup();
        let summary = Summary {
            run: self.run,
            number: self.number,
            made,
            from: self.from,
            to: self.to,
            keys: KeySet::of(&self.keys),
            operations: std::mem::take(&mut self.operations).into_values().collect(),
        };
        self.number += 1;
        self.keys.clear();
        (self.from, self.to) = (WallTime(u64::MAX), WallTime(0));
        summary
    }
}
