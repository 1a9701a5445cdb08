//! Score: the spans of each request against what must be there: the client on A, server and client on B,
//! the server on C, each the parent of the next.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use crate::test::watcher::told;

/// Host and kind of the spans of a request, from the root.
const CHAIN: [(&str, &str); 4] =
    [("dtw-a", "client"), ("dtw-b", "server"), ("dtw-b", "client"), ("dtw-c", "server")];

/// What the store has of some requests.
#[derive(Debug, Default)]
pub struct Score {
    requests: usize,
    /// Requests with all four spans.
    whole: usize,
    /// When the others were made, nanoseconds since the epoch, and the ids of their traces; `None` where A has
    /// no span either.
    missing: Vec<Option<(u64, String)>>,
    /// Links of them that are there, and right.
    links: usize,
    /// Spans that are there twice, or on a host where they cannot be.
    odd: Vec<String>,
    /// Links to another request, or to the wrong span of this one.
    wrong: Vec<String>,
}

impl Score {
    /// Of the requests with these numbers.
    pub fn new(spans: &[Value], numbers: Range<usize>) -> Self {
        let mut of_request: BTreeMap<usize, Vec<&Value>> = BTreeMap::new();
        for span in spans {
            let path = told(span, "url.path");
            let number = path.strip_prefix("/fleet/").and_then(|number| number.parse().ok());
            if let Some(number) = number.filter(|number| numbers.contains(number)) {
                of_request.entry(number).or_default().push(span);
            }
        }
        let mut score = Self { requests: numbers.len(), ..Self::default() };
        for number in numbers {
            score.add(number, of_request.get(&number).map_or(&[], Vec::as_slice));
        }
        score
    }

    fn add(&mut self, number: usize, spans: &[&Value]) {
        let place = |span: &Value| {
            let of = (told(span, "host.name"), told(span, "kind"));
            CHAIN.iter().position(|(host, kind)| *host == of.0 && *kind == of.1)
        };
        let mut found: [Option<&Value>; 4] = [None; 4];
        for span in spans {
            match place(span) {
                Some(index) if found[index].is_none() => found[index] = Some(span),
                place => self.odd.push(format!("request {number}: one more at {place:?}: {span}")),
            }
        }
        if found.iter().all(Option::is_some) {
            self.whole += 1;
        } else {
            let made = |span: &Value| {
                Some((span["start_time_unix_nano"].as_u64()?, told(span, "trace_id").to_owned()))
            };
            self.missing.push(found[0].and_then(made));
        }
        for index in 0..CHAIN.len() {
            let Some(span) = found[index] else { continue };
            let parent = told(span, "parent_span_id");
            let before = index.checked_sub(1).and_then(|before| found[before]);
            let expected = before.map(|span| told(span, "span_id")).unwrap_or_default();
            if !parent.is_empty() && parent == expected {
                self.links += 1;
            } else if !parent.is_empty() {
                self.wrong.push(format!("request {number}: parent {parent} of {span}"));
            }
        }
    }

    /// Ids of traces that miss spans.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        self.missing.iter().flatten().map(|(_, trace)| trace.as_str())
    }

    /// Adds what is wrong; requests that were made while an agent was `blind` may miss spans.
    pub fn check(&self, when: &str, blind: &Range<u64>, wrong: &mut Vec<String>) {
        let is_lost = |missing: &&Option<(u64, String)>| {
            missing.as_ref().is_none_or(|(made, _)| !blind.contains(made))
        };
        let lost = self.missing.iter().filter(is_lost).count();
        if lost > 0 {
            wrong.push(format!("{when}: {lost} requests miss spans that no agent was blind for"));
        }
        let links = 3 * self.whole;
        if self.links * 1000 < links * 995 {
            wrong.push(format!("{when}: {} of {links} links", self.links));
        }
        let all = self.odd.iter().chain(&self.wrong);
        wrong.extend(all.map(|odd| format!("{when}: {odd}")));
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, whole, links, odd, wrong, .. } = self;
        write!(
            f,
            "{whole} of {requests} requests whole, {links} links right, {} wrong, {} spans twice",
            wrong.len(),
            odd.len()
        )
    }
}
