//! Block: rows by columns, as `Data` and its like carry them ("Native format"; "Native interface (TCP)").
//!
//! Nothing tells how long a block is. A compressed one is a row of frames, each with its length; of a
//! plain one all columns must be walked. Columns of fixed width are passed over by position, texts
//! are as long as each says. A block is *blind* once bytes are needed that were not copied, or a
//! type is not known; where it ends is then not known.

use super::column::{self, Column};
use crate::reader::Reader;

/// Bytes that a name with its type may have.
const NAME_MAX: u64 = 32 * 1024;

/// Columns and rows of a block that are believed.
const COLUMNS_MAX: u64 = 64 * 1024;
const ROWS_MAX: u64 = 1 << 32;

/// Check sum, method, two lengths.
const FRAME_HEADER: usize = 25;
const CHECK_SUM: usize = 16;

/// Length in which a frame's own header is contained.
const FRAME_MIN: u32 = 9;
const FRAME_MAX: u32 = 1 << 30;

/// What a writer collects before it compresses: such a frame may go on in the next.
const FRAME_FULL: u32 = 1 << 20;

/// Bytes of a block without columns.
const EMPTY: u32 = 10;

/// How a connection writes blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) is_compressed: bool,
    /// Each column says whether it is written in a way of its own (revision 54454).
    pub(super) has_kinds: bool,
}

/// Where a walk over some bytes ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Walk {
    /// More bytes are needed from here.
    More,
    /// All is read.
    End,
    /// It is not what it was taken for.
    Wrong,
    /// What follows can't be followed.
    Blind,
}

/// A block that is being read.
#[derive(Clone, Debug)]
pub(super) struct Block {
    layout: Layout,
    todo: Vec<Task>,
    /// Rows, where they are told in plain.
    pub(super) rows: u64,
    /// Whether it has no columns.
    pub(super) is_empty: bool,
    has_frames: bool,
}

#[derive(Clone, Debug)]
enum Task {
    /// Name of a temporary table.
    Name,
    /// Block info, numbers of columns and rows.
    Head,
    Columns(u64),
    Column(Column),
    Frame,
    /// A frame, if there is one.
    NextFrame,
}

impl Block {
    pub(super) fn new(layout: Layout) -> Self {
        let body = if layout.is_compressed { Task::Frame } else { Task::Head };
        let todo = vec![body, Task::Name];
        Self { layout, todo, rows: 0, is_empty: false, has_frames: false }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.layout.is_compressed
    }

    /// Goes on with `bytes`; returns how many are used, perhaps more than are there.
    pub(super) fn walk(&mut self, bytes: &[u8], is_last: bool) -> (u64, Walk) {
        let mut used = 0u64;
        while let Some(task) = self.todo.pop() {
            let rest = usize::try_from(used).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
            match self.step(task.clone(), rest, is_last) {
                Ok(len) => used = used.saturating_add(len),
                Err(Walk::More) if is_last => return (used, Walk::Blind),
                Err(walk) => {
                    self.todo.push(task);
                    return (used, walk);
                }
            }
        }
        (used, Walk::End)
    }

    /// Does what is next; returns its length.
    fn step(&mut self, task: Task, bytes: &[u8], is_last: bool) -> Result<u64, Walk> {
        let mut reader = Reader::new(bytes);
        match task {
            Task::Name => {
                let len = reader.varint().ok_or(Walk::More)?;
                if len > NAME_MAX { Err(Walk::Wrong) } else { Ok(len + reader.at() as u64) }
            }
            Task::Head => self.head(bytes),
            Task::Columns(left) => self.column(left, bytes),
            Task::Column(column) => {
                let (len, more) = column.step(bytes)?;
                self.todo.extend(more.into_iter().map(Task::Column));
                Ok(len)
            }
            Task::Frame => self.frame(bytes),
            Task::NextFrame => match frame(bytes) {
                Some(_) => self.frame(bytes),
                None if bytes.len() >= FRAME_HEADER || is_last => Ok(0),
                None => Err(Walk::More),
            },
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<u64, Walk> {
        let mut reader = Reader::new(bytes);
        loop {
            match reader.u8().ok_or(Walk::More)? {
                0 => break,
                1 => drop(reader.u8().ok_or(Walk::More)?),
                2 => drop(reader.u32().ok_or(Walk::More)?),
                _ => return Err(Walk::Wrong),
            }
        }
        let columns = reader.varint().ok_or(Walk::More)?;
        self.rows = reader.varint().ok_or(Walk::More)?;
        if columns > COLUMNS_MAX || self.rows > ROWS_MAX {
            return Err(Walk::Wrong);
        }
        self.is_empty = columns == 0;
        if columns > 0 {
            self.todo.push(Task::Columns(columns));
        }
        Ok(reader.at() as u64)
    }

    /// Name and type of a column; what its rows are made of comes next.
    fn column(&mut self, left: u64, bytes: &[u8]) -> Result<u64, Walk> {
        let mut reader = Reader::new(bytes);
        text(&mut reader)?;
        let kind = text(&mut reader)?;
        let kind = std::str::from_utf8(kind).map_err(|_| Walk::Wrong)?;
        if !kind.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(Walk::Wrong);
        }
        if self.layout.has_kinds {
            match reader.u8().ok_or(Walk::More)? {
                0 => {}
                1 if self.rows > 0 => return Err(Walk::Blind),
                1 => {
                    // How it would be written, were there rows.
                    reader.u8().ok_or(Walk::More)?;
                }
                _ => return Err(Walk::Wrong),
            }
        }
        if left > 1 {
            self.todo.push(Task::Columns(left - 1));
        }
        if self.rows > 0 {
            let columns = column::of(kind, self.rows).ok_or(Walk::Blind)?;
            self.todo.extend(columns.into_iter().map(Task::Column));
        }
        Ok(reader.at() as u64)
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<u64, Walk> {
        if bytes.len() < FRAME_HEADER {
            return Err(Walk::More);
        }
        let (packed, plain) = frame(bytes).ok_or(Walk::Wrong)?;
        self.is_empty = !self.has_frames && plain == EMPTY;
        self.has_frames = true;
        if plain >= FRAME_FULL {
            self.todo.push(Task::NextFrame);
        }
        Ok(CHECK_SUM as u64 + u64::from(packed))
    }
}

/// A text with its length before it.
fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Walk> {
    let len = reader.varint().ok_or(Walk::More)?;
    if len > NAME_MAX {
        return Err(Walk::Wrong);
    }
    reader.take(len as usize).ok_or(Walk::More)
}

/// Compressed and plain length of a frame, where its header is whole and can be one.
pub(super) fn frame(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.get(CHECK_SUM..FRAME_HEADER)?;
    let length = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (packed, plain) = (length(1)?, length(5)?);
    let fits = match header[0] {
        // As it is; LZ4, which packs 255 bytes into one at most; ZSTD.
        0x02 => packed.checked_sub(FRAME_MIN) == Some(plain),
        0x82 => plain / 255 <= packed,
        0x90 => true,
        _ => return None,
    };
    let is_bounded = (FRAME_MIN + 1..FRAME_MAX).contains(&packed) && plain <= FRAME_MAX;
    (fits && is_bounded && plain > 0).then_some((packed, plain))
}
