//! Document: a small named value that all servers over one store share: users, tokens, leases,
//! lines of the audit log. Changed by compare-and-set, so that of two that want the same one wins.

use crate::StoreError;

/// Bytes of a name, at most.
pub const DOCUMENT_NAME_MAX: usize = 512;
/// Bytes of a body, at most.
pub const DOCUMENT_BODY_MAX: usize = 1 << 20;

/// A small named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `KIND/…`, e.g. `user/anna`; at most [`DOCUMENT_NAME_MAX`] bytes.
    pub name: String,
    /// Changes with every write of it, also when it was removed in between; means nothing else.
    pub version: u64,
    /// What it holds, at most [`DOCUMENT_BODY_MAX`] bytes.
    pub body: Vec<u8>,
}

/// What must be stored under the name for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there, or nothing.
    Any,
    /// Nothing.
    Absent,
    /// The document of this version.
    Version(u64),
}

/// Refuses a document that is too large.
pub(crate) fn check_size(name: &str, body: Option<&[u8]>) -> Result<(), StoreError> {
    let sizes = [(name.len(), DOCUMENT_NAME_MAX), (body.map_or(0, <[u8]>::len), DOCUMENT_BODY_MAX)];
    match sizes.into_iter().find(|(bytes, limit)| bytes > limit) {
        Some((bytes, limit)) => Err(StoreError::DocumentSize { bytes, limit }),
        None => Ok(()),
    }
}

impl Expected {
    /// Whether a document of `version` (`None`: no document) is what was expected.
    pub fn is(self, version: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => version.is_none(),
            Self::Version(expected) => version == Some(expected),
        }
    }
}
