//! Audit: who asked for what and who changed what, append-only, in a chain for each writer whose
//! every line holds the hash of the one before. docs/audit.md says it for people.
//!
//! Lines are kept in groups as documents `audit/WRITER/SEQUENCE`: one write for all that came within
//! a quarter of a second, and at once for a change, which is answered only when its line is kept.

mod chain;
mod layer;
mod line;
mod page;
mod spool;
mod verify;
mod writing;

pub use chain::{Anchor, AnchorError};
pub(crate) use layer::Audited;
pub use layer::{Note, record};
pub use line::{Draft, Line};
pub use page::{Lines, Query, lines, routes};
pub use spool::note;
pub use verify::{Report, WriterReport, verify};
pub use writing::{Auditor, Keeping};
