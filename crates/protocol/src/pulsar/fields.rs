//! Fields of a protocol buffer (<https://protobuf.dev/programming-guides/encoding/>).

/// What is there of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a number of variable length.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some(number);
        }
    }
    None
}

impl<'a> Fields<'a> {
    /// Fields in their order, up to one that is not there in whole or is none.
    pub(super) fn iter(self) -> impl Iterator<Item = (u64, Value<'a>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || field(&mut rest))
    }

    /// The last number of this field.
    pub(super) fn number(self, wanted: u64) -> Option<u64> {
        let of = |(number, value)| match value {
            Value::Number(value) if number == wanted => Some(value),
            _ => None,
        };
        self.iter().filter_map(of).last()
    }

    /// The first bytes of this field.
    pub(super) fn bytes(self, wanted: u64) -> Option<&'a [u8]> {
        self.iter().find_map(|(number, value)| match value {
            Value::Bytes(bytes) if number == wanted => Some(bytes),
            _ => None,
        })
    }

    /// Whether all bytes are fields.
    pub(super) fn is_whole(self) -> bool {
        let mut rest = self.0;
        while !rest.is_empty() {
            if field(&mut rest).is_none() {
                return false;
            }
        }
        true
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let mut after = *rest;
    let tag = varint(&mut after)?;
    if tag >> 3 == 0 {
        return None;
    }
    let mut take = |len: u64| {
        let (front, back) = after.split_at_checked(usize::try_from(len).ok()?)?;
        after = back;
        Some(front)
    };
    let value = match tag & 7 {
        0 => Value::Number(varint(&mut after)?),
        1 => Value::Bytes(take(8)?),
        5 => Value::Bytes(take(4)?),
        2 => {
            let len = varint(&mut after)?;
            let (front, back) = after.split_at_checked(usize::try_from(len).ok()?)?;
            after = back;
            Value::Bytes(front)
        }
        _ => return None,
    };
    *rest = after;
    Some((tag >> 3, value))
}
