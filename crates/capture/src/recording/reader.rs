//! Reader of recordings: a source that gives the same events each time.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use deeptrace_model::Event;

use super::{FRAME_MAX, MAGIC, VERSION, VERSIONS};
use crate::{Progress, Source, SourceError};

/// Events that one poll delivers, at most.
const BATCH: usize = 1024;

/// Bytes decompressed at once. The buffer grows to one longest frame beyond it and no further.
const CHUNK: usize = 256 * 1024;

/// Reads a recording. Its memory does not depend on the recording's length.
///
/// A frame that holds no event is dropped and counted. Where the stream itself is broken or ends
/// early (the writer was killed), everything before is delivered, then one error, then `End`.
pub struct Reader<R: Read> {
    path: String,
    zstd: zstd::stream::read::Decoder<'static, std::io::BufReader<R>>,
    buffer: Vec<u8>,
    /// What of `buffer` was read but not delivered: `start..end`.
    start: usize,
    end: usize,
    state: State,
    events: u64,
    corrupt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// No more bytes come.
    Drained,
    Ended,
}

impl Reader<File> {
    /// Opens the recording at `path`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| read_error(&name, source))?;
        Self::new(&name, file)
    }
}

impl<R: Read> Reader<R> {
    /// Reads a recording from `file`; `path` names it in errors.
    pub fn new(path: &str, mut file: R) -> Result<Self, SourceError> {
        let mut header = [0; MAGIC.len() + 4];
        file.read_exact(&mut header).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => format_error(path, NOT_A_RECORDING),
            _ => read_error(path, source),
        })?;
        let (magic, version) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(format_error(path, NOT_A_RECORDING));
        }
        let version = version.iter().rev().fold(0_u32, |number, b| number << 8 | u32::from(*b));
        if !VERSIONS.contains(&version) {
            return Err(format_error(
                path,
                &format!(
                    "is a recording of version {version}, this program reads versions up to {VERSION}: \
                     use the release that recorded it"
                ),
            ));
        }
        let zstd =
            zstd::stream::read::Decoder::new(file).map_err(|source| read_error(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            zstd,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            state: State::Reading,
            events: 0,
            corrupt: 0,
        })
    }

    /// Reads more bytes behind what is left. At most one frame is left, so the buffer is bounded.
    fn fill(&mut self) -> Result<(), SourceError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + CHUNK {
            self.buffer.resize(self.end + CHUNK, 0);
        }
        match self.zstd.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.state = State::Drained,
            Ok(len) => self.end += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                self.state = State::Ended;
                return Err(match error.kind() {
                    ErrorKind::UnexpectedEof => format_error(&self.path, CUT_OFF),
                    // What zstd says of a broken stream has no kind of its own.
                    ErrorKind::Other => format_error(
                        &self.path,
                        &format!("is damaged ({error}): the events before the damage were read"),
                    ),
                    _ => read_error(&self.path, error),
                });
            }
        }
        Ok(())
    }

    /// The bounds of the next frame in the buffer; `None` if it is not whole yet.
    fn frame(&self) -> Result<Option<std::ops::Range<usize>>, SourceError> {
        let Some((len, rest)) = self.buffer[self.start..self.end].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*len) as usize;
        if len > FRAME_MAX {
            let problem = "is damaged (a frame is too long): the events before it were read";
            return Err(format_error(&self.path, problem));
        }
        let start = self.start + 4;
        Ok((len <= rest.len()).then_some(start..start + len))
    }
}

impl<R: Read> Source for Reader<R> {
    fn poll(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<Progress, SourceError> {
        if self.state == State::Ended {
            return Ok(Progress::End);
        }
        for _ in 0..BATCH {
            let frame = loop {
                match self.frame() {
                    Ok(Some(frame)) => break frame,
                    Ok(None) if self.state == State::Reading => self.fill()?,
                    Ok(None) => {
                        let is_whole = self.start == self.end;
                        self.state = State::Ended;
                        let cut = || format_error(&self.path, CUT_OFF);
                        return if is_whole { Ok(Progress::End) } else { Err(cut()) };
                    }
                    Err(error) => {
                        self.state = State::Ended;
                        return Err(error);
                    }
                }
            };
            self.start = frame.end;
            match postcard::take_from_bytes::<Event<'_>>(&self.buffer[frame]) {
                Ok((event, [])) => {
                    self.events += 1;
                    sink(&event);
                }
                _ => self.corrupt += 1,
            }
        }
        Ok(Progress::More)
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("recording_events_read_total", self.events);
        out("recording_frames_corrupt_total", self.corrupt);
    }
}

const NOT_A_RECORDING: &str =
    "is not a recording: give a file that `deeptrace record` wrote, or a .pcap or .pcapng";

const CUT_OFF: &str = "ends in the middle (its writer was killed, or the disk was full): all events before the end were read";

fn format_error(path: &str, problem: &str) -> SourceError {
    SourceError::Format { path: path.to_owned(), problem: problem.to_owned() }
}

fn read_error(path: &str, source: std::io::Error) -> SourceError {
    SourceError::Read { path: path.to_owned(), source }
}
