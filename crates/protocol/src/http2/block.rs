//! Header block: the fragments of a `HEADERS` or `PUSH_PROMISE` frame and its `CONTINUATION` frames
//! (RFC 9113 §4.3).

use std::ops::Range;

use super::fields::Fields;
use super::frame::{Frame, Kind};
use super::hpack::{Broken, Table};

/// Bytes of a block that are read; servers refuse longer ones.
const BLOCK_MAX: usize = 64 * 1024;

/// A header block, as far as it came.
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    /// Bytes of its frames before the last one.
    pub(super) before: usize,
    bytes: Vec<u8>,
    /// Where the first fragment lies in its frame.
    start: usize,
    /// Bytes of its frames.
    size: usize,
    is_whole: bool,
}

impl Block {
    pub(super) fn new(frame: &Frame) -> Self {
        Self {
            kind: frame.kind,
            stream: frame.stream,
            ends_stream: frame.ends_stream(),
            before: 0,
            bytes: Vec::new(),
            start: 0,
            size: 0,
            is_whole: true,
        }
    }

    /// Takes the fragment at `place` in a frame of which `seen` was copied.
    pub(super) fn add(&mut self, frame: &Frame, seen: &[u8], place: Range<usize>) {
        if self.size == 0 {
            self.start = place.start;
        }
        self.before = self.size;
        self.size = self.size.saturating_add(frame.size());
        let has_room = self.bytes.len() + place.len() <= BLOCK_MAX;
        if self.is_whole && has_room {
            let end = place.end.min(seen.len());
            self.bytes.extend_from_slice(seen.get(place.start..end).unwrap_or_default());
        }
        self.is_whole &= has_room && place.end <= seen.len();
    }

    /// Its fields.
    pub(super) fn read(&self, table: &mut Table) -> Result<Fields, Broken> {
        Fields::read(table, &self.bytes, self.is_whole)
    }

    /// Where what lies at `places` in the block lies in its frames. Where there are several, all of
    /// them is.
    pub(super) fn places(&self, places: Vec<Range<usize>>) -> Vec<Range<usize>> {
        if self.before > 0 && !places.is_empty() {
            return std::iter::once(0..self.size).collect();
        }
        places.iter().map(|it| it.start + self.start..it.end + self.start).collect()
    }
}
