//! Elasticsearch and OpenSearch, after OpenTelemetry's conventions for them. Bias: only clients that name
//! themselves are believed, because others serve such paths too.

use super::meaning::{Asking, Detector, Found, Meaning};

pub(super) const DETECTOR: Detector = Detector { head, body: |_, _| None, answer: None };

/// How the makers' clients begin to name themselves.
const ELASTICSEARCH: &[&[u8]] =
    &[b"elasticsearch", b"elastic-", b"elastic/", b"go-elasticsearch", b"rest-high-level-client"];
const OPENSEARCH: &[&[u8]] = &[b"opensearch", b"go-opensearch"];

fn head(asking: &Asking<'_>) -> Found {
    let agent = asking.user_agent.unwrap_or_default();
    let starts = |names: &[&[u8]]| {
        names.iter().any(|name| {
            agent.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        })
    };
    let kind = asking.words.content_type.unwrap_or_default();
    let is_elastic = asking.words.has_elastic_meta
        || kind.starts_with(b"application/vnd.elasticsearch+")
        || starts(ELASTICSEARCH);
    let system = match (is_elastic, starts(OPENSEARCH)) {
        (true, _) => "elasticsearch",
        (_, true) => "opensearch",
        _ => return Found::No,
    };
    let mut meaning = Meaning::default();
    meaning.add("db.system.name", system);
    let path = super::text(asking.path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let index = parts.first().filter(|part| !part.starts_with('_')).copied();
    if let Some(index) = index {
        meaning.add("db.collection.name", index);
    }
    let rest = if index.is_some() { &parts[1..] } else { &parts[..] };
    if let Some(operation) = operation(asking.method, index.is_some(), rest) {
        meaning.add("db.operation.name", operation);
        let name =
            index.map_or_else(|| operation.to_owned(), |index| format!("{operation} {index}"));
        meaning.add("db.query.summary", &name);
        meaning.name = Some(name.into());
    }
    Found::Yes(meaning)
}

/// Name of the endpoint (Elasticsearch's REST specification), `rest` being what follows an index.
fn operation(method: &[u8], has_index: bool, rest: &[&str]) -> Option<&'static str> {
    Some(match (method, rest) {
        (b"GET", []) if !has_index => "info",
        (b"HEAD", []) if !has_index => "ping",
        (b"GET", []) => "indices.get",
        (b"HEAD", []) => "indices.exists",
        (b"PUT", []) => "indices.create",
        (b"DELETE", []) => "indices.delete",
        (_, ["_search"]) => "search",
        (b"DELETE", ["_search", "scroll", ..]) => "clear_scroll",
        (_, ["_search", "scroll", ..]) => "scroll",
        (_, ["_search", "template"]) => "search_template",
        (_, ["_msearch"]) => "msearch",
        (_, ["_bulk"]) => "bulk",
        (_, ["_count"]) => "count",
        (_, ["_mget"]) => "mget",
        (_, ["_reindex"]) => "reindex",
        (_, ["_update_by_query"]) => "update_by_query",
        (_, ["_delete_by_query"]) => "delete_by_query",
        (_, ["_field_caps"]) => "field_caps",
        (b"POST", ["_doc"]) | (b"PUT" | b"POST", ["_doc", _]) => "index",
        (b"GET", ["_doc", _]) => "get",
        (b"HEAD", ["_doc", _]) => "exists",
        (b"DELETE", ["_doc", _]) => "delete",
        (_, ["_create", _]) => "create",
        (b"GET", ["_source", _]) => "get_source",
        (_, ["_update", _]) => "update",
        (_, ["_explain", _]) => "explain",
        (b"POST", ["_pit"]) => "open_point_in_time",
        (b"DELETE", ["_pit"]) => "close_point_in_time",
        (_, ["_refresh"]) => "indices.refresh",
        (_, ["_flush"]) => "indices.flush",
        (_, ["_forcemerge"]) => "indices.forcemerge",
        (_, ["_rollover", ..]) => "indices.rollover",
        (_, ["_analyze"]) => "indices.analyze",
        (b"GET", ["_mapping", ..]) => "indices.get_mapping",
        (_, ["_mapping", ..]) => "indices.put_mapping",
        (b"GET", ["_settings", ..]) => "indices.get_settings",
        (_, ["_settings", ..]) => "indices.put_settings",
        (b"GET", ["_alias", ..]) => "indices.get_alias",
        (b"POST", ["_aliases"]) => "indices.update_aliases",
        (b"GET", ["_index_template", ..]) => "indices.get_index_template",
        (b"PUT", ["_index_template", _]) => "indices.put_index_template",
        (b"GET", ["_cluster", "health", ..]) => "cluster.health",
        (b"GET", ["_cluster", "stats", ..]) => "cluster.stats",
        (b"GET", ["_cluster", "state", ..]) => "cluster.state",
        (b"GET", ["_cat", "indices", ..]) => "cat.indices",
        (b"GET", ["_cat", "shards", ..]) => "cat.shards",
        (b"GET", ["_nodes", ..]) => "nodes.info",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::meaning::tests::meant;

    #[test]
    fn endpoints() {
        let of =
            |method: &str, path: &str| meant(method, path, "user-agent: elasticsearch-py/8.1", "");
        assert_eq!(
            of("POST", "/orders/_search?size=1"),
            "search orders db.system.name=elasticsearch db.collection.name=orders \
             db.operation.name=search db.query.summary=search orders"
        );
        for (method, path, name) in [
            ("GET", "/", "info"),
            ("POST", "/_bulk", "bulk"),
            ("PUT", "/a,b/_doc/7", "index a,b"),
            ("GET", "/_cluster/health/x", "cluster.health"),
            ("PUT", "/orders", "indices.create orders"),
        ] {
            assert!(of(method, path).starts_with(&format!("{name} db.")), "{method} {path}");
        }
        assert_eq!(of("GET", "/_new/thing"), "HTTP db.system.name=elasticsearch");
        let other = meant("GET", "/_count", "user-agent: opensearch-py/2.4.0 (Python 3.11.7)", "");
        assert!(other.starts_with("count db.system.name=opensearch"), "{other}");
        let meta = meant("GET", "/", "x-elastic-client-meta: es=8.1,py=3.11", "");
        assert!(meta.starts_with("info db.system.name=elasticsearch"), "{meta}");
    }
}
