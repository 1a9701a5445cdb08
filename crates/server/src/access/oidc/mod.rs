//! Single sign-on by OpenID Connect (Core 1.0 with Discovery 1.0): a browser is sent to a provider and
//! comes back with a code, which is exchanged for an ID token (authorization code flow with PKCE,
//! RFC 7636). What the token claims is somebody with a role. Programs may bear access tokens of the
//! provider that are JWTs (RFC 9068).

mod attempt;
mod error;
mod identity;
mod provider;
mod routes;
mod settings;
mod web;

pub(super) use identity::Identity;
pub use provider::Provider;
pub(super) use routes::routes;
pub use settings::Settings;
pub use web::WebError;
pub(crate) use web::is_private;
