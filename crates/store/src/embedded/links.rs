//! Links: those of one batch by columns, parents and what repeats stored once; each made whole when it is wanted.

use std::sync::OnceLock;

use deeptrace_model::{Link, Method, Relation, SpanId, Text, WallTime};
use rustc_hash::FxHashMap;

use super::column::{columns, get, put};
use super::pace::Pace;
use super::places::Places;
use crate::LinkKey;

columns! {
    /// One link.
    LinkRow,
    /// Links.
    LinkRows {
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

/// Links of one batch.
#[derive(Debug)]
pub(super) struct Links {
    /// Confidence and algorithm.
    kinds: Vec<(u32, Text)>,
    parents: Vec<u64>,
    count: usize,
    rows: LinkRows,
    /// Where children and parents are, once they were asked for.
    by_child: OnceLock<Places>,
    by_parent: OnceLock<Places>,
}

impl Links {
    /// Reads what [`write`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (kinds, mut rest): (Vec<(u32, Text)>, _) =
            postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
        let read = Self::read(kinds, &mut rest);
        read.filter(|_| rest.is_empty()).ok_or_else(|| "it is cut".to_owned())
    }

    fn read(kinds: Vec<(u32, Text)>, rest: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(get(rest)?).ok()?;
        let (parents, after) = rest.split_at_checked(count.checked_mul(8)?)?;
        let parents = parents.as_chunks::<8>().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
        *rest = after;
        let count = usize::try_from(get(rest)?).ok()?;
        let rows = LinkRows::read(count, rest)?;
        let (by_child, by_parent) = Default::default();
        Some(Self { kinds, parents, count, rows, by_child, by_parent })
    }

    /// Bytes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let kinds = self.kinds.iter().map(|kind| size_of_val(kind) + kind.1.len());
        kinds.sum::<usize>()
            + size_of_val(&self.parents[..])
            + self.rows.weight()
            + 2 * Places::weight(self.count)
    }

    /// When the child of link `index` starts.
    pub(super) fn start(&self, index: usize) -> WallTime {
        WallTime(self.rows.child_start.get(index))
    }

    /// The link `index`; `None`: what it names is not there.
    pub(super) fn link(&self, index: usize) -> Option<Link> {
        let row = self.rows.row(index);
        let (confidence, algorithm) = self.kinds.get(usize::try_from(row.kind).ok()?)?;
        let parent = match usize::try_from(row.parent).ok()?.checked_sub(1) {
            Some(parent) => Some(SpanId(*self.parents.get(parent)?)),
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
    }

    /// All of them; `None`: what one names is not there.
    pub(super) fn all(&self) -> Option<Vec<Link>> {
        (0..self.count).map(|index| self.link(index)).collect()
    }

    /// Tells the links that have that key.
    pub(super) fn each_holder(&self, key: &LinkKey, each: impl FnMut(usize)) {
        let Self { rows, parents, .. } = self;
        let parent = |index: usize| {
            let place = usize::try_from(rows.parent.get(index)).ok()?.checked_sub(1)?;
            parents.get(place).copied()
        };
        match *key {
            LinkKey::Child(id) => {
                let number = |index| rows.child.get(index);
                let places = || Places::of(self.count, |index| Some(number(index)));
                self.by_child.get_or_init(places).each(id.0, number, each);
            }
            LinkKey::Parent(id) => {
                let places = || Places::of(self.count, parent);
                let number = |index| parent(index).unwrap_or_default();
                self.by_parent.get_or_init(places).each(id.0, number, each);
            }
        }
    }
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
            let read = Links::from_bytes(&bytes).unwrap();
            assert_eq!(read.all().unwrap(), links);
            for link in &links {
                let keys = [Some(LinkKey::Child(link.child)), link.parent.map(LinkKey::Parent)];
                for key in keys.into_iter().flatten() {
                    let mut told = Vec::new();
                    read.each_holder(&key, |index| told.push(links[index].clone()));
                    let held = links.iter().filter(|it| key.matches(it)).cloned();
                    assert_eq!(told, held.collect::<Vec<_>>());
                }
            }
            for len in 0..bytes.len() {
                assert!(Links::from_bytes(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
            }
        }
    }
}
