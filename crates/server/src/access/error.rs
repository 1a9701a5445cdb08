//! Why a user or a token was not made, found or removed.

use deeptrace_http::ApiError;
use deeptrace_store::StoreError;

/// Why a user or a token was not made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// What was given makes no sense; says what would.
    #[error("{0}")]
    Invalid(String),
    /// Something of that name is there.
    #[error("{0}")]
    Exists(String),
    /// Nothing of that name is there.
    #[error("{0}")]
    Absent(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random bytes, or the hash could not be made.
    #[error("cannot make a secret: {0}")]
    Secret(String),
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Invalid(message) => Self::invalid(message),
            AccessError::Exists(message) => Self::conflict(message),
            AccessError::Absent(message) => Self::not_found(message),
            AccessError::Store(error) => crate::answers::failed(error),
            error @ AccessError::Secret(_) => Self::internal(error),
        }
    }
}
