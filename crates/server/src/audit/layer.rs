//! Middleware that writes a line for each request that reads data or changes something, and how its
//! handler adds what the line should say.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deeptrace_http::{ApiError, Peer};

use super::{Auditor, Draft};
use crate::access::{Caller, is_audited};
use crate::clock;

/// Put into an answer, it becomes a detail of the line as it is: a name, never a value that was
/// searched for.
#[derive(Clone, Debug)]
pub struct Note(pub &'static str, pub String);

/// The caller of a request, in the answer, for the layer around the gate.
#[derive(Clone, Debug)]
pub(crate) struct Audited(pub Caller);

/// Writes the line. A change is answered only when its line is kept: what was done and not told is
/// better said to have failed.
pub async fn record(State(auditor): State<Arc<Auditor>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let Some(pattern) = path.filter(|path| is_audited(method.as_str(), path)) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.to_string());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let action = format!("{method} {}", request.uri().path());
    let response = next.run(request).await;
    let caller = response.extensions().get::<Audited>();
    let mut details = details(&auditor, &query);
    if let Some(Note(name, value)) = response.extensions().get::<Note>() {
        details.insert((*name).to_owned(), value.clone());
    }
    let draft = Draft {
        time_unix_nano: clock::now().0,
        who: caller.map_or("unknown".to_owned(), |Audited(caller)| caller.to_string()),
        action,
        from: peer.unwrap_or_default(),
        result: response.status().as_u16().to_string(),
        details,
    };
    let is_change = ![Method::GET, Method::HEAD].contains(&method);
    if !is_change || !response.status().is_success() {
        auditor.add(draft);
    } else if !auditor.keep(draft).await {
        let message = "it was done, but the audit log cannot be written; see the server's log";
        return ApiError::unavailable(message).with("route", pattern).into_response();
    }
    response
}

/// Names of the parameters; their values only as salted hashes, but for those that say how much is
/// asked for and not for what.
fn details(auditor: &Auditor, query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let detail = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_plain = ["limit", "start", "end", "errors", "kind", "view"].contains(&name);
        let value = if is_plain { value.to_owned() } else { auditor.hash_of(name, value) };
        (name.to_owned(), value)
    };
    pairs.map(detail).collect()
}
