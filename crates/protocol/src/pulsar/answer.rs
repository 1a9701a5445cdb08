//! What answers say: errors (`ServerError` of `PulsarApi.proto`), and the ids of messages.

use deeptrace_model::{MessageRole, SpanStatus};

use super::fields::Fields;
use crate::Draft;
use crate::messaging::{Operation, fail};

/// By number.
const ERRORS: [&str; 26] = [
    "UnknownError",
    "MetadataError",
    "PersistenceError",
    "AuthenticationError",
    "AuthorizationError",
    "ConsumerBusy",
    "ServiceNotReady",
    "ProducerBlockedQuotaExceededError",
    "ProducerBlockedQuotaExceededException",
    "ChecksumError",
    "UnsupportedVersionError",
    "TopicNotFound",
    "SubscriptionNotFound",
    "ConsumerNotFound",
    "TooManyRequests",
    "TopicTerminatedError",
    "ProducerBusy",
    "InvalidTopicName",
    "IncompatibleSchema",
    "ConsumerAssignError",
    "TransactionCoordinatorNotFound",
    "InvalidTxnStatus",
    "NotAllowedError",
    "TransactionConflict",
    "TransactionNotFound",
    "ProducerFenced",
];

/// A response, with the error that is in a field, if it is.
pub(super) fn response(fields: Fields<'_>, error: u64, message: u64) -> Draft {
    let mut draft = Draft::response(SpanStatus::Ok);
    if let Some(code) = fields.number(error) {
        let name = usize::try_from(code).ok().and_then(|code| ERRORS.get(code));
        let message = fields.bytes(message).unwrap_or_default();
        let kind = name.copied().unwrap_or("UnknownError");
        fail(&mut draft, kind, &String::from_utf8_lossy(message));
    }
    draft
}

/// An error that answers nothing.
pub(super) fn unasked(mut draft: Draft) -> Draft {
    draft.role = MessageRole::OneWay;
    Operation { system: "pulsar", name: "error", kind: "", separator: '/' }
        .describe(&mut draft, b"");
    draft
}

/// Tells the id of a message (`MessageIdData`), as tools of Pulsar write it.
pub(super) fn message_id(draft: &mut Draft, id: Option<&[u8]>) {
    let Some(id) = id.map(Fields) else { return };
    if let (Some(ledger), Some(entry)) = (id.number(1), id.number(2)) {
        let id = format!("{ledger}:{entry}");
        draft.attributes.push(("messaging.message.id".into(), id.into()));
    }
}
