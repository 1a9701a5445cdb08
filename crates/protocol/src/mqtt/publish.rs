//! `PUBLISH` (§3.3): topic, identifier, and the trace context among the user properties.

use std::collections::BTreeMap;

use super::packet::{Packet, field, short, take};
use super::properties::{Properties, properties};
use super::{operation, stream};
use crate::messaging::body_size;
use crate::{Draft, Side};

/// Topics of a direction that are remembered by their number, and bytes of each.
const ALIASES_MAX: usize = 256;
const ALIAS_LEN_MAX: usize = 256;

/// Longest topic that is believed; the standard's limit is 65535, and parsers wait for no more than this.
const TOPIC_MAX: usize = 32 * 1024;

/// Longest properties that are waited for.
const PROPERTIES_MAX: usize = 16 * 1024;

/// Topics by the numbers that this direction gave them.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    topics: BTreeMap<u16, Vec<u8>>,
}

impl Aliases {
    /// What was said before is not known.
    pub(super) fn unseen() -> Self {
        Self::default()
    }

    fn give(&mut self, number: u16, topic: &[u8]) {
        self.topics.remove(&number);
        if self.topics.len() < ALIASES_MAX && topic.len() <= ALIAS_LEN_MAX {
            self.topics.insert(number, topic.to_vec());
        }
    }
}

/// Whether there is a topic that fits into the packet: nothing a filter has, no control characters.
pub(super) fn topic_fits(packet: &Packet<'_>) -> bool {
    let mut body = packet.body;
    let Some(len) = short(&mut body).map(usize::from) else { return false };
    let needed = 2 + len + if packet.quality() > 0 { 2 } else { 0 };
    let topic = &body[..body.len().min(len)];
    let is_text = match std::str::from_utf8(topic) {
        Ok(text) => text.chars().all(|char| !char.is_control() && char != '+' && char != '#'),
        // Cut in a character.
        Err(error) => error.error_len().is_none() && topic.len() < len,
    };
    len > 0 && len <= TOPIC_MAX && needed <= packet.body_len && is_text
}

/// What a publication says; `None` if bytes do not fit, or are not all there up to its payload.
pub(super) fn draft(
    packet: &Packet<'_>,
    is_5: Option<bool>,
    from: Side,
    aliases: &mut Aliases,
) -> Option<Draft> {
    let mut rest = packet.body;
    let topic = field(&mut rest)?;
    if topic.len() > TOPIC_MAX || topic.contains(&b'+') || topic.contains(&b'#') {
        return None;
    }
    let number = if packet.quality() > 0 { short(&mut rest)? } else { 0 };
    if packet.quality() > 0 && number == 0 {
        return None;
    }
    let found = read_properties(packet, is_5, &mut rest)?;
    let topic = match found.topic_alias {
        Some(alias) if topic.is_empty() => aliases.topics.get(&alias).cloned().unwrap_or_default(),
        Some(alias) => {
            aliases.give(alias, topic);
            topic.to_vec()
        }
        None if topic.is_empty() && is_5.is_some() => return None,
        None => topic.to_vec(),
    };
    let mut draft = if number == 0 { Draft::one_way("") } else { Draft::request("") };
    draft.stream = if number == 0 { 0 } else { stream(from, number) };
    match from {
        Side::Client => operation("publish", "send").describe(&mut draft, &topic),
        Side::Server => operation("deliver", "receive").describe(&mut draft, &topic),
    }
    if topic.is_empty() {
        draft.unknown.push("messaging.destination.name");
    }
    if is_5.is_some() {
        let before = packet.body.len() - rest.len();
        body_size(&mut draft, (packet.body_len - before) as u64);
    }
    draft.trace_context = found.trace.context();
    Some(draft)
}

/// Takes the properties, if there are any. Of an unknown version they are believed if they name
/// something.
fn read_properties<'a>(
    packet: &Packet<'_>,
    is_5: Option<bool>,
    rest: &mut &'a [u8],
) -> Option<Properties<'a>> {
    match is_5 {
        Some(false) => Some(Properties::default()),
        Some(true) => match properties(rest) {
            Some(found) => Some(found),
            // Too long to be waited for, or cut.
            None if rest.len() > PROPERTIES_MAX => Some(Properties::default()),
            None => None,
        },
        None => {
            let mut after = *rest;
            let is_waiting = !packet.is_whole() && rest.len() < PROPERTIES_MAX;
            let found = properties(&mut after).filter(|found| found.count > 0);
            match found {
                Some(found) => {
                    *rest = after;
                    Some(found)
                }
                // The properties may still be on their way: as long as they would be.
                None if is_waiting && may_become(rest) => None,
                None => Some(Properties::default()),
            }
        }
    }
}

/// Whether properties may begin here of which not all are there.
fn may_become(bytes: &[u8]) -> bool {
    match super::packet::variable(bytes) {
        super::packet::Variable::More => true,
        super::packet::Variable::Bad => false,
        super::packet::Variable::Number(len, len_len) => {
            let mut rest = &bytes[len_len..];
            (len as usize) <= PROPERTIES_MAX && take(&mut rest, len as usize).is_none()
        }
    }
}
