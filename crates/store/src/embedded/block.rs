//! Block: the spans of one batch as they were read, each made whole when it is wanted.

use std::sync::Arc;

use deeptrace_model::{
    Attribute, AttributeSet, Attributes, BootTime, EventId, Payload, Span, SpanId, SpanKind,
    SpanStatus, Text, Touch, WallTime,
};
use serde::de::DeserializeOwned;

use super::column::get;
use super::row::{Common, Extra, NONE, Row};
use crate::SpanKey;

/// Spans of one batch.
pub(crate) struct Block {
    strings: Vec<Text>,
    sets: Vec<Arc<AttributeSet>>,
    payloads: Vec<Payload>,
    commons: Vec<Common>,
    extras: Vec<Extra>,
    rows: Vec<Row>,
    /// Bytes of all but the rows.
    bytes: usize,
}

/// What is asked of many spans to find a few.
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

impl Block {
    /// Reads what `Writing` wrote. Indices are checked, so that no later access can miss.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let strings: Vec<Text> = list(&mut rest)?;
        let sets: Vec<Vec<Attribute>> = list(&mut rest)?;
        let payloads: Vec<Payload> = list(&mut rest)?;
        let commons: Vec<Common> = list(&mut rest)?;
        let extras: Vec<Extra> = list(&mut rest)?;
        let bytes = 4 * (bytes.len() - rest.len());
        let cut = || "its rows are cut".to_owned();
        let count = get(&mut rest).and_then(|count| usize::try_from(count).ok()).ok_or_else(cut)?;
        let rows = Row::read(count, &mut rest).ok_or_else(cut)?;
        if !rest.is_empty() {
            return Err("there is more in it than its rows".to_owned());
        }
        let sets = sets.into_iter().map(|set| Arc::new(set.into())).collect();
        let mut block = Self { strings, sets, payloads, commons, extras, rows, bytes };
        block.check()?;
        block.add_up();
        Ok(block)
    }

    fn check(&self) -> Result<(), String> {
        let is_string = |index: u64| index < self.strings.len() as u64;
        let is_set = |index: &u32| *index == NONE || (*index as usize) < self.sets.len();
        let commons = self.commons.iter().all(|common| {
            is_string(common.service.into())
                && is_string(common.protocol.into())
                && common.sets.iter().all(is_set)
        });
        let payloads = self.payloads.len() as u64;
        let rows = self.rows.iter().all(|row| {
            row.common < self.commons.len() as u64
                && is_string(row.name)
                && row.request_payload < payloads
                && row.response_payload < payloads
                && row.extra <= self.extras.len() as u64
        });
        if commons && rows { Ok(()) } else { Err("it names what it does not hold".to_owned()) }
    }

    /// Positions from their differences.
    fn add_up(&mut self) {
        let mut last = vec![(0_u64, 0_u64); self.commons.len()];
        for row in &mut self.rows {
            let (request, response) = &mut last[row.common as usize];
            *request = request.wrapping_add(row.request);
            *response = response.wrapping_add(row.response);
            (row.request, row.response) = (*request, *response);
        }
    }

    /// Number of spans.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes + self.len() * size_of::<Row>()
    }

    fn common(&self, row: &Row) -> &Common {
        &self.commons[row.common as usize]
    }

    fn extra(&self, row: &Row) -> Option<&Extra> {
        self.extras.get(usize::try_from(row.extra.checked_sub(1)?).ok()?)
    }

    /// What is asked first of span `index`.
    pub(crate) fn head(&self, index: usize) -> Head<'_> {
        let row = &self.rows[index];
        Head {
            id: SpanId(row.id),
            start: WallTime(row.start),
            end: WallTime(row.end()),
            kind: row.kind(),
            status: row.status(),
            service: &self.strings[self.common(row).service as usize],
            name: &self.strings[row.name as usize],
        }
    }

    /// All keys by which span `index` is looked up.
    pub(crate) fn each_key(&self, index: usize, mut each: impl FnMut(SpanKey)) {
        let row = &self.rows[index];
        let exchange = row.exchange(1.0);
        each(SpanKey::Id(SpanId(row.id)));
        exchange.key().into_iter().for_each(|key| each(SpanKey::Exchange(key)));
        each(SpanKey::Request(exchange.request_key()));
        let context = self.extra(row).and_then(|extra| extra.context);
        context.into_iter().for_each(|it| each(SpanKey::Application(it.trace)));
    }

    /// The whole span `index`.
    pub(crate) fn span(&self, index: usize) -> Span {
        let row = &self.rows[index];
        let (common, head, extra) = (self.common(row), self.head(index), self.extra(row));
        let mut attributes = Attributes::new();
        for set in common.sets.iter().filter(|set| **set != NONE) {
            attributes.share_new(&self.sets[*set as usize]);
        }
        attributes.extend(extra.into_iter().flat_map(|extra| extra.attributes.own()).cloned());
        let [a, b, c, d] = self.touches(row);
        Span {
            id: head.id,
            kind: head.kind,
            name: self.strings[row.name as usize].clone(),
            service: self.strings[common.service as usize].clone(),
            protocol: self.strings[common.protocol as usize].to_string().into(),
            start: head.start,
            end: head.end,
            status: head.status,
            status_message: extra.and_then(|extra| extra.status_message.clone()),
            attributes,
            request_size: row.request_size,
            response_size: row.response_size,
            request_payload: self.payloads[row.request_payload as usize].clone(),
            response_payload: self.payloads[row.response_payload as usize].clone(),
            process: common.process,
            connection: common.connection,
            exchange: row.exchange(f32::from_bits(common.confidence)),
            request: [a, b],
            response: row.has_response_calls().then_some([c, d]),
            trace_context: extra.and_then(|extra| extra.context),
            unknown: extra.map(|extra| extra.unknown.clone()).unwrap_or_default(),
            truncated: extra.is_some_and(|extra| extra.truncated),
            lost_events: extra.map_or(0, |extra| extra.lost_events),
        }
    }

    fn touches(&self, row: &Row) -> [Touch; 4] {
        let (mut event, mut time) = (row.event, row.start.wrapping_sub(row.clock));
        let steps = [
            (0, 0),
            (row.event_1, row.time_1),
            (row.event_2, row.time_2),
            (row.event_3, row.time_3),
        ];
        let callers = &self.common(row).callers;
        std::array::from_fn(|at| {
            event = event.wrapping_add(steps[at].0);
            time = time.wrapping_add(steps[at].1);
            let (pid, tid, unit) = callers.get(at);
            Touch { event: EventId(event), time: BootTime(time), pid, tid, unit }
        })
    }
}

/// Takes a list off the front of `bytes`.
fn list<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<Vec<T>, String> {
    let (list, rest) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
    *bytes = rest;
    Ok(list)
}
