//! Content header of AMQP 0-9-1 (§2.3.5.2): size, properties, and the trace context in the headers.

use deeptrace_model::{TraceContext, Value};

use super::method::{short_string, take};
use crate::{Draft, TraceHeaders};

/// What a content header says.
#[derive(Debug, Default)]
pub(super) struct Header<'a> {
    /// Bytes of the bodies that follow.
    pub(super) body_size: u64,
    message_id: &'a [u8],
    correlation_id: &'a [u8],
    context: Option<TraceContext>,
}

impl<'a> Header<'a> {
    /// Reads the payload of a header frame; properties as far as they are there.
    pub(super) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        // Class and weight.
        take(&mut bytes, 4)?;
        let body_size = u64::from_be_bytes(take(&mut bytes, 8)?.try_into().ok()?);
        let mut header = Self { body_size, ..Self::default() };
        let _ = header.properties(bytes);
        Some(header)
    }

    /// Properties in the order of their flags, from the highest bit on.
    fn properties(&mut self, mut bytes: &'a [u8]) -> Option<()> {
        let flags = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        if flags & 1 != 0 {
            // More flags follow, which no version has.
            return None;
        }
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => {
                    let len = long(&mut bytes)?;
                    let there = &bytes[..bytes.len().min(len)];
                    let mut seen = TraceHeaders::default();
                    let _ = table(there, &mut seen);
                    self.context = seen.context();
                    take(&mut bytes, len)?;
                }
                // Delivery mode and priority, and the time stamp.
                11 | 12 => drop(take(&mut bytes, 1)?),
                6 => drop(take(&mut bytes, 8)?),
                10 => self.correlation_id = short_string(&mut bytes)?,
                7 => self.message_id = short_string(&mut bytes)?,
                _ => drop(short_string(&mut bytes)?),
            }
        }
        Some(())
    }

    /// Adds what it says to the message.
    pub(super) fn describe(&self, draft: &mut Draft) {
        let size = i64::try_from(self.body_size).unwrap_or(i64::MAX);
        draft.attributes.push(("messaging.message.body.size".into(), Value::Int(size)));
        let ids = [
            ("messaging.message.id", self.message_id),
            ("messaging.message.conversation_id", self.correlation_id),
        ];
        for (key, id) in ids.into_iter().filter(|(_, id)| !id.is_empty()) {
            let id = String::from_utf8_lossy(id).into_owned();
            draft.attributes.push((key.into(), id.into()));
        }
        draft.trace_context = self.context;
    }
}

fn long(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?)).ok()
}

/// Field table (§4.2.5.5, with RabbitMQ's types).
fn table(mut bytes: &[u8], seen: &mut TraceHeaders) -> Option<()> {
    while !bytes.is_empty() {
        let name = short_string(&mut bytes)?;
        let kind = take(&mut bytes, 1)?[0];
        let len = match kind {
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' | b'A' | b'F' => long(&mut bytes)?,
            b'V' => 0,
            _ => return None,
        };
        let value = take(&mut bytes, len)?;
        if matches!(kind, b'S' | b'x') {
            seen.header(name, value);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        [b"\0\x3c\0\0\0\0\0\0\0\0\0\x07", &flags.to_be_bytes()[..], properties].concat()
    }

    #[test]
    fn headers_after_other_types_are_found() {
        let mut table =
            b"\x01nI\0\0\0\x01\x01fF\0\0\0\x04\x01at\x01\x01tT\0\0\0\0\0\0\0\0".to_vec();
        table.extend([b"\x0btraceparentS\0\0\0\x37", TRACE].concat());
        let len = (table.len() as u32).to_be_bytes();
        let bytes = [&b"\x04text"[..], &len, &table, b"\x02\x03c-1\x03m-1"].concat();
        let payload = header(1 << 15 | 1 << 13 | 1 << 12 | 1 << 10 | 1 << 7, &bytes);
        let header = Header::read(&payload).unwrap();
        assert_eq!((header.body_size, header.correlation_id), (7, &b"c-1"[..]));
        assert_eq!(header.message_id, b"m-1");
        assert!(header.context.is_some());
    }

    #[test]
    fn what_is_cut_or_damaged_is_left() {
        for payload in [header(1 << 13, b"\0\0\0\xffxx"), header(1, b""), header(1 << 13, b"\0")] {
            assert_eq!(Header::read(&payload).unwrap().body_size, 7);
        }
        assert!(Header::read(b"\0\x3c\0\0\0").is_none());
    }
}
