//! Line: one thing that somebody did, with its place in the chain. It is kept as text,
//! `HASH JSON`, so that what is hashed is what is there, byte for byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::access::hex;

/// Bytes of one text in a line, at most.
const TEXT_BYTES_MAX: usize = 256;
/// Details of a line, at most.
const DETAILS_MAX: usize = 32;

/// What is to become a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// When, nanoseconds since the epoch.
    pub time_unix_nano: u64,
    /// `user:NAME`, `oidc:SUBJECT`, `token:NAME#ID`, `admin-token`, `anonymous`, `command:USER`,
    /// `deeptrace`.
    pub who: String,
    /// Method and path, or the command.
    pub action: String,
    /// Address of the caller; empty where it is this process.
    pub from: String,
    /// HTTP status, or `ok` or `failed`.
    pub result: String,
    /// Names of parameters, with salted hashes of their values.
    pub details: BTreeMap<String, String>,
}

/// A line of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose chain it is in.
    pub writer: String,
    /// Its place there, from 1.
    pub seq: u64,
    /// What was done.
    #[serde(flatten)]
    pub draft: Draft,
    /// Hash of the line before; zeros for the first one.
    pub previous: String,
}

/// The hash before the first line.
pub(super) fn genesis() -> String {
    "0".repeat(64)
}

impl Draft {
    /// Cut to the size that a line may have.
    pub(super) fn bounded(mut self) -> Self {
        for text in [&mut self.who, &mut self.action, &mut self.from, &mut self.result] {
            cut(text);
        }
        while self.details.len() > DETAILS_MAX {
            self.details.pop_last();
        }
        let details = std::mem::take(&mut self.details).into_iter();
        self.details = details
            .map(|(mut name, mut value)| {
                cut(&mut name);
                cut(&mut value);
                (name, value)
            })
            .collect();
        self
    }
}

fn cut(text: &mut String) {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    if let Some(end) = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(is_end) {
        text.truncate(end);
    }
}

impl Line {
    /// As it is kept, with its hash.
    pub(super) fn write(&self) -> (String, String) {
        // Plain structs with text keys become JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        let hash = hash(&json);
        (format!("{hash} {json}\n"), hash)
    }

    /// What is kept in one text line: the hash that it claims, the hash that it has, and what it says.
    pub(super) fn read(text: &str) -> Option<(String, String, Self)> {
        let (claimed, json) = text.split_once(' ')?;
        let line = serde_json::from_str(json).ok()?;
        Some((claimed.to_owned(), hash(json), line))
    }
}

fn hash(json: &str) -> String {
    hex(&Sha256::digest(json.as_bytes()))
}
