//! Links: those of one batch by columns, parents and what repeats stored once.

use std::borrow::Cow;

use deeptrace_model::{Link, Method, Relation, SpanId, WallTime};
use rustc_hash::FxHashMap;

use super::column::{columns, get, put};
use super::pace::Pace;

columns! {
    /// One link.
    LinkRow {
        child: Fixed,
        /// Index into the parents, one more; zero where there is none.
        parent: Plain,
        /// Nanoseconds since the epoch.
        child_start: Delta,
        flags: Plain,
        /// Index into what repeats.
        kind: Plain,
        candidates: Plain,
        generation: Plain,
    }
}

const METHODS: [Method; 8] = [
    Method::TraceContext,
    Method::Connection,
    Method::Thread,
    Method::Coroutine,
    Method::Wake,
    Method::Queue,
    Method::Order,
    Method::Inferred,
];

/// Appends links, by the start of their child.
pub(super) fn write(links: &[&Link], out: &mut Vec<u8>, pace: &mut Pace) -> postcard::Result<()> {
    let mut parents = Numbers::default();
    let mut kinds = Numbers::default();
    let rows: Vec<LinkRow> = links
        .iter()
        .map(|link| LinkRow {
            child: link.child.0,
            parent: link.parent.map_or(0, |parent| parents.number(parent.0) + 1),
            child_start: link.child_start.0,
            flags: flags(link),
            kind: kinds.number((link.confidence.to_bits(), &*link.algorithm)),
            candidates: link.candidates.into(),
            generation: link.generation.into(),
        })
        .collect();
    *out = postcard::to_extend(&kinds.values, std::mem::take(out))?;
    put(parents.values.len() as u64, out);
    parents.values.iter().for_each(|parent| out.extend_from_slice(&parent.to_le_bytes()));
    put(rows.len() as u64, out);
    LinkRow::write(&rows, out, pace);
    Ok(())
}

/// Bits: 0–3 method, 4 follows, 5 final.
fn flags(link: &Link) -> u64 {
    let method = METHODS.iter().position(|method| *method == link.method).unwrap_or_default();
    method as u64
        | u64::from(link.relation == Relation::Follows) << 4
        | u64::from(link.is_final) << 5
}

/// Reads what [`write`] wrote.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Link>, String> {
    let (kinds, mut rest): (Vec<(u32, Cow<'static, str>)>, _) =
        postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
    read_rows(&kinds, &mut rest).filter(|_| rest.is_empty()).ok_or_else(|| "it is cut".to_owned())
}

fn read_rows(kinds: &[(u32, Cow<'static, str>)], rest: &mut &[u8]) -> Option<Vec<Link>> {
    let count = usize::try_from(get(rest)?).ok()?;
    let (parents, after) = rest.split_at_checked(count.checked_mul(8)?)?;
    let (parents, _) = parents.as_chunks::<8>();
    *rest = after;
    let count = usize::try_from(get(rest)?).ok()?;
    let link = |row: LinkRow| {
        let (confidence, algorithm) = kinds.get(usize::try_from(row.kind).ok()?)?;
        let parent = match usize::try_from(row.parent).ok()?.checked_sub(1) {
            Some(index) => Some(SpanId(u64::from_le_bytes(*parents.get(index)?))),
            None => None,
        };
        Some(Link {
            child: SpanId(row.child),
            parent,
            child_start: WallTime(row.child_start),
            method: *METHODS.get((row.flags & 15) as usize)?,
            relation: if row.flags >> 4 & 1 == 1 { Relation::Follows } else { Relation::Child },
            confidence: f32::from_bits(*confidence),
            algorithm: algorithm.clone(),
            candidates: row.candidates.try_into().ok()?,
            generation: row.generation.try_into().ok()?,
            is_final: row.flags >> 5 & 1 == 1,
        })
    };
    LinkRow::read(count, rest)?.into_iter().map(link).collect()
}

/// Values in the order in which they came, each once.
struct Numbers<T> {
    numbers: FxHashMap<T, u64>,
    values: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), values: Vec::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Numbers<T> {
    fn number(&mut self, value: T) -> u64 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as u64 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_model::hash64;

    #[test]
    fn links_come_back_and_cut_ones_do_not() {
        let link = |n: u64| Link {
            child: SpanId(hash64(&[n])),
            parent: (!n.is_multiple_of(5)).then_some(SpanId(hash64(&[n / 3, 1]))),
            child_start: WallTime(n * n),
            method: METHODS[n as usize % 8],
            relation: if n.is_multiple_of(3) { Relation::Follows } else { Relation::Child },
            confidence: (n % 4) as f32 / 4.0,
            algorithm: if n.is_multiple_of(2) { "auto".into() } else { "fifo".into() },
            candidates: n as u32,
            generation: (n % 3) as u32,
            is_final: !n.is_multiple_of(7),
        };
        for count in [0, 1, 100] {
            let links: Vec<Link> = (0..count).map(link).collect();
            let mut bytes = Vec::new();
            write(&links.iter().collect::<Vec<_>>(), &mut bytes, &mut Pace::new(false)).unwrap();
            assert_eq!(read(&bytes).unwrap(), links);
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
            }
        }
    }
}
