//! Role: what somebody may do. The four of people are ordered, each may do what the ones before it
//! may; agents have one of their own, which brings spans in and reads nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees traces and statistics, without payloads.
    Viewer,
    /// Sees payloads as well.
    Analyst,
    /// Changes configuration, starts duties.
    Operator,
    /// Decides who may do what, erases, reads the audit log.
    Admin,
    /// Sends spans.
    Agent,
}

impl Role {
    /// All of them, the one that may least first.
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Analyst, Self::Operator, Self::Admin, Self::Agent];

    /// Whether this role may do what is meant for `needed`.
    pub fn may(self, needed: Self) -> bool {
        match (self, needed) {
            (own, Self::Agent) => matches!(own, Self::Agent | Self::Admin),
            (Self::Agent, _) => false,
            (own, needed) => own as u8 >= needed as u8,
        }
    }

    /// Its name, as in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Agent => "agent",
        }
    }

    /// What it is for, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Viewer => "sees traces and statistics, without payloads",
            Self::Analyst => "sees payloads as well",
            Self::Operator => "changes the configuration, starts and stops duties",
            Self::Admin => {
                "decides who may do what, erases, reads the audit log; may do everything"
            }
            Self::Agent => "sends spans and registers; reads nothing (tokens only)",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; choose viewer, analyst, operator, admin or agent")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| RoleError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_what_the_ones_before_may_and_agents_only_their_own() {
        for (at, own) in Role::ALL.into_iter().enumerate() {
            for (before, needed) in Role::ALL.into_iter().enumerate() {
                let may = match (own, needed) {
                    (Role::Agent, needed) => needed == Role::Agent,
                    (own, Role::Agent) => own == Role::Admin,
                    _ => at >= before,
                };
                assert_eq!(own.may(needed), may, "{own} {needed}");
            }
        }
    }
}
