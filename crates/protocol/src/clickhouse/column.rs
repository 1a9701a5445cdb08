//! Column: how many bytes the rows of a type take ("Native format", "Data types in ClickHouse").

use super::block::Walk;
use crate::reader::Reader;

/// Types within types that are followed.
const DEPTH_MAX: usize = 16;

/// Elements of an array column that are believed.
const ELEMENTS_MAX: u64 = 1 << 40;

/// What is next of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    /// So many bytes.
    Bytes(u64),
    /// So many texts.
    Texts(u64),
    /// The last offset of arrays, which says how many elements follow; their type.
    LastOffset(Box<str>),
    /// Flags and number of keys, keys, number of rows, indices.
    Dictionary(Box<str>),
    /// Number of rows and indices of so many bytes.
    Indices(u64),
}

/// What `rows` of `kind` are made of, the last first; `None` where the type is not known.
pub(super) fn of(kind: &str, rows: u64) -> Option<Vec<Column>> {
    let mut columns = Vec::new();
    rest(kind, rows, 0, &mut columns)?;
    let dictionaries = kind.matches("LowCardinality(").count() as u64;
    if dictionaries > 0 {
        // A version each, before all rows.
        columns.push(Column::Bytes(8 * dictionaries));
    }
    Some(columns)
}

fn rest(kind: &str, rows: u64, depth: usize, columns: &mut Vec<Column>) -> Option<()> {
    if rows == 0 {
        return Some(());
    }
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(width) = width(kind) {
        columns.push(Column::Bytes(width.checked_mul(rows)?));
        return Some(());
    }
    let (name, inner) = parts(kind);
    let mut arrays = |inner: Box<str>| {
        columns.push(Column::LastOffset(inner));
        columns.push(Column::Bytes(8 * (rows - 1)));
    };
    match name {
        "String" => columns.push(Column::Texts(rows)),
        "Array" => arrays(inner.into()),
        "Map" | "Nested" => arrays(format!("Tuple({inner})").into()),
        "Ring" | "LineString" => arrays("Point".into()),
        "Polygon" | "MultiLineString" => arrays("Ring".into()),
        "MultiPolygon" => arrays("Polygon".into()),
        "Nullable" => {
            rest(inner, rows, depth + 1, columns)?;
            columns.push(Column::Bytes(rows));
        }
        "LowCardinality" => columns.push(Column::Dictionary(inner.into())),
        "SimpleAggregateFunction" => {
            rest(arguments(inner).last()?, rows, depth + 1, columns)?;
        }
        "Tuple" => {
            for element in arguments(inner).iter().rev() {
                rest(without_name(element), rows, depth + 1, columns)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// Bytes of a row, where all have as many.
fn width(kind: &str) -> Option<u64> {
    let (name, inner) = parts(kind);
    Some(match name {
        "UInt8" | "Int8" | "Bool" | "Enum8" | "Nothing" => 1,
        "UInt16" | "Int16" | "Date" | "Enum16" | "BFloat16" => 2,
        "UInt32" | "Int32" | "Float32" | "DateTime" | "Date32" | "Time" | "IPv4" | "Decimal32" => 4,
        "UInt64" | "Int64" | "Float64" | "DateTime64" | "Time64" | "Decimal64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" | "Decimal128" | "Point" => 16,
        "UInt256" | "Int256" | "Decimal256" => 32,
        "FixedString" => inner.parse().ok()?,
        "Decimal" => match arguments(inner).first()?.parse::<u8>().ok()? {
            0..=9 => 4,
            10..=18 => 8,
            19..=38 => 16,
            _ => 32,
        },
        _ if name.starts_with("Interval") => 8,
        _ => return None,
    })
}

/// `name(inner)`.
fn parts(kind: &str) -> (&str, &str) {
    match kind.split_once('(') {
        Some((name, inner)) => (name, inner.strip_suffix(')').unwrap_or(inner)),
        None => (kind, ""),
    }
}

/// What commas divide outside of parentheses and quotes.
fn arguments(list: &str) -> Vec<&str> {
    let (mut all, mut start, mut depth, mut quote, mut is_escaped) = (vec![], 0, 0, None, false);
    for (at, byte) in list.bytes().enumerate() {
        match (quote, byte) {
            _ if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'`') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth -= 1,
            (None, b',') if depth == 0 => {
                all.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(list[start..].trim());
    all
}

/// The type of an element of a tuple, which may have a name.
fn without_name(element: &str) -> &str {
    if let Some(quoted) = element.strip_prefix('`') {
        return quoted.split_once("` ").map_or(element, |parts| parts.1);
    }
    match element.find([' ', '(']) {
        Some(at) if element.as_bytes()[at] == b' ' => &element[at + 1..],
        _ => element,
    }
}

impl Column {
    /// Takes its bytes; returns how many, and what comes then, the last first.
    pub(super) fn step(self, bytes: &[u8]) -> Result<(u64, Vec<Column>), Walk> {
        match self {
            Self::Bytes(len) => Ok((len, vec![])),
            Self::Texts(count) => texts(count, bytes),
            Self::LastOffset(kind) => {
                let count = number(bytes, 0)?;
                if count > ELEMENTS_MAX {
                    return Err(Walk::Wrong);
                }
                let mut columns = Vec::new();
                rest(&kind, count, 1, &mut columns).ok_or(Walk::Blind)?;
                Ok((8, columns))
            }
            Self::Dictionary(kind) => dictionary(&kind, bytes),
            Self::Indices(width) => {
                let rows = number(bytes, 0)?;
                let len = rows.checked_mul(width).filter(|_| rows <= ELEMENTS_MAX);
                Ok((8, vec![Self::Bytes(len.ok_or(Walk::Wrong)?)]))
            }
        }
    }
}

/// As many texts as begin in `bytes`.
fn texts(count: u64, bytes: &[u8]) -> Result<(u64, Vec<Column>), Walk> {
    let (mut used, mut left) = (0u64, count);
    while left > 0 {
        let rest = usize::try_from(used).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
        let mut reader = Reader::new(rest);
        let Some(len) = reader.varint() else { break };
        if len > u64::from(u32::MAX) {
            return Err(Walk::Wrong);
        }
        used = used.saturating_add(reader.at() as u64 + len);
        left -= 1;
    }
    match left {
        0 => Ok((used, vec![])),
        _ if used == 0 => Err(Walk::More),
        _ => Ok((used, vec![Column::Texts(left)])),
    }
}

fn dictionary(kind: &str, bytes: &[u8]) -> Result<(u64, Vec<Column>), Walk> {
    /// The dictionary is kept elsewhere, which the native protocol never does.
    const IS_GLOBAL: u64 = 1 << 8;
    let flags = number(bytes, 0)?;
    let keys = number(bytes, 8)?;
    let width = 1u64.checked_shl((flags & 0xff) as u32).filter(|width| *width <= 8);
    let width = width.filter(|_| flags & IS_GLOBAL == 0 && flags < 1 << 16);
    let width = width.filter(|_| keys <= ELEMENTS_MAX).ok_or(Walk::Wrong)?;
    let mut columns = vec![Column::Indices(width)];
    // A key may stand for NULL; there is no map of those.
    let kind =
        kind.strip_prefix("Nullable(").and_then(|kind| kind.strip_suffix(')')).unwrap_or(kind);
    rest(kind, keys, 1, &mut columns).ok_or(Walk::Blind)?;
    Ok((16, columns))
}

fn number(bytes: &[u8], at: usize) -> Result<u64, Walk> {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or(Walk::More)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_parts() {
        let bytes = |kind: &str| of(kind, 2);
        assert_eq!(bytes("DateTime('Europe/Berlin')"), Some(vec![Column::Bytes(8)]));
        assert_eq!(bytes("Enum16('a, (b' = 1)"), Some(vec![Column::Bytes(4)]));
        assert_eq!(bytes("Decimal(18, 4)"), Some(vec![Column::Bytes(16)]));
        assert_eq!(bytes("FixedString(5)"), Some(vec![Column::Bytes(10)]));
        assert_eq!(bytes("Nullable(String)"), Some(vec![Column::Texts(2), Column::Bytes(2)]));
        let tuple = vec![Column::Texts(2), Column::Bytes(2), Column::Bytes(8)];
        assert_eq!(bytes("Tuple(UInt32, Nullable(String))"), Some(tuple.clone()));
        assert_eq!(bytes("Tuple(a UInt32, `b c` Nullable(String))"), Some(tuple));
        assert_eq!(bytes("AggregateFunction(sum, UInt8)"), None);
        assert_eq!(
            bytes(&"Array(".repeat(100)),
            Some(vec![Column::LastOffset("Array(".repeat(99).into()), Column::Bytes(8),])
        );
        assert_eq!(of(&"Nullable(".repeat(100), 2), None);
    }

    #[test]
    fn texts_go_on_where_bytes_end() {
        let step = |column: Column, bytes: &[u8]| column.step(bytes);
        assert_eq!(step(Column::Texts(2), b"\x01a\x02bc"), Ok((5, vec![])));
        assert_eq!(step(Column::Texts(2), b"\x01a"), Ok((2, vec![Column::Texts(1)])));
        assert_eq!(step(Column::Texts(2), b"\x05a"), Ok((6, vec![Column::Texts(1)])));
        assert_eq!(step(Column::Texts(2), b""), Err(Walk::More));
        let last = Column::LastOffset("String".into());
        let offset = 3u64.to_le_bytes();
        assert_eq!(last.step(&offset), Ok((8, vec![Column::Texts(3)])));
    }
}
