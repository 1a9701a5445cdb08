//! Schema: names of indices, what they index, and its version. Days are UTC, and a record lies in the
//! index of the day when its span starts. Composable index templates, Elasticsearch 7.8 or later and
//! OpenSearch ("Index templates" in their references).

use std::{collections::BTreeMap, fmt::Write};

use deeptrace_model::WallTime;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Request};
use crate::{Elasticsearch, Mode, StoreError};

/// Version of the mappings and of what is in `body`.
pub(super) const SCHEMA_VERSION: u32 = 1;
/// Texts that are longer, in characters, are stored and not found: Lucene takes 32,766 bytes.
const KEYWORD_MAX: u32 = 8191;

/// The names of the indices.
#[derive(Clone, Debug)]
pub(super) struct Indices {
    prefix: String,
    /// All that hold spans, as a pattern.
    pub(super) spans: String,
    /// All that hold links, as a pattern.
    pub(super) links: String,
    /// Gaps and heartbeats.
    pub(super) gaps: String,
    /// Documents.
    pub(super) catalogue: String,
}

/// What has an index for each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Spans,
    Links,
}

impl Indices {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |what| format!("{prefix}-{what}");
        Self {
            prefix: prefix.to_owned(),
            spans: name("spans-*"),
            links: name("links-*"),
            gaps: name("gaps"),
            catalogue: name("catalogue"),
        }
    }

    /// Whatever is ours, as a list of patterns.
    pub(super) fn all(&self) -> String {
        let Self { spans, links, gaps, catalogue, .. } = self;
        format!("{spans},{links},{gaps},{catalogue}")
    }

    /// How they begin, for errors.
    pub(super) fn begin(&self) -> String {
        format!("{}-*", self.prefix)
    }

    /// The name of the index of the day of `time`, into `out`.
    pub(super) fn day(&self, kind: Kind, time: WallTime, out: &mut String) {
        out.clear();
        let date = date(time);
        let what = match kind {
            Kind::Spans => "spans",
            Kind::Links => "links",
        };
        let (year, month, day) = (date.year(), date.month(), date.day());
        // Writing to a string does not fail.
        let _ = write!(out, "{}-{what}-{year:04}.{month:02}.{day:02}", self.prefix);
    }

    /// The end of the day of an index, exclusive; `None` for one that has no day or is not ours.
    pub(super) fn end_of(&self, kind: Kind, index: &str) -> Option<WallTime> {
        let pattern = match kind {
            Kind::Spans => &self.spans,
            Kind::Links => &self.links,
        };
        let day = index.strip_prefix(pattern.trim_end_matches('*'))?;
        let next = Date::strptime("%Y.%m.%d", day).ok()?.tomorrow().ok()?;
        let end = next.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond();
        u64::try_from(end).ok().map(WallTime)
    }
}

fn date(time: WallTime) -> Date {
    let time = Timestamp::from_nanosecond(time.0.into()).unwrap_or(Timestamp::MAX);
    TimeZone::UTC.to_datetime(time).date()
}

/// A time as indices know it: later than the year 2262 is the year 2262.
pub(super) fn moment(time: WallTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Makes what is missing (`Mode::Write`), and refuses what this program cannot read.
pub(super) fn open(
    client: &Client,
    indices: &Indices,
    options: &Elasticsearch,
    mode: Mode,
) -> Result<(), StoreError> {
    check_server(client)?;
    let absent =
        || StoreError::Absent { place: format!("indices {} of {}", indices.all(), client.place()) };
    match (version(client, indices)?, mode) {
        (Some(_), Mode::Read) => Ok(()),
        (None, Mode::Read) => Err(absent()),
        (_, Mode::Write) => {
            make(client, indices, options)?;
            version(client, indices)?.map(drop).ok_or_else(absent)
        }
    }
}

/// The indices and where they are, for errors.
pub(super) fn place(client: &Client, indices: &Indices) -> String {
    format!("indices {} of {}", indices.begin(), client.place())
}

/// Fails unless it is a server that has what we use.
fn check_server(client: &Client) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Root {
        version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        number: String,
        #[serde(default)]
        distribution: String,
    }
    let answer = client.ask(&Request::new("GET", "/".to_owned(), "to say its version"))?;
    let unknown = |reason| StoreError::Unknown { place: client.place(), reason };
    let root: Root = answer.read().map_err(|error| unknown(error.to_string()))?;
    let Version { number, distribution } = root.version;
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let at = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match distribution == "opensearch" || at >= (7, 8) {
        true => Ok(()),
        false => Err(unknown(format!("it says version {number}"))),
    }
}

/// The schema version of what is there; `None` if nothing is, an error if it is not ours to read.
pub(super) fn version(client: &Client, indices: &Indices) -> Result<Option<u32>, StoreError> {
    #[derive(Deserialize)]
    struct Index {
        mappings: Mappings,
    }
    #[derive(Default, Deserialize)]
    struct Mappings {
        #[serde(default, rename = "_meta")]
        meta: Meta,
    }
    #[derive(Default, Deserialize)]
    struct Meta {
        #[serde(default)]
        deeptrace_schema: u32,
    }
    let path = format!("/{}/_mapping", indices.catalogue);
    let answer = client.ask(&Request::new("GET", path, "to tell the mapping of the catalogue"))?;
    if answer.status == 404 {
        return Ok(None);
    }
    let found: BTreeMap<String, Index> = answer.read()?;
    let found = found.values().map(|index| index.mappings.meta.deeptrace_schema).next();
    match found {
        Some(found) if found > SCHEMA_VERSION => {
            let place = place(client, indices);
            Err(StoreError::Newer { place, found, supported: SCHEMA_VERSION })
        }
        // Somebody else's, or made by a write without our mapping.
        Some(0) => Err(StoreError::Foreign { path: place(client, indices).into() }),
        found => Ok(found),
    }
}

/// Puts the templates and makes the indices that have no day.
fn make(client: &Client, indices: &Indices, options: &Elasticsearch) -> Result<(), StoreError> {
    let daily = settings(options, options.number_of_shards);
    for (what, properties) in [("spans", spans()), ("links", links())] {
        let template = json!({
            "index_patterns": [format!("{}-{what}-*", indices.prefix)],
            // The longer prefix wins where two overlap.
            "priority": 200 + indices.prefix.len(),
            "version": SCHEMA_VERSION,
            "template": {"settings": daily, "mappings": mappings(&properties)},
        });
        let body = template.to_string();
        let path = format!("/_index_template/{}-{what}", indices.prefix);
        let request = Request::new("PUT", path, "the index template");
        client.ask(&Request { body: body.as_bytes(), ..request })?.done()?;
    }
    // One shard, because versions of documents are numbers of one shard.
    let single = settings(options, 1);
    for (index, properties) in [(&indices.gaps, gaps()), (&indices.catalogue, catalogue())] {
        let body = json!({"settings": single, "mappings": mappings(&properties)}).to_string();
        let request = Request::new("PUT", format!("/{index}"), "to make the index");
        let answer = client.ask(&Request { body: body.as_bytes(), ..request })?;
        if answer.error_type() != "resource_already_exists_exception" {
            answer.done()?;
        }
    }
    Ok(())
}

fn settings(options: &Elasticsearch, shards: u32) -> Value {
    let mut settings = json!({
        "index.number_of_shards": shards,
        // What is acknowledged is on disk.
        "index.translog.durability": "request",
        // Nothing that was removed is left by a merge that is asked for.
        "index.merge.policy.expunge_deletes_allowed": 0,
        // Writers refresh when they have written; this is for what one left that was killed before.
        "index.refresh_interval": "5s",
    });
    match options.number_of_replicas {
        Some(replicas) => settings["index.number_of_replicas"] = replicas.into(),
        None => settings["index.auto_expand_replicas"] = "0-1".into(),
    }
    settings
}

fn mappings(properties: &Value) -> Value {
    json!({
        "dynamic": false,
        "_meta": {"deeptrace_schema": SCHEMA_VERSION},
        "properties": properties,
    })
}

/// Found by its exact value, and sorted and counted by it.
fn keyword() -> Value {
    json!({"type": "keyword", "ignore_above": KEYWORD_MAX})
}

/// Found by its exact value.
fn key() -> Value {
    json!({"type": "keyword", "doc_values": false, "ignore_above": KEYWORD_MAX})
}

fn number() -> Value {
    json!({"type": "long"})
}

/// Stored and given back.
fn body() -> Value {
    json!({"type": "binary"})
}

fn spans() -> Value {
    json!({
        "@timestamp": {"type": "date", "format": "epoch_millis"},
        "id": keyword(),
        "start": number(),
        "end": number(),
        "duration": number(),
        "service": keyword(),
        "name": keyword(),
        "kind": keyword(),
        "status": keyword(),
        "protocol": keyword(),
        "attributes": key(),
        "exchange": key(),
        "request": key(),
        "application_trace": key(),
        "body": body(),
    })
}

fn links() -> Value {
    json!({
        "@timestamp": {"type": "date", "format": "epoch_millis"},
        "key": keyword(),
        "child": key(),
        "parent": key(),
        "child_start": number(),
        "method": keyword(),
        "body": body(),
    })
}

fn gaps() -> Value {
    json!({
        "key": keyword(),
        "from": number(),
        "to": number(),
        "cause": keyword(),
        "alive": number(),
        "body": body(),
    })
}

fn catalogue() -> Value {
    json!({"name": keyword(), "body": body()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_named_after_the_day_and_ends_with_it() {
        let indices = Indices::new("shop");
        let mut name = String::new();
        for (seconds, expected) in [
            (0, "shop-spans-1970.01.01"),
            (951_782_400, "shop-spans-2000.02.29"),
            (1_700_000_000, "shop-spans-2023.11.14"),
        ] {
            let time = WallTime(seconds * 1_000_000_000 + 1);
            indices.day(Kind::Spans, time, &mut name);
            assert_eq!(name, expected);
            let end = indices.end_of(Kind::Spans, &name).unwrap();
            assert!(end > time && end.since(time).0 <= 24 * 3600 * 1_000_000_000, "{end:?}");
        }
        for other in ["shop-spans-", "shop-links-2000.02.29", "shop-spans-2000.02.30", "x"] {
            assert_eq!(indices.end_of(Kind::Spans, other), None, "{other}");
        }
        indices.day(Kind::Links, WallTime(u64::MAX), &mut name);
        assert_eq!(name, "shop-links-2554.07.21");
    }
}
