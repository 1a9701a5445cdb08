//! Columns: how a list of numbers is laid out so that it compresses. A number is a varint (LEB128, as
//! in DWARF 5 §7.6) unless its column says otherwise.

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As it is.
    Plain,
    /// Near zero, on both sides.
    Signed,
    /// The difference to the one before, near zero on both sides.
    Delta,
    /// Random: eight bytes each, little-endian, where a varint would take ten.
    Fixed,
}

/// A row of numbers, many of which are stored by columns; and the columns as they are read.
macro_rules! columns {
    (
        $(#[$doc:meta])* $name:ident,
        $(#[$columns_doc:meta])* $columns:ident
        { $($(#[$field_doc:meta])* $field:ident: $layout:ident,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: u64,)*
        }

        impl $name {
            /// Appends all rows, column by column.
            pub(super) fn write(
                rows: &[Self],
                out: &mut Vec<u8>,
                pace: &mut $crate::embedded::pace::Pace,
            ) {
                use $crate::embedded::column::{Layout, write};
                $(
                    write(Layout::$layout, rows.iter().map(|row| row.$field), out);
                    pace.step();
                )*
            }
        }

        $(#[$columns_doc])*
        #[derive(Debug)]
        pub(super) struct $columns {
            $(pub(super) $field: $crate::embedded::column::Column,)*
        }

        impl $columns {
            /// Reads `count` rows off the front of `bytes`; `None`: they are not there.
            pub(super) fn read(count: usize, bytes: &mut &[u8]) -> Option<Self> {
                use $crate::embedded::column::{Column, Layout};
                Some(Self { $($field: Column::read(Layout::$layout, count, bytes)?,)* })
            }

            /// The row at `index`, which is less than their number.
            pub(super) fn row(&self, index: usize) -> $name {
                $name { $($field: self.$field.get(index),)* }
            }

            /// Bytes in memory.
            pub(super) fn weight(&self) -> usize {
                0 $(+ self.$field.weight())*
            }
        }
    };
}

pub(crate) use columns;

/// The numbers of a column, in as few bytes as is done quickly.
#[derive(Debug)]
pub(crate) enum Column {
    /// All are below 128.
    Bytes(Vec<u8>),
    /// All are from -64 to 63; as they are stored.
    Near(Vec<u8>),
    /// All are below 2³².
    Words(Vec<u32>),
    /// Any.
    Numbers(Vec<u64>),
}

impl Column {
    /// Reads a column of `count` numbers off the front of `bytes`; `None`: it is not there.
    pub(crate) fn read(layout: Layout, count: usize, bytes: &mut &[u8]) -> Option<Self> {
        // No column has less than a byte for each of its numbers.
        let (head, rest) = bytes.split_at_checked(count)?;
        let one_each = matches!(layout, Layout::Plain | Layout::Signed)
            && head.iter().all(|byte| *byte < 0x80);
        if one_each {
            *bytes = rest;
            let is_plain = layout == Layout::Plain;
            return Some(if is_plain {
                Self::Bytes(head.to_vec())
            } else {
                Self::Near(head.to_vec())
            });
        }
        if layout == Layout::Fixed {
            let (words, rest) = bytes.split_at_checked(count.checked_mul(8)?)?;
            *bytes = rest;
            let words = words.as_chunks::<8>().0.iter();
            return Some(Self::Numbers(words.map(|word| u64::from_le_bytes(*word)).collect()));
        }
        let mut numbers = Vec::with_capacity(count);
        read(layout, count, bytes, |_, number| numbers.push(number))?;
        let is_short = numbers.iter().all(|number| *number <= u64::from(u32::MAX));
        Some(match layout {
            Layout::Plain if is_short => {
                Self::Words(numbers.into_iter().map(|number| number as u32).collect())
            }
            _ => Self::Numbers(numbers),
        })
    }

    /// The number at `index`, which is less than their count.
    pub(crate) fn get(&self, index: usize) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes[index].into(),
            Self::Near(bytes) => unzigzag(bytes[index].into()),
            Self::Words(words) => words[index].into(),
            Self::Numbers(numbers) => numbers[index],
        }
    }

    /// Where `number` is, at `from` or behind it.
    pub(crate) fn find(&self, number: u64, from: usize) -> Option<usize> {
        fn position<T: PartialEq>(all: &[T], one: Option<T>, from: usize) -> Option<usize> {
            let one = one?;
            all.get(from..)?.iter().position(|it| *it == one).map(|at| from + at)
        }
        match self {
            Self::Bytes(bytes) => position(bytes, u8::try_from(number).ok(), from),
            Self::Near(bytes) => position(bytes, u8::try_from(zigzag(number)).ok(), from),
            Self::Words(words) => position(words, u32::try_from(number).ok(), from),
            Self::Numbers(numbers) => position(numbers, Some(number), from),
        }
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Near(bytes) => bytes.len(),
            Self::Words(words) => size_of_val(&words[..]),
            Self::Numbers(numbers) => size_of_val(&numbers[..]),
        }
    }
}

/// Appends a column.
pub(crate) fn write(layout: Layout, numbers: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    match layout {
        Layout::Plain => put_all(numbers, out),
        Layout::Signed => put_all(numbers.map(zigzag), out),
        Layout::Delta => {
            let mut last = 0_u64;
            let step = move |number| {
                let difference = u64::wrapping_sub(number, std::mem::replace(&mut last, number));
                zigzag(difference)
            };
            put_all(numbers.map(step), out);
        }
        Layout::Fixed => numbers.for_each(|number| out.extend_from_slice(&number.to_le_bytes())),
    }
}

/// Reads the `count` numbers of a column off the front of `bytes` and hands each to `each`; `None`:
/// they are not there.
pub(crate) fn read(
    layout: Layout,
    count: usize,
    bytes: &mut &[u8],
    mut each: impl FnMut(usize, u64),
) -> Option<()> {
    let mut last = 0_u64;
    for index in 0..count {
        let number = match layout {
            Layout::Plain => get(bytes)?,
            Layout::Signed => unzigzag(get(bytes)?),
            Layout::Delta => {
                last = last.wrapping_add(unzigzag(get(bytes)?));
                last
            }
            Layout::Fixed => {
                let (word, rest) = bytes.split_first_chunk::<8>()?;
                *bytes = rest;
                u64::from_le_bytes(*word)
            }
        };
        each(index, number);
    }
    Some(())
}

/// Appends varints. Those of most columns are all of one byte, which is done faster.
fn put_all(numbers: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    if numbers.clone().all(|number| number < 0x80) {
        out.extend(numbers.map(|number| number as u8));
    } else {
        numbers.for_each(|number| put(number, out));
    }
}

/// Appends a varint.
pub(crate) fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a varint off the front; `None`: it is cut, or too long.
pub(crate) fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Small numbers of both signs as small numbers: 0, -1, 1, -2 …
fn zigzag(number: u64) -> u64 {
    (number << 1) ^ ((number as i64) >> 63) as u64
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_and_cut_ones_do_not() {
        let all = [Layout::Plain, Layout::Signed, Layout::Delta, Layout::Fixed];
        for numbers in [
            vec![],
            vec![0],
            vec![u64::MAX, 0, 1, u64::MAX - 1, 1 << 63],
            vec![7; 9],
            vec![1000, 1 << 31, 3],
        ] {
            for layout in all {
                let mut bytes = Vec::new();
                write(layout, numbers.iter().copied(), &mut bytes);
                let mut read_back = Vec::new();
                let mut rest = bytes.as_slice();
                let done = read(layout, numbers.len(), &mut rest, |_, it| read_back.push(it));
                assert_eq!((done, rest.len(), &read_back), (Some(()), 0, &numbers), "{layout:?}");
                let column = Column::read(layout, numbers.len(), &mut bytes.as_slice()).unwrap();
                for (at, number) in numbers.iter().enumerate() {
                    assert_eq!(column.get(at), *number, "{layout:?}");
                    let first = numbers.iter().position(|it| it == number);
                    assert_eq!(
                        (column.find(*number, 0), column.find(*number, at)),
                        (first, Some(at))
                    );
                    assert_eq!(column.find(number ^ 5, 0), None, "{layout:?}");
                }
                for len in 0..bytes.len() {
                    let cut = read(layout, numbers.len(), &mut &bytes[..len], |_, _| {});
                    assert_eq!(cut, None, "{layout:?}, {len} bytes");
                }
            }
        }
        assert_eq!(get(&mut &[0x80; 12][..]), None);
    }
}
