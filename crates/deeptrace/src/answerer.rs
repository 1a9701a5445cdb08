//! Who answers questions about stored spans: a running server (`--server`), else the data folder
//! itself, which can be read while another process writes to it.

use std::sync::Arc;

use anyhow::{Context, Result};
use deeptrace_http::ApiError;
use deeptrace_query::Limits;
use deeptrace_server::access::View;
use deeptrace_server::answers::{self, Search, TraceAnswer, Traces};
use deeptrace_server::clock;
use deeptrace_store::{Mode, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::Client;
use crate::{Common, audited};

/// Who answers.
pub enum Answerer {
    /// A running server.
    Server(Client),
    /// The data folder.
    Folder(Arc<dyn Store>, Limits),
}

impl Answerer {
    /// The server at `url`, or the data folder where there is none.
    pub fn new(url: Option<&str>, common: &Common) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self::Server(Client::new(url, common)?));
        }
        let loaded = common.load()?;
        let store = loaded
            .server
            .open_store(&common.data_dir, Mode::Read)
            .context("cannot open the store")?;
        audited::note_command(common, "ok");
        let similarity_threshold = loaded.server.threshold;
        Ok(Self::Folder(store, Limits { similarity_threshold, ..Limits::default() }))
    }

    /// The answer to `path`, or what `answer` makes of the data folder.
    pub fn ask<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        answer: impl FnOnce(&dyn Store, Limits) -> Result<A, ApiError>,
    ) -> Result<A> {
        match self {
            Self::Server(client) => {
                let pairs = query_pairs(query)?;
                let pairs: Vec<(&str, String)> =
                    pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
                client.get(path, &pairs)
            }
            Self::Folder(store, limits) => answer(&**store, *limits).map_err(told),
        }
    }

    /// A page of traces.
    pub fn traces(&self, search: &Search) -> Result<Traces> {
        match self {
            Self::Server(client) => client.get("/traces", &pairs(search)),
            Self::Folder(store, limits) => {
                answers::traces(&**store, search, &View::ALL, *limits, clock::now()).map_err(told)
            }
        }
    }

    /// One trace, by its id or by that of one of its spans.
    pub fn trace(&self, id: &str) -> Result<TraceAnswer> {
        match self {
            Self::Server(client) => client.get(&format!("/traces/{id}"), &[]),
            Self::Folder(store, limits) => {
                answers::trace(&**store, id, &View::ALL, *limits).map_err(told)
            }
        }
    }
}

/// A query of the API as that of a URL; what is empty or left out stays out.
fn query_pairs(query: &impl Serialize) -> Result<Vec<(String, String)>> {
    let Value::Object(fields) = serde_json::to_value(query)? else { return Ok(Vec::new()) };
    let text = |value| match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then_some(text),
        other => Some(other.to_string()),
    };
    let pairs = fields.into_iter().filter_map(|(name, value)| Some((name, text(value)?)));
    Ok(pairs.collect())
}

/// The sentence of an answer that would have been HTTP.
fn told(error: ApiError) -> anyhow::Error {
    anyhow::anyhow!(error.message)
}

/// As the query of a URL; what is left out stays out.
fn pairs(search: &Search) -> Vec<(&'static str, String)> {
    let Search { service, operation, kind, min_duration, max_duration, .. } = search;
    let texts = [
        ("service", service),
        ("operation", operation),
        ("kind", kind),
        ("min_duration", min_duration),
        ("max_duration", max_duration),
        ("start", &search.start),
        ("end", &search.end),
        ("cursor", &search.cursor),
    ];
    let given = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut pairs: Vec<_> = given.map(|(name, text)| (name, text.clone())).collect();
    pairs.extend(search.min_spans.map(|spans| ("min_spans", spans.to_string())));
    pairs.extend(search.limit.map(|limit| ("limit", limit.to_string())));
    pairs.extend(search.errors.then(|| ("errors", "true".to_owned())));
    pairs
}
