//! Run: an assembly driven by one store; and a trace found by whatever id a person has.

use deeptrace_model::{SpanId, Trace, TraceId};
use deeptrace_store::{Store, StoreError};

use crate::{Answers, Assembly, Limits, Lookups, Start, Step};

/// Gaps that are attached to one trace, at most.
pub(crate) const GAPS_MAX: usize = 1000;

/// Drives `assembly` to its end. `None` when nothing is stored where it starts.
pub fn run(store: &dyn Store, mut assembly: Assembly) -> Result<Option<Trace>, StoreError> {
    let mut answers = Answers::default();
    loop {
        match assembly.step(answers) {
            Step::Need(lookups) => answers = ask(store, &lookups)?,
            Step::Done(trace) => return Ok(Some(*trace)),
            Step::Absent => return Ok(None),
        }
    }
}

fn ask(store: &dyn Store, lookups: &Lookups) -> Result<Answers, StoreError> {
    let (spans, links) = store.look_up(&lookups.spans, &lookups.links, lookups.limit)?;
    let gaps = lookups.gaps.map(|window| store.gaps(window, GAPS_MAX)).transpose()?;
    Ok(Answers { spans, links, gaps: gaps.unwrap_or_default() })
}

/// Why a trace was not looked for, or not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The text is no id.
    #[error("`{text}` is no id; give a trace id of 32 or a span id of 16 hex digits")]
    NoId {
        /// What was given.
        text: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a text is the id of a trace (32 hex digits) or of a span (16).
pub fn is_id(text: &str) -> bool {
    // `from_str_radix` would take a sign.
    matches!(text.len(), 16 | 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The trace of that trace id (32 hex digits) or with that span (16); `None` if there is none.
pub fn find(store: &dyn Store, text: &str, limits: Limits) -> Result<Option<Trace>, FindError> {
    let number = if is_id(text) { u128::from_str_radix(text, 16).ok() } else { None };
    let start = match number {
        Some(number) if text.len() == 32 => Start::Trace(TraceId(number)),
        Some(number) => Start::Id(SpanId(number as u64)),
        None => return Err(FindError::NoId { text: text.to_owned() }),
    };
    Ok(run(store, Assembly::new(start, limits))?)
}
