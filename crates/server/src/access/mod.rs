//! Access: who may do what. [`ROUTES`] says which role each route needs; [`Access::check`] decides
//! before a route sees a request; users and tokens are documents of the store, so that every server
//! over one store knows them. docs/access.md says it for people.

mod caller;
mod cookie;
mod directory;
mod error;
mod gate;
mod login;
mod manage;
pub mod oidc;
mod pace;
mod role;
mod secret;
mod services;
mod session;
mod table;
pub mod token;
pub mod user;
mod view;

pub use caller::{Caller, CallerKind};
pub use error::AccessError;
pub use gate::{Access, Rules};
pub use manage::{Tokens, Users, routes};
pub use role::{Role, RoleError};
pub use secret::PASSWORD_BYTES;
pub(crate) use secret::hex;
pub use services::Services;
pub use session::SessionRules;
pub(crate) use table::is_audited;
pub use table::{ROUTES, Route};
pub use view::{HIDDEN, View};
