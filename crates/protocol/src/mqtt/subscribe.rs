//! `SUBSCRIBE`, `UNSUBSCRIBE` and their answers (§3.8–§3.11).

use deeptrace_model::SpanStatus;

use super::operation;
use super::packet::{Kind, Packet, field, short, take};
use super::properties::properties;
use super::reason::explain;
use crate::Draft;

/// Filters that are told to people.
const FILTERS_MAX: usize = 8;

/// What is asked; `None` if bytes do not fit.
pub(super) fn request(packet: &Packet<'_>, is_5: Option<bool>) -> Option<Draft> {
    let mut rest = packet.body;
    let number = short(&mut rest).filter(|number| *number != 0)?;
    let has_options = packet.kind == Kind::Subscribe;
    let filters = match is_5 {
        Some(true) => {
            properties(&mut rest)?;
            filters(rest, has_options, packet.is_whole())?
        }
        Some(false) => filters(rest, has_options, packet.is_whole())?,
        None => filters(rest, has_options, packet.is_whole()).or_else(|| {
            properties(&mut rest)?;
            filters(rest, has_options, packet.is_whole())
        })?,
    };
    let name = if has_options { "subscribe" } else { "unsubscribe" };
    let mut draft = Draft::request("");
    draft.stream = u64::from(number);
    operation(name, "").describe(&mut draft, &filters.join(&b", "[..]));
    draft.truncated = !packet.is_whole();
    Some(draft)
}

/// The first of the filters, which end where the packet does.
fn filters(mut rest: &[u8], has_options: bool, is_whole: bool) -> Option<Vec<&[u8]>> {
    let mut filters = Vec::new();
    while !rest.is_empty() {
        let filter = field(&mut rest);
        let options =
            if has_options { take(&mut rest, 1).map(|options| options[0]) } else { Some(0) };
        let (Some(filter), Some(options)) = (filter, options) else {
            return (!is_whole && !filters.is_empty()).then_some(filters);
        };
        let is_text =
            std::str::from_utf8(filter).is_ok_and(|text| !text.contains(char::is_control));
        if filter.is_empty() || !is_text || options & 0xc0 != 0 || options & 3 == 3 {
            return None;
        }
        if filters.len() < FILTERS_MAX {
            filters.push(filter);
        }
    }
    (!filters.is_empty()).then_some(filters)
}

/// What is answered: the worst of the codes, one a filter.
pub(super) fn response(packet: &Packet<'_>, is_5: Option<bool>) -> Option<Draft> {
    let mut draft = Draft::response(SpanStatus::Ok);
    let mut rest = packet.body;
    draft.stream = u64::from(short(&mut rest).filter(|number| *number != 0)?);
    let told = rest;
    if is_5 != Some(false) && !(is_5.is_none() && packet.kind == Kind::Suback && rest.len() == 1) {
        let mut after = rest;
        match properties(&mut after) {
            Some(_) => rest = after,
            None if is_5.is_none() => {}
            None => return None,
        }
    }
    if let Some(code) = rest.iter().copied().find(|code| *code >= 0x80) {
        explain(&mut draft, code, if is_5 == Some(true) { told } else { &[] });
    }
    Some(draft)
}
