//! Data: RFC 9113 §6.1. Only the start of a body is looked at, and what counts messages of gRPC.

use super::Http2;
use super::frame::{Frame, HEADER};
use super::stream::COUNTED_MAX;
use crate::{Side, Verdict};

impl Http2 {
    /// Bytes of a frame that are looked at.
    pub(super) fn wanted_data(&self, from: Side, frame: &Frame) -> usize {
        let wanted = self.body_left(from, frame.stream);
        let padding = usize::from(wanted > 0);
        let counted = if frame.len <= COUNTED_MAX { COUNTED_MAX } else { 6 };
        let counted = if self.counts(frame) { counted } else { 0 };
        HEADER + frame.len.min((wanted + padding).max(counted))
    }

    /// Whether messages of gRPC are counted in a frame.
    fn counts(&self, frame: &Frame) -> bool {
        self.streams.get(frame.stream).is_some_and(|stream| stream.is_grpc != Some(false))
    }

    /// Bytes of a body that a detector wants to see yet.
    fn body_left(&self, from: Side, id: u32) -> usize {
        let Some(stream) = self.streams.get(id) else { return 0 };
        let message = match from {
            Side::Client => &stream.request,
            Side::Server => &stream.response,
        };
        message.as_ref().map_or(0, |message| message.body_left)
    }

    /// RFC 9113 §6.1.
    pub(super) fn data(&mut self, from: Side, frame: &Frame, seen: &[u8]) -> Verdict {
        let (id, len) = (frame.stream, frame.size());
        let counts = self.counts(frame);
        let ends = frame.ends_stream();
        let Some(message) = self.message(from, id) else { return self.astray(from, id, ends, len) };
        if message.body_left > 0 {
            let place = frame.content(seen).unwrap_or_default();
            let data = seen.get(place.start.min(seen.len())..place.end.min(seen.len()));
            message.add_body(data.unwrap_or_default(), place.len());
        }
        if counts {
            match frame.content(seen) {
                Some(place) => {
                    let data = seen.get(place.start..place.end.min(seen.len()));
                    message.count.add(data.unwrap_or_default(), place.len());
                }
                None => message.count.miss(),
            }
        }
        self.go_on(from, id, ends, len)
    }
}
