//! Services that somebody may see: all, or only some.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::AccessError;

/// Services that one is restricted to, at most.
const SERVICES_MAX: usize = 100;
/// Bytes of a service's name, at most.
const NAME_BYTES_MAX: usize = 256;

/// Services that somebody may see; in JSON an array of names, or `null` for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Services(Option<BTreeSet<String>>);

impl Services {
    /// All of them.
    pub const ALL: Self = Self(None);

    /// These; all of them where none is given.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        Self((!names.is_empty()).then_some(names))
    }

    /// Whether this one is among them.
    pub fn has(&self, service: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(service))
    }

    /// Whether some are left out.
    pub fn is_restricted(&self) -> bool {
        self.0.is_some()
    }

    /// The one, where there is only one.
    pub fn only(&self) -> Option<&str> {
        let names = self.0.as_ref().filter(|names| names.len() == 1)?;
        names.first().map(String::as_str)
    }

    /// Refuses what no list of services can be.
    pub(super) fn check(&self) -> Result<(), AccessError> {
        let Some(names) = &self.0 else { return Ok(()) };
        let message = if names.is_empty() {
            "services is empty: leave it out for all services".to_owned()
        } else if names.len() > SERVICES_MAX {
            format!("one can be restricted to at most {SERVICES_MAX} services")
        } else if names.iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            format!("the name of a service has 1 to {NAME_BYTES_MAX} bytes")
        } else {
            return Ok(());
        };
        Err(AccessError::Invalid(message))
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("all services"),
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}
