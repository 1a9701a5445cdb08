//! Kept: spans that stay on the host of their agent, in a store of its own. What is asked of them is
//! answered with everything that this store knows around it, so that each agent is asked once.

mod gathering;

use std::sync::{Arc, Mutex, PoisonError};

use deeptrace_erase::Tombstone;
use deeptrace_model::{Link, Span, WallTime};
use deeptrace_query::{Lookups, fragment};
use deeptrace_store::{Cursor, Store, StoreError};
use deeptrace_wire::{Ask, Encoder, Found, PARTS_MAX, Question, RECORD_MAX, Summary};

use crate::duties::{EraseError, Guarded, Tombstones, remove_covered};
use crate::{clock, question};

use self::gathering::Gathering;

/// Spans, and links, of one answer, at most.
const LIMIT_MAX: usize = 40_000;
/// Spans of a page, at most.
const PAGE_MAX: usize = 2_048;

/// Spans that stay here.
pub struct Kept {
    store: Arc<Guarded>,
    tombstones: Arc<Tombstones>,
    gathering: Mutex<Gathering>,
}

/// What was found for a question.
#[derive(Default)]
struct Answer {
    spans: Vec<Arc<Span>>,
    links: Vec<Link>,
    next: Option<Cursor>,
    is_whole: bool,
}

impl Kept {
    /// In `store`; what is finished from `started` on is told.
    pub fn new(store: Arc<Guarded>, started: WallTime) -> Self {
        let tombstones = store.tombstones();
        Self { store, tombstones, gathering: Mutex::new(Gathering::new(started)) }
    }

    /// These spans were finished, and go into the store.
    pub fn gather(&self, spans: &[Span]) {
        let now = clock::now();
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().for_each(|span| gathering.add(span, now));
    }

    /// What is to be told of the spans that were finished since it was asked last, and whether there is
    /// more at once. Also of none: that is how the server knows that there are none.
    pub fn summary(&self) -> (Summary, bool) {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now())
    }

    /// Start of the oldest span; `None` where there is none, or the store cannot say.
    pub fn oldest(&self) -> Option<WallTime> {
        self.store.stats().ok()?.oldest
    }

    /// Erases what `tombstone` covers, also from the files.
    pub fn erase(&self, tombstone: Tombstone) -> Result<u64, EraseError> {
        let tombstone = Arc::new(tombstone);
        self.tombstones.set(&*self.store, &tombstone)?;
        let removed = remove_covered(&*self.store, &tombstone, &mut |_, _| ())?;
        self.store.purge()?;
        Ok(removed.spans)
    }

    /// Answers a question, in parts.
    pub fn answer(&self, ask: &Ask, out: &mut dyn FnMut(Found)) {
        let (epoch, id) = (ask.epoch, ask.id);
        let failed = |error: String| Found {
            epoch,
            id,
            is_last: true,
            error: Some(error),
            ..Found::default()
        };
        let (answer, mut encoder) = match (self.find(&ask.question), Encoder::dense()) {
            (Ok(answer), Ok(encoder)) => (answer, encoder),
            (Err(error), _) => return out(failed(error.to_string())),
            (_, Err(error)) => return out(failed(error.to_string())),
        };
        let spans: Vec<Span> = answer.spans.iter().map(|span| Span::clone(span)).collect();
        let mut batches = Vec::new();
        let mut omitted =
            encoder.encode(&spans, &answer.links, &[], &mut |one| batches.push(one.bytes));
        // Room for the head of the part.
        let fits = |batch: &Vec<u8>| batch.len() + 256 <= RECORD_MAX;
        omitted += batches.iter().filter(|batch| !fits(batch)).count();
        batches.retain(fits);
        omitted += batches.len().saturating_sub(PARTS_MAX as usize);
        batches.truncate(PARTS_MAX as usize);
        if batches.is_empty() {
            batches.push(Vec::new());
        }
        let last = batches.len() - 1;
        for (part, batch) in batches.into_iter().enumerate() {
            let error = "a part of the answer is too large".to_owned();
            out(Found {
                epoch,
                id,
                part: part as u32,
                is_last: part == last,
                next: answer.next.map(|it| (it.start, it.id)),
                error: (omitted > 0).then_some(error),
                is_whole: answer.is_whole && omitted == 0,
                batch,
            });
        }
    }

    fn find(&self, question: &Question) -> Result<Answer, StoreError> {
        let store = &*self.store;
        match question {
            Question::Lookups(lookups) => {
                let lookups = question::asked(lookups, LIMIT_MAX);
                let (found, is_whole) = fragment(store, &lookups, &[])?;
                let (spans, links) = (found.spans, found.links);
                Ok(Answer { spans, links, next: None, is_whole })
            }
            Question::Scan(scan) => {
                let (filter, after) = question::scanned(scan);
                let limit = (scan.limit as usize).min(PAGE_MAX);
                let page = store.scan(&filter, after, limit)?;
                let around = Lookups { limit: LIMIT_MAX, ..Lookups::default() };
                let (found, is_whole) = fragment(store, &around, &page.spans)?;
                let (spans, links) = (found.spans, found.links);
                Ok(Answer { spans, links, next: page.next, is_whole })
            }
        }
    }
}
