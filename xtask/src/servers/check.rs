//! Check: the spans of both sides against what the client wrote down. Each call has one span on each side
//! and there are no others; name, status, attributes and sizes are the client's, or absent and named as
//! unknown where their bytes were sent before the agent came; the client's span lies within the client's
//! own readings of the clock. How near to them is measured and printed, never asserted.

use std::cmp::Reverse;
use std::fmt;

use serde_json::Value;

use super::truth::Call;
use super::{Server, Tls};
use crate::test::watcher::told;

/// How far two readings of the wall clock may differ: spans' times are computed from the boot clock and a
/// reading of the wall clock that is up to ten seconds old.
const SLACK_NS: u64 = 1_000_000;

/// What a row of the table is made of.
pub const TITLES: &str = "server         protocol      s  calls connections  spans      sizes  cut  \
                          unknown names  within 1 ms  furthest";

/// What was found.
#[derive(Default)]
pub struct Verdict {
    calls: usize,
    connections: [usize; 2],
    /// Right ones, of clients and servers.
    right: [usize; 2],
    /// Spans whose sizes were held to the client's.
    sized: usize,
    /// Spans without a status, because the bytes that tell it were not copied.
    cut: usize,
    /// Spans on older connections, or named on others, and those of them whose name is unknown.
    old: usize,
    unknown: usize,
    /// Distances between the client's readings and its spans, nanoseconds.
    distances: Vec<u64>,
    /// What is wrong.
    pub wrong: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let near = self.distances.iter().filter(|it| **it <= 1_000_000).count();
        let furthest = self.distances.iter().max().copied().unwrap_or(0) as f64 / 1e6;
        let connections = format!("{} old, {} new", self.connections[0], self.connections[1]);
        let spans = format!("{}+{}", self.right[0], self.right[1]);
        let unknown = share(self.unknown, self.old);
        let near = match self.distances.len() {
            0 => "-".to_owned(),
            all => format!("{:.1}% of {all}", share(near, all)),
        };
        write!(
            f,
            "{:5}  {connections}  {spans:9}  {:5}  {:3}  ",
            self.calls, self.sized, self.cut
        )?;
        write!(f, "{unknown:5.1}% of {:<4} {near:>14}  {furthest:.2} ms", self.old)?;
        if !self.wrong.is_empty() {
            write!(f, "  {} WRONG, the first: {}", self.wrong.len(), self.wrong[0])?;
        }
        Ok(())
    }
}

/// Which side of an exchange.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Client = 0,
    Server = 1,
}

/// The sides of which every span must be seen.
pub fn sides(server: &Server) -> &'static [Side] {
    match server.tls {
        Some(Tls::Client) => &[Side::Client],
        _ => &[Side::Client, Side::Server],
    }
}

/// The client's process id, a side, and whether names may be unknown.
type Which = (u32, Side, bool);

/// Holds `spans` to `calls`.
///
/// `client` is the client's process id.
pub fn check(server: &Server, client: u32, calls: &[Call], spans: &[Value]) -> Verdict {
    let mut verdict = Verdict { calls: calls.len(), ..Verdict::default() };
    let mut ports: Vec<(u16, bool)> = calls.iter().map(|it| (it.connection, it.old)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|(port, _)| *port != 0);
    for old in [true, false] {
        verdict.connections[usize::from(!old)] = ports.iter().filter(|it| it.1 == old).count();
    }
    let mut left: Vec<&Value> = spans.iter().collect();
    left.sort_by_key(|span| start(span));
    // Hand-shakes are spans of their own.
    left.retain(|span| server.tls.is_none() || told(span, "protocol") != "tls");
    let of_both = calls.iter().flat_map(|it| sides(server).iter().map(move |side| (it, *side)));
    let mut open: Vec<(&Call, Side)> = of_both.collect();
    // Of calls that were under way at once: who began last has the fewest spans to choose from, and what
    // it leaves suits all others as far as its start is concerned. So each takes the one that ends last.
    // Calls whose span may have no name are last, so that they leave theirs to those that are named alike.
    let is_vague = |call: &Call| call.vague.is_some() && call.may_be_vague();
    open.sort_by_key(|(call, _)| (is_vague(call), Reverse(call.start)));
    let mut linked = Vec::new();
    // What is named goes first: a span without its name could be that of any call.
    for vague in [false, true] {
        let (mut right, mut unmatched) = (Vec::new(), Vec::new());
        for (call, side) in open {
            let which = (client, side, vague);
            let candidates = left.iter().enumerate();
            let its = candidates.filter(|(_, it)| difference(server, call, which, it).is_none());
            match its.min_by_key(|(_, span)| preference(call, side, span)) {
                Some((at, _)) => right.push((call, side, left.remove(at))),
                None => unmatched.push((call, side)),
            }
        }
        for (call, side, span) in right {
            verdict.count(server, call, side, span);
            if side == Side::Client {
                linked.push((call, span));
            }
        }
        open = unmatched;
    }
    verdict.wrong.extend(linked.iter().filter_map(|(call, span)| link(call, span, &linked)));
    for (call, side) in open {
        verdict.missing(server, call, (client, side, true), &left);
    }
    let is_background = |name: &str| server.background.iter().any(|start| name.starts_with(start));
    left.retain(|span| !is_background(&told(span, "name")));
    verdict.wrong.extend(left.iter().map(|span| format!("invented: {}", brief(span))));
    verdict
}

impl Verdict {
    fn count(&mut self, server: &Server, call: &Call, side: Side, span: &Value) {
        let protocol = told(span, "protocol");
        if protocol != call.protocol.as_deref().unwrap_or(server.protocol) {
            self.wrong.push(format!("of {protocol}: {}", brief(span)));
            return;
        }
        if server.tls.is_some() && told(&span["attributes"], "tls.protocol.name") != "tls" {
            self.wrong.push(format!("does not say that it is under TLS: {}", brief(span)));
            return;
        }
        if let Some(expected) = call.sizes {
            let found = [number(span, "request_size"), number(span, "response_size")];
            if found != expected && !is_cut(span) {
                self.wrong.push(format!("sizes {found:?}, not {expected:?}: {}", brief(span)));
                return;
            }
            self.sized += usize::from(found == expected);
        }
        self.cut += usize::from(is_cut(span) && call.status[side as usize] != "unset");
        self.right[side as usize] += 1;
        if call.may_be_vague() {
            self.old += 1;
            self.unknown += usize::from(told(span, "name") != call.operation);
        }
        if side == Side::Client && !call.opening {
            let end = number(span, "end_time_unix_nano");
            self.distances.push(start(span).abs_diff(call.start).max(end.abs_diff(call.end)));
        }
    }

    fn missing(&mut self, server: &Server, call: &Call, which: Which, left: &[&Value]) {
        let name = if which.1 == Side::Client { "client" } else { "server" };
        let nearest = left
            .iter()
            .filter(|span| is_on(call, which, span))
            .min_by_key(|span| start(span).abs_diff(call.start));
        let near = nearest.map_or("nothing there".to_owned(), |span| {
            let why = difference(server, call, which, span).unwrap_or_default();
            format!("the nearest: {why}: {}", brief(span))
        });
        let Call { operation, connection, old, .. } = call;
        let whose = if *old { "old" } else { "new" };
        self.wrong.push(format!("no {name} span of {operation} on {connection} ({whose}); {near}"));
    }
}

/// Which span a call takes first: the one that ends last, then the one that lies least outside of it.
fn preference(call: &Call, side: Side, span: &Value) -> (Reverse<u64>, u64, u64) {
    let last = last(side, span);
    let outside = call.start.saturating_sub(start(span)) + last.saturating_sub(call.end);
    (Reverse(last), outside, start(span).abs_diff(call.start))
}

/// The last time of a span that must lie within its call: the end of the server's last call may be
/// stamped when the client has long had the answer, and nobody waits for what asks for none.
fn last(side: Side, span: &Value) -> u64 {
    let is_taken = span["kind"] == "consumer";
    if side == Side::Server && is_taken {
        0
    } else if side == Side::Client {
        number(span, "end_time_unix_nano")
    } else {
        start(span)
    }
}

/// What makes a span another than that of `call`; `None` where it may be it.
fn difference(server: &Server, call: &Call, which: Which, span: &Value) -> Option<String> {
    let side = which.1;
    if !is_on(call, which, span) {
        return Some("another connection".to_owned());
    }
    let (from, to) = (call.start.saturating_sub(SLACK_NS), call.end + SLACK_NS);
    let last = last(side, span);
    if start(span) < from || last > to {
        let off = start(span) as i64 - call.start as i64;
        return Some(format!("another time: {off} ns, {} ns", last as i64 - call.end as i64));
    }
    let unknown: Vec<&str> =
        span["unknown"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let name = told(span, "name");
    let vague = call.vague.as_deref().unwrap_or(server.protocol);
    let is_vague = which.2 && call.may_be_vague() && !unknown.is_empty() && name == vague;
    if name != call.operation && !is_vague {
        return Some(format!("name {name:?}"));
    }
    let status = told(span, "status");
    let is_unknown = unknown.iter().any(|name| name.contains("status")) || is_cut(span);
    if status != call.status[side as usize] && !(status == "unset" && is_unknown) {
        return Some(format!("status {status:?}"));
    }
    call.attributes.iter().find_map(|(key, expected)| {
        let found = &span["attributes"][key];
        let is_unknown = which.2 && found.is_null() && unknown.contains(&key.as_str());
        (found != expected && !is_unknown).then(|| format!("{key} {found}"))
    })
}

/// Whether a span was seen on the connection of `call`, on this side.
fn is_on(call: &Call, (client, side, _): Which, span: &Value) -> bool {
    let is_of_client = span["attributes"]["process.pid"] == client;
    let port = |name: &str| number(&span["attributes"], name) == u64::from(call.connection);
    match (call.connection, side) {
        (0, _) if is_of_client => false,
        (0, Side::Client) => ["client", "producer"].contains(&told(span, "kind").as_str()),
        (0, Side::Server) => ["server", "consumer"].contains(&told(span, "kind").as_str()),
        (_, Side::Client) => is_of_client && port("network.local.port"),
        (_, Side::Server) => !is_of_client && port("network.peer.port"),
    }
}

/// What is wrong with the link of who took something to who put it.
fn link(call: &Call, span: &Value, all: &[(&Call, &Value)]) -> Option<String> {
    let taken = call.takes.as_ref()?;
    let Some((_, put)) = all.iter().find(|(other, _)| other.puts.as_ref() == Some(taken)) else {
        return Some(format!("{taken} was taken and has no span that put it"));
    };
    let attributes = &span["attributes"];
    let ids = &attributes["deeptrace.link.span_ids"];
    let between = attributes["deeptrace.link.time_ns"].as_u64();
    let end = |span: &Value| number(span, "end_time_unix_nano");
    let longest = end(span).saturating_sub(start(put)) + SLACK_NS;
    let is_right = *ids == serde_json::json!([put["span_id"]]);
    (!is_right || between.is_none_or(|between| between > longest)).then(|| {
        format!(
            "{taken} is linked to {ids} after {between:?} ns, not to {}: {}",
            put["span_id"],
            brief(span)
        )
    })
}

/// Whether the bytes with its status were not copied: of a call at most 16 KiB are.
fn is_cut(span: &Value) -> bool {
    span["truncated"] == true && span["status"] == "unset"
}

fn start(span: &Value) -> u64 {
    number(span, "start_time_unix_nano")
}

fn number(span: &Value, name: &str) -> u64 {
    span[name].as_u64().unwrap_or(0)
}

/// A span in one line.
fn brief(span: &Value) -> String {
    let all = |name: &str| told(span, name);
    let attributes = &span["attributes"];
    let (local, peer) = (&attributes["network.local.port"], &attributes["network.peer.port"]);
    let words = ["kind", "protocol", "name", "status", "status_message", "lost_events"].map(all);
    format!("{} on {local}-{peer} unknown {} ", words.join(" "), span["unknown"])
}
