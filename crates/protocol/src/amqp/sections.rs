//! Sections of a message of AMQP 1.0: ids, and the trace context in annotations and properties.

use super::value::{Fields, Value, Values};
use crate::TraceHeaders;

/// Sections of a message (part 3 §3.2), as far as they are there.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    pub(super) message_id: Option<&'a [u8]>,
    pub(super) to: Option<&'a [u8]>,
    pub(super) correlation_id: Option<&'a [u8]>,
    pub(super) headers: TraceHeaders,
}

impl<'a> Sections<'a> {
    /// Whether a section begins here.
    pub(super) fn begin(message: &[u8]) -> bool {
        matches!(message, [] | [0, 0x53, 0x70..=0x78, ..] | [0, 0x80, 0, 0, 0, 0, 0, 0, 0, ..])
    }

    /// Reads the sections in front of the body.
    pub(super) fn read(message: &'a [u8]) -> Self {
        let mut sections = Self::default();
        let mut values = Values::new(message);
        while let Some((code, value)) = values.described() {
            match (code, value) {
                // Properties: ids, user, address, subject, where to answer.
                (Some(0x73), Value::Many(list)) => {
                    let mut fields = Fields::new(list);
                    sections.message_id = fields.text();
                    fields.skip(1);
                    sections.to = fields.text();
                    fields.skip(2);
                    sections.correlation_id = fields.text();
                }
                // Delivery and message annotations, and what the application adds.
                (Some(0x71 | 0x72 | 0x74), Value::Many(map)) => {
                    let mut pairs = Values::new(map);
                    while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
                        if let (Value::Text(key), Value::Text(value)) = (key, value) {
                            sections.headers.header(key, value);
                        }
                    }
                }
                (Some(0x70), _) => {}
                // The body begins.
                _ => break,
            }
        }
        sections
    }
}
