//! `GET /analytics/topology`: services, who calls whom, how often and how long. Of everything stored,
//! from the store's sums; no span is read.

use std::collections::BTreeMap;

use deeptrace_http::ApiError;
use deeptrace_model::{SpanKind, WallTime};
use deeptrace_store::{Callee, Step, Store, Tally};
use serde::{Deserialize, Serialize};

use super::{Period, Query, Sums};
use crate::answers::failed;

/// The service map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// What was asked about.
    #[serde(flatten)]
    pub period: Period,
    /// By name.
    pub services: Vec<Node>,
    /// By caller, callee and protocol.
    pub edges: Vec<Edge>,
    /// Whether there was more than is answered at once.
    pub is_cut: bool,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `service.name`.
    pub name: String,
    /// The requests that it served.
    pub served: Sums,
    /// The calls that it made.
    pub called: Sums,
}

/// Calls from one to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// `service.name` of the caller; absent: the call came from what is not watched.
    pub client: Option<String>,
    /// `service.name` of the callee, or its address.
    pub server: String,
    /// Whether the callee is a service that is watched; else `server` is an address.
    pub is_service: bool,
    /// Name in the table of protocols.
    pub protocol: String,
    /// The calls, as the caller saw them where it is known.
    #[serde(flatten)]
    pub calls: Sums,
}

/// Answers.
pub fn topology(store: &dyn Store, query: &Query, now: WallTime) -> Result<Topology, ApiError> {
    let period = Period::new(&query.start, &query.end, now)?;
    let service = (!query.service.is_empty()).then_some(query.service.as_str());
    let rollups = store.rollups(period.window(), Step::Whole, service).map_err(failed)?;
    let mut nodes: BTreeMap<String, [Tally; 2]> = BTreeMap::new();
    for row in &rollups.operations {
        let served = row.operation.kind.is_receiver();
        if row.operation.kind != SpanKind::Internal {
            let node = nodes.entry(row.operation.service.to_string()).or_default();
            node[usize::from(!served)].merge(&row.tally);
        }
    }
    let services = nodes.into_iter().map(|(name, [served, called])| Node {
        name,
        served: Sums::of(&served, &period),
        called: Sums::of(&called, &period),
    });
    let edges = rollups.edges.iter().map(|row| {
        let (server, is_service) = match &row.edge.callee {
            Callee::Service(name) => (name, true),
            Callee::Peer(address) => (address, false),
        };
        Edge {
            client: row.edge.caller.as_ref().map(ToString::to_string),
            server: server.to_string(),
            is_service,
            protocol: row.edge.protocol.to_string(),
            calls: Sums::of(&row.tally, &period),
        }
    });
    Ok(Topology {
        period,
        services: services.collect(),
        edges: edges.collect(),
        is_cut: rollups.is_cut,
    })
}
