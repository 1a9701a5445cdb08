//! Text of a command: its documents as JSON, without values.

use super::bson::{Element, Elements};

/// Bytes of `db.query.text`.
pub(super) const TEXT_MAX: usize = 1024;

/// Documents within documents that are shown.
const DEPTH_MAX: u32 = 6;

/// `"key": value`, where values are `?`.
pub(super) fn render(text: &mut String, element: &Element<'_>, depth: u32) {
    text.push('"');
    text.extend(String::from_utf8_lossy(element.key).chars().filter(|c| !c.is_control()));
    text.push_str("\": ");
    match (element.kind, element.elements()) {
        (0x03, Some(elements)) => render_all(text, elements, depth + 1),
        (0x04, Some(mut elements)) => {
            text.push('[');
            let is_nested = |element: &Element<'_>| element.kind == 0x03;
            match elements.next().filter(is_nested).and_then(|first| first.elements()) {
                Some(first) => {
                    render_all(text, first, depth + 1);
                    for more in elements.map_while(|element| element.elements()) {
                        text.push_str(", ");
                        render_all(text, more, depth + 1);
                        if text.len() >= TEXT_MAX {
                            break;
                        }
                    }
                }
                None => text.push('?'),
            }
            text.push(']');
        }
        _ => text.push('?'),
    }
}

/// A document, `depth` within others.
pub(super) fn render_all(text: &mut String, elements: Elements<'_>, depth: u32) {
    if depth > DEPTH_MAX || text.len() >= TEXT_MAX {
        return text.push('?');
    }
    text.push('{');
    for (index, element) in elements.enumerate() {
        if text.len() >= TEXT_MAX {
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        render(text, &element, depth);
    }
    text.push('}');
}
