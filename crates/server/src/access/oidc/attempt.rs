//! Attempt: one browser that is away to log in.
//!
//! Nothing is kept of it here: the browser has one random secret in a cookie, and the state, the nonce
//! and the code verifier are hashes of it. So any server over one store finishes what another began,
//! nobody fills a table by beginning, and who has not the cookie cannot finish.

use axum::http::{HeaderMap, HeaderValue};

use crate::access::AccessError;
use crate::access::cookie::Cookie;
use crate::access::secret::{is_equal, random_hex, sha256_hex};

/// Only the routes of single sign-on are sent it.
const COOKIE: Cookie = Cookie { name: "deeptrace_login", path: "/login/oidc" };
/// For how long one may be away, in seconds.
const AWAY_MAX_S: u64 = 600;

/// One browser that is away to log in.
pub(super) struct Attempt {
    secret: String,
}

impl Attempt {
    /// A new one.
    pub(super) fn begin() -> Result<Self, AccessError> {
        Ok(Self { secret: random_hex::<32>()? })
    }

    /// The one of a request.
    pub(super) fn given(headers: &HeaderMap) -> Option<Self> {
        let secret = COOKIE.given(headers)?;
        (secret.len() == 64).then(|| Self { secret: secret.to_owned() })
    }

    /// What comes back with the code, so that no other page finishes a login here (RFC 6749 §10.12).
    pub(super) fn state(&self) -> String {
        self.derive("state")
    }

    /// What the ID token has to hold, so that one of another login is of no use.
    pub(super) fn nonce(&self) -> String {
        self.derive("nonce")
    }

    /// What only who began can show with the code (RFC 7636 §4.1: 43 to 128 plain characters).
    pub(super) fn verifier(&self) -> String {
        self.derive("verifier")
    }

    /// Whether `state` is its own.
    pub(super) fn is_of(&self, state: &str) -> bool {
        is_equal(&self.state(), state)
    }

    /// The cookie of a browser that goes away.
    pub(super) fn cookie(&self, is_secure: bool) -> HeaderValue {
        COOKIE.set(&self.secret, AWAY_MAX_S, is_secure)
    }

    fn derive(&self, what: &str) -> String {
        sha256_hex(format!("{what} {}", self.secret).as_bytes())
    }
}

/// Has the browser forget its attempt.
pub(super) fn forgotten(is_secure: bool) -> HeaderValue {
    COOKIE.set("", 0, is_secure)
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn what_is_shown_of_an_attempt_tells_nothing_of_the_rest() {
        let attempt = Attempt::begin().unwrap();
        let mut headers = HeaderMap::new();
        let cookie = attempt.cookie(true);
        let text = cookie.to_str().unwrap().to_owned();
        assert!(text.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{text}");
        headers.insert(
            header::COOKIE,
            format!("a=b; {}", text.split(';').next().unwrap()).parse().unwrap(),
        );
        let given = Attempt::given(&headers).unwrap();
        assert!(given.is_of(&attempt.state()) && !given.is_of(&attempt.nonce()));
        let parts = [attempt.state(), attempt.nonce(), attempt.verifier(), attempt.secret.clone()];
        for (at, part) in parts.iter().enumerate() {
            assert!((43..=128).contains(&part.len()));
            assert!(parts[..at].iter().all(|other| other != part));
        }
        assert!(!Attempt::begin().unwrap().is_of(&attempt.state()));
    }
}
