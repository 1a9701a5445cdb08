//! HPACK: header compression, RFC 7541.
//!
//! An encoder names fields by their place in a table that it and its peer fill alike. What was put there
//! before the agent came, or in bytes that were lost, is not known: such fields come out without name
//! and value, and the table is known again from the newest entry down as new entries come. An
//! encoder never names an entry that it has dropped, so dropping late does no harm. Assumed, where
//! the size of the table is not known: no encoder adds entries that are larger than its table.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::huffman;
use super::static_table::STATIC;

/// Size of a table before its encoder says otherwise (RFC 9113 §6.5.2).
const SIZE_DEFAULT: usize = 4096;

/// Size at most, counted as in RFC 7541 §4.1: older entries of larger tables are not known.
const SIZE_MAX: usize = 64 * 1024;

/// What an entry takes besides its bytes (RFC 7541 §4.1).
const ENTRY: usize = 32;

/// Bytes that are not HPACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A header field.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Lower-case name, where known.
    pub(super) name: Option<&'a [u8]>,
    /// Value, where known.
    pub(super) value: Option<&'a [u8]>,
    /// Where the value lies in the block, as it was coded; empty if it lies in a table.
    pub(super) place: Range<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
}

impl Entry {
    fn size(&self) -> usize {
        let len = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        ENTRY + len(&self.name) + len(&self.value)
    }
}

/// The dynamic table of one direction.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// Size at most; `None` where the encoder said it unseen.
    size_max: Option<usize>,
    /// Whether there may be older entries, which are not known.
    has_unknown: bool,
}

impl Default for Table {
    /// The table of a new connection.
    fn default() -> Self {
        let size_max = Some(SIZE_DEFAULT);
        Self { entries: VecDeque::new(), size: 0, size_max, has_unknown: false }
    }
}

impl Table {
    /// A table whose entries are not known.
    pub(super) fn unknown() -> Self {
        Self { size_max: None, has_unknown: true, ..Self::default() }
    }

    /// Reads the fields of a block in order. One that is not whole ends with its last whole field,
    /// and the table is unknown from there on.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        is_whole: bool,
        each: &mut dyn FnMut(&Field<'_>),
    ) -> Result<(), Broken> {
        let mut reader = Reader { block, at: 0 };
        while reader.at < block.len() {
            match self.field(&mut reader, each) {
                Ok(()) => {}
                Err(Stop::Short) if !is_whole => break,
                Err(_) => {
                    *self = Self::unknown();
                    return Err(Broken);
                }
            }
        }
        if !is_whole {
            *self = Self::unknown();
        }
        Ok(())
    }

    /// RFC 7541 §6.
    fn field(
        &mut self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(&Field<'_>),
    ) -> Result<(), Stop> {
        let first = reader.peek()?;
        if first & 0xe0 == 0x20 {
            let size = reader.number(5)?;
            self.resize(size);
            return Ok(());
        }
        if first & 0x80 != 0 {
            each(&self.entry(reader.number(7)?)?);
            return Ok(());
        }
        let is_added = first & 0x40 != 0;
        let index = reader.number(if is_added { 6 } else { 4 })?;
        let name = match index {
            0 => Some(reader.text()?.0),
            index => self.entry(index)?.name.map(Cow::Borrowed),
        };
        let (value, place) = reader.text()?;
        each(&Field { name: name.as_deref(), value: Some(&value), place });
        if is_added {
            let name = name.map(|name| Box::from(&*name));
            self.add(Entry { name, value: Some(Box::from(&*value)) });
        }
        Ok(())
    }

    /// A field of a table, as far as it is known (RFC 7541 §2.3.3).
    fn entry(&self, index: usize) -> Result<Field<'_>, Stop> {
        let of_static = index.checked_sub(1).ok_or(Stop::Broken)?;
        let (name, value) = match STATIC.get(of_static).and_then(|it| it.split_once('=')) {
            Some((name, value)) => (Some(name.as_bytes()), Some(value.as_bytes())),
            None => match self.entries.get(of_static - STATIC.len()) {
                Some(entry) => (entry.name.as_deref(), entry.value.as_deref()),
                // No table is so large.
                None if self.has_unknown && index < SIZE_MAX * 2 => (None, None),
                None => return Err(Stop::Broken),
            },
        };
        Ok(Field { name, value, place: 0..0 })
    }

    /// RFC 7541 §4.4.
    fn add(&mut self, entry: Entry) {
        let size = entry.size();
        if size > self.size_max.unwrap_or(SIZE_DEFAULT) {
            // It may be in the table or not: the place of older ones is not known.
            self.has_unknown = self.size_max.is_none_or(|max| max >= SIZE_MAX);
            self.entries.clear();
            self.size = 0;
            return;
        }
        self.size += size;
        self.entries.push_front(entry);
        self.evict(self.size_max.unwrap_or(SIZE_MAX));
    }

    /// RFC 7541 §4.3 and §6.3.
    fn resize(&mut self, size: usize) {
        self.has_unknown |= size > SIZE_MAX;
        self.has_unknown &= size != 0;
        self.size_max = Some(size.min(SIZE_MAX));
        self.evict(size);
    }

    fn evict(&mut self, size_max: usize) {
        while self.size > size_max.min(SIZE_MAX) {
            let Some(old) = self.entries.pop_back() else { return };
            self.size -= old.size();
        }
    }
}

enum Stop {
    /// The block ends inside a field.
    Short,
    Broken,
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, Stop> {
        self.block.get(self.at).copied().ok_or(Stop::Short)
    }

    /// RFC 7541 §5.1; at most 28 bits.
    fn number(&mut self, bits: u32) -> Result<usize, Stop> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.peek()?) & most;
        self.at += 1;
        if number < most {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.peek()?;
            self.at += 1;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::Broken)
    }

    /// RFC 7541 §5.2: a string, and where it lies.
    fn text(&mut self) -> Result<(Cow<'a, [u8]>, Range<usize>), Stop> {
        let is_coded = self.peek()? & 0x80 != 0;
        let len = self.number(7)?;
        let place = self.at..self.at + len;
        let bytes = self.block.get(place.clone()).ok_or(Stop::Short)?;
        self.at = place.end;
        let text = match is_coded {
            true => Cow::Owned(huffman::decode(bytes).ok_or(Stop::Broken)?),
            false => Cow::Borrowed(bytes),
        };
        Ok((text, place))
    }
}

#[cfg(test)]
mod tests;
