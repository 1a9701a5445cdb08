//! Names of protocols and attributes that are read from a file: few, each kept once for good.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Names kept; a file with more is none of ours.
const NAMES_MAX: usize = 1024;
/// Bytes of a name.
const NAME_MAX: usize = 128;

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// One name.
pub(super) fn one<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    keep(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("too many names"))
}

/// Several names.
pub(super) fn several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static str>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let kept = names.iter().map(|name| keep(name)).collect::<Option<_>>();
    kept.ok_or_else(|| D::Error::custom("too many names"))
}

fn keep(name: &str) -> Option<&'static str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= NAMES_MAX || name.len() > NAME_MAX {
        return None;
    }
    let kept = String::leak(name.to_owned());
    names.insert(kept);
    Some(kept)
}
