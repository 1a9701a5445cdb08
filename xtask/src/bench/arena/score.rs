//! Score: exported spans against what each call was made for.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Path of call `number` of the request with `token`, as the fronts make it.
pub fn disguise(key: &str, token: &str, number: u32) -> String {
    let hash = Sha256::digest(format!("{key}:{token}:{number}"));
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/b/{hex}")
}

/// What became of the calls of a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    calls: u64,
    right: u64,
    wrong: u64,
    /// Right and wrong ones by how the link was found.
    methods: BTreeMap<String, [u64; 2]>,
}

impl Cell {
    /// So many calls, right and wrong ones.
    #[cfg(test)]
    pub fn of(calls: u64, right: u64, wrong: u64) -> Self {
        Self { calls, right, wrong, ..Self::default() }
    }

    /// Wrong ones, % of the calls.
    pub fn wrong_share(&self) -> f64 {
        self.share(self.wrong)
    }

    /// Right ones, % of the calls.
    pub fn right_share(&self) -> f64 {
        self.share(self.right)
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.right += other.right;
        self.wrong += other.wrong;
        for (method, counts) in &other.methods {
            let own = self.methods.entry(method.clone()).or_default();
            own[0] += counts[0];
            own[1] += counts[1];
        }
    }

    fn share(&self, count: u64) -> f64 {
        100.0 * count as f64 / (self.calls as f64).max(1.0)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = self.calls - self.right - self.wrong;
        let [right, none, wrong] = [self.right, none, self.wrong].map(|count| self.share(count));
        write!(f, "{right:5.1} / {none:5.1} / {wrong:4.1} ")?;
        for (method, [right, wrong]) in &self.methods {
            write!(f, " {method} {right}")?;
            if *wrong > 0 {
                write!(f, "+{wrong}")?;
            }
        }
        Ok(())
    }
}

/// What a request or call is known by: its path, of gRPC its method, and on shared connections, where
/// the path tells the way only, the token.
fn path(span: &Value) -> Option<String> {
    let attribute = |name: &str| span["attributes"][name].as_str();
    let path = match attribute("url.path") {
        Some(path) => path.to_owned(),
        None => format!("/{}", attribute("rpc.method")?),
    };
    let token = attribute("user_agent.original").filter(|_| path.starts_with("/arena/"));
    Some(token.map_or_else(|| path.clone(), |token| format!("{path}/{token}")))
}

/// Counts the calls named in `truth` (path of the call → path of its request).
pub fn score(spans: &[Value], truth: &BTreeMap<String, String>) -> Cell {
    let requests: BTreeMap<&str, String> = spans
        .iter()
        .filter(|span| span["kind"] == "server")
        .filter_map(|span| Some((span["span_id"].as_str()?, path(span)?)))
        .collect();
    let mut cell = Cell { calls: truth.len() as u64, ..Cell::default() };
    for span in spans.iter().filter(|span| span["kind"] == "client") {
        let Some(request) = path(span).and_then(|path| truth.get(&path)) else { continue };
        let Some(parent) = span["parent_span_id"].as_str() else { continue };
        let is_right = requests.get(parent).is_some_and(|path| path == request);
        let method = span["link"]["method"].as_str().unwrap_or("none").to_owned();
        cell.methods.entry(method).or_default()[usize::from(!is_right)] += 1;
        *(if is_right { &mut cell.right } else { &mut cell.wrong }) += 1;
    }
    cell
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_counted_by_their_parents() {
        let span = |kind: &str, id: &str, path: &str, parent: Value| {
            json!({"kind": kind, "span_id": id, "attributes": {"url.path": path},
                   "parent_span_id": parent, "link": {"method": "thread"}})
        };
        let spans = [
            span("server", "1", "/x/a", Value::Null),
            span("server", "2", "/x/b", Value::Null),
            span("client", "3", "/b/1", json!("1")),
            span("client", "4", "/b/2", json!("1")),
            span("client", "5", "/b/3", Value::Null),
            span("client", "6", "/other", json!("1")),
            json!({"kind": "server", "span_id": "7", "parent_span_id": null,
                   "attributes": {"rpc.method": "arena/x", "user_agent.original": "c"}}),
            json!({"kind": "client", "span_id": "8", "attributes": {"rpc.method": "b/5"},
                   "parent_span_id": "7", "link": {"method": "thread"}}),
        ];
        let truth = [
            ("/b/1", "/x/a"),
            ("/b/2", "/x/b"),
            ("/b/3", "/x/b"),
            ("/b/4", "/x/b"),
            ("/b/5", "/arena/x/c"),
        ];
        let truth = truth.map(|(call, request)| (call.to_owned(), request.to_owned())).into();
        let cell = score(&spans, &truth);
        assert_eq!((cell.calls, cell.right, cell.wrong), (5, 2, 1));
        assert_eq!(cell.to_string(), " 40.0 /  40.0 / 20.0  thread 2+1");
    }

    #[test]
    fn calls_are_disguised_as_the_fronts_do_it() {
        // printf k:t:1 | sha256sum
        assert_eq!(disguise("k", "t", 1), "/b/9b8e7c472ff88515");
    }
}
