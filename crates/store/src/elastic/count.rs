//! Count: operations and totals by aggregations, and how the cluster is.

use deeptrace_model::{Duration, SpanKind, SpanStatus, WallTime};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, Request},
    schema::Indices,
    search::{Searcher, all, of_filter, search},
};
use crate::{Filter, Health, Operation, Stats, StoreError, Window};

/// Operations of one answer.
const PAGE_LEN: usize = 1000;
/// Operations in all: more are no operations, but names that hold what they should not.
const OPERATIONS_MAX: usize = 100_000;

#[derive(Default, Deserialize)]
struct Counted {
    #[serde(default)]
    aggregations: Aggregations,
}

#[derive(Default, Deserialize)]
struct Aggregations {
    #[serde(default)]
    operations: Buckets,
}

#[derive(Default, Deserialize)]
struct Buckets {
    #[serde(default)]
    buckets: Vec<Bucket>,
    after_key: Option<Value>,
}

#[derive(Deserialize)]
struct Bucket {
    key: Key,
    doc_count: u64,
    errors: Number,
    total: Measure,
    longest: Measure,
}

#[derive(Deserialize)]
struct Key {
    service: String,
    name: String,
    kind: SpanKind,
}

#[derive(Deserialize)]
struct Number {
    doc_count: u64,
}

#[derive(Deserialize)]
struct Measure {
    value: Option<f64>,
}

#[derive(Default, Deserialize)]
struct Ends {
    #[serde(default)]
    hits: Sorted,
}

#[derive(Default, Deserialize)]
struct Sorted {
    #[serde(default)]
    total: Total,
    #[serde(default)]
    hits: Vec<Place>,
}

#[derive(Default, Deserialize)]
struct Total {
    #[serde(default)]
    value: u64,
}

#[derive(Deserialize)]
struct Place {
    sort: [i64; 1],
}

/// An index, with what is in it.
pub(super) struct Held {
    pub(super) name: String,
    /// Records.
    pub(super) count: u64,
    /// Bytes on the disks of all nodes.
    pub(super) bytes: u64,
}

impl Searcher<'_> {
    /// Sums are of floating point: beyond 104 days their last digits are lost.
    pub(super) fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError> {
        let filter = Filter { service: service.map(str::to_owned), ..Filter::in_window(window) };
        let source = |field: &str| json!({field: {"terms": {"field": field}}});
        let mut composite = json!({
            "size": PAGE_LEN,
            "sources": [source("service"), source("name"), source("kind")],
        });
        let mut found: Vec<Operation> = Vec::new();
        loop {
            let body = json!({
                "size": 0,
                "track_total_hits": false,
                "query": all(of_filter(&filter)),
                "aggs": {"operations": {"composite": composite, "aggs": {
                    "errors": {"filter": {"term": {"status": SpanStatus::Error}}},
                    "total": {"sum": {"field": "duration"}},
                    "longest": {"max": {"field": "duration"}},
                }}},
            });
            let path = "filter_path=aggregations";
            let counted: Counted = search(self.client, &self.indices.spans, path, &body)?;
            let Buckets { buckets, after_key } = counted.aggregations.operations;
            found.extend(buckets.into_iter().map(operation));
            match after_key {
                Some(after) if found.len() < OPERATIONS_MAX => composite["after"] = after,
                _ => break,
            }
        }
        found.sort_by(|a, b| {
            let key = |it: &Operation| it.kind as u8;
            (&a.service, &a.name, key(a)).cmp(&(&b.service, &b.name, key(b)))
        });
        Ok(found)
    }

    pub(super) fn stats(&self) -> Result<Stats, StoreError> {
        let Indices { spans, links, gaps, .. } = self.indices;
        let (total, oldest) = self.first(spans, json!({"match_all": {}}), "start", "asc")?;
        let (_, newest) = self.first(spans, json!({"match_all": {}}), "end", "desc")?;
        let gap = json!({"exists": {"field": "from"}});
        let held = held(self.client, &self.indices.all())?;
        Ok(Stats {
            spans: total,
            links: self.first(links, json!({"match_all": {}}), "child_start", "asc")?.0,
            gaps: self.first(gaps, gap, "from", "asc")?.0,
            bytes: held.iter().map(|index| index.bytes).sum(),
            oldest,
            newest,
        })
    }

    /// How many there are, and the value of the first.
    fn first(
        &self,
        indices: &str,
        query: Value,
        field: &str,
        order: &str,
    ) -> Result<(u64, Option<WallTime>), StoreError> {
        let body = json!({
            "size": 1,
            "query": query,
            "sort": [{field: order}],
            "_source": false,
            "track_total_hits": true,
        });
        let path = "filter_path=hits.total.value,hits.hits.sort";
        let ends: Ends = search(self.client, indices, path, &body)?;
        let first = ends.hits.hits.first();
        let time = first.map(|place| WallTime(u64::try_from(place.sort[0]).unwrap_or_default()));
        Ok((ends.hits.total.value, time))
    }
}

fn operation(bucket: Bucket) -> Operation {
    let Bucket { key: Key { service, name, kind }, doc_count, errors, total, longest } = bucket;
    let nanos = |measure: Measure| Duration(measure.value.unwrap_or_default() as u64);
    Operation {
        service,
        name,
        kind,
        spans: doc_count,
        errors: errors.doc_count,
        total: nanos(total),
        longest: nanos(longest),
    }
}

/// All indices of a pattern.
pub(super) fn held(client: &Client, indices: &str) -> Result<Vec<Held>, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        index: String,
        #[serde(rename = "docs.count")]
        count: Option<String>,
        #[serde(rename = "store.size")]
        bytes: Option<String>,
    }
    // Numbers come as text, and not at all from an index that is just being made.
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
    let path = format!("/_cat/indices/{indices}?format=json&bytes=b&h=index,docs.count,store.size");
    let rows: Vec<Row> = client.ask(&Request::new("GET", path, "to list indices"))?.read()?;
    let row =
        |row: Row| Held { name: row.index, count: number(row.count), bytes: number(row.bytes) };
    Ok(rows.into_iter().map(row).collect())
}

/// How the cluster says it is.
pub(super) fn health(client: &Client) -> Result<Health, StoreError> {
    #[derive(Deserialize)]
    struct Said {
        cluster_name: String,
        status: String,
        number_of_nodes: u64,
        unassigned_shards: u64,
    }
    let path = "/_cluster/health".to_owned();
    let said: Said = client.ask(&Request::new("GET", path, "to say how it is"))?.read()?;
    Ok(Health {
        name: said.cluster_name,
        status: said.status,
        nodes: said.number_of_nodes,
        unassigned_shards: said.unassigned_shards,
    })
}
