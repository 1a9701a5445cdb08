//! Request: an operation on the directory, with its filter without values.

use deeptrace_model::Value;

use super::ber::{Element, Elements};
use super::message::{
    ABANDON, ADD, BIND, COMPARE, DELETE, EXTENDED, MODIFY, MODIFY_DN, Message, SEARCH, UNBIND,
    WINDOW,
};
use crate::Draft;

/// Bytes of a filter that are told, and filters within filters.
const FILTER_MAX: usize = 512;
const DEPTH_MAX: u32 = 8;

/// Bytes of a name in the directory that are told.
const DN_MAX: usize = 256;

/// `StartTLS` (RFC 4511 §4.14).
pub(super) const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// Reads what a client asks.
pub(super) fn read(message: &Message<'_>) -> Draft {
    let name = match message.operation.tag {
        BIND => "bind",
        UNBIND => "unbind",
        SEARCH => "search",
        MODIFY => "modify",
        ADD => "add",
        DELETE => "delete",
        MODIFY_DN => "modifyDN",
        COMPARE => "compare",
        ABANDON => "abandon",
        _ => "extended",
    };
    let is_one_way = matches!(message.operation.tag, UNBIND | ABANDON);
    let mut draft = if is_one_way { Draft::one_way(name) } else { Draft::request(name) };
    draft.attributes.push(("db.system.name".into(), "ldap".into()));
    draft.attributes.push(("db.operation.name".into(), name.into()));
    draft.truncated = message.is_cut;
    let mut parts = message.parts();
    match message.operation.tag {
        DELETE => dn(&mut draft, Some(message.operation)),
        SEARCH => search(&mut draft, parts),
        BIND => dn(&mut draft, parts.nth(1)),
        MODIFY | ADD | MODIFY_DN | COMPARE => dn(&mut draft, parts.next()),
        EXTENDED => {
            let oid = parts.next().map(|oid| oid.text()).unwrap_or_default();
            if !oid.is_empty() {
                draft.attributes.push(("ldap.extended.oid".into(), Value::from(oid)));
            }
        }
        _ => {}
    }
    secrets(&mut draft, message);
    draft
}

/// Bytes that must not be kept: proofs of a bind, what an extended operation is given (a new
/// password, a token), and values beside an attribute that is named like a password.
fn secrets(draft: &mut Draft, message: &Message<'_>) {
    let is_whole = match message.operation.tag {
        BIND | EXTENDED => true,
        MODIFY | ADD | COMPARE | SEARCH => is_secret(message.operation.content),
        _ => false,
    };
    if is_whole {
        draft.redact.push(message.start..usize::MAX);
    } else if message.len > WINDOW as u64 {
        draft.redact.push(WINDOW..usize::MAX);
    }
}

/// Whether there is an attribute that is named like a password (`userPassword`, `unicodePwd`,
/// `sambaNTPassword`, `krbPrincipalKey`).
pub(super) fn is_secret(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    has(b"password") || has(b"pwd") || has(b"krbprincipalkey")
}

fn dn(draft: &mut Draft, name: Option<Element<'_>>) {
    let Some(name) = name.filter(|name| !name.content.is_empty()) else { return };
    let shown = &name.content[..name.content.len().min(DN_MAX)];
    let text = String::from_utf8_lossy(shown).into_owned();
    draft.attributes.push(("ldap.dn".into(), Value::from(text)));
}

/// Base, scope, dereferencing, limits of size and time, types only, filter (§4.5.1).
fn search(draft: &mut Draft, mut parts: Elements<'_>) {
    dn(draft, parts.next());
    let scope = match parts.next().and_then(|scope| scope.number()) {
        Some(0) => Some("base"),
        Some(1) => Some("one"),
        Some(2) => Some("sub"),
        Some(3) => Some("subordinates"),
        _ => None,
    };
    if let Some(scope) = scope {
        draft.attributes.push(("ldap.scope".into(), scope.into()));
    }
    let mut text = String::new();
    if let Some(filter) = parts.nth(4) {
        render(&mut text, &filter, 0);
    }
    if !text.is_empty() {
        draft.attributes.push(("db.query.text".into(), Value::from(text)));
    }
}

/// A filter as RFC 4515 writes it, where values are `?`.
fn render(text: &mut String, filter: &Element<'_>, depth: u32) {
    if depth > DEPTH_MAX || text.len() > FILTER_MAX {
        return text.push('?');
    }
    text.push('(');
    match filter.tag {
        0xa0..=0xa2 => {
            text.push(match filter.tag {
                0xa0 => '&',
                0xa1 => '|',
                _ => '!',
            });
            Elements(filter.content).for_each(|inner| render(text, &inner, depth + 1));
        }
        0xa3..=0xa6 | 0xa8 => {
            text.push_str(&attribute(Elements(filter.content).next()));
            text.push_str(match filter.tag {
                0xa5 => ">=?",
                0xa6 => "<=?",
                0xa8 => "~=?",
                0xa4 => "=*?*",
                _ => "=?",
            });
        }
        0x87 => {
            text.push_str(&attribute(Some(*filter)));
            text.push_str("=*");
        }
        0xa9 => {
            let named = Elements(filter.content).find(|part| part.tag == 0x82);
            text.push_str(&attribute(named));
            text.push_str(":=?");
        }
        _ => text.push('?'),
    }
    text.push(')');
}

/// The name of an attribute; what is none is not shown.
fn attribute(element: Option<Element<'_>>) -> String {
    let text = element.map(|element| element.text()).unwrap_or_default();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-.;_".contains(&b);
    if text.len() <= 64 && text.bytes().all(is_name) { text } else { "?".into() }
}
