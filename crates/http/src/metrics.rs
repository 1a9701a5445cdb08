//! Metrics as text, in the form that the caller asks for: Prometheus's exposition format 0.0.4, or
//! OpenMetrics 1.0, which also has exemplars.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

/// The content types of both.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Families of metrics, one after the other. As an answer it is the text with its content type.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    is_open_metrics: bool,
}

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// One observation that stands for others of its bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Names and values, e.g. `trace_id`.
    pub labels: Vec<(&'static str, String)>,
    /// What was observed.
    pub value: f64,
    /// When, in seconds since the Unix epoch.
    pub seconds: f64,
}

/// What was observed, in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Observations of each bound and not of the one before; one more at the end, for those above all.
    pub counts: Vec<u64>,
    /// The sum of all observations.
    pub sum: f64,
    /// For each of `counts`.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Exposition {
    /// In the form that `headers` prefer (RFC 9110 §12.5.1); Prometheus's where they do not say.
    pub fn accepted_by(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open_metrics, mut other) = (0.0, 0.0);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|it| it.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            let best: &mut f64 = match name {
                "application/openmetrics-text" => &mut open_metrics,
                _ => &mut other,
            };
            *best = best.max(quality);
        }
        // Who names it at all can read it; who would rather have something else gets that.
        Self { text: String::new(), is_open_metrics: open_metrics > 0.0 && open_metrics >= other }
    }

    /// Begins a family; its samples come next.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics §4.5.2: the family of a counter has no suffix, its sample has one.
        let name = if self.is_open_metrics { name.trim_end_matches("_total") } else { name };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {word}"));
    }

    /// A sample of the family before.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels = Labels(labels);
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// The samples of a histogram with these upper bounds.
    pub fn buckets(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        observed: &Buckets,
    ) {
        let mut count = 0;
        for (index, inside) in observed.counts.iter().enumerate() {
            count += inside;
            let bound = bounds.get(index).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            let labels = Labels(&labels);
            match observed.exemplars.get(index).and_then(Option::as_ref) {
                Some(Exemplar { labels: names, value, seconds }) if self.is_open_metrics => {
                    let names: Vec<_> =
                        names.iter().map(|(name, it)| (*name, it.as_str())).collect();
                    let names = Labels(&names);
                    self.line(format_args!(
                        "{name}_bucket{labels} {count} # {names} {value} {seconds:.3}"
                    ));
                }
                _ => self.line(format_args!("{name}_bucket{labels} {count}")),
            }
        }
        self.sample(&format!("{name}_sum"), labels, observed.sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// Each counter as `deeptrace_NAME VALUE`; names that end in `_total` are counters, others gauges.
    pub fn counters(&mut self, counters: BTreeMap<&'static str, u64>) {
        for (name, value) in counters {
            let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            let help = format!("{}.", name.trim_end_matches("_total").replace('_', " "));
            let name = format!("deeptrace_{name}");
            self.family(&name, kind, &help);
            self.sample(&name, &[], value);
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// The whole text.
impl Display for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        if self.is_open_metrics { f.write_str("# EOF\n") } else { Ok(()) }
    }
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        let kind = if self.is_open_metrics { OPEN_METRICS } else { PROMETHEUS };
        ([(CONTENT_TYPE, HeaderValue::from_static(kind))], self.to_string()).into_response()
    }
}

/// `{name="value",…}`; nothing where there is none.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "{" } else { "," })?;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_str("\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &'static str) -> Exposition {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))]);
        Exposition::accepted_by(&headers)
    }

    #[test]
    fn the_caller_chooses_the_form() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        let cases = [
            (prometheus, true),
            ("*/*", false),
            ("text/plain", false),
            ("text/plain;q=1,application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
        ];
        for (text, is_open_metrics) in cases {
            assert_eq!(accept(text).is_open_metrics, is_open_metrics, "{text}");
        }
        assert!(!Exposition::accepted_by(&HeaderMap::new()).is_open_metrics);
    }

    fn filled(mut exposition: Exposition) -> String {
        exposition.counters(BTreeMap::from([("a_total", 1), ("b", 2)]));
        exposition.family("t_seconds", Kind::Histogram, "Time.");
        let exemplar =
            Exemplar { labels: vec![("trace_id", "ab".to_owned())], value: 0.5, seconds: 7.0 };
        let observed = Buckets {
            counts: vec![1, 0, 2],
            sum: 9.5,
            exemplars: vec![None, None, Some(exemplar)],
        };
        exposition.buckets("t_seconds", &[("s", "a\"\\\n")], &[0.001, 1.0], &observed);
        exposition.text
    }

    #[test]
    fn both_forms_are_written_as_they_must_be() {
        let expected = r#"# HELP deeptrace_a_total a.
# TYPE deeptrace_a_total counter
deeptrace_a_total 1
# HELP deeptrace_b b.
# TYPE deeptrace_b gauge
deeptrace_b 2
# HELP t_seconds Time.
# TYPE t_seconds histogram
t_seconds_bucket{s="a\"\\\n",le="0.001"} 1
t_seconds_bucket{s="a\"\\\n",le="1.0"} 1
t_seconds_bucket{s="a\"\\\n",le="+Inf"} 3
t_seconds_sum{s="a\"\\\n"} 9.5
t_seconds_count{s="a\"\\\n"} 3
"#;
        assert_eq!(filled(accept("text/plain")), expected);
        let open = expected.replace("E deeptrace_a_total", "E deeptrace_a");
        let open = open.replace("P deeptrace_a_total", "P deeptrace_a");
        let open = open.replace("\"+Inf\"} 3", "\"+Inf\"} 3 # {trace_id=\"ab\"} 0.5 7.000");
        assert_eq!(filled(accept("application/openmetrics-text")), open);
    }
}
