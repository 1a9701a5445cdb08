//! Recording: events in a file, as they were copied, to be replayed without the kernel.
//!
//! Layout: the magic `DTEVENTS`, the version as a little-endian `u32`, then one zstd stream of
//! frames. A frame is its length as a little-endian `u32` and one [`Event`](deeptrace_model::Event)
//! in postcard's format, which lets a reader borrow payloads from its buffer.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::{Writer, WriterError};

/// First bytes of a recording.
const MAGIC: [u8; 8] = *b"DTEVENTS";

/// Version of the layout and of the vocabulary in it. Postcard does not describe itself, so a changed
/// `Event` is a new version.
const VERSION: u32 = 2;

/// Readers refuse any other. Version 1 had no messages.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=VERSION;

/// Bytes of one frame, at most: the largest payload (16 KiB), or a process with long texts.
const FRAME_MAX: usize = 1 << 20;

/// Whether a file that starts with `bytes` is a recording (of any version).
pub fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

#[cfg(test)]
mod tests;
