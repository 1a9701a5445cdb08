//! gRPC over HTTP/2 (`doc/PROTOCOL-HTTP2.md` of gRPC), with its status codes (`doc/statuscodes.md`).
//!
//! Its connections are HTTP/2 and recognised as such; they may carry requests of both kinds. A
//! message whose content type is gRPC's names this protocol in [`Draft::protocol`].
//!
//! Status: everything but `OK` is an error. The conventions make some codes errors of the client
//! only, and a parser does not know for whom the span will be.

use deeptrace_model::{SpanStatus, Transport};

use crate::web::text;
use crate::{CopyPolicy, Draft, Pairing, Protocol, Recognition, Support, http2};

/// Name of the row.
pub(crate) const NAME: &str = "grpc";

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: NAME,
    title: "gRPC over HTTP/2",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[50051],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("stream"),
        errors: "every status but OK, for servers only six of them; a reset stream",
        context: "metadata",
        tls: "",
        limits: &[
            "a method that was in the encoder's table before the attach is unknown until it is sent again",
            "messages are not decoded: their fields have no names without the schema",
        ],
    },
    recognise: |_| Recognition::No,
    parser: http2::PROTOCOL.parser,
};

/// Bytes of a message that are kept.
const MESSAGE_MAX: usize = 1024;

/// Bytes before each message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;

/// `application/grpc`, perhaps with what the messages are made of: `application/grpc+proto`.
pub(crate) fn is_content_type(value: &[u8]) -> bool {
    let rest = value.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.first().is_none_or(|byte| matches!(byte, b'+' | b';' | b' ')))
}

/// The length of the message behind a prefix; `None` if it is none.
pub(crate) fn message_len(prefix: &[u8]) -> Option<u64> {
    let [is_compressed, len @ ..] = prefix.first_chunk::<PREFIX>()?;
    (*is_compressed <= 1).then(|| u64::from(u32::from_be_bytes(*len)))
}

/// What a status says.
pub(crate) fn outcome(code: u32, message: Option<&[u8]>) -> Draft {
    let name = status_name(code).map_or_else(|| code.to_string(), str::to_owned);
    let is_error = code != 0;
    let mut draft = Draft::response(if is_error { SpanStatus::Error } else { SpanStatus::Ok });
    draft.attributes.push(("rpc.response.status_code".into(), name.clone().into()));
    if is_error {
        draft.attributes.push(("error.type".into(), name.into()));
        draft.status_message = message.filter(|text| !text.is_empty()).map(decode);
    }
    draft
}

fn status_name(code: u32) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::try_from(code).ok()?).copied()
}

/// A message's bytes are escaped as in URLs, but for printable ones.
fn decode(escaped: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(escaped.len().min(MESSAGE_MAX));
    let mut rest = escaped;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
        if bytes.len() == MESSAGE_MAX {
            break;
        }
    }
    text(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_names_and_messages() {
        let draft = outcome(5, Some(b"no caf%C3%A9 100%"));
        assert_eq!(draft.status_message.as_deref(), Some("no café 100%"));
        assert_eq!(draft.status, SpanStatus::Error);
        assert_eq!(draft.attributes.get("error.type"), Some(&"NOT_FOUND".into()));
        let fine = outcome(0, Some(b"fine"));
        assert_eq!((fine.status, fine.status_message), (SpanStatus::Ok, None));
        let other = outcome(99, None);
        assert_eq!(other.attributes.get("rpc.response.status_code"), Some(&"99".into()));
    }

    #[test]
    fn content_types_are_told_from_others() {
        for (value, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_content_type(value.as_bytes()), is, "{value}");
        }
    }
}
