//! Response: results, errors and events (§4.2, §9).

use deeptrace_model::{SpanStatus, Value};

use super::envelope::{ERROR, EVENT, Envelope, Fields, RESULT};
use crate::{Draft, Side};

/// Bytes of an error's text that are kept.
const MESSAGE_MAX: usize = 256;

const SET_KEYSPACE: u32 = 3;
const PREPARED: u32 = 4;

/// What an envelope answers.
pub(super) enum Response<'a> {
    /// A result or an error.
    Done(Draft),
    /// The session has this keyspace from now on.
    Keyspace(Draft, String),
    /// The statement has this id from now on.
    Prepared(Draft, &'a [u8]),
    /// Nobody asked for it.
    Event(Draft),
    /// Opening of the connection, and noise.
    Noise,
}

/// Reads what the server sent.
pub(super) fn read<'a>(envelope: &Envelope<'a>) -> Response<'a> {
    let mut fields = envelope.fields(Side::Server, |_, _| {});
    let mut draft = Draft::response(SpanStatus::Ok);
    draft.truncated = envelope.is_cut;
    match envelope.opcode {
        RESULT => match fields.int() {
            SET_KEYSPACE => Response::Keyspace(draft, fields.text().into_owned()),
            PREPARED => Response::Prepared(draft, fields.string()),
            _ => Response::Done(draft),
        },
        ERROR if envelope.is_compressed() => {
            draft.status = SpanStatus::Error;
            draft.attributes.push(("error.type".into(), "_OTHER".into()));
            Response::Done(draft)
        }
        ERROR => {
            failure(&mut draft, fields);
            Response::Done(draft)
        }
        EVENT => {
            let kind = fields.text();
            let mut event = Draft::one_way(match &*kind {
                "TOPOLOGY_CHANGE" => "EVENT TOPOLOGY_CHANGE",
                "STATUS_CHANGE" => "EVENT STATUS_CHANGE",
                "SCHEMA_CHANGE" => "EVENT SCHEMA_CHANGE",
                _ => "EVENT",
            });
            event.attributes.push(("db.system.name".into(), "cassandra".into()));
            event.truncated = envelope.is_cut;
            Response::Event(event)
        }
        _ => Response::Noise,
    }
}

fn failure(draft: &mut Draft, mut fields: Fields<'_>) {
    let code = fields.int();
    let is_code = !fields.is_cut;
    let text = fields.string();
    let text = String::from_utf8_lossy(&text[..text.len().min(MESSAGE_MAX)]);
    draft.status = SpanStatus::Error;
    if is_code {
        let code = Value::from(format!("0x{code:04X}"));
        draft.attributes.push(("db.response.status_code".into(), code));
    }
    let name = if is_code { error_name(code) } else { None };
    draft.attributes.push(("error.type".into(), name.unwrap_or("_OTHER").into()));
    draft.status_message = Some(text.into_owned()).filter(|text| !text.is_empty());
}

/// Error codes (§9).
pub(super) fn error_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0x0000 => "ServerError",
        0x000a => "ProtocolError",
        0x0100 => "AuthenticationError",
        0x1000 => "Unavailable",
        0x1001 => "Overloaded",
        0x1002 => "IsBootstrapping",
        0x1003 => "TruncateError",
        0x1100 => "WriteTimeout",
        0x1200 => "ReadTimeout",
        0x1300 => "ReadFailure",
        0x1400 => "FunctionFailure",
        0x1500 => "WriteFailure",
        0x1600 => "CdcWriteFailure",
        0x1700 => "CasWriteUnknown",
        0x2000 => "SyntaxError",
        0x2100 => "Unauthorized",
        0x2200 => "Invalid",
        0x2300 => "ConfigError",
        0x2400 => "AlreadyExists",
        0x2500 => "Unprepared",
        _ => return None,
    })
}
