//! Block: the spans of one batch as they were read, each made whole when it is wanted.
//!
//! Most questions want a few spans of thousands: keys, times and names are at hand, what else a span has stays in the
//! bytes of its table until then.

use std::sync::{Arc, OnceLock};

use deeptrace_model::{
    AttributeKey, AttributeSet, Attributes, BootTime, EventId, Payload, Span, SpanId, SpanKind,
    SpanStatus, Text, Touch, TraceContext, TraceId, Value, WallTime,
};
use rustc_hash::FxHashMap;

use super::column::{Column, get};
use super::places::Places;
use super::row::{self, Common, Extra, NONE, Row, Rows};
use super::table::Table;
use crate::SpanKey;

/// Spans of one batch.
pub(crate) struct Block {
    /// The bytes of the tables.
    plain: Vec<u8>,
    strings: Vec<Text>,
    sets: Table,
    payloads: Table,
    commons: Table,
    extras: Table,
    /// Ids of applications' traces, by the number of their extra, one more.
    contexts: Vec<(u64, TraceContext)>,
    /// Index into the strings, for each common.
    services: Vec<u32>,
    count: usize,
    rows: Rows,
    ends: Vec<u64>,
    /// Where ids, exchanges and requests are, once they were asked for.
    places: [OnceLock<Places>; 3],
}

/// What is asked first of many spans to find a few.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) id: SpanId,
    pub(crate) start: WallTime,
    pub(crate) end: WallTime,
    pub(crate) kind: SpanKind,
    pub(crate) status: SpanStatus,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
}

/// What spans of one block share, made once for all that are taken from it together.
#[derive(Default)]
pub(crate) struct Shared {
    commons: FxHashMap<u64, Arc<Common>>,
    sets: FxHashMap<u32, Arc<AttributeSet>>,
    payloads: FxHashMap<u64, Payload>,
}

impl Block {
    /// Reads what `Writing` wrote.
    pub(crate) fn from_bytes(mut plain: Vec<u8>) -> Result<Self, String> {
        let mut at = 0;
        let mut table =
            |of: &str| Table::read(&plain, &mut at).ok_or_else(|| format!("its {of} are cut"));
        let strings = table("strings")?;
        let (sets, payloads) = (table("sets")?, table("payloads")?);
        let (commons, extras) = (table("commons")?, table("extras")?);
        let mut rest = plain.get(at..).unwrap_or_default();
        let contexts = contexts(&mut rest).ok_or("its contexts are cut")?;
        let count = get(&mut rest).and_then(|count| usize::try_from(count).ok());
        let read = |count| Some((count, Rows::read(count, &mut rest)?));
        let (count, rows) = count.and_then(read).ok_or("its rows are cut")?;
        if !rest.is_empty() {
            return Err("there is more in it than its rows".to_owned());
        }
        let all = |table: &Table| 0..table.len();
        let texts: Option<Vec<Text>> =
            all(&strings).map(|index| strings.get::<&str>(&plain, index).map(Text::new)).collect();
        // A common begins with its service.
        let services: Option<Vec<u32>> =
            all(&commons).map(|index| commons.get(&plain, index)).collect();
        let strings = texts.ok_or("its strings are none")?;
        let services = services.ok_or("its commons have no service")?;
        plain.truncate(at);
        plain.shrink_to_fit();
        let (ends, places) = (Vec::new(), Default::default());
        let mut block = Self {
            plain,
            strings,
            sets,
            payloads,
            commons,
            extras,
            contexts,
            services,
            count,
            rows,
            ends,
            places,
        };
        block.check()?;
        block.add_up();
        block.ends = (0..count).map(|index| block.rows.end(index)).collect();
        Ok(block)
    }

    /// Holds what [`Block::head`] names against what is there.
    fn check(&self) -> Result<(), String> {
        let (strings, commons) = (self.strings.len() as u64, self.services.len() as u64);
        let services = self.services.iter().all(|service| u64::from(*service) < strings);
        let rows = (0..self.count).all(|index| {
            self.rows.common.get(index) < commons && self.rows.name.get(index) < strings
        });
        if services && rows { Ok(()) } else { Err("it names what it does not hold".to_owned()) }
    }

    /// Positions from their differences.
    fn add_up(&mut self) {
        let Self { rows, .. } = self;
        let mut last = vec![(0_u64, 0_u64); self.services.len()];
        let add = |index: usize| {
            let (request, response) = &mut last[rows.common.get(index) as usize];
            *request = request.wrapping_add(rows.request.get(index));
            *response = response.wrapping_add(rows.response.get(index));
            (*request, *response)
        };
        let (requests, responses) = (0..self.count).map(add).unzip();
        rows.request = Column::Numbers(requests);
        rows.response = Column::Numbers(responses);
    }

    /// Number of spans.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        let tables = [&self.sets, &self.payloads, &self.commons, &self.extras];
        let strings = self.strings.iter().map(|text| size_of::<Text>() + text.len());
        // With its ends and the places that are made later.
        let made = self.count * size_of::<u64>() + self.places.len() * Places::weight(self.count);
        self.plain.len()
            + strings.sum::<usize>()
            + tables.map(Table::weight).iter().sum::<usize>()
            + self.rows.weight()
            + made
    }

    /// What is asked first of span `index`.
    pub(crate) fn head(&self, index: usize) -> Head<'_> {
        let flags = self.rows.flags.get(index);
        let service = self.services[self.rows.common.get(index) as usize];
        Head {
            id: SpanId(self.rows.id.get(index)),
            start: WallTime(self.rows.start.get(index)),
            end: WallTime(self.ends[index]),
            kind: row::kind(flags),
            status: row::status(flags),
            service: &self.strings[service as usize],
            name: &self.strings[self.rows.name.get(index) as usize],
        }
    }

    /// Tells the spans that have that key.
    pub(crate) fn each_holder(&self, key: &SpanKey, mut each: impl FnMut(usize)) {
        let [ids, exchanges, requests] = &self.places;
        let count = self.count;
        match *key {
            SpanKey::Id(id) => {
                let number = |index| self.rows.id.get(index);
                let places = || Places::of(count, |index| Some(number(index)));
                ids.get_or_init(places).each(id.0, number, each);
            }
            SpanKey::Exchange(key) => {
                let number = |index| Some(self.rows.exchange(index, 1.0).key()?.0);
                let places = exchanges.get_or_init(|| Places::of(count, number));
                places.each(key.0, |index| number(index).unwrap_or_default(), each);
            }
            SpanKey::Request(key) => {
                let number = |index| self.rows.exchange(index, 1.0).request_key().0;
                let places = || Places::of(count, |index| Some(number(index)));
                requests.get_or_init(places).each(key.0, number, each);
            }
            SpanKey::Application(trace) => {
                let has = |it: &TraceContext| { it.trace } == trace;
                for (extra, _) in self.contexts.iter().filter(|(_, it)| has(it)) {
                    let mut from = 0;
                    while let Some(index) = self.rows.extra.find(*extra, from) {
                        each(index);
                        from = index + 1;
                    }
                }
            }
        }
    }

    /// The whole span `index`; `None`: what it names is not there.
    pub(crate) fn span(&self, index: usize, shared: &mut Shared) -> Option<Span> {
        let row = self.rows.row(index);
        let common = self.common(row.common, shared)?;
        let extra: Extra = match usize::try_from(row.extra).ok()?.checked_sub(1) {
            Some(extra) => self.extras.get(&self.plain, extra)?,
            None => Extra::default(),
        };
        let mut attributes = Attributes::new();
        for set in common.sets.iter().filter(|set| **set != NONE) {
            attributes.share_new(&self.set(*set, shared)?);
        }
        attributes.extend(self.attributes(extra.attributes)?);
        let head = self.head(index);
        let [a, b, c, d] = touches(&row, &common);
        Some(Span {
            id: head.id,
            kind: head.kind,
            name: self.strings[row.name as usize].clone(),
            service: self.strings[common.service as usize].clone(),
            protocol: self.strings.get(common.protocol as usize)?.to_string().into(),
            start: head.start,
            end: head.end,
            status: head.status,
            status_message: extra.status_message,
            attributes,
            request_size: row.request_size,
            response_size: row.response_size,
            request_payload: self.payload(row.request_payload, shared)?,
            response_payload: self.payload(row.response_payload, shared)?,
            process: common.process,
            connection: common.connection,
            exchange: self.rows.exchange(index, f32::from_bits(common.confidence)),
            request: [a, b],
            response: row.has_response_calls().then_some([c, d]),
            trace_context: self.context(row.extra),
            unknown: extra.unknown,
            truncated: extra.truncated,
            lost_events: extra.lost_events,
        })
    }

    /// All of them; `None`: what one names is not there.
    pub(crate) fn spans(&self) -> Option<Vec<Span>> {
        let mut shared = Shared::default();
        (0..self.count).map(|index| self.span(index, &mut shared)).collect()
    }

    fn common(&self, index: u64, shared: &mut Shared) -> Option<Arc<Common>> {
        if let Some(common) = shared.commons.get(&index) {
            return Some(Arc::clone(common));
        }
        let common = Arc::new(self.commons.get(&self.plain, usize::try_from(index).ok()?)?);
        shared.commons.insert(index, Arc::clone(&common));
        Some(common)
    }

    fn context(&self, extra: u64) -> Option<TraceContext> {
        let place = self.contexts.binary_search_by_key(&extra, |(extra, _)| *extra).ok()?;
        self.contexts.get(place).map(|(_, context)| *context)
    }

    fn set(&self, index: u32, shared: &mut Shared) -> Option<Arc<AttributeSet>> {
        if let Some(set) = shared.sets.get(&index) {
            return Some(Arc::clone(set));
        }
        let set: Vec<(u32, Value)> = self.sets.get(&self.plain, index as usize)?;
        let set = Arc::new(AttributeSet::from(self.attributes(set)?));
        shared.sets.insert(index, Arc::clone(&set));
        Some(set)
    }

    fn payload(&self, index: u64, shared: &mut Shared) -> Option<Payload> {
        if let Some(payload) = shared.payloads.get(&index) {
            return Some(payload.clone());
        }
        let bytes: &[u8] = self.payloads.get(&self.plain, usize::try_from(index).ok()?)?;
        let payload = Payload::from(bytes);
        shared.payloads.insert(index, payload.clone());
        Some(payload)
    }

    /// With the names of which they have the numbers.
    fn attributes(&self, numbered: Vec<(u32, Value)>) -> Option<Vec<(AttributeKey, Value)>> {
        let named = |(name, value): (u32, Value)| {
            Some((self.strings.get(name as usize)?.to_string().into(), value))
        };
        numbered.into_iter().map(named).collect()
    }
}

/// Takes the ids of applications' traces off the front of `rest`.
fn contexts(rest: &mut &[u8]) -> Option<Vec<(u64, TraceContext)>> {
    let count = usize::try_from(get(rest)?).ok()?;
    let mut contexts = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let extra = get(rest)?;
        let (trace, after) = rest.split_first_chunk::<16>()?;
        let (parent, after) = after.split_first_chunk::<8>()?;
        *rest = after;
        let (trace, parent) = (u128::from_le_bytes(*trace), u64::from_le_bytes(*parent));
        contexts.push((extra, TraceContext { trace: TraceId(trace), parent }));
    }
    Some(contexts)
}

fn touches(row: &Row, common: &Common) -> [Touch; 4] {
    let (mut event, mut time) = (row.event, row.start.wrapping_sub(row.clock));
    let steps =
        [(0, 0), (row.event_1, row.time_1), (row.event_2, row.time_2), (row.event_3, row.time_3)];
    std::array::from_fn(|at| {
        event = event.wrapping_add(steps[at].0);
        time = time.wrapping_add(steps[at].1);
        let (pid, tid, unit) = common.callers.get(at);
        Touch { event: EventId(event), time: BootTime(time), pid, tid, unit }
    })
}
