//! Why nobody was logged in by the provider.

use deeptrace_http::ApiError;

/// Why nobody was logged in by the provider.
#[derive(Debug, thiserror::Error)]
pub(in crate::access) enum OidcError {
    /// The provider does not answer, or not as a provider does; worth trying again.
    #[error(
        "the provider of single sign-on cannot be used now ({0}); try again, or log in with a name and a password"
    )]
    Away(String),
    /// What the browser or the provider brought proves nothing.
    #[error("single sign-on has failed: {0}; begin again")]
    Refused(String),
    /// Somebody it is, but nobody who may do anything here.
    #[error("{message}")]
    Nobody {
        /// Who it is.
        subject: String,
        /// What is missing.
        message: String,
    },
}

impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        let message = error.to_string();
        match error {
            OidcError::Away(_) => Self::unavailable(message),
            OidcError::Refused(_) => Self::unauthorized(message),
            OidcError::Nobody { .. } => Self::forbidden(message),
        }
    }
}
