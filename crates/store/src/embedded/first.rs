//! First: bodies as older versions wrote them, brought into the form of today while they are read.

use std::borrow::Cow;

use deeptrace_model::{Attribute, Attributes, Link, Payload, TraceContext};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::pace::Pace;
use super::row::{Common, Extra};
use super::{links, table, writing};

/// What few spans have at all, with names of attributes as text.
#[derive(Deserialize)]
struct FirstExtra {
    attributes: Attributes,
    status_message: Option<String>,
    context: Option<TraceContext>,
    unknown: Vec<Cow<'static, str>>,
    truncated: bool,
    lost_events: u32,
}

/// Spans of version 5 and before, whose lists can only be read as a whole: their tables, and the same rows.
pub(super) fn tables(plain: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = plain;
    let mut strings: Vec<String> = list(&mut rest)?;
    let sets: Vec<Vec<Attribute>> = list(&mut rest)?;
    let payloads: Vec<Payload> = list(&mut rest)?;
    let commons: Vec<Common> = list(&mut rest)?;
    let extras: Vec<FirstExtra> = list(&mut rest)?;
    let mut numbers: FxHashMap<String, u32> = FxHashMap::default();
    let mut number = |(name, value): Attribute| {
        let next = strings.len() as u32;
        let number = *numbers.entry(name.into_owned()).or_insert_with_key(|name| {
            strings.push(name.clone());
            next
        });
        (number, value)
    };
    let sets: Vec<Vec<_>> =
        sets.into_iter().map(|set| set.into_iter().map(&mut number).collect()).collect();
    let contexts: Vec<(u64, TraceContext)> =
        (1..).zip(&extras).filter_map(|(number, extra)| Some((number, extra.context?))).collect();
    let extras = extras.into_iter().map(|extra| Extra {
        attributes: extra.attributes.own().iter().cloned().map(&mut number).collect(),
        status_message: extra.status_message,
        unknown: extra.unknown,
        truncated: extra.truncated,
        lost_events: extra.lost_events,
    });
    let extras: Vec<Extra> = extras.collect();
    let mut out = Vec::with_capacity(plain.len());
    table::write(strings.iter(), &mut out)
        .and_then(|()| table::write(sets.iter(), &mut out))
        .and_then(|()| table::write(payloads.iter(), &mut out))
        .and_then(|()| table::write(commons.iter(), &mut out))
        .and_then(|()| table::write(extras.iter(), &mut out))
        .map_err(|error| error.to_string())?;
    writing::contexts(&contexts, &mut out);
    out.extend_from_slice(rest);
    Ok(out)
}

/// Links of version 3 and before, one after the other, by columns.
pub(super) fn link_columns(plain: &[u8]) -> Result<Vec<u8>, String> {
    let all: Vec<Link> = postcard::from_bytes(plain).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let written = links::write(&all.iter().collect::<Vec<_>>(), &mut out, &mut Pace::new(false));
    written.map(|()| out).map_err(|error| error.to_string())
}

/// Takes a list off the front of `bytes`.
fn list<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<Vec<T>, String> {
    let (list, rest) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
    *bytes = rest;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use zstd::bulk::Decompressor;

    use super::super::encode;

    /// A body of twelve spans that version 5 wrote (of the recorded demo).
    #[test]
    fn spans_of_version_5_are_read() {
        let body = include_bytes!("../../tests/forms/spans-0.body");
        let block = encode::read_spans(body, &mut Decompressor::new().unwrap()).unwrap();
        let mut text = String::new();
        for span in block.spans().unwrap() {
            writeln!(text, "{span:?}").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms/spans-0.expect");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap());
    }
}
