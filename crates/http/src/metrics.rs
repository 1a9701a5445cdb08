//! Counters as text for Prometheus (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

/// The content type of the text.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Each counter as `deeptrace_NAME VALUE`; names that end in `_total` are counters, others gauges.
pub fn prometheus(counters: BTreeMap<&'static str, u64>) -> String {
    let mut text = String::new();
    for (name, value) in counters {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# TYPE deeptrace_{name} {kind}\ndeeptrace_{name} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_counters() {
        let text = prometheus(BTreeMap::from([("a_total", 1), ("b", 2)]));
        let expected = "# TYPE deeptrace_a_total counter\ndeeptrace_a_total 1\n\
                        # TYPE deeptrace_b gauge\ndeeptrace_b 2\n";
        assert_eq!(text, expected);
    }
}
