//! Reply: how the server says that an operation failed, and what it pushes.

use deeptrace_model::{SpanStatus, Value};

use super::packet::{Packet, int, path};
use crate::Draft;

const NO_NODE: i32 = -101;
const ROLLED_BACK: i32 = -2;

/// Results of a failed transaction that are looked at.
const RESULTS_MAX: usize = 256;

/// What was asked, as far as it matters for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Exists,
    Transaction,
    /// Its record proves who somebody is.
    Secret,
}

/// What a reply says.
pub(super) fn read(packet: &Packet<'_>, error: i32, asked: Option<Asked>) -> Draft {
    let error = match asked {
        Some(Asked::Transaction) if error == 0 => transaction_error(packet.body),
        _ => error,
    };
    let mut draft = Draft::response(SpanStatus::Ok);
    draft.truncated = packet.is_cut;
    if asked == Some(Asked::Secret) {
        draft.redact.push(20..usize::MAX);
    }
    if error == 0 {
        return draft;
    }
    draft.attributes.push(("db.response.status_code".into(), Value::from(error.to_string())));
    // The answer that a node does not exist is one like any other.
    if asked != Some(Asked::Exists) || error != NO_NODE {
        let name = error_name(error).unwrap_or("_OTHER");
        draft.status = SpanStatus::Error;
        draft.attributes.push(("error.type".into(), name.into()));
    }
    draft
}

/// Of a transaction that failed every result is an error: that of the operation that failed, and
/// for the others that they were rolled back.
fn transaction_error(body: &[u8]) -> i32 {
    const RESULT: usize = 13;
    let mut first = 0;
    for result in body.chunks_exact(RESULT).take(RESULTS_MAX) {
        let error = int(result, 9).unwrap_or_default();
        if int(result, 0) != Some(-1) || result[4] != 0 {
            break;
        }
        if error != 0 && error != ROLLED_BACK {
            return error;
        }
        first = if first == 0 { error } else { first };
    }
    first
}

/// A watch that fired, or a changed state of the session.
pub(super) fn event(packet: &Packet<'_>) -> Draft {
    let name = match int(packet.body, 0) {
        Some(-1) => "watch None",
        Some(1) => "watch NodeCreated",
        Some(2) => "watch NodeDeleted",
        Some(3) => "watch NodeDataChanged",
        Some(4) => "watch NodeChildrenChanged",
        Some(5) => "watch DataWatchRemoved",
        Some(6) => "watch ChildWatchRemoved",
        Some(7) => "watch PersistentWatchRemoved",
        _ => "watch",
    };
    let mut draft = Draft::one_way(name);
    draft.attributes.push(("db.system.name".into(), "zookeeper".into()));
    draft.truncated = packet.is_cut;
    let path = packet.body.get(8..).and_then(|rest| path(rest).ok()).unwrap_or_default();
    if !path.is_empty() {
        let path = String::from_utf8_lossy(path).into_owned();
        draft.attributes.push(("zookeeper.path".into(), Value::from(path)));
    }
    draft
}

/// Names of error codes (`KeeperException.Code`).
pub(super) fn error_name(code: i32) -> Option<&'static str> {
    Some(match code {
        -1 => "SystemError",
        -2 => "RuntimeInconsistency",
        -3 => "DataInconsistency",
        -4 => "ConnectionLoss",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        -7 => "OperationTimeout",
        -8 => "BadArguments",
        -12 => "UnknownSession",
        -13 => "NewConfigNoQuorum",
        -14 => "ReconfigInProgress",
        -100 => "APIError",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -108 => "NoChildrenForEphemerals",
        -110 => "NodeExists",
        -111 => "NotEmpty",
        -112 => "SessionExpired",
        -113 => "InvalidCallback",
        -114 => "InvalidACL",
        -115 => "AuthFailed",
        -118 => "SessionMoved",
        -119 => "NotReadOnly",
        -120 => "EphemeralOnLocalSession",
        -121 => "NoWatcher",
        -122 => "RequestTimeout",
        -123 => "ReconfigDisabled",
        -124 => "SessionClosedRequireSaslAuth",
        -125 => "QuotaExceeded",
        -127 => "ThrottledOp",
        _ => return None,
    })
}
