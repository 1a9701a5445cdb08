//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http>), after OpenTelemetry's conventions:
//! the span stays one of HTTP and keeps its name.

use super::json::members;
use super::meaning::{Asking, Detector, Found, Meaning, Note};

pub(super) const DETECTOR: Detector = Detector { head, body, answer: None };

fn head(asking: &Asking<'_>) -> Found {
    let is_one = asking.method == b"POST" && asking.words.is_json();
    if is_one { Found::InBody(Note::default()) } else { Found::No }
}

fn body(_: Note, body: &[u8]) -> Option<Meaning> {
    let members = members(body);
    let outer = |name: &[u8]| {
        let found = members.iter().find(|it| it.within.is_empty() && it.name == name);
        found.and_then(|member| member.value.text())
    };
    let (kind, in_document) = operation(outer(b"query")?)?;
    let mut meaning = Meaning::default();
    meaning.add("graphql.operation.type", kind);
    let name = outer(b"operationName").filter(|name| is_name(name)).or(in_document);
    if let Some(name) = name {
        meaning.add("graphql.operation.name", name);
    }
    Some(meaning)
}

fn is_name(name: &str) -> bool {
    let is_first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    is_first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Type and name of the first operation of a document, as written in JSON; nothing where it is no
/// document: a word that is no type, or no selection behind it.
fn operation(document: &str) -> Option<(&'static str, Option<&str>)> {
    let mut rest = past_blanks(document);
    while rest.starts_with('#') {
        rest = past_blanks(rest.split_once("\\n")?.1);
    }
    if let Some(inside) = rest.strip_prefix('{') {
        let first = past_blanks(inside).chars().next();
        let is_field = first.is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        return is_field.then_some(("query", None));
    }
    let kind =
        ["query", "mutation", "subscription"].into_iter().find(|kind| rest.starts_with(kind))?;
    let rest = past_blanks(&rest[kind.len()..]);
    let end = rest.find(['(', '{', ' ', '@', '\\']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let rest = past_blanks(rest);
    let has_selection = match rest.chars().next() {
        Some('{' | '@') => true,
        Some('(') => rest.contains('$') && rest.contains('{'),
        _ => false,
    };
    let name = (!name.is_empty()).then_some(name);
    (has_selection && name.is_none_or(is_name)).then_some((kind, name))
}

/// What follows blanks, of which some are escaped.
fn past_blanks(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(after) = ["\\n", "\\r", "\\t"].iter().find_map(|blank| rest.strip_prefix(blank))
    {
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::super::meaning::tests::meant;

    #[test]
    fn operations() {
        let of = |body: &str| meant("POST", "/graphql", "content-type: application/json", body);
        for (body, expected) in [
            (
                r#"{"query": "query Cart($id: ID!) { cart(id: $id) { total } }", "variables": {}}"#,
                "query Cart",
            ),
            (
                r#"{"operationName": "B", "query": "\n mutation A { a }\n mutation B { b }"}"#,
                "mutation B",
            ),
            (r##"{"query": "# what\n{ me { name } }"}"##, "query"),
            (r#"{"query":"subscription{ticks}"}"#, "subscription"),
        ] {
            let mut words = expected.split(' ');
            let kind = words.next().unwrap_or_default();
            let name = words.next().map(|name| format!(" graphql.operation.name={name}"));
            let expected =
                format!("HTTP graphql.operation.type={kind}{}", name.unwrap_or_default());
            assert_eq!(of(body), expected, "{body}");
        }
        for body in
            [r#"{"query": "{}"}"#, r#"{"query": "query"}"#, r#"{"query": "mutation of genes {x}"}"#]
        {
            assert_eq!(of(body), "HTTP", "{body}");
        }
    }
}
