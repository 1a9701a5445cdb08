//! Cookies (RFC 6265): no script reads them, and no other site's page sends them.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

/// A cookie: its name, and the routes that are sent it.
pub(super) struct Cookie {
    pub name: &'static str,
    pub path: &'static str,
}

impl Cookie {
    /// Its value in a request.
    pub(super) fn given<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(self.name)?.strip_prefix('='))
    }

    /// Has a browser keep it for so long. A value that no cookie may hold is none.
    pub(super) fn set(&self, value: &str, seconds: u64, is_secure: bool) -> HeaderValue {
        let Self { name, path } = self;
        let secure = if is_secure { "; Secure" } else { "" };
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        );
        let set = HeaderValue::from_str(&text);
        set.or_else(|_| HeaderValue::from_str(&format!("{name}=")))
            .unwrap_or(HeaderValue::from_static(""))
    }
}
