//! The gate in front of the routes: who calls, and may they? Host and Origin were looked at before
//! (`deeptrace_http::Guard`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deeptrace_http::{ApiError, Peer, Token};
use deeptrace_store::Store;

use super::directory::Directory;
use super::oidc::Provider;
use super::pace::Pace;
use super::session::{self, SessionRules, Subject};
use super::table::{self, Route};
use super::{Caller, CallerKind, Role, token};
use crate::api::blocking;
use crate::audit::{Audited, Auditor};

/// What is asked of callers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Whether nobody reads without saying who they are. Where it is not set, everybody reads and
    /// sends spans, and only changes need a token.
    pub is_required: bool,
    /// Of browsers.
    pub sessions: SessionRules,
    /// Attempts to log in, from one address and for one name.
    pub logins_per_minute: u32,
    /// Requests of one caller; four times as many from one address.
    pub requests_per_s: u32,
}

/// As on loopback where nobody has set a key.
impl Default for Rules {
    fn default() -> Self {
        Self {
            is_required: false,
            sessions: SessionRules {
                idle: Duration::from_secs(3_600),
                longest: Duration::from_secs(12 * 3_600),
                is_secure: false,
            },
            logins_per_minute: 10,
            requests_per_s: 100,
        }
    }
}

/// Who may do what at one server.
pub struct Access {
    pub(super) directory: Directory,
    pub(super) admin: Token,
    pub(super) rules: Rules,
    pub(super) logins: Pace,
    /// Single sign-on, where there is one.
    pub(super) provider: Option<Arc<Provider>>,
    callers: Pace,
    addresses: Pace,
    auditor: Option<Arc<Auditor>>,
}

/// What a caller shows.
enum Shown {
    Nothing,
    Bearer(String),
    Session(String),
}

impl Access {
    /// Users and tokens of `store`, beside the admin token.
    pub fn new(store: Arc<dyn Store>, admin: Token, rules: Rules) -> Self {
        let (logins, requests) =
            (f64::from(rules.logins_per_minute), f64::from(rules.requests_per_s));
        Self {
            directory: Directory::new(store),
            admin,
            rules,
            logins: Pace::new(logins / 60.0, logins),
            callers: Pace::new(requests, 2.0 * requests),
            addresses: Pace::new(4.0 * requests, 8.0 * requests),
            provider: None,
            auditor: None,
        }
    }

    /// The same, with a line for each call that reads data or changes something.
    pub fn audited(self, auditor: Arc<Auditor>) -> Self {
        Self { auditor: Some(auditor), ..self }
    }

    /// The same, where this provider knows users as well.
    pub fn with_provider(self, provider: Provider) -> Self {
        Self { provider: Some(Arc::new(provider)), ..self }
    }

    /// Who writes these lines, if anybody does.
    pub fn auditor(&self) -> Option<&Arc<Auditor>> {
        self.auditor.as_ref()
    }

    /// Middleware, around all routes: lets a request pass with its [`Caller`], or answers it.
    pub async fn check(
        State(access): State<Arc<Self>>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let path = request.extensions().get::<MatchedPath>().cloned();
        let path = path.as_ref().map(MatchedPath::as_str);
        let method = request.method().clone();
        let peer = request.extensions().get::<Peer>().copied();
        let query = request.uri().query().unwrap_or_default();
        if let (Some("/"), &Method::GET, Some(given)) =
            (path, &method, query.strip_prefix("token="))
        {
            return access
                .trade(given.to_owned(), peer)
                .await
                .unwrap_or_else(IntoResponse::into_response);
        }
        let shown = shown(request.headers());
        let has_origin = request.headers().contains_key(ORIGIN);
        let mut known = None;
        let mut response =
            match access.admit(&method, path, peer, shown, has_origin, &mut known).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller.clone());
                    known = Some(caller);
                    next.run(request).await
                }
                Err(error) => refuse(error, path),
            };
        if let Some(caller) = known {
            response.extensions_mut().insert(Audited(caller));
        }
        response
    }

    async fn admit(
        self: &Arc<Self>,
        method: &Method,
        path: Option<&str>,
        peer: Option<Peer>,
        shown: Shown,
        has_origin: bool,
        known: &mut Option<Caller>,
    ) -> Result<Caller, ApiError> {
        let route = path.map(|path| row(method, path)).transpose()?;
        let is_local = peer.is_none_or(|Peer(address)| address.is_loopback());
        if let Some(Peer(address)) = peer.filter(|_| !is_local) {
            self.addresses.take(&address.to_string(), Instant::now()).map_err(too_many)?;
        }
        // A browser says where a change comes from, and the guard has looked at that.
        let is_change = ![Method::GET, Method::HEAD].contains(method);
        if matches!(shown, Shown::Session(_)) && is_change && !has_origin {
            let message = "a change by a session needs the header Origin; programs use a token";
            return Err(ApiError::forbidden(message));
        }
        let caller = self.caller(shown).await;
        *known = caller.as_ref().ok().cloned();
        match route {
            // Who shows an old session to get the page, or to log in, is let in all the same.
            Some(route) if route.role.is_none() => {
                Ok(caller.unwrap_or_else(|_| Caller::anonymous()))
            }
            Some(route) => {
                let caller = decide(route, caller?, self.rules.is_required)?;
                let is_free = route.role == Some(Role::Agent) || caller.is_free_of_pace();
                if !is_free {
                    self.callers.take(&caller.to_string(), Instant::now()).map_err(too_many)?;
                }
                Ok(caller)
            }
            // No such route; whoever may know nothing of us is not told even that.
            None => match caller? {
                caller if caller.kind == CallerKind::Anonymous && self.rules.is_required => {
                    Err(unknown())
                }
                caller => Ok(caller),
            },
        }
    }

    /// Who calls, by what they show.
    async fn caller(self: &Arc<Self>, shown: Shown) -> Result<Caller, ApiError> {
        let given = match shown {
            Shown::Nothing => return Ok(Caller::anonymous()),
            Shown::Bearer(given) if self.admin.is(&given) => return Ok(Caller::admin()),
            given => given,
        };
        let access = Arc::clone(self);
        let found = blocking(move || match given {
            Shown::Session(given) => {
                let found = session::caller(&access, &given)?;
                found.ok_or_else(|| ApiError::unauthorized("the session has ended; log in again"))
            }
            Shown::Bearer(given) => {
                let of_provider = access.provider.as_ref().and_then(|it| it.bearer(&given));
                if let Some(identity) = of_provider {
                    return Ok(identity?.caller());
                }
                let found = token::bearer(&access.directory, &given)?;
                found.map(|(caller, _)| caller).ok_or_else(wrong_token)
            }
            Shown::Nothing => Ok(Caller::anonymous()),
        });
        found.await
    }

    /// `/?token=…` trades a token for a session and drops it from the address: for whoever has one
    /// in hand and a browser.
    async fn trade(
        self: &Arc<Self>,
        given: String,
        peer: Option<Peer>,
    ) -> Result<Response, ApiError> {
        if let Some(Peer(address)) = peer {
            self.logins.take(&format!("from {address}"), Instant::now()).map_err(too_many)?;
        }
        let access = Arc::clone(self);
        let started = blocking(move || {
            let subject = if access.admin.is(&given) {
                Subject::AdminToken
            } else {
                let (_, id) = token::bearer(&access.directory, &given)?.ok_or_else(wrong_token)?;
                Subject::Token(id)
            };
            session::start(&access, &subject)?.ok_or_else(wrong_token)
        });
        let (_, cookie) = started.await?;
        let to_page = HeaderValue::from_static("/");
        Ok((StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, to_page)]).into_response())
    }
}

/// The row of a route.
fn row(method: &Method, path: &str) -> Result<&'static Route, ApiError> {
    if let Some(route) = table::find(method.as_str(), path) {
        return Ok(route);
    }
    if table::methods(path).is_empty() {
        // Refusing is the safe side; `tests/access.rs` finds it before anybody else does.
        let message = "this route has no row in the table of access, so nobody may call it";
        return Err(ApiError::forbidden(message).with("path", path));
    }
    let message = "this route does not know this method";
    Err(ApiError::method_not_allowed(message).with("method", method.as_str()))
}

/// Whether `caller` may call `route`.
fn decide(route: &Route, caller: Caller, is_required: bool) -> Result<Caller, ApiError> {
    let Some(needed) = route.role else { return Ok(caller) };
    if caller.kind == CallerKind::Anonymous {
        // Spans are accepted from whoever may read them.
        let may = !is_required && (needed == Role::Agent || caller.role.may(needed));
        return if may { Ok(caller) } else { Err(unknown().with("role", needed.as_str())) };
    }
    if !caller.role.may(needed) {
        let message = format!("this needs the role {needed}, and {caller} is {}", caller.role);
        return Err(ApiError::forbidden(message).with("role", needed.as_str()));
    }
    if caller.services.is_restricted() && !route.narrows {
        let message = format!("{caller} may see some services only, and this tells of all");
        return Err(ApiError::forbidden(message));
    }
    Ok(caller)
}

/// An error as an answer; of a wrong method with those that are right (RFC 9110 §15.5.6).
fn refuse(error: ApiError, path: Option<&str>) -> Response {
    let mut response = error.into_response();
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(right) =
            HeaderValue::from_str(&table::methods(path.unwrap_or_default()).join(","))
    {
        response.headers_mut().insert(ALLOW, right);
    }
    response
}

fn unknown() -> ApiError {
    ApiError::unauthorized(
        "this needs `Authorization: Bearer` with a token: one made by `deeptrace token create`, or \
         the admin token from the file `token` of the data folder (the deeptrace command finds it \
         when it may read that file); in a browser, log in",
    )
}

fn wrong_token() -> ApiError {
    ApiError::unauthorized(
        "the token is wrong, expired or revoked; the admin token lies in the file `token` of the \
         data folder, others are made by `deeptrace token create`",
    )
}

/// 429 with the time after which it is worth trying again.
pub(super) fn too_many(wait: Duration) -> ApiError {
    let seconds = wait.as_secs_f64().ceil() as u64;
    ApiError::too_many(format!("too many requests; try again in {seconds} s"), seconds)
}

fn shown(headers: &HeaderMap) -> Shown {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(given) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
        return Shown::Bearer(given.trim().to_owned());
    }
    session::given(headers).map_or(Shown::Nothing, |given| Shown::Session(given.to_owned()))
}
