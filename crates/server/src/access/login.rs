//! `/login` and `/logout`: how a browser gets its session and loses it. By single sign-on: `oidc`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body, Peer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::gate::too_many;
use super::secret::is_password;
use super::session::{self, Subject};
use super::{Access, Caller, CallerKind, oidc, user};
use crate::api::blocking;
use crate::audit::Note;

/// `/login` and `/logout`.
pub(super) fn routes() -> Router<Arc<Access>> {
    Router::new()
        .route("/login", get(who).post(log_in))
        .route("/logout", post(log_out))
        .merge(oidc::routes())
}

/// `POST /login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    name: String,
    password: String,
}

/// `GET /login`.
#[derive(Serialize)]
struct Who {
    /// Whether nothing is shown without logging in.
    required: bool,
    /// Who asks; `null` where that is not known.
    caller: Option<Caller>,
    /// What a button for single sign-on says; `null` where there is none.
    oidc: Option<String>,
}

async fn who(State(access): State<Arc<Access>>, caller: Caller) -> Json<Who> {
    let known = caller.kind != CallerKind::Anonymous;
    let oidc = access.provider.as_ref().map(|provider| provider.label().to_owned());
    Json(Who { required: access.rules.is_required, caller: known.then_some(caller), oidc })
}

type Cookie = [(axum::http::HeaderName, HeaderValue); 1];

/// The audit log has the name, also where the password was wrong.
async fn log_in(
    State(access): State<Arc<Access>>,
    peer: Option<Extension<Peer>>,
    Body(credentials): Body<Credentials>,
) -> Response {
    let name = credentials.name.clone();
    let mut response = start(access, peer, credentials).await.into_response();
    if user::check_name(&name).is_ok() {
        response.extensions_mut().insert(Note("user", name));
    }
    response
}

/// Says no in the same words, after the same work, whether the name or the password is wrong.
async fn start(
    access: Arc<Access>,
    peer: Option<Extension<Peer>>,
    credentials: Credentials,
) -> Result<(Cookie, Json<Caller>), ApiError> {
    let now = Instant::now();
    if let Some(Extension(Peer(address))) = peer {
        access.logins.take(&format!("from {address}"), now).map_err(too_many)?;
    }
    // What is no name is nobody's, and must not fill the table.
    let named = user::check_name(&credentials.name).is_ok();
    let who = if named { credentials.name.as_str() } else { "no name" };
    access.logins.take(who, now).map_err(too_many)?;
    let started = blocking(move || {
        let Credentials { name, password } = credentials;
        let directory = &access.directory;
        let document = format!("{}{name}", user::PREFIX);
        let stored: Option<user::Stored> = match named {
            true => directory.read(&document).map_err(crate::answers::failed)?,
            false => None,
        };
        let hash = stored.as_ref().map(|stored| stored.password.as_str());
        if !is_password(hash, &password) {
            return Ok(None);
        }
        session::start(&access, &Subject::User(name)).map_err(ApiError::from)
    });
    let wrong = || ApiError::unauthorized("the name or the password is wrong");
    let (caller, cookie) = started.await?.ok_or_else(wrong)?;
    Ok(([(SET_COOKIE, cookie)], Json(caller)))
}

async fn log_out(
    State(access): State<Arc<Access>>,
    headers: HeaderMap,
) -> Result<(Cookie, Json<Value>), ApiError> {
    let given = session::given(&headers).unwrap_or_default().to_owned();
    let cookie = blocking(move || {
        let ended = session::end(&*access.directory.store, &given, &access.rules.sessions);
        access.directory.forget();
        ended.map_err(ApiError::from)
    });
    Ok(([(SET_COOKIE, cookie.await?)], Json(json!({"status": "logged_out"}))))
}
