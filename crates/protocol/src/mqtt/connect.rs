//! `CONNECT` (§3.1): who connects, with which version. What authenticates is never kept.

use super::VERSION_5;
use super::operation;
use super::packet::{Packet, Variable, field, take, variable};
use crate::Draft;

/// Protocol names with their levels, as they stand behind the fixed header.
const NAMES: [(&[u8], u8, &str); 3] = [
    (b"\x00\x04MQTT\x04", 4, "3.1.1"),
    (b"\x00\x04MQTT\x05", 5, "5.0"),
    (b"\x00\x06MQIsdp\x03", 3, "3.1"),
];

/// Whether bytes begin with this packet.
pub(super) fn is_connect(bytes: &[u8]) -> bool {
    let [0x10, rest @ ..] = bytes else { return false };
    let Variable::Number(_, len) = variable(rest) else { return false };
    let is_named = |name: &(&[u8], u8, &str)| rest[len..].starts_with(name.0);
    // The lowest flag is reserved (§3.1.2.3).
    NAMES
        .iter()
        .find(|name| is_named(name))
        .is_some_and(|name| rest.get(len + name.0.len()).is_some_and(|flags| flags & 1 == 0))
}

/// Level and request; `None` if bytes do not fit, or the client's identifier is not there.
pub(super) fn request(packet: &Packet<'_>) -> Option<(u8, Draft)> {
    let (name, level, version) = *NAMES.iter().find(|(name, ..)| packet.body.starts_with(name))?;
    let mut rest = &packet.body[name.len()..];
    let flags = take(&mut rest, 1)?[0];
    take(&mut rest, 2)?;
    if flags & 1 != 0 {
        return None;
    }
    let secret_from = packet.head_len + packet.body.len() - rest.len();
    let mut draft = Draft::request("");
    operation("connect", "").describe(&mut draft, b"");
    // What is last wished, who the user is and what the password is come behind the identifier.
    draft.redact.push(secret_from..usize::MAX);
    if level == VERSION_5 {
        // Properties are skipped whole: one of them authenticates.
        let Variable::Number(len, len_len) = variable(rest) else { return None };
        take(&mut rest, len_len + len as usize)?;
    }
    let client = field(&mut rest)?;
    if level != VERSION_5 {
        let from = packet.head_len + packet.body.len() - rest.len();
        draft.redact.clear();
        draft.redact.push(from..usize::MAX);
    }
    if !client.is_empty() {
        let client = String::from_utf8_lossy(client).into_owned();
        draft.attributes.push(("messaging.client.id".into(), client.into()));
    }
    draft.attributes.push(("network.protocol.name".into(), "mqtt".into()));
    draft.attributes.push(("network.protocol.version".into(), version.into()));
    draft.truncated = !packet.is_whole();
    Some((level, draft))
}
