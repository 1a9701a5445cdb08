//! Erase: everything that a target names goes out of the store, and stays out.
//!
//! First the tombstone is kept, so that nothing comes in again; then the store is searched, what is found
//! is removed, and what holds bytes of it is written anew. An erasure that broke off is ended by whoever
//! finds its tombstone open: the tombstone knows the spans without the value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use deeptrace_erase::{Field, Key, NoRandom, Receipt, State, Statement, Target, Tombstone};
use deeptrace_model::{Duration, Span, WallTime};
use deeptrace_query::{FindError, Limits};
use deeptrace_store::{
    Expected, Filter, Removal, Removed, SpanKey, SpanLookup, Store, StoreError, Window,
};
use serde::{Deserialize, Serialize};

use super::backup;
use super::tombstones::{REFRESH, TOMBSTONES_MAX, Tombstones};

/// Spans looked at in one go, and removed in one go.
const PAGE: usize = 4_096;
/// Services that a preview counts by name, at most.
const SERVICES_MAX: usize = 100;
/// How far the stamps of one span may lie apart between its records.
const SLACK: Duration = Duration::from_secs(1);

/// What an erasure would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Spans that were looked at.
    pub looked_at: u64,
    /// Spans that would be removed.
    pub spans: u64,
    /// The same by service.
    pub services: BTreeMap<String, u64>,
    /// Start of the earliest.
    pub oldest_unix_nano: Option<u64>,
    /// Start of the latest.
    pub newest_unix_nano: Option<u64>,
    /// Other spans in which the value occurs, in whatever field: `any=VALUE` would remove them too.
    pub elsewhere: u64,
}

/// Why an erasure did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No salt.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// There are too many.
    #[error("{TOMBSTONES_MAX} erasures are remembered already, and more would slow down writing")]
    Full,
    /// A folder of backups does not take the tombstone.
    #[error(
        "write the tombstone to {}: {error}; what is stored was erased, do it again once the folder can be \
         written to",
        folder.display()
    )]
    Backup {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// With what an erasure works.
pub struct Eraser<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// Name of its backend.
    pub backend: &'a str,
    /// Whether other servers write to it.
    pub is_shared: bool,
    /// What was erased from it.
    pub tombstones: &'a Tombstones,
    /// Signs the receipt.
    pub key: &'a Key,
    /// How traces are put together.
    pub limits: Limits,
    /// Version of the program.
    pub version: &'a str,
}

/// Told how many spans were looked at and found.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Told some spans.
type TakePage<'a> = &'a mut dyn FnMut(&[Arc<Span>]) -> Result<(), EraseError>;

impl Eraser<'_> {
    /// What an erasure of `target` would remove now.
    pub fn preview(
        &self,
        target: &Target,
        now: WallTime,
        progress: Progress<'_>,
    ) -> Result<Preview, EraseError> {
        let anywhere = Target::new(Field::Any, target.value()).ok();
        let mut preview = Preview::default();
        let count = |preview: &mut Preview, span: &Span| {
            preview.spans += 1;
            let is_known = preview.services.contains_key(&*span.service);
            if is_known || preview.services.len() < SERVICES_MAX {
                *preview.services.entry(span.service.to_string()).or_default() += 1;
            }
            let start = span.start.0;
            let oldest = preview.oldest_unix_nano.map_or(start, |it| it.min(start));
            let newest = preview.newest_unix_nano.map_or(start, |it| it.max(start));
            (preview.oldest_unix_nano, preview.newest_unix_nano) = (Some(oldest), Some(newest));
        };
        if target.field == Field::TraceId {
            self.of_trace(target)?.iter().for_each(|span| count(&mut preview, span));
            preview.looked_at = preview.spans;
            return Ok(preview);
        }
        each_page(self.store, now, &mut |spans| {
            for span in spans {
                if target.matches(span) {
                    count(&mut preview, span);
                } else if anywhere.as_ref().is_some_and(|it| it.matches(span)) {
                    preview.elsewhere += 1;
                }
            }
            preview.looked_at += spans.len() as u64;
            progress(preview.looked_at, preview.spans);
            Ok(())
        })?;
        Ok(preview)
    }

    /// Erases what `target` names. `folders` hold backups, which get the tombstone.
    pub fn erase(
        &self,
        target: &Target,
        folders: &[PathBuf],
        progress: Progress<'_>,
    ) -> Result<Receipt, EraseError> {
        if self.tombstones.held().all().len() >= TOMBSTONES_MAX {
            return Err(EraseError::Full);
        }
        let members = match target.field {
            Field::TraceId => self.of_trace(target)?,
            _ => Vec::new(),
        };
        let ids = members.iter().map(|span| span.id);
        let tombstone = Arc::new(Tombstone::new(target, crate::clock::now(), ids)?);
        self.tombstones.set(self.store, &tombstone)?;
        self.finish(tombstone, folders, progress)
    }

    /// Removes what `tombstone` covers, and ends its erasure.
    pub fn finish(
        &self,
        tombstone: Arc<Tombstone>,
        folders: &[PathBuf],
        progress: Progress<'_>,
    ) -> Result<Receipt, EraseError> {
        let begun = std::time::Instant::now();
        let mut removed = remove_covered(self.store, &tombstone, progress)?;
        if self.is_shared {
            // Other servers have written what they did not know to be erased.
            std::thread::sleep((REFRESH * 2).saturating_sub(begun.elapsed()));
            removed.add(remove_covered(self.store, &tombstone, progress)?);
        }
        self.store.purge()?;
        let done = Tombstone::clone(&tombstone).in_state(State::Done);
        for folder in folders {
            let failed = |error| EraseError::Backup { folder: folder.clone(), error };
            backup::add_tombstone(folder, &done).map_err(failed)?;
        }
        let receipt = self.key.sign(Statement {
            version: 1,
            deeptrace: self.version.to_owned(),
            started_unix_nano: tombstone.at().0,
            ended_unix_nano: crate::clock::now().0,
            spans: removed.spans,
            links: removed.links,
            unreadable: removed.unreadable,
            backend: self.backend.to_owned(),
            backups: folders.iter().map(|folder| folder.display().to_string()).collect(),
            tombstone: done.clone(),
        });
        let body = serde_json::to_vec(&receipt).unwrap_or_default();
        let name = format!("receipt/{}", done.id());
        self.store.put_document(&name, Some(&body), Expected::Any)?;
        self.tombstones.set(self.store, &Arc::new(done))?;
        Ok(receipt)
    }

    /// The spans of the trace that `target` names.
    fn of_trace(&self, target: &Target) -> Result<Vec<Arc<Span>>, EraseError> {
        match deeptrace_query::find(self.store, target.value(), self.limits) {
            Ok(trace) => Ok(trace.into_iter().flat_map(|it| it.spans).map(|it| it.span).collect()),
            Err(FindError::Store(error)) => Err(error.into()),
            // A target of a trace holds an id.
            Err(FindError::NoId { .. }) => Ok(Vec::new()),
        }
    }
}

/// Removes what a tombstone covers from `store`.
pub fn remove_covered(
    store: &dyn Store,
    tombstone: &Tombstone,
    progress: Progress<'_>,
) -> Result<Removed, EraseError> {
    let mut removed = Removed::default();
    let mut looked_at = 0;
    each_page(store, tombstone.at(), &mut |spans| {
        let covered = spans.iter().filter(|span| tombstone.covers(span));
        let lookups: Vec<SpanLookup> = covered
            .map(|span| SpanLookup {
                key: SpanKey::Id(span.id),
                window: Window::around(span, SLACK),
            })
            .collect();
        if !lookups.is_empty() {
            removed.add(store.remove(Removal::Spans(&lookups))?);
        }
        looked_at += spans.len() as u64;
        progress(looked_at, removed.spans);
        Ok(())
    })?;
    Ok(removed)
}

/// Tells all spans that started until `to`, the newest first.
fn each_page(store: &dyn Store, to: WallTime, take: TakePage<'_>) -> Result<(), EraseError> {
    let window = Window { to, ..Window::ALL };
    let filter = Filter::in_window(window);
    let mut after = None;
    loop {
        let page = store.scan(&filter, after, PAGE)?;
        take(&page.spans)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
