//! Session: somebody who has logged in with a browser, kept as the document
//! `session/SUBJECT/HASH`, so that every server over one store knows it. The cookie is
//! `SUBJECT/SECRET`; only a hash of the secret is kept (OWASP ASVS 3.0, session management).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use deeptrace_store::{Document, Expected, Store};
use serde::{Deserialize, Serialize};

use super::cookie::Cookie;
use super::directory::Directory;
use super::oidc::{Identity, Provider};
use super::secret::{is_equal, random_hex, sha256_hex};
use super::{Access, AccessError, Caller, CallerKind, token, user};
use crate::clock;

/// Name of the cookie.
const COOKIE: Cookie = Cookie { name: "deeptrace_session", path: "/" };
/// Sessions of one subject, at most; a new one ends the one that was idle the longest.
const SESSIONS_MAX: usize = 32;
/// Between two notes that a session is in use, nanoseconds, at most.
const NOTE: u64 = 60_000_000_000;

/// How long sessions last, and whether their cookie travels under TLS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// Without a request.
    pub idle: Duration,
    /// Whatever happens.
    pub longest: Duration,
    /// Whether the listener speaks TLS.
    pub is_secure: bool,
}

/// A session as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// What proves that the subject is still the one who logged in: the id of the user, or a hash
    /// of the admin token, or of how the provider's tokens are read.
    proof: String,
    created_unix_nano: u64,
    /// To the minute.
    seen_unix_nano: u64,
    /// Who it is, where only the provider knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
}

/// Who a session is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    User(String),
    /// By its id.
    Token(String),
    AdminToken,
    /// Somebody whom the provider knows, by a hash of their name there.
    Oidc(String),
}

impl Subject {
    fn text(&self) -> String {
        match self {
            Self::User(name) => format!("user:{name}"),
            Self::Token(id) => format!("token:{id}"),
            Self::AdminToken => "admin-token".to_owned(),
            Self::Oidc(key) => format!("oidc:{key}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("user", name)) => Some(Self::User(name.to_owned())),
            Some(("token", id)) => Some(Self::Token(id.to_owned())),
            Some(("oidc", key)) => Some(Self::Oidc(key.to_owned())),
            None if text == "admin-token" => Some(Self::AdminToken),
            _ => None,
        }
    }

    /// Who that is now, with the proof; `None` where they are gone. `identity`: of somebody whom the
    /// provider knows, as it was when they logged in.
    fn caller(
        &self,
        access: &Access,
        identity: Option<&Identity>,
    ) -> Result<Option<(Caller, String)>, AccessError> {
        let Access { directory, admin, provider, .. } = access;
        Ok(match self {
            Self::AdminToken => Some((Caller::admin(), sha256_hex(admin.as_str().as_bytes()))),
            Self::User(name) => {
                let found = directory.read::<user::Stored>(&format!("{}{name}", user::PREFIX))?;
                found.map(|found| {
                    let user::Stored { id, role, services, .. } = found;
                    let (kind, label) = (CallerKind::User, None);
                    (Caller { kind, name: name.clone(), label, role, services }, id)
                })
            }
            Self::Token(id) => {
                token::of_id(directory, id, clock::now())?.map(|caller| (caller, id.clone()))
            }
            Self::Oidc(_) => provider
                .as_ref()
                .zip(identity)
                .map(|(provider, identity)| (identity.clone().caller(), provider.fingerprint())),
        })
    }
}

/// Starts a session; returns its cookie. `None` where the subject is gone.
pub(super) fn start(
    access: &Access,
    subject: &Subject,
) -> Result<Option<(Caller, HeaderValue)>, AccessError> {
    let Some((caller, proof)) = subject.caller(access, None)? else { return Ok(None) };
    keep(access, subject, proof, None).map(|cookie| Some((caller, cookie)))
}

/// Starts a session of somebody whom the provider knows; returns its cookie.
pub(super) fn start_of(
    access: &Access,
    provider: &Provider,
    identity: Identity,
) -> Result<(Caller, HeaderValue), AccessError> {
    let subject = Subject::Oidc(provider.key(&identity));
    let cookie = keep(access, &subject, provider.fingerprint(), Some(identity.clone()))?;
    Ok((identity.caller(), cookie))
}

fn keep(
    access: &Access,
    subject: &Subject,
    proof: String,
    identity: Option<Identity>,
) -> Result<HeaderValue, AccessError> {
    let (store, rules) = (&*access.directory.store, &access.rules.sessions);
    make_room(store, subject, rules)?;
    let (secret, now) = (random_hex::<32>()?, clock::now().0);
    let stored = Stored { proof, created_unix_nano: now, seen_unix_nano: now, identity };
    let body = serde_json::to_vec(&stored).unwrap_or_default();
    store.put_document(&document_name(subject, &secret), Some(&body), Expected::Any)?;
    let value = format!("{}/{secret}", subject.text());
    // Names of users are letters, digits and a few signs that a cookie may hold.
    Ok(COOKIE.set(&value, rules.longest.as_secs(), rules.is_secure))
}

/// Who calls with this cookie; `None` where the session has ended.
pub(super) fn caller(access: &Access, given: &str) -> Result<Option<Caller>, AccessError> {
    let (directory, rules) = (&access.directory, &access.rules.sessions);
    let Some((subject, secret)) = parts(given) else { return Ok(None) };
    let name = document_name(&subject, secret);
    let Some(stored) = directory.read::<Stored>(&name)? else { return Ok(None) };
    let now = clock::now().0;
    if !stored.is_alive(now, rules) {
        directory.store.put_document(&name, None, Expected::Any)?;
        directory.forget();
        return Ok(None);
    }
    let found = subject.caller(access, stored.identity.as_ref())?;
    let found = found.filter(|(_, proof)| is_equal(proof, &stored.proof));
    // Often enough that a session in use never looks idle.
    let every = u128::from(NOTE).min(rules.idle.as_nanos() / 4);
    if found.is_some() && u128::from(now.saturating_sub(stored.seen_unix_nano)) > every {
        note(directory, &name, now)?;
    }
    Ok(found.map(|(caller, _)| caller))
}

/// Ends the session of this cookie; returns the cookie that makes the browser forget it.
pub(super) fn end(
    store: &dyn Store,
    given: &str,
    rules: &SessionRules,
) -> Result<HeaderValue, AccessError> {
    if let Some((subject, secret)) = parts(given) {
        store.put_document(&document_name(&subject, secret), None, Expected::Any)?;
    }
    Ok(COOKIE.set("", 0, rules.is_secure))
}

/// Ends all sessions of a user.
pub(super) fn end_all_of_user(store: &dyn Store, name: &str) -> Result<(), AccessError> {
    let prefix = prefix(&Subject::User(name.to_owned()));
    for document in store.documents(&prefix, None, 2 * SESSIONS_MAX)? {
        store.put_document(&document.name, None, Expected::Any)?;
    }
    Ok(())
}

/// The cookie of a request.
pub(super) fn given(headers: &HeaderMap) -> Option<&str> {
    COOKIE.given(headers)
}

/// Notes that the session is in use; one that was ended meanwhile stays so.
fn note(directory: &Directory, name: &str, now: u64) -> Result<(), AccessError> {
    let Some(Document { version, body, .. }) = directory.store.document(name)? else {
        return Ok(());
    };
    let Ok(mut stored) = serde_json::from_slice::<Stored>(&body) else { return Ok(()) };
    stored.seen_unix_nano = now;
    let body = serde_json::to_vec(&stored).unwrap_or_default();
    // Where another request of it was faster, the note is there.
    directory.store.put_document(name, Some(&body), Expected::Version(version))?;
    directory.forget();
    Ok(())
}

/// Removes ended sessions of the subject, and the one that was idle the longest where there are too
/// many.
fn make_room(
    store: &dyn Store,
    subject: &Subject,
    rules: &SessionRules,
) -> Result<(), AccessError> {
    let now = clock::now().0;
    let mut alive = Vec::new();
    for document in store.documents(&prefix(subject), None, 2 * SESSIONS_MAX)? {
        match serde_json::from_slice::<Stored>(&document.body) {
            Ok(stored) if stored.is_alive(now, rules) => {
                alive.push((stored.seen_unix_nano, document.name));
            }
            _ => {
                store.put_document(&document.name, None, Expected::Any)?;
            }
        }
    }
    alive.sort();
    let too_many = (alive.len() + 1).saturating_sub(SESSIONS_MAX);
    for (_, name) in alive.iter().take(too_many) {
        store.put_document(name, None, Expected::Any)?;
    }
    Ok(())
}

impl Stored {
    fn is_alive(&self, now: u64, rules: &SessionRules) -> bool {
        let since = |time: u64| u128::from(now.saturating_sub(time));
        since(self.seen_unix_nano) < rules.idle.as_nanos()
            && since(self.created_unix_nano) < rules.longest.as_nanos()
    }
}

fn prefix(subject: &Subject) -> String {
    format!("session/{}/", subject.text())
}

fn document_name(subject: &Subject, secret: &str) -> String {
    format!("{}{}", prefix(subject), sha256_hex(secret.as_bytes()))
}

fn parts(given: &str) -> Option<(Subject, &str)> {
    let (subject, secret) = given.split_once('/')?;
    // What names a document is not as long as a header may be.
    if subject.len() > 128 || secret.len() != 64 {
        return None;
    }
    Some((Subject::parse(subject)?, secret))
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        let second = 1_000_000_000;
        let rules = SessionRules {
            idle: Duration::from_secs(10),
            longest: Duration::from_secs(100),
            is_secure: true,
        };
        let session = |created: u64, seen: u64| Stored {
            proof: String::new(),
            created_unix_nano: created * second,
            seen_unix_nano: seen * second,
            identity: None,
        };
        let now = 1_000 * second;
        assert!(session(901, 991).is_alive(now, &rules));
        assert!(!session(901, 990).is_alive(now, &rules), "idle");
        assert!(!session(900, 999).is_alive(now, &rules), "old");
    }

    #[test]
    fn the_cookie_is_for_this_site_and_no_script() {
        let cookie = COOKIE.set("user:anna/s", 60, true);
        assert_eq!(
            cookie.to_str().unwrap(),
            "deeptrace_session=user:anna/s; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=b; deeptrace_session=user:anna/s; c=d".parse().unwrap());
        assert_eq!(given(&headers), Some("user:anna/s"));
    }
}
