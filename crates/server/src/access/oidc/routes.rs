//! `/login/oidc`: how a browser is sent to the provider, and comes back with a code.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body, Peer};
use serde::{Deserialize, Serialize};

use super::attempt::{self, Attempt};
use super::error::OidcError;
use super::{Identity, Provider};
use crate::access::Access;
use crate::access::gate::too_many;
use crate::access::session;
use crate::api::blocking;
use crate::audit::Note;

/// `/login/oidc` and `/login/oidc/code`.
pub(in crate::access) fn routes() -> Router<Arc<Access>> {
    Router::new().route("/login/oidc", post(begin)).route("/login/oidc/code", post(finish))
}

/// `POST /login/oidc`.
#[derive(Serialize)]
struct Away {
    /// Where the browser goes to log in.
    url: String,
}

/// `POST /login/oidc/code`: what the provider gave the browser.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    code: String,
    state: String,
    /// Who gave it (RFC 9207), where the provider says so.
    #[serde(default)]
    iss: Option<String>,
}

type Cookie = [(HeaderName, HeaderValue); 1];

async fn begin(
    State(access): State<Arc<Access>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<(Cookie, Json<Away>), ApiError> {
    let (provider, page) = asked(&access, peer, &headers)?;
    let attempt = Attempt::begin()?;
    let cookie = attempt.cookie(access.rules.sessions.is_secure);
    let url = blocking(move || provider.address(&attempt, &page).map_err(ApiError::from)).await?;
    Ok(([(SET_COOKIE, cookie)], Json(Away { url })))
}

/// The audit log has the subject, also where they have no role here.
async fn finish(
    State(access): State<Arc<Access>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Body(back): Body<Back>,
) -> Result<Response, ApiError> {
    let is_secure = access.rules.sessions.is_secure;
    let identity = redeem(&access, peer, &headers, back).await?;
    let identity = match identity {
        Ok(identity) => identity,
        Err(OidcError::Nobody { subject, message }) => {
            return Ok(noted(ApiError::forbidden(message).into_response(), subject));
        }
        Err(error) => return Err(error.into()),
    };
    let subject = identity.subject.clone();
    let (caller, cookie) = blocking(move || {
        let provider = access.provider.as_ref().ok_or_else(absent)?;
        session::start_of(&access, provider, identity).map_err(ApiError::from)
    })
    .await?;
    let cookies = [(SET_COOKIE, cookie), (SET_COOKIE, attempt::forgotten(is_secure))];
    Ok(noted((AppendHeaders(cookies), Json(caller)).into_response(), subject))
}

async fn redeem(
    access: &Access,
    peer: Option<Extension<Peer>>,
    headers: &HeaderMap,
    back: Back,
) -> Result<Result<Identity, OidcError>, ApiError> {
    let (provider, page) = asked(access, peer, headers)?;
    let refused = |reason: &str| ApiError::from(OidcError::Refused(reason.to_owned()));
    let begun = Attempt::given(headers).filter(|attempt| attempt.is_of(&back.state));
    let attempt = begun.ok_or_else(|| refused("this browser has not begun it, or too long ago"))?;
    if back.iss.is_some_and(|iss| iss != provider.issuer.as_str()) {
        return Err(refused("the code is of another provider"));
    }
    blocking(move || Ok(provider.redeem(&attempt, back.code, &page))).await
}

fn noted(mut response: Response, subject: String) -> Response {
    response.extensions_mut().insert(Note("subject", subject));
    response
}

fn absent() -> ApiError {
    ApiError::not_found("this server has no single sign-on; see [server.oidc]")
}

/// The provider, and the page to which browsers come back: the one that asks. That it is ours was looked
/// at before (`deeptrace_http::Guard`).
fn asked(
    access: &Access,
    peer: Option<Extension<Peer>>,
    headers: &HeaderMap,
) -> Result<(Arc<Provider>, String), ApiError> {
    let provider = access.provider.as_ref().ok_or_else(absent)?;
    if let Some(Extension(Peer(address))) = peer {
        access.logins.take(&format!("from {address}"), Instant::now()).map_err(too_many)?;
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let message = "single sign-on is for browsers, which send the header Origin";
    let origin = origin.ok_or_else(|| ApiError::invalid(message))?;
    Ok((Arc::clone(provider), format!("{origin}/")))
}
