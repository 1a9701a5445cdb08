//! Table: values of one kind of which each can be read without the others: their number, the length of each, then
//! their bytes (by postcard).

use serde::{Deserialize, Serialize};

use super::column::{get, put};

/// Where the values of a table are in the bytes of its block.
#[derive(Debug)]
pub(super) struct Table {
    /// Where each begins, and the last one ends.
    bounds: Vec<u32>,
}

/// Appends a table of `values`.
pub(super) fn write<T: Serialize>(
    values: impl ExactSizeIterator<Item = T>,
    out: &mut Vec<u8>,
) -> postcard::Result<()> {
    put(values.len() as u64, out);
    let (mut bytes, mut begun) = (Vec::new(), 0);
    for value in values {
        bytes = postcard::to_extend(&value, bytes)?;
        put((bytes.len() - begun) as u64, out);
        begun = bytes.len();
    }
    out.extend_from_slice(&bytes);
    Ok(())
}

impl Table {
    /// Reads where the values are of the table that begins at `at`, and moves `at` behind it; `None`: it is cut.
    pub(super) fn read(plain: &[u8], at: &mut usize) -> Option<Self> {
        let mut rest = plain.get(*at..)?;
        let count = usize::try_from(get(&mut rest)?).ok()?;
        // Each has a byte for its length at least.
        if count > rest.len() {
            return None;
        }
        let mut lens = Vec::with_capacity(count);
        for _ in 0..count {
            lens.push(usize::try_from(get(&mut rest)?).ok()?);
        }
        let mut end = plain.len() - rest.len();
        let mut bounds = Vec::with_capacity(count + 1);
        bounds.push(u32::try_from(end).ok()?);
        for len in lens {
            end = end.checked_add(len).filter(|end| *end <= plain.len())?;
            bounds.push(u32::try_from(end).ok()?);
        }
        *at = end;
        Some(Self { bounds })
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Bytes in memory beside those of the block, about.
    pub(super) fn weight(&self) -> usize {
        self.bounds.len() * size_of::<u32>()
    }

    /// The value at `index` of the table that was read from `plain`; `None`: it is not there, or no such value.
    pub(super) fn get<'a, T: Deserialize<'a>>(&self, plain: &'a [u8], index: usize) -> Option<T> {
        let (begin, end) = (*self.bounds.get(index)?, *self.bounds.get(index.checked_add(1)?)?);
        postcard::from_bytes(plain.get(begin as usize..end as usize)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_one_at_a_time_and_cut_tables_do_not() {
        let values = ["", "a", "what is longer", "a"];
        let mut plain = b"before".to_vec();
        write(values.iter(), &mut plain).unwrap();
        let len = plain.len();
        plain.extend_from_slice(b"behind");
        let mut at = 6;
        let table = Table::read(&plain, &mut at).unwrap();
        assert_eq!((at, table.len()), (len, 4));
        for (index, value) in values.into_iter().enumerate().rev() {
            assert_eq!(table.get::<&str>(&plain, index), Some(value));
        }
        assert_eq!(table.get::<&str>(&plain, 4), None);
        assert_eq!(table.get::<(u64, u64)>(&plain, 0), None);
        for end in 6..len {
            assert!(Table::read(&plain[..end], &mut 6).is_none(), "{end} of {len} bytes");
        }
    }
}
