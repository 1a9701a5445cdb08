//! Search: queries, a page after the other by `search_after` ("Paginate search results" in both
//! references), and the records that they find as they were written.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use deeptrace_model::{Gap, Link, Span, SpanId, SpanStatus};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Counters, body,
    client::{Client, Request},
    record::Hex,
    schema::{Indices, moment},
};
use crate::{
    Cursor, Filter, LinkKey, LinkLookup, Page, SpanKey, SpanLookup, StoreError, Window,
    lookup::Wanted,
};

/// Records of one answer. Small enough that their bodies fit, with payloads of 64 KiB.
const PAGE_LEN: usize = 1000;
/// Keys of one query, of each kind; servers take 65,536.
const KEYS_MAX: usize = 4096;

/// Asks the indices.
pub(super) struct Searcher<'a> {
    pub(super) client: &'a Client,
    pub(super) indices: &'a Indices,
    pub(super) counters: &'a Counters,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    hits: Hits,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
pub(super) struct Hit {
    #[serde(default, rename = "_source")]
    source: Source,
    /// Its place in the order.
    pub(super) sort: Value,
}

#[derive(Default, Deserialize)]
struct Source {
    #[serde(default)]
    body: String,
}

impl Hit {
    /// Its body as text.
    pub(super) fn body(&self) -> &str {
        &self.source.body
    }

    /// What it is, if it can be read.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        body::unpack(&self.source.body)
    }
}

/// What is asked: where, which, in what order, and behind what.
pub(super) struct Question<'a> {
    pub(super) indices: &'a str,
    pub(super) query: Value,
    pub(super) sort: Value,
    pub(super) after: Option<Value>,
}

impl Searcher<'_> {
    pub(super) fn spans(
        &self,
        lookups: &[SpanLookup],
        limit: usize,
    ) -> Result<Vec<Arc<Span>>, StoreError> {
        let mut found: Vec<Arc<Span>> = Vec::new();
        for lookups in lookups.chunks(KEYS_MAX) {
            let wanted = Wanted::new(lookups.iter().map(|it| (it.key, it.window)));
            let mut taken = 0;
            self.each(self.looked_up(lookups), limit, &mut |hit| {
                if let Some(span) = self.read(hit).filter(|span| wanted.has_span(span)) {
                    found.push(Arc::new(span));
                    taken += 1;
                }
                Ok(taken < limit)
            })?;
        }
        found.sort_by_key(|span| (span.start, span.id));
        found.dedup_by_key(|span| span.id);
        found.truncate(limit);
        Ok(found)
    }

    /// Asks for the spans of lookups, and perhaps others, by start.
    fn looked_up(&self, lookups: &[SpanLookup]) -> Question<'_> {
        let by = |field: &str, key: &dyn Fn(&SpanKey) -> Option<String>| {
            terms(field, lookups.iter().filter_map(|it| key(&it.key)).collect())
        };
        let keys = [
            by("id", &|key| match key {
                SpanKey::Id(id) => Some(id.to_string()),
                _ => None,
            }),
            by("exchange", &|key| match key {
                SpanKey::Exchange(key) => Some(Hex(key.0).to_string()),
                _ => None,
            }),
            by("request", &|key| match key {
                SpanKey::Request(key) => Some(Hex(key.0).to_string()),
                _ => None,
            }),
            by("application_trace", &|key| match key {
                SpanKey::Application(trace) => Some(trace.to_string()),
                _ => None,
            }),
        ];
        let window = union(lookups.iter().map(|it| it.window));
        let mut filters = any(keys.into_iter().flatten().collect());
        filters.extend(since("end", window.from));
        filters.extend(until("start", window.to));
        let sort = json!([{"start": "asc"}, {"id": "asc"}]);
        Question { indices: &self.indices.spans, query: all(filters), sort, after: None }
    }

    /// Ids of the spans of lookups. Of what cannot be read, those that may be meant; how many is the
    /// second.
    pub(super) fn ids(
        &self,
        lookups: &[SpanLookup],
    ) -> Result<(BTreeSet<SpanId>, u64), StoreError> {
        let (mut ids, mut unreadable) = (BTreeSet::new(), 0);
        for lookups in lookups.chunks(KEYS_MAX) {
            let wanted = Wanted::new(lookups.iter().map(|it| (it.key, it.window)));
            self.each(self.looked_up(lookups), PAGE_LEN, &mut |hit| {
                let span: Option<Span> = self.read(hit);
                if span.as_ref().is_none_or(|span| wanted.has_span(span))
                    && let Some(id) = id_of(hit)
                {
                    ids.insert(id);
                    unreadable += u64::from(span.is_none());
                }
                Ok(true)
            })?;
        }
        Ok((ids, unreadable))
    }

    pub(super) fn links(
        &self,
        lookups: &[LinkLookup],
        limit: usize,
    ) -> Result<Vec<Link>, StoreError> {
        let mut found: Vec<Link> = Vec::new();
        for lookups in lookups.chunks(KEYS_MAX) {
            let by = |field: &str, key: &dyn Fn(&LinkKey) -> Option<String>| {
                terms(field, lookups.iter().filter_map(|it| key(&it.key)).collect())
            };
            let keys = [
                by("child", &|key| match key {
                    LinkKey::Child(id) => Some(id.to_string()),
                    LinkKey::Parent(_) => None,
                }),
                by("parent", &|key| match key {
                    LinkKey::Parent(id) => Some(id.to_string()),
                    LinkKey::Child(_) => None,
                }),
            ];
            let window = union(lookups.iter().map(|it| it.window));
            let mut filters = any(keys.into_iter().flatten().collect());
            filters.extend(since("child_start", window.from));
            filters.extend(until("child_start", window.to));
            let question = Question {
                indices: &self.indices.links,
                query: all(filters),
                // Beyond these two the order is made here.
                sort: json!([{"child_start": "asc"}, {"key": "asc"}]),
                after: None,
            };
            let wanted = Wanted::new(lookups.iter().map(|it| (it.key, it.window)));
            let mut taken = 0;
            self.each(question, limit, &mut |hit| {
                if let Some(link) = self.read(hit).filter(|link| wanted.has_link(link)) {
                    found.push(link);
                    taken += 1;
                }
                Ok(taken < limit)
            })?;
        }
        found.sort_by_key(|link| (link.child_start, link.child, link.parent, link.generation));
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        if limit == 0 {
            return Ok(Page::default());
        }
        let question = Question {
            indices: &self.indices.spans,
            query: all(of_filter(filter)),
            sort: json!([{"start": "desc"}, {"id": "desc"}]),
            after: after.map(|after| json!([moment(after.start), after.id.to_string()])),
        };
        let mut page = Page::default();
        // One more than asked, to know whether there is a next page.
        self.each(question, limit.saturating_add(1), &mut |hit| {
            let span = self.read(hit).filter(|span| filter.matches(span));
            let Some(span) = span else { return Ok(true) };
            if page.spans.len() == limit {
                page.next = page.spans.last().map(|last| Cursor::of(last));
                return Ok(false);
            }
            page.spans.push(Arc::new(span));
            Ok(true)
        })?;
        Ok(page)
    }

    pub(super) fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError> {
        let mut filters = vec![json!({"exists": {"field": "from"}})];
        filters.extend(since("to", window.from));
        filters.extend(until("from", window.to));
        let question = Question {
            indices: &self.indices.gaps,
            query: all(filters),
            sort: json!([{"from": "asc"}, {"to": "asc"}, {"key": "asc"}]),
            after: None,
        };
        let mut found = Vec::new();
        self.each(question, limit, &mut |hit| {
            let gap = self.read(hit).filter(|gap: &Gap| window.overlaps(gap.from, gap.to));
            found.extend(gap);
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// What was found, if it can be read; counted where it cannot.
    fn read<T: DeserializeOwned>(&self, hit: &Hit) -> Option<T> {
        let value = hit.read();
        if value.is_none() {
            self.counters.records_damaged.fetch_add(1, Ordering::Relaxed);
        }
        value
    }

    /// Hands over what is found, one after the other, until `take` returns false. `len`: how many will do,
    /// probably.
    pub(super) fn each(
        &self,
        mut question: Question<'_>,
        len: usize,
        take: &mut dyn FnMut(&Hit) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let size = len.clamp(1, PAGE_LEN);
        loop {
            let hits = self.page(&question, size)?;
            for hit in &hits {
                if !take(hit)? {
                    return Ok(());
                }
            }
            match hits.into_iter().nth(size - 1) {
                Some(last) => question.after = Some(last.sort),
                None => return Ok(()),
            }
        }
    }

    fn page(&self, question: &Question<'_>, size: usize) -> Result<Vec<Hit>, StoreError> {
        let mut body = json!({
            "size": size,
            "query": question.query,
            "sort": question.sort,
            "_source": ["body"],
            "track_total_hits": false,
        });
        if let Some(after) = &question.after {
            body["search_after"] = after.clone();
        }
        let filter = "filter_path=hits.hits._source.body,hits.hits.sort";
        let said: Said = search(self.client, question.indices, filter, &body)?;
        Ok(said.hits.hits)
    }
}

/// Asks indices; all of their shards must answer.
pub(super) fn search<T: DeserializeOwned>(
    client: &Client,
    indices: &str,
    query: &str,
    body: &Value,
) -> Result<T, StoreError> {
    // Shards whose times are beside the question are told by that, and not asked.
    let path = format!(
        "/{indices}/_search?ignore_unavailable=true&allow_no_indices=true\
         &allow_partial_search_results=false&pre_filter_shard_size=1&{query}"
    );
    let body = body.to_string();
    client
        .ask(&Request { body: body.as_bytes(), ..Request::new("POST", path, "to search") })?
        .read()
}

/// What a filter asks.
pub(super) fn of_filter(filter: &Filter) -> Vec<Value> {
    let mut filters = Vec::new();
    filters.extend(since("start", filter.window.from));
    filters.extend(until("start", filter.window.to));
    let mut term = |field: &str, value: &str| filters.push(json!({"term": {field: value}}));
    if let Some(service) = &filter.service {
        term("service", service);
    }
    if let Some(name) = &filter.name {
        term("name", name);
    }
    if let Some(kind) = filter.kind {
        filters.push(json!({"term": {"kind": kind}}));
    }
    if filter.errors_only {
        filters.push(json!({"term": {"status": SpanStatus::Error}}));
    }
    let limit = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
    if let Some(min) = filter.min_duration {
        filters.push(json!({"range": {"duration": {"gte": limit(min.0)}}}));
    }
    if let Some(max) = filter.max_duration {
        filters.push(json!({"range": {"duration": {"lte": limit(max.0)}}}));
    }
    filters
}

/// All of the filters.
pub(super) fn all(filters: Vec<Value>) -> Value {
    json!({"bool": {"filter": filters}})
}

/// At least one of the queries, as a filter.
fn any(queries: Vec<Value>) -> Vec<Value> {
    vec![json!({"bool": {"should": queries, "minimum_should_match": 1}})]
}

fn terms(field: &str, values: Vec<String>) -> Option<Value> {
    (!values.is_empty()).then(|| json!({"terms": {field: values}}))
}

/// All time that is in one of them, and between them.
fn union(windows: impl Iterator<Item = Window>) -> Window {
    windows.reduce(Window::union).unwrap_or(Window::ALL)
}

/// The id of a span that was found by start and id.
pub(super) fn id_of(hit: &Hit) -> Option<SpanId> {
    u64::from_str_radix(hit.sort[1].as_str()?, 16).ok().map(SpanId)
}

/// Nothing where it would be all time.
fn since(field: &str, from: deeptrace_model::WallTime) -> Option<Value> {
    (from.0 > 0).then(|| json!({"range": {field: {"gte": moment(from)}}}))
}

/// Nothing where it would be all time.
fn until(field: &str, to: deeptrace_model::WallTime) -> Option<Value> {
    (moment(to) < i64::MAX).then(|| json!({"range": {field: {"lte": moment(to)}}}))
}
