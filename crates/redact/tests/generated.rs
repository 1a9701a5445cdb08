//! Documents of any shape with secrets under a name, as independent writers write them: whatever else is
//! in them and wherever they are cut, nothing of a secret is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use deeptrace_redact::{Form, Payload, Rules, Written, overwrite};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// In every secret, and in nothing else.
const MARK: &str = "Zq7";

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let names = vec!["password".into(), "credit_card".into()];
    Rules::new(Written { names, ..Written::default() }).unwrap()
});

/// Texts that are hard to tell the end of.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z \"\\\\'{}\\[\\]<>&=:,;%/*\r\n\tüß]{0,12}",
        Just("\\\"".to_owned()),
        Just("\\".to_owned()),
        Just("value".to_owned()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z\"\\\\ ]{1,6}", Just("value".to_owned())]
}

fn name() -> impl Strategy<Value = String> {
    let names =
        ["password", "PassWord", "user_password", "passwordHash", "credit-card", "creditCard"];
    prop::sample::select(names.map(str::to_owned).to_vec())
}

fn secret() -> impl Strategy<Value = Value> {
    let marked =
        text().prop_flat_map(|before| text().prop_map(move |after| before.clone() + MARK + &after));
    let leaf = marked.prop_map(Value::String);
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Value::Array),
            (key(), inner).prop_map(|(key, value)| Value::Object(Map::from_iter([(key, value)]))),
        ]
    })
}

/// A document with secrets somewhere in it.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::String),
        any::<i32>().prop_map(Value::from),
        (name(), secret()).prop_map(|(name, secret)| json!({ (name): secret })),
        (name(), text())
            .prop_map(|(name, text)| json!({"name": name, "value": MARK.to_owned() + &text})),
        (name(), text())
            .prop_map(|(name, text)| json!({"value": MARK.to_owned() + &text, "name": name})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key(), inner.clone()), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            // Quoted: a document within a text.
            inner.prop_map(|value| Value::String(value.to_string())),
        ]
    })
}

fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Masks the front of a body, and says whether a secret is left.
fn leaks(media_type: &str, body: &str, cut: usize) -> Option<String> {
    let head = format!("POST / HTTP/1.1\r\nContent-Type: {media_type}\r\n\r\n");
    let whole = [head.as_bytes(), body.as_bytes()].concat();
    let mut bytes = whole[..(head.len() + cut).min(whole.len())].to_vec();
    let is_cut = bytes.len() < whole.len();
    let mut places = Vec::new();
    RULES.payload(Payload { bytes: &bytes, form: Form::Http, is_cut }, &mut places);
    overwrite(&mut bytes, &places);
    let left = String::from_utf8_lossy(&bytes).into_owned();
    // As an attribute.
    let front = String::from_utf8_lossy(&body.as_bytes()[..cut.min(body.len())]).into_owned();
    let text = RULES.text(&front).unwrap_or(front);
    [left, text].into_iter().find(|left| left.contains(MARK))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn json_of_any_shape(document in document(), pretty: bool, cut in 0usize..400) {
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let text = text.unwrap();
        for cut in [cut, usize::MAX - 1000] {
            prop_assert_eq!(leaks("application/json", &text, cut), None, "{}", text);
        }
    }

    #[test]
    fn forms_of_any_shape(
        pairs in prop::collection::vec((key(), text()), 0..4),
        name in name(),
        value in text(),
        document in document(),
        cut in 0usize..400,
    ) {
        let mut pairs: Vec<String> =
            pairs.iter().map(|(key, text)| format!("{}={}", percent(key), percent(text))).collect();
        pairs.insert(pairs.len() / 2, format!("{name}={}", percent(&format!("{value}{MARK}"))));
        pairs.push(format!("user%5B{name}%5D={MARK}"));
        pairs.push(format!("json={}", percent(&document.to_string())));
        let text = pairs.join("&");
        for cut in [cut, usize::MAX - 1000] {
            let left = leaks("application/x-www-form-urlencoded", &text, cut);
            prop_assert_eq!(left, None, "{}", text);
        }
    }
}

#[test]
fn it_can_fail() {
    assert!(leaks("application/json", "{\"city\":\"Zq7\"}", 400).is_some());
}
