//! Question: lookups and filters in the words of the wire, there and back.

use deeptrace_store::{Cursor, Filter, LinkKey, LinkLookup, SpanKey, SpanLookup, Window};
use deeptrace_wire::{Between, Key, Lookups, Scan};

/// A key as it is sent.
pub fn key(key: SpanKey) -> Key {
    match key {
        SpanKey::Id(id) => Key::Span(id),
        SpanKey::Exchange(key) => Key::Exchange(key),
        SpanKey::Request(key) => Key::Request(key),
        SpanKey::Application(id) => Key::Trace(id),
    }
}

fn span_key(key: Key) -> SpanKey {
    match key {
        Key::Span(id) => SpanKey::Id(id),
        Key::Exchange(key) => SpanKey::Exchange(key),
        Key::Request(key) => SpanKey::Request(key),
        Key::Trace(id) => SpanKey::Application(id),
    }
}

fn between(Window { from, to }: Window) -> Between {
    Between { from, to }
}

fn window(Between { from, to }: Between) -> Window {
    Window { from, to }
}

/// Lookups as they are sent.
pub fn lookups(spans: &[SpanLookup], links: &[LinkLookup], limit: usize) -> Lookups {
    let mut lookups = Lookups {
        spans: spans.iter().map(|it| (key(it.key), between(it.window))).collect(),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        ..Lookups::default()
    };
    for LinkLookup { key, window } in links {
        match *key {
            LinkKey::Child(id) => lookups.children.push((id, between(*window))),
            LinkKey::Parent(id) => lookups.parents.push((id, between(*window))),
        }
    }
    lookups
}

/// Lookups as they came, with at most `limit_max` of each as answer.
pub fn asked(lookups: &Lookups, limit_max: usize) -> deeptrace_query::Lookups {
    let spans = lookups.spans.iter();
    let link = |key: fn(_) -> LinkKey| {
        move |(id, between): &(_, Between)| LinkLookup { key: key(*id), window: window(*between) }
    };
    let children = lookups.children.iter().map(link(LinkKey::Child));
    deeptrace_query::Lookups {
        spans: spans
            .map(|(key, between)| SpanLookup { key: span_key(*key), window: window(*between) })
            .collect(),
        links: children.chain(lookups.parents.iter().map(link(LinkKey::Parent))).collect(),
        gaps: None,
        limit: (lookups.limit as usize).min(limit_max),
    }
}

/// A page of a scan as it is sent.
pub fn scan(filter: &Filter, after: Option<Cursor>, limit: usize) -> Scan {
    Scan {
        window: between(filter.window),
        service: filter.service.clone(),
        name: filter.name.clone(),
        kind: filter.kind,
        min_duration: filter.min_duration,
        max_duration: filter.max_duration,
        errors_only: filter.errors_only,
        after: after.map(|it| (it.start, it.id)),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    }
}

/// A scan as it came: filter and where its page begins.
pub fn scanned(scan: &Scan) -> (Filter, Option<Cursor>) {
    let filter = Filter {
        window: window(scan.window),
        service: scan.service.clone(),
        name: scan.name.clone(),
        kind: scan.kind,
        min_duration: scan.min_duration,
        max_duration: scan.max_duration,
        errors_only: scan.errors_only,
    };
    (filter, scan.after.map(|(start, id)| Cursor { start, id }))
}
