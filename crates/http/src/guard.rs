//! Who may call what (DESIGN, "Safe from the first day"): the Host header names this machine, so
//! that no web page can reach us through a name of its own (DNS rebinding); a web page of another
//! origin changes nothing and reads no WebSocket; what changes something needs the token; beyond
//! loopback, everything does.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{ApiError, Token};

/// Name of the cookie that carries the token for the page, where reading needs it.
const COOKIE_NAME: &str = "deeptrace_token";

/// What a listener asks of its callers.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where it listens.
    listen: SocketAddr,
    /// The name under which it was told to listen, and the machine's own.
    names: Vec<String>,
    /// `None`: the routes decide themselves who may call them.
    token: Option<Token>,
}

impl Guard {
    /// For a listener on `listen`, which may be called by `names` where that is not loopback.
    pub fn new(listen: SocketAddr, names: Vec<String>, token: Token) -> Self {
        Self { listen, names, token: Some(token) }
    }

    /// For a listener whose routes decide themselves who may call them: Host and Origin only.
    pub fn of_host(listen: SocketAddr, names: Vec<String>) -> Self {
        Self { listen, names, token: None }
    }

    /// Middleware: checks a request before any route sees it.
    pub async fn check(State(guard): State<Self>, request: Request, next: Next) -> Response {
        if let Some(response) = guard.log_in(&request) {
            return response;
        }
        match guard.admit(&request) {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        }
    }

    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        let host = host(request).ok_or_else(|| ApiError::invalid("the Host header is missing"))?;
        if !self.is_own_host(host) {
            let message = "the Host header does not name this machine; use its address";
            return Err(ApiError::forbidden(message).with("host", host));
        }
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        if !reads || headers.contains_key(UPGRADE) {
            check_origin(headers, host)?;
        }
        let is_loopback = self.listen.ip().is_loopback();
        match &self.token {
            Some(token) if !(is_loopback && reads) => check_token(token, headers, reads),
            _ => Ok(()),
        }
    }

    /// A browser cannot send a header of its own when it opens a page or a WebSocket: beyond
    /// loopback, `/?token=…` trades the token for a cookie and drops it from the address.
    fn log_in(&self, request: &Request) -> Option<Response> {
        let given = request.uri().query()?.strip_prefix("token=")?;
        let is_page = request.method() == Method::GET && request.uri().path() == "/";
        if !is_page || !self.is_own_host(host(request)?) || !self.token.as_ref()?.is(given) {
            return None;
        }
        let cookie = format!("{COOKIE_NAME}={given}; Path=/; HttpOnly; SameSite=Strict");
        let cookie = HeaderValue::from_str(&cookie).ok()?;
        let to_page = HeaderValue::from_static("/");
        Some((StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, to_page)]).into_response())
    }

    /// A name that an attacker can register is not ours; an address is, because a page cannot be
    /// rebound to it.
    fn is_own_host(&self, host: &str) -> bool {
        let name = name_of(host);
        if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return ip.is_loopback() || !self.listen.ip().is_loopback();
        }
        name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The cookie reads only: a form on another page could send it along with a change.
fn check_token(token: &Token, headers: &HeaderMap, reads: bool) -> Result<(), ApiError> {
    let given = bearer(headers).or_else(|| if reads { cookie(headers) } else { None });
    match given {
        Some(given) if token.is(given) => Ok(()),
        Some(_) => Err(ApiError::unauthorized(
            "the token is wrong; it lies in the file `token` of the data folder",
        )),
        None => Err(ApiError::unauthorized(
            "this needs `Authorization: Bearer` with the token from the file `token` of the \
             data folder (the deeptrace command finds it when it may read that file)",
        )),
    }
}

/// The authority that the request is for.
fn host(request: &Request) -> Option<&str> {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| request.uri().authority().map(|authority| authority.as_str()))
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return &host[..end + 2];
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Browsers name the page's origin on everything that is not plain reading; programs do not.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let own = origin.to_str().ok().and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
    });
    if own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::forbidden("a page of another origin may not do this"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// Listens on, method and path, headers, expected code (empty: admitted). `TOKEN` is the token.
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

    const CASES: &[Case] = &[
        ("127.0.0.1:1", "GET /x", &[("host", "127.0.0.1:1")], ""),
        ("127.0.0.1:1", "GET /x", &[("host", "localhost:9999")], ""),
        ("127.0.0.1:1", "GET /x", &[("host", "[::1]:1")], ""),
        ("127.0.0.1:1", "GET /x", &[("host", "evil.example:1")], "FORBIDDEN"),
        ("127.0.0.1:1", "GET /x", &[("host", "localhost.evil.example")], "FORBIDDEN"),
        ("127.0.0.1:1", "GET /x", &[("host", "10.0.0.1:1")], "FORBIDDEN"),
        ("127.0.0.1:1", "GET /x", &[], "INVALID_REQUEST"),
        ("127.0.0.1:1", "POST /x", &[("host", "localhost:1")], "UNAUTHORIZED"),
        (
            "127.0.0.1:1",
            "POST /x",
            &[("host", "localhost:1"), ("origin", "http://evil.example")],
            "FORBIDDEN",
        ),
        (
            "127.0.0.1:1",
            "POST /x",
            &[("host", "localhost:1"), ("authorization", "Bearer nonsense")],
            "UNAUTHORIZED",
        ),
        ("127.0.0.1:1", "POST /x", &[("host", "localhost:1"), ("authorization", "TOKEN")], ""),
        (
            "127.0.0.1:1",
            "POST /x",
            &[
                ("host", "localhost:1"),
                ("authorization", "TOKEN"),
                ("origin", "http://localhost:1"),
            ],
            "",
        ),
        (
            "127.0.0.1:1",
            "PUT /x",
            &[("host", "localhost:1"), ("authorization", "TOKEN"), ("origin", "null")],
            "FORBIDDEN",
        ),
        (
            "127.0.0.1:1",
            "GET /ws",
            &[("host", "localhost:1"), ("upgrade", "websocket"), ("origin", "http://localhost:2")],
            "FORBIDDEN",
        ),
        ("0.0.0.0:1", "GET /x", &[("host", "10.0.0.1:1")], "UNAUTHORIZED"),
        ("0.0.0.0:1", "GET /x", &[("host", "traces.example"), ("authorization", "TOKEN")], ""),
        ("0.0.0.0:1", "GET /x", &[("host", "10.0.0.1:1"), ("cookie", "a=b; COOKIE")], ""),
        ("0.0.0.0:1", "POST /x", &[("host", "10.0.0.1:1"), ("cookie", "COOKIE")], "UNAUTHORIZED"),
        (
            "0.0.0.0:1",
            "GET /x",
            &[("host", "evil.example"), ("authorization", "TOKEN")],
            "FORBIDDEN",
        ),
    ];

    #[test]
    fn admits_and_refuses() {
        let token = Token::random().unwrap();
        for (listen, line, headers, expected) in CASES {
            let names = vec!["traces.example".to_owned()];
            let guard = Guard::new(listen.parse().unwrap(), names, token.clone());
            let (method, path) = line.split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in *headers {
                let value = value
                    .replace("TOKEN", &format!("Bearer {}", token.as_str()))
                    .replace("COOKIE", &format!("{COOKIE_NAME}={}", token.as_str()));
                request = request.header(*name, value);
            }
            let result = guard.admit(&request.body(Body::empty()).unwrap());
            let code = result.err().map_or("", |error| error.code);
            assert_eq!(code, *expected, "{listen} {line} {headers:?}");
        }
    }

    #[test]
    fn the_page_trades_the_token_for_a_cookie() {
        let token = Token::random().unwrap();
        let guard = Guard::new("0.0.0.0:1".parse().unwrap(), Vec::new(), token.clone());
        let log_in = |uri: String| {
            let request = Request::get(uri).header("host", "10.0.0.1:1");
            guard.log_in(&request.body(Body::empty()).unwrap())
        };
        let response = log_in(format!("/?token={}", token.as_str())).unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[LOCATION], "/");
        assert!(response.headers()[SET_COOKIE].to_str().unwrap().contains("HttpOnly"));
        assert!(log_in("/?token=wrong".to_owned()).is_none());
        assert!(log_in(format!("/traces?token={}", token.as_str())).is_none());
    }
}
