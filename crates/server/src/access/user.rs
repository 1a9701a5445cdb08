//! User: somebody with a password, kept as the document `user/NAME`.

use deeptrace_store::{Document, Expected, Store};
use serde::{Deserialize, Serialize};

use super::secret::{hash_password, random_hex};
use super::{AccessError, Role, Services, session};
use crate::clock;

/// Prefix of the documents.
pub(super) const PREFIX: &str = "user/";
/// Users, at most.
const USERS_MAX: usize = 10_000;

/// A user as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Another one for each user who ever had this name: sessions belong to it.
    pub id: String,
    pub role: Role,
    pub services: Services,
    pub password: String,
    pub created_unix_nano: u64,
}

/// A user as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Under which they log in.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Services whose spans they may see; absent: all.
    pub services: Services,
    /// Since when.
    pub created_unix_nano: u64,
}

/// A user to be made.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Under which they log in: letters, digits, `.`, `_`, `-`, `@`, at most 64.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Services whose spans they may see; absent: all.
    #[serde(default)]
    pub services: Services,
    /// Their password; where absent one is made.
    #[serde(default)]
    pub password: Option<String>,
    /// Whether a user of this name may be there, whose sessions end then.
    #[serde(default)]
    pub replace: bool,
}

/// A user that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Made {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The password that was made, shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Makes a user.
pub fn add(store: &dyn Store, new: NewUser) -> Result<Made, AccessError> {
    let NewUser { name, role, services, password, replace } = new;
    check_name(&name)?;
    services.check()?;
    if role == Role::Agent {
        let message = "agents have tokens, no password: make a token with role agent";
        return Err(AccessError::Invalid(message.to_owned()));
    }
    if list(store, None, USERS_MAX)?.len() >= USERS_MAX {
        let message = format!("there are {USERS_MAX} users already; remove some");
        return Err(AccessError::Invalid(message));
    }
    let (password, shown) = match password {
        Some(password) => (password, None),
        None => {
            let made = random_hex::<12>()?;
            (made.clone(), Some(made))
        }
    };
    let stored = Stored {
        id: random_hex::<8>()?,
        role,
        services,
        password: hash_password(&password)?,
        created_unix_nano: clock::now().0,
    };
    let expected = if replace { Expected::Any } else { Expected::Absent };
    if replace {
        session::end_all_of_user(store, &name)?;
    }
    let body = serde_json::to_vec(&stored).unwrap_or_default();
    match store.put_document(&format!("{PREFIX}{name}"), Some(&body), expected)? {
        Some(_) => Ok(Made { user: show(name, stored), password: shown }),
        None => {
            let message =
                format!("there is a user `{name}` already; replace them or remove them first");
            Err(AccessError::Exists(message))
        }
    }
}

/// Removes a user; their sessions end.
pub fn remove(store: &dyn Store, name: &str) -> Result<(), AccessError> {
    let document = store.document(&format!("{PREFIX}{name}"))?;
    let absent = || AccessError::Absent(format!("there is no user `{name}`"));
    let Document { name: key, .. } = document.ok_or_else(absent)?;
    store.put_document(&key, None, Expected::Any)?;
    session::end_all_of_user(store, name)
}

/// Users by name, those behind `after`.
pub fn list(
    store: &dyn Store,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<User>, AccessError> {
    let after = after.map(|name| format!("{PREFIX}{name}"));
    let found = store.documents(PREFIX, after.as_deref(), limit)?;
    let user = |document: Document| {
        let name = document.name.strip_prefix(PREFIX)?.to_owned();
        Some(show(name, serde_json::from_slice(&document.body).ok()?))
    };
    Ok(found.into_iter().filter_map(user).collect())
}

fn show(name: String, stored: Stored) -> User {
    let Stored { role, services, created_unix_nano, .. } = stored;
    User { name, role, services, created_unix_nano }
}

/// Names of users and tokens go into names of documents, logs and addresses as they are.
pub fn check_name(name: &str) -> Result<(), AccessError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let message = "a name has 1 to 64 letters, digits, `.`, `_`, `-` or `@`";
        return Err(AccessError::Invalid(message.to_owned()));
    }
    Ok(())
}
