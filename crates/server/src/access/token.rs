//! Token: what a program shows instead of a password, `dt_ID_SECRET`, kept as the document
//! `token/ID` with a hash of the secret.

use deeptrace_model::{Duration, WallTime};
use deeptrace_store::{Document, Expected, Store};
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::secret::{is_equal, random_hex, sha256_hex};
use super::user::check_name;
use super::{AccessError, Caller, CallerKind, Role, Services};
use crate::clock;

/// Prefix of the documents.
const PREFIX: &str = "token/";
/// Tokens, at most.
const TOKENS_MAX: usize = 10_000;

/// A token as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    name: String,
    role: Role,
    services: Services,
    /// SHA-256 of the secret.
    hash: String,
    created_unix_nano: u64,
    expires_unix_nano: Option<u64>,
}

/// A token as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// By which it is revoked.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Services whose spans its bearer may see; absent: all.
    pub services: Services,
    /// Since when.
    pub created_unix_nano: u64,
    /// Until when; absent: until it is revoked.
    pub expires_unix_nano: Option<u64>,
}

/// A token to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for: letters, digits, `.`, `_`, `-`, `@`, at most 64.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Services whose spans its bearer may see; absent: all.
    #[serde(default)]
    pub services: Services,
    /// How long it is valid, e.g. `30d`; absent: until it is revoked.
    #[serde(default)]
    pub expires_in: Option<String>,
}

/// A token that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Created {
    /// What is known of it.
    #[serde(flatten)]
    pub about: ApiToken,
    /// The token itself, shown this once.
    pub token: String,
}

/// Makes a token.
pub fn create(store: &dyn Store, new: NewToken) -> Result<Created, AccessError> {
    let NewToken { name, role, services, expires_in } = new;
    check_name(&name)?;
    services.check()?;
    if list(store, None, TOKENS_MAX)?.len() >= TOKENS_MAX {
        let message = format!("there are {TOKENS_MAX} tokens already; revoke some");
        return Err(AccessError::Invalid(message));
    }
    let invalid = |error: deeptrace_http::MomentError| AccessError::Invalid(error.to_string());
    let expires_in = expires_in.as_deref().map(deeptrace_http::parse_duration);
    let expires_in: Option<Duration> = expires_in.transpose().map_err(invalid)?;
    let (id, secret) = (random_hex::<8>()?, random_hex::<32>()?);
    let now = clock::now();
    let stored = Stored {
        name,
        role,
        services,
        hash: sha256_hex(secret.as_bytes()),
        created_unix_nano: now.0,
        expires_unix_nano: expires_in.map(|length| now.0.saturating_add(length.0)),
    };
    let body = serde_json::to_vec(&stored).unwrap_or_default();
    match store.put_document(&format!("{PREFIX}{id}"), Some(&body), Expected::Absent)? {
        Some(_) => {
            let token = format!("dt_{id}_{secret}");
            Ok(Created { about: show(id, stored), token })
        }
        None => Err(AccessError::Exists("two tokens got one id; try again".to_owned())),
    }
}

/// Refuses what is no id of a token.
pub fn check_id(id: &str) -> Result<(), AccessError> {
    match is_id(id) {
        true => Ok(()),
        false => Err(AccessError::Invalid("the id of a token has 16 hex digits".to_owned())),
    }
}

/// Revokes a token.
pub fn revoke(store: &dyn Store, id: &str) -> Result<(), AccessError> {
    let document = store.document(&format!("{PREFIX}{id}"))?;
    let absent = || AccessError::Absent(format!("there is no token `{id}`"));
    let Document { name, .. } = document.ok_or_else(absent)?;
    store.put_document(&name, None, Expected::Any)?;
    Ok(())
}

/// Tokens by id, those behind `after`.
pub fn list(
    store: &dyn Store,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<ApiToken>, AccessError> {
    let after = after.map(|id| format!("{PREFIX}{id}"));
    let found = store.documents(PREFIX, after.as_deref(), limit)?;
    let token = |document: Document| {
        let id = document.name.strip_prefix(PREFIX)?.to_owned();
        Some(show(id, serde_json::from_slice(&document.body).ok()?))
    };
    Ok(found.into_iter().filter_map(token).collect())
}

/// Who bears a token, and its id; `None` where it is wrong, expired or revoked.
pub(super) fn bearer(
    directory: &Directory,
    given: &str,
) -> Result<Option<(Caller, String)>, AccessError> {
    let Some((id, secret)) = parts(given) else { return Ok(None) };
    let stored: Option<Stored> = directory.read(&format!("{PREFIX}{id}"))?;
    let is_right = |stored: &Stored| {
        is_equal(&stored.hash, &sha256_hex(secret.as_bytes())) && stored.is_valid(clock::now())
    };
    Ok(stored.filter(is_right).map(|stored| (stored.caller(id), id.to_owned())))
}

/// Whom the token of this id stands for; `None` where it is expired or revoked.
pub(super) fn of_id(
    directory: &Directory,
    id: &str,
    now: WallTime,
) -> Result<Option<Caller>, AccessError> {
    let stored: Option<Stored> = directory.read(&format!("{PREFIX}{id}"))?;
    Ok(stored.filter(|stored| stored.is_valid(now)).map(|stored| stored.caller(id)))
}

/// Id and secret of the text of a token.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix("dt_")?.split_once('_')?;
    is_id(id).then_some((id, secret))
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Stored {
    fn is_valid(&self, now: WallTime) -> bool {
        self.expires_unix_nano.is_none_or(|end| now.0 < end)
    }

    fn caller(self, id: &str) -> Caller {
        let Self { name, role, services, .. } = self;
        let (kind, name) = (CallerKind::Token, format!("{name}#{id}"));
        Caller { kind, name, label: None, role, services }
    }
}

fn show(id: String, stored: Stored) -> ApiToken {
    let Stored { name, role, services, created_unix_nano, expires_unix_nano, .. } = stored;
    ApiToken { id, name, role, services, created_unix_nano, expires_unix_nano }
}
