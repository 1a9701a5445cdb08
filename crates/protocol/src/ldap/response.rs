//! Response: results of operations (RFC 4511 §4.1.9).

use deeptrace_model::{SpanStatus, Value};

use super::message::Message;
use crate::Draft;

/// Bytes of a diagnostic message that are kept.
const MESSAGE_MAX: usize = 256;

/// The result's code, if it is there.
pub(super) fn code(message: &Message<'_>) -> Option<u32> {
    message.parts().next()?.number()
}

/// Reads a result.
pub(super) fn read(message: &Message<'_>) -> Draft {
    let mut draft = Draft::response(SpanStatus::Unset);
    draft.truncated = message.is_cut;
    let Some(code) = code(message) else { return draft };
    draft.status = SpanStatus::Ok;
    if code != 0 {
        draft.attributes.push(("db.response.status_code".into(), Value::from(code.to_string())));
    }
    if is_answer(code) {
        return draft;
    }
    draft.status = SpanStatus::Error;
    draft.attributes.push(("error.type".into(), name(code).into()));
    let text = message.parts().nth(2).map(|text| text.text()).unwrap_or_default();
    let text: String = text.chars().take(MESSAGE_MAX).collect();
    draft.status_message = Some(text).filter(|text| !text.is_empty());
    draft
}

/// Success, both results of a comparison, a referral, and a bind that goes on.
fn is_answer(code: u32) -> bool {
    matches!(code, 0 | 5 | 6 | 10 | 14)
}

/// Names of result codes (RFC 4511 appendix A).
fn name(code: u32) -> &'static str {
    match code {
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        16 => "noSuchAttribute",
        17 => "undefinedAttributeType",
        18 => "inappropriateMatching",
        19 => "constraintViolation",
        20 => "attributeOrValueExists",
        21 => "invalidAttributeSyntax",
        32 => "noSuchObject",
        33 => "aliasProblem",
        34 => "invalidDNSyntax",
        36 => "aliasDereferencingProblem",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        54 => "loopDetect",
        64 => "namingViolation",
        65 => "objectClassViolation",
        66 => "notAllowedOnNonLeaf",
        67 => "notAllowedOnRDN",
        68 => "entryAlreadyExists",
        69 => "objectClassModsProhibited",
        71 => "affectsMultipleDSAs",
        _ => "other",
    }
}
