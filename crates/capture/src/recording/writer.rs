//! Writer of recordings.

use std::io::Write;

use deeptrace_model::Event;

use super::{FRAME_MAX, MAGIC, VERSION};

/// Level of compression: the lowest, because recording must keep up with the kernel.
const LEVEL: i32 = 1;

/// Bytes of frames after which everything is handed to the file: what a killed writer loses.
const FLUSH_BYTES: usize = 1 << 20;

/// Why an event could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The file could not be written. What was flushed before can be read.
    #[error("failed to write the recording: {0}; free space or choose another file")]
    Write(#[from] std::io::Error),
}

/// Writes events into a recording.
///
/// After [`flush`](Self::flush) everything so far can be read, even if the writer is then killed.
pub struct Writer<W: Write> {
    pub(super) zstd: zstd::stream::write::Encoder<'static, W>,
    frame: Vec<u8>,
    unflushed: usize,
    events: u64,
    dropped: u64,
}

impl<W: Write> Writer<W> {
    /// A recording in `file`, which should be new or empty.
    pub fn new(mut file: W) -> Result<Self, WriterError> {
        file.write_all(&MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        let mut zstd = zstd::stream::write::Encoder::new(file, LEVEL)?;
        zstd.include_checksum(true)?;
        Ok(Self { zstd, frame: Vec::new(), unflushed: 0, events: 0, dropped: 0 })
    }

    /// Appends an event. One that is too long to be read again is dropped and counted.
    pub fn write(&mut self, event: &Event<'_>) -> Result<(), WriterError> {
        self.frame.clear();
        self.frame.extend_from_slice(&[0; 4]);
        let frame = std::mem::take(&mut self.frame);
        match postcard::to_extend(event, frame) {
            Ok(frame) if frame.len() - 4 <= FRAME_MAX => self.frame = frame,
            _ => {
                self.dropped += 1;
                return Ok(());
            }
        }
        let len = (self.frame.len() - 4) as u32;
        self.frame[..4].copy_from_slice(&len.to_le_bytes());
        self.zstd.write_all(&self.frame)?;
        self.events += 1;
        self.unflushed += self.frame.len();
        if self.unflushed >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands everything so far to the file. Call it when nothing came for a while.
    pub fn flush(&mut self) -> Result<(), WriterError> {
        self.unflushed = 0;
        Ok(self.zstd.flush()?)
    }

    /// Ends the recording and gives the file back. Without it readers report a recording whose
    /// end is missing.
    pub fn finish(self) -> Result<W, WriterError> {
        let mut file = self.zstd.finish()?;
        file.flush()?;
        Ok(file)
    }

    /// Tells each counter with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("recording_events_written_total", self.events);
        out("recording_events_too_long_total", self.dropped);
    }
}
