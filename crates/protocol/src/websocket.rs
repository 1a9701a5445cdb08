//! WebSocket: RFC 6455 (frames §5, close §7.4), RFC 7692 (compressed messages).
//!
//! The parser begins where HTTP's `101 Switching Protocols` ended, or anywhere at a frame. Messages
//! of both sides are one-way: nothing says what answers what. Fragments are one message, whatever
//! control frames lie between them. Pings, pongs and ordinary closes are passed over; the first
//! close with an error's code is told. Messages are not decompressed.
//!
//! Recognition: a header is two bytes, so it is only sure of masked text that is text when
//! unmasked; unmasked binary frames are believed of a server only, where they fill the call.

mod frame;

use deeptrace_model::{SpanStatus, TraceContext, Transport};
use memchr::memmem;

use self::frame::{Frame, Front, Opcode};
use crate::trace_context::TraceHeaders;
use crate::{CopyPolicy, Draft, Input, Pairing, Parser, Protocol, Side, Support, Verdict};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "websocket",
    title: "WebSocket (RFC 6455)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[80, 443, 8080],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::OneWay,
        errors: "a close with a code of failure",
        context: "a field traceparent of JSON",
        tls: "",
        limits: &[
            "nothing says what answers what: every message is one-way",
            "messages are not decompressed",
        ],
    },
    recognise: frame::recognise,
    parser: || Box::<WebSocket>::default(),
};

/// Bytes of a message that are searched for trace context.
const LOOK_MAX: usize = 1024;

/// Codes of closes that are no errors: done, going away, none given (RFC 6455 §7.4.1).
const ORDINARY: [u16; 3] = [1000, 1001, 1005];

#[derive(Default)]
struct WebSocket {
    halves: [HalfState; 2],
    /// A side has closed.
    is_closed: bool,
}

/// A message that is being read in one direction.
#[derive(Default)]
struct HalfState {
    draft: Option<Box<Draft>>,
    /// The beginning of the message that goes on is lost.
    is_astray: bool,
}

impl Parser for WebSocket {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let frame = match Frame::read(input.bytes, input.from) {
            Front::Frame(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        match frame.opcode {
            Opcode::Ping | Opcode::Pong => Verdict::Skip(frame.len),
            Opcode::Close => self.close(&frame, input.is_last),
            Opcode::Text | Opcode::Binary => self.halves[input.from as usize].first(&frame, &input),
            Opcode::More => self.halves[input.from as usize].next(&frame),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        frame::is_start(from, bytes)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let half = &mut self.halves[from as usize];
        half.is_astray = true;
        half.draft.take().map(|draft| *draft)
    }
}

impl WebSocket {
    fn close(&mut self, frame: &Frame<'_>, is_last: bool) -> Verdict {
        if !frame.is_all_there() && !is_last {
            return Verdict::More;
        }
        let payload = frame.payload(usize::MAX);
        let code = match payload.as_slice() {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 1005,
        };
        // The other side repeats it.
        if std::mem::replace(&mut self.is_closed, true) || ORDINARY.contains(&code) {
            return Verdict::Skip(frame.len);
        }
        let mut draft = Draft::one_way("WebSocket close");
        draft.status = SpanStatus::Error;
        let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
        draft.status_message = Some(reason).filter(|reason| !reason.is_empty());
        draft.attributes.push(("network.protocol.name".into(), "websocket".into()));
        draft.attributes.push(("error.type".into(), code.to_string().into()));
        Verdict::Done { len: frame.len, draft: Box::new(draft) }
    }
}

impl HalfState {
    /// The first frame of a message, perhaps its only one.
    fn first(&mut self, frame: &Frame<'_>, input: &Input<'_>) -> Verdict {
        if self.draft.is_some() {
            return Verdict::NotMine;
        }
        let is_cut = !frame.has(LOOK_MAX);
        if is_cut && !input.is_last {
            return Verdict::More;
        }
        self.is_astray = false;
        let is_text = frame.opcode == Opcode::Text;
        let mut draft = Draft::one_way(if is_text { "WebSocket text" } else { "WebSocket binary" });
        let kind = if is_text { "text" } else { "binary" };
        draft.attributes.push(("network.protocol.name".into(), "websocket".into()));
        draft.attributes.push(("deeptrace.websocket.message.type".into(), kind.into()));
        if frame.is_compressed {
            draft.attributes.push(("deeptrace.websocket.message.compressed".into(), true.into()));
        } else {
            draft.trace_context = trace_context(&frame.payload(LOOK_MAX));
        }
        draft.truncated = is_cut;
        let (len, draft) = (frame.len, Box::new(draft));
        if frame.is_final {
            return Verdict::Done { len, draft };
        }
        self.draft = Some(draft);
        Verdict::Part { len, stream: 0 }
    }

    /// A frame that goes on.
    fn next(&mut self, frame: &Frame<'_>) -> Verdict {
        let len = frame.len;
        match self.draft.take() {
            Some(draft) if frame.is_final => Verdict::Done { len, draft },
            Some(draft) => {
                self.draft = Some(draft);
                Verdict::Part { len, stream: 0 }
            }
            None if self.is_astray => Verdict::Skip(len),
            None => Verdict::NotMine,
        }
    }
}

/// The value of a member `traceparent`, as applications put it into messages of JSON.
fn trace_context(payload: &[u8]) -> Option<TraceContext> {
    const KEY: &[u8] = b"\"traceparent\"";
    let rest = &payload[memmem::find(payload, KEY)? + KEY.len()..];
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let value = rest.strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()?;
    let mut headers = TraceHeaders::default();
    headers.header(b"traceparent", value);
    headers.context()
}

#[cfg(test)]
mod tests;
