//! Queue: where CPython's `queue.SimpleQueue` takes items in and gives them out. Executors hand their work to
//! threads through one, in the context of nobody.
//!
//! The functions have no symbols in stripped builds, but the type lists them by name: an array of
//! `PyMethodDef` (`Include/methodobject.h`: name, function, flags, text) in `_queuemodule.c`, which is a
//! module of its own or part of the interpreter.

use super::image::{Image, Target};
use super::{Evidence, Probe};

/// Words of a method, and of the name, the function and the flags within it.
const METHOD: usize = 4;
/// A method that no other type of the interpreter or the module has.
const OWN: &str = "get_nowait";
/// Methods of the type, more or less.
const METHODS_MAX: usize = 12;
/// `METH_FASTCALL | METH_KEYWORDS`: takes an array of arguments behind the object.
const AS_ARRAY: u64 = 0x82;
/// The largest value of flags (`METH_METHOD` and all below).
const FLAGS_MAX: u64 = 0x3ff;

/// Name of a method, program, and whether it listens at the return.
const LISTENERS: &[(&str, &str, bool)] = &[
    ("put", "deeptrace_py_put", false),
    ("put_nowait", "deeptrace_py_put", false),
    ("get", "deeptrace_py_got", true),
    (OWN, "deeptrace_py_got", true),
];

/// Where to listen; nowhere, if the process has no such queue (yet).
pub(super) fn probes(target: &Target, interpreter: &Image<'_>) -> Vec<Probe> {
    let module = target.file(|name| name.starts_with("_queue.") && name.ends_with(".so"));
    let image = module.as_ref().unwrap_or(interpreter);
    let Ok(words) = image.data() else { return Vec::new() };
    let methods = methods(&words, |address| target.terminated(address).ok());
    let listeners = LISTENERS.iter().map(|(name, program, at_return)| {
        let (_, function, flags) = methods.iter().find(|(known, ..)| known == name)?;
        let offset = image.offset(*function).filter(|_| *at_return || *flags == AS_ARRAY)?;
        let (evidence, path) = (Evidence::Queues, image.path());
        Some(Probe { program, evidence, path, offset, at_return: *at_return })
    });
    // One side without the other is worse than none: what was put would be known for ever.
    listeners.collect::<Option<Vec<Probe>>>().unwrap_or_default()
}

/// Name, function and flags of the methods that lie about the one which only this type has.
fn methods(words: &[u64], text: impl Fn(u64) -> Option<String>) -> Vec<(String, u64, u64)> {
    let method = |at: usize| -> Option<(String, u64, u64)> {
        let [name, function, flags, _] = words.get(at..at + METHOD)? else { return None };
        let (flags, high) = (flags & u64::from(u32::MAX), 1 << 47);
        let is_one = *name != 0 && *function != 0 && flags != 0 && flags <= FLAGS_MAX;
        let is_one = is_one && (*name | *function) < high;
        is_one.then(|| Some((text(*name)?, *function, flags)))?
    };
    let is_own = |at: &usize| method(*at).is_some_and(|(name, ..)| name == OWN);
    let Some(own) = (0..words.len()).find(is_own) else { return Vec::new() };
    let first = own % METHOD + METHOD * (own / METHOD).saturating_sub(METHODS_MAX);
    let places = (0..2 * METHODS_MAX).map(|number| first + METHOD * number);
    places.filter_map(method).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_neighbour() {
        let names = ["", "put", "get", OWN, "get"];
        let text = |address: u64| names.get(address as usize).map(|name| (*name).to_owned());
        let none = [0; METHOD];
        let words = [[7; METHOD], [1, 10, 0x82, 5], [2, 20, 0x282, 5], [3, 30, 0x282, 5], none];
        let shifted: Vec<u64> = [9].into_iter().chain(words.into_iter().flatten()).collect();
        let found = methods(&shifted, text);
        let found: Vec<_> = found.iter().map(|(name, at, _)| (name.as_str(), *at)).collect();
        assert_eq!(found, [("put", 10), ("get", 20), (OWN, 30)]);
        assert!(methods(&shifted[..8], text).is_empty(), "not this type's");
    }
}
