//! Caller: who asks, put into each request by the gate.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use deeptrace_http::ApiError;
use serde::{Deserialize, Serialize};

use super::{Role, Services, View};

/// By what a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// Nobody asked who it is: login is not required here.
    Anonymous,
    /// The token in the data folder.
    AdminToken,
    /// A token that was made.
    Token,
    /// A user who has logged in.
    User,
    /// Somebody for whom the provider of single sign-on vouches.
    Oidc,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// By what they are known.
    pub kind: CallerKind,
    /// Name of the user, `NAME` of the token (with its id), subject at the provider.
    pub name: String,
    /// What people call them, where the name is made for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What they may do.
    pub role: Role,
    /// Services whose spans they may see.
    pub services: Services,
}

impl Caller {
    /// Somebody where nobody has to log in. They read what is stored; on loopback that is every
    /// user of this host.
    pub(super) fn anonymous() -> Self {
        Self {
            kind: CallerKind::Anonymous,
            name: String::new(),
            label: None,
            role: Role::Analyst,
            services: Services::ALL,
        }
    }

    /// Whoever may read the data folder.
    pub(super) fn admin() -> Self {
        Self {
            kind: CallerKind::AdminToken,
            name: String::new(),
            label: None,
            role: Role::Admin,
            services: Services::ALL,
        }
    }

    /// Whether they may ask as often as they like: whoever holds the admin token, or is on this
    /// host where nobody has to log in.
    pub(super) fn is_free_of_pace(&self) -> bool {
        matches!(self.kind, CallerKind::AdminToken | CallerKind::Anonymous)
    }

    /// What they may see of spans.
    pub fn view(&self) -> View {
        View::new(self.role.may(Role::Analyst), self.services.clone())
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CallerKind::Anonymous => f.write_str("anonymous"),
            CallerKind::AdminToken => f.write_str("admin-token"),
            CallerKind::Token => write!(f, "token:{}", self.name),
            CallerKind::User => write!(f, "user:{}", self.name),
            CallerKind::Oidc => write!(f, "oidc:{}", self.name),
        }
    }
}

/// A route that asks for it lies behind the gate, so it is there.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("nobody has asked who calls"))
    }
}
