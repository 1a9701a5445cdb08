//! The web page: the files that Vite built, embedded in the binary, so that it works offline.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use deeptrace_http::ApiError;
use rust_embed::RustEmbed;

use crate::access::hex;

#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
struct Files;

/// Nothing from elsewhere: what a traced application sent must not become a script here.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `/` and the files that it names.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Files::iter().fold(Router::new().route("/", get(file)), |router, name| {
        router.route(&format!("/{name}"), get(file))
    })
}

async fn file(request: Request) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path().trim_start_matches('/');
    let name = if path.is_empty() { "index.html" } else { path };
    let missing = || ApiError::not_found("the page is not part of this build: run ./x run");
    let file = Files::get(name).ok_or_else(missing)?;
    let tag = etag(&file.metadata.sha256_hash());
    if request.headers().get(IF_NONE_MATCH) == Some(&tag) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let mut response = Body::from(file.data).into_response();
    response.headers_mut().insert(ETAG, tag);
    for (header, value) in [
        (CONTENT_TYPE, content_type(name)),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ] {
        response.headers_mut().insert(header, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Names of the files stay the same from version to version, so browsers ask each time.
fn etag(hash: &[u8; 32]) -> HeaderValue {
    let hex = hex(&hash[..8]);
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Only what Vite writes.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        _ => "application/octet-stream",
    }
}
