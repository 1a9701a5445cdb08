//! Documents: in one index with one shard. Compare-and-set is that of the servers ("Optimistic
//! concurrency control" in both references): a version is made of the primary term and the sequence
//! number of the last write. One document is asked for in real time, lists after a refresh.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    body, bulk,
    client::{Client, Request},
    schema::Indices,
    search::{all, search},
};
use crate::{Document, Expected, StoreError};

/// Documents of one answer: each may hold a megabyte.
const PAGE_LEN: usize = 64;
/// Bits of a version that are the sequence number; those above are the primary term.
const SEQUENCE_BITS: u32 = 48;

#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    body: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_source")]
    record: Record,
    #[serde(rename = "_seq_no")]
    sequence: u64,
    #[serde(rename = "_primary_term")]
    term: u64,
    #[serde(default)]
    sort: Value,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "_seq_no")]
    sequence: u64,
    #[serde(rename = "_primary_term")]
    term: u64,
}

impl Written {
    fn version(&self) -> u64 {
        version(self.term, self.sequence)
    }
}

#[derive(Default, Deserialize)]
struct Listed {
    #[serde(default)]
    hits: Hits,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Found>,
}

/// The index of documents.
pub(super) struct Documents<'a> {
    pub(super) client: &'a Client,
    pub(super) indices: &'a Indices,
}

fn version(term: u64, sequence: u64) -> u64 {
    term << SEQUENCE_BITS | sequence
}

/// The primary term and the sequence number of a version.
fn parts(version: u64) -> (u64, u64) {
    (version >> SEQUENCE_BITS, version & ((1 << SEQUENCE_BITS) - 1))
}

impl Documents<'_> {
    pub(super) fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let answer =
            self.client.ask(&Request::new("GET", self.path(name), "to read a document"))?;
        if answer.status == 404 {
            return Ok(None);
        }
        self.document(answer.read()?).map(Some)
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        bulk::refresh(self.client, &self.indices.catalogue)?;
        let mut filters = vec![json!({"exists": {"field": "name"}})];
        if !prefix.is_empty() {
            filters.push(json!({"prefix": {"name": prefix}}));
        }
        let mut after = after.map(|after| json!([after]));
        let mut documents = Vec::new();
        while documents.len() < limit {
            let size = (limit - documents.len()).min(PAGE_LEN);
            let mut body = json!({
                "size": size,
                "query": all(filters.clone()),
                // Keywords are compared by their bytes.
                "sort": [{"name": "asc"}],
                "seq_no_primary_term": true,
                "track_total_hits": false,
            });
            if let Some(after) = &after {
                body["search_after"] = after.clone();
            }
            let listed: Listed =
                search(self.client, &self.indices.catalogue, "filter_path=hits.hits", &body)?;
            let is_last = listed.hits.hits.len() < size;
            after = listed.hits.hits.last().map(|found| found.sort.clone());
            for found in listed.hits.hits {
                documents.push(self.document(found)?);
            }
            if is_last {
                break;
            }
        }
        Ok(documents)
    }

    pub(super) fn put(
        &self,
        name: &str,
        bytes: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Option<u64>, StoreError> {
        let condition = match expected {
            Expected::Any => String::new(),
            Expected::Absent if bytes.is_some() => "?op_type=create".to_owned(),
            // Nothing is to be removed where nothing is.
            Expected::Absent if self.get(name)?.is_some() => return Ok(None),
            Expected::Absent => return Ok(Some(0)),
            Expected::Version(version) => {
                let (term, sequence) = parts(version);
                // What no server has given away is refused as wrong instead of as another.
                if term == 0 {
                    return Ok(None);
                }
                format!("?if_seq_no={sequence}&if_primary_term={term}")
            }
        };
        let path = format!("{}{condition}", self.path(name));
        let record =
            bytes.map(|bytes| json!({"name": name, "body": body::to_text(bytes)}).to_string());
        let (method, action) = match record {
            Some(_) => ("PUT", "to write a document"),
            None => ("DELETE", "to remove a document"),
        };
        // Who asks a second time would find what the first time has written.
        let is_repeatable = expected == Expected::Any;
        let body = record.as_deref().unwrap_or_default().as_bytes();
        let request = Request { body, is_repeatable, ..Request::new(method, path, action) };
        let answer = self.client.ask(&request)?;
        match (answer.status, expected) {
            (409, _) => Ok(None),
            (404, Expected::Version(_)) => Ok(None),
            // Removing what is not there is a write as well, where nothing was expected.
            (404, Expected::Any) if bytes.is_none() => {
                Ok(Some(answer.read_any::<Written>()?.version()))
            }
            _ => Ok(Some(answer.read::<Written>()?.version())),
        }
    }

    fn path(&self, name: &str) -> String {
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        format!("/{}/_doc/{name}", self.indices.catalogue)
    }

    fn document(&self, found: Found) -> Result<Document, StoreError> {
        let Found { record: Record { name, body }, sequence, term, .. } = found;
        let Some(body) = body::of_text(&body) else {
            return Err(StoreError::Refused {
                place: self.client.place(),
                action: "to read a document".to_owned(),
                reason: format!("document {name} is damaged"),
            });
        };
        Ok(Document { name, version: version(term, sequence), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_parts() {
        assert_eq!(parts(version(3, 123_456_789_012)), (3, 123_456_789_012));
    }
}
