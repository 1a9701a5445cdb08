//! Reason codes (§2.4), and what `CONNACK` of version 3 says (MQTT 3.1.1 §3.2.2.3).

use deeptrace_model::SpanStatus;

use super::operation;
use super::packet::{Kind, Packet, short, take};
use super::properties::properties;
use super::{CONNECTION, stream};
use crate::messaging::fail;
use crate::{Draft, Side};

/// The packet of `kind` answers so: `CONNACK`, `PUBACK`, `PUBREC` or `PUBCOMP`.
pub(super) fn response(packet: &Packet<'_>, is_5: Option<bool>, from: Side) -> Option<Draft> {
    let mut draft = Draft::response(SpanStatus::Ok);
    let mut rest = packet.body;
    if packet.kind == Kind::Connack {
        draft.stream = CONNECTION;
        take(&mut rest, 1)?;
        let code = take(&mut rest, 1)?[0];
        let is_old = is_5 == Some(false) || is_5.is_none() && packet.body_len == 2;
        if is_old && code != 0 {
            fail(&mut draft, format!("0x{code:02x}"), refusal(code));
        } else {
            explain(&mut draft, code, rest);
        }
        return Some(draft);
    }
    let number = short(&mut rest).filter(|number| *number != 0)?;
    draft.stream = stream(from.opposite(), number);
    // A success may be left out (§3.4.2.1).
    let code = take(&mut rest, 1).map_or(0, |code| code[0]);
    explain(&mut draft, code, rest);
    Some(draft)
}

/// A disconnection that tells an error; others are no news.
pub(super) fn disconnection(packet: &Packet<'_>) -> Option<Draft> {
    let mut rest = packet.body;
    let code = take(&mut rest, 1)?[0];
    let mut draft = Draft::one_way("");
    operation("disconnect", "").describe(&mut draft, b"");
    explain(&mut draft, code, rest);
    (draft.status == SpanStatus::Error).then_some(draft)
}

/// Makes `draft` say what a code means; `rest` may begin with properties that tell more.
pub(super) fn explain(draft: &mut Draft, code: u8, mut rest: &[u8]) {
    if code < 0x80 {
        return;
    }
    let told = properties(&mut rest).and_then(|found| found.reason);
    let told = told.map(String::from_utf8_lossy);
    fail(draft, format!("0x{code:02x}"), told.as_deref().unwrap_or(meaning(code)));
}

fn refusal(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "refused",
    }
}

fn meaning(code: u8) -> &'static str {
    match code {
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "quality of service not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "failure",
    }
}
