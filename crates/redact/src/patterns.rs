//! Patterns: names as they are configured, made into an automaton that finds them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use regex_automata::dfa::dense;
use regex_automata::dfa::regex::Regex;
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, PatternID};

use crate::escape;

/// Names in one list, at most.
pub(crate) const NAMES_MAX: usize = 128;
/// Bytes of a name, at most.
pub(crate) const NAME_MAX: usize = 64;

/// Letters of a name that must begin or end where a word does: `ssn` is not in `className`.
const SHORT_MAX: usize = 4;

/// Bytes of an automaton.
const AUTOMATON_MAX: usize = 32 << 20;

/// A name that cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// The list: `filter_headers`, `mask_patterns` or `exclude_payloads`.
    pub list: &'static str,
    /// Place in the list; `None` where the list as a whole is wrong.
    pub index: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// An automaton that finds names.
#[derive(Debug)]
pub(crate) struct Patterns {
    automaton: Regex,
    /// Whether each pattern is so short that it is in words that mean something else.
    short: Vec<bool>,
    /// Patterns from here on are names of header fields: they match whole keys only.
    headers_from: usize,
}

/// A name in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It must be the whole key, not a part of it.
    pub(crate) is_whole: bool,
}

impl Patterns {
    /// `None` where there is no name to look for.
    pub(crate) fn new(names: &[String], headers: &[String]) -> Result<Option<Self>, PatternError> {
        check("mask_patterns", names)?;
        check("filter_headers", headers)?;
        if names.is_empty() && headers.is_empty() {
            return Ok(None);
        }
        let all = || names.iter().map(|n| (n, true)).chain(headers.iter().map(|n| (n, false)));
        Ok(Some(Self {
            short: all().map(|(name, _)| letters(name) <= SHORT_MAX).collect(),
            automaton: automaton(all().map(|(name, is_loose)| expression(name, is_loose)))?,
            headers_from: names.len(),
        }))
    }

    /// Looks for names in `bytes`, however their letters are written.
    pub(crate) fn search<'a>(&'a self, bytes: &'a [u8]) -> Search<'a> {
        let (text, origins) = match escape::letters(bytes) {
            Some((text, origins)) => (Cow::Owned(text), origins),
            None => (Cow::Borrowed(bytes), Vec::new()),
        };
        Search { patterns: self, text, origins }
    }

    /// The first name in `bytes`.
    pub(crate) fn first(&self, bytes: &[u8]) -> Option<Found> {
        self.search(bytes).find(0)
    }
}

/// A search in some bytes.
pub(crate) struct Search<'a> {
    patterns: &'a Patterns,
    /// With no letter escaped.
    text: Cow<'a, [u8]>,
    /// Where each byte of `text`, and its end, was; empty where that is its place.
    origins: Vec<usize>,
}

impl Search<'_> {
    /// The first name at `from` or after it.
    pub(crate) fn find(&self, from: usize) -> Option<Found> {
        let is_same = self.origins.is_empty();
        let origin = |at: usize| if is_same { at } else { self.origins[at] };
        let mut from = if is_same { from } else { self.origins.partition_point(|at| *at < from) };
        loop {
            let input = Input::new(&*self.text).range(from.min(self.text.len())..);
            let found = self.patterns.automaton.find(input)?;
            let (start, end) = (found.start(), found.end());
            let is_short = self.patterns.short[found.pattern().as_usize()];
            if is_short && !begins_word(&self.text, start) && !ends_word(&self.text, end) {
                from = start + 1;
                continue;
            }
            let is_whole = found.pattern() >= PatternID::must(self.patterns.headers_from);
            return Some(Found { start: origin(start), end: origin(end), is_whole });
        }
    }
}

fn begins_word(text: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| text[before]) else { return true };
    !before.is_ascii_alphabetic() || (before.is_ascii_lowercase() && text[at].is_ascii_uppercase())
}

fn ends_word(text: &[u8], at: usize) -> bool {
    let Some(after) = text.get(at) else { return true };
    !after.is_ascii_alphabetic()
        || (text[at - 1].is_ascii_lowercase() && after.is_ascii_uppercase())
}

fn check(list: &'static str, names: &[String]) -> Result<(), PatternError> {
    let error = |index, message: String| Err(PatternError { list, index, message });
    if names.len() > NAMES_MAX {
        return error(None, format!("{} names are too many; at most {NAMES_MAX}", names.len()));
    }
    for (index, name) in names.iter().enumerate() {
        let index = Some(index);
        if name.len() > NAME_MAX {
            return error(index, format!("a name is at most {NAME_MAX} bytes long"));
        }
        if let Some(bad) = name.chars().find(|c| !is_of_name(*c)) {
            let message = format!(
                "{name:?} has {bad:?} in it; a name has letters, digits, `_`, `-`, `.` and spaces, \
                 and is no expression: it matches every key that contains it"
            );
            return error(index, message);
        }
        if letters(name) < 2 {
            return error(index, format!("{name:?} is too short: it would match most keys"));
        }
    }
    Ok(())
}

fn letters(name: &str) -> usize {
    name.chars().filter(|c| c.is_alphanumeric()).count()
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || is_joint(c)
}

/// What joins words, or is left out where they are.
fn is_joint(c: char) -> bool {
    matches!(c, '_' | '-' | '.' | ' ')
}

/// A regular expression over bytes. `is_loose`: any joint, or none, stands for any joint.
fn expression(name: &str, is_loose: bool) -> String {
    let mut out = String::from("(?i-u)");
    for c in name.trim_matches(is_joint).chars() {
        match c {
            c if is_joint(c) && is_loose => out += JOINT,
            c if c.is_ascii() => out += &format!("\\x{:02x}", u32::from(c)),
            c => foreign(c, &mut out),
        }
    }
    out
}

/// A joint in any form, or none.
const JOINT: &str = r"(?:[-_. +]|%(?:25)*(?:5f|2d|2e|20)|\\+u00(?:5f|2d|2e|20))?";

/// A letter that is not ASCII, small or capital: as it is, or as most encoders write it.
fn foreign(c: char, out: &mut String) {
    let cases: BTreeSet<char> =
        [Some(c), c.to_lowercase().next(), c.to_uppercase().next()].into_iter().flatten().collect();
    let mut forms = Vec::new();
    for c in cases {
        let mut buffer = [0; 4];
        let bytes = c.encode_utf8(&mut buffer).bytes();
        forms.push(bytes.clone().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
        forms.push(bytes.map(|byte| format!("%(?:25)*{byte:02x}")).collect());
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter();
        forms.push(units.map(|unit| format!(r"\\+u{unit:04x}")).collect());
    }
    *out += &format!("(?:{})", forms.join("|"));
}

fn automaton(expressions: impl Iterator<Item = String>) -> Result<Regex, PatternError> {
    let expressions: Vec<String> = expressions.collect();
    // All states are made here, so that a search needs no memory of its own.
    let config = dense::Config::new()
        .dfa_size_limit(Some(AUTOMATON_MAX))
        .determinize_size_limit(Some(AUTOMATON_MAX));
    Regex::builder()
        .dense(config)
        .syntax(syntax::Config::new().utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .build_many(&expressions)
        .map_err(|error| PatternError {
            list: "mask_patterns",
            index: None,
            message: format!("all names together cannot be looked for ({error}); give fewer"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(name: &str, text: &str) -> Option<String> {
        let patterns = Patterns::new(&[name.to_owned()], &[]).unwrap().unwrap();
        let found = patterns.first(text.as_bytes())?;
        Some(text[found.start..found.end].to_owned())
    }

    #[test]
    fn a_name_is_found_in_every_form() {
        for text in [
            "credit_card",
            "CreditCard",
            "CREDIT-CARD",
            "credit card",
            "credit+card",
            "cr\\u0065dit_card",
            "\\\\\\u0063redit\\u005fcard",
            "%63redit%5Fcard",
            "%2563redit_card",
            "&#99;redit&#x5F;card",
        ] {
            let found = finds("credit_card", &format!("a {text}b"));
            assert_eq!(found.as_deref(), Some(text));
        }
        for text in ["className", "businessName", "classname"] {
            assert_eq!(finds("ssn", text), None, "{text}");
        }
        for text in ["userssn", "user_ssn", "SSN_hash", "ssnHash", "mySsn"] {
            assert!(finds("ssn", text).is_some(), "{text}");
        }
        assert_eq!(finds("пароль", "мой пароль"), Some("пароль".into()));
        assert_eq!(
            finds("пароль", "%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C=1").map(|f| f.len()),
            Some(36)
        );
    }

    #[test]
    fn what_is_no_name_is_said() {
        let error = |name: &str| Patterns::new(&["ok".into(), name.into()], &[]).unwrap_err();
        for name in ["", "a", "_", "pass*", "a=b", "\"q\"", "x\n"] {
            assert_eq!((error(name).list, error(name).index), ("mask_patterns", Some(1)), "{name}");
        }
        assert!(error("pass*").message.contains('*'));
        assert!(error(&"x".repeat(65)).message.contains("64"));
        let many = vec!["name".to_owned(); NAMES_MAX + 1];
        assert_eq!(Patterns::new(&[], &many).unwrap_err().list, "filter_headers");
        assert!(Patterns::new(&[], &[]).unwrap().is_none());
    }

    #[test]
    fn all_that_is_allowed_can_be_built() {
        let name = |n: usize| format!("{n:0>64}");
        let names: Vec<String> = (0..NAMES_MAX).map(name).collect();
        assert!(Patterns::new(&names, &names).unwrap().is_some());
    }
}
