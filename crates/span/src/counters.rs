//! Counters: what was dropped, given up or could not be told.

/// Everything that is counted, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spans: u64,
    pub(crate) orphan_responses: u64,
    pub(crate) expired: u64,
    pub(crate) shed_requests: u64,
    pub(crate) shed_connections: u64,
    pub(crate) other_names: u64,
    pub(crate) unknown_connections: u64,
}

impl Counters {
    pub(crate) fn tell(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("span_spans_total", self.spans);
        out("span_orphan_responses_total", self.orphan_responses);
        out("span_expired_total", self.expired);
        out("span_shed_requests_total", self.shed_requests);
        out("span_shed_connections_total", self.shed_connections);
        out("span_names_folded_total", self.other_names);
        out("span_unknown_connections_total", self.unknown_connections);
    }
}
