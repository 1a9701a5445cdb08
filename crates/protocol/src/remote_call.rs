//! Remote call: what the RPC protocols of the table say alike of a call and of its outcome, after
//! OpenTelemetry's semantic conventions for RPC spans.

use deeptrace_model::{SpanStatus, Text, Value, hash_bytes};

use crate::Draft;

/// Bytes of a text that are kept of a peer's error message.
pub(crate) const MESSAGE_MAX: usize = 512;

/// A request named `service/method`, or by what there is of it.
pub(crate) fn request(system: &'static str, service: &str, method: &str) -> Draft {
    let full: Text = match (service, method) {
        ("", "") => Text::default(),
        ("", only) | (only, "") => only.into(),
        (service, method) => format!("{service}/{method}").into(),
    };
    let mut draft = Draft::request(full.clone());
    draft.attributes.push(("rpc.system.name".into(), system.into()));
    if full.is_empty() {
        draft.name = Text::new_static(system);
    } else {
        draft.attributes.push(("rpc.method".into(), full.into()));
    }
    draft
}

/// A response that says whether the call succeeded.
pub(crate) fn response(outcome: Result<(), (Text, Option<String>)>) -> Draft {
    match outcome {
        Ok(()) => Draft::response(SpanStatus::Ok),
        Err((kind, message)) => {
            let mut draft = Draft::response(SpanStatus::Error);
            draft.attributes.push(("error.type".into(), kind.into()));
            draft.status_message = message.filter(|text| !text.is_empty());
            draft
        }
    }
}

/// Adds the protocol's own status.
pub(crate) fn set_status_code(draft: &mut Draft, code: impl Into<Value>) {
    draft.attributes.push(("rpc.response.status_code".into(), code.into()));
}

/// Whether `name` is such as services and methods have: letters, digits and a few signs, and no
/// digit first.
pub(crate) fn is_name(name: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_next = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:/-$".contains(byte);
    name.first().is_some_and(is_first) && name.iter().all(is_next)
}

/// Text of a peer, cut off at [`MESSAGE_MAX`].
pub(crate) fn message(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MESSAGE_MAX)];
    String::from_utf8_lossy(bytes).trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Sixteen bits that tell names apart, never zero.
pub(crate) fn tag(name: &[u8]) -> u16 {
    let folded = hash_bytes(name).to_be_bytes();
    u16::from_be_bytes([folded[6], folded[7]]).max(1)
}
