//! Request: an operation on a node, or a transaction of several.

use deeptrace_model::Value;

use super::packet::{Body, Packet, buffer, int, operation, path};
use crate::Draft;

/// Operations of a transaction that are counted.
const OPERATIONS_MAX: usize = 256;

/// Entries of an access list that are passed over.
const ACL_MAX: i32 = 64;

/// What a request with this operation code asks.
pub(super) fn read(packet: &Packet<'_>, code: i32) -> Draft {
    let (name, body) = operation(code).unwrap_or(("zookeeper", Body::Other));
    let mut draft = Draft::request(name);
    draft.attributes.push(("db.system.name".into(), "zookeeper".into()));
    draft.attributes.push(("db.operation.name".into(), name.into()));
    draft.truncated = packet.is_cut;
    match body {
        Body::Path => {
            let path = path(packet.body).unwrap_or_default();
            if !path.is_empty() {
                let path = String::from_utf8_lossy(path).into_owned();
                draft.attributes.push(("zookeeper.path".into(), Value::from(path)));
            }
        }
        Body::Transaction => {
            if let Some(count) = count(packet.body).filter(|count| *count > 1) {
                draft.attributes.push(("db.operation.batch.size".into(), count.into()));
            }
        }
        Body::Secret => draft.redact.push(12..usize::MAX),
        Body::Other => {}
    }
    draft
}

/// How many operations a transaction has, where all of it is there.
fn count(mut rest: &[u8]) -> Option<i64> {
    for count in 0..OPERATIONS_MAX {
        let (code, is_done) = (int(rest, 0)?, *rest.get(4)?);
        rest = rest.get(9..)?;
        if is_done != 0 {
            return i64::try_from(count).ok();
        }
        let (_, after) = buffer(rest)?;
        rest = match code {
            // Data, access list, flags, and how long the node lives.
            1 | 15 | 19 => acl(buffer(after)?.1)?.get(4..)?,
            21 => acl(buffer(after)?.1)?.get(12..)?,
            2 | 13 => after.get(4..)?,
            5 => buffer(after)?.1.get(4..)?,
            4 | 8 => after.get(1..)?,
            _ => return None,
        };
    }
    None
}

/// What follows an access list.
fn acl(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(4..)?;
    for _ in 0..int(bytes, 0)?.clamp(0, ACL_MAX) {
        let (_, after) = buffer(rest.get(4..)?)?;
        rest = buffer(after)?.1;
    }
    Some(rest)
}
