//! Critical path: the spans, piece by piece, without which a trace would have ended earlier; and self
//! time: what a span did while nobody worked for it.
//!
//! Walked backwards from the end of the root, as in CRISP (Zhang et al., USENIX ATC 2022 §3): of the
//! children that ended before a moment the last one to end is what its parent waited for. A child that
//! its parent did not wait for (a link that says `follows`, or an end more than [`SLACK`] after the
//! parent's) is on nobody's path.
//!
//! Times are on the clock of the root ([`Clocks`]). Simplifying assumption: where the receiver of a call lies
//! outside of the call all the same, it is moved to the middle of the call with all below it.

use std::collections::BTreeMap;

use deeptrace_model::{Duration, Relation, SpanId, SpanKind, Trace, TraceSpan, WallTime};

use crate::Clocks;

/// Stamps are taken at the end of calls, so a child may end this much later than its parent.
const SLACK: u64 = 1_000_000;

/// A piece of the critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Place of the span in [`Trace::spans`].
    pub span: usize,
    /// Since when, on the clock of the root.
    pub from: WallTime,
    /// Until when.
    pub to: WallTime,
}

/// What spans of a trace did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// Pieces in order of time: together they are as long as the root.
    pub pieces: Vec<Piece>,
    /// For each of [`Trace::spans`]: how long it worked while no child that it waited for did.
    pub self_times: Vec<Duration>,
}

/// A span on the clock of the root, cut to the time in which its parent waited for it.
#[derive(Clone, Debug)]
struct Placed {
    from: u64,
    to: u64,
    /// What is added to its stamps, and to those of all below it.
    shift: i64,
    /// Those it waited for, the last to end first.
    children: Vec<usize>,
}

/// The critical path of the first root and the self times of all spans. Spans that are not below that
/// root have self times only.
pub fn critical_path(trace: &Trace) -> CriticalPath {
    let placed = place(trace);
    let self_times = placed.iter().map(|span| self_time(span, &placed)).collect();
    CriticalPath { pieces: walk(&placed), self_times }
}

fn place(trace: &Trace) -> Vec<Placed> {
    let mut indices: BTreeMap<SpanId, usize> = BTreeMap::new();
    let mut placed: Vec<Placed> = Vec::with_capacity(trace.spans.len());
    let clocks = Clocks::of(trace);
    for (index, span) in trace.spans.iter().enumerate() {
        // Parents come before their children.
        let parent = span.parent.and_then(|parent| indices.get(&parent).copied());
        let (start, end) = clocks.stamps(&span.span);
        let stamps = (start, end.max(start));
        let waits = parent.map(|parent| waits(&trace.spans[parent], &placed[parent], span, stamps));
        let alone = Placed { from: stamps.0, to: stamps.1, shift: 0, children: Vec::new() };
        if let (Some(parent), Some(Some(_))) = (parent, &waits) {
            placed[parent].children.push(index);
        }
        placed.push(waits.flatten().unwrap_or(alone));
        indices.insert(span.span.id, index);
    }
    let ends: Vec<(u64, u64)> = placed.iter().map(|span| (span.to, span.from)).collect();
    for span in &mut placed {
        span.children.sort_by_key(|child| std::cmp::Reverse(ends[*child]));
    }
    placed
}

/// Where `child` lies in its parent; `None` if the parent did not wait for it.
fn waits(
    parent: &TraceSpan,
    placed: &Placed,
    child: &TraceSpan,
    (start, end): (u64, u64),
) -> Option<Placed> {
    if child.link.as_ref().is_some_and(|link| link.relation == Relation::Follows) {
        return None;
    }
    let at = |time: u64, shift: i64| time.saturating_add_signed(shift);
    let mut shift = placed.shift;
    let is_inside = |shift| {
        at(start, shift).saturating_add(SLACK) >= placed.from
            && at(end, shift) <= placed.to.saturating_add(SLACK)
    };
    let is_exchange = parent.span.kind == SpanKind::Client && child.span.kind == SpanKind::Server;
    if is_exchange && !is_inside(shift) {
        let middle = |from: u64, to: u64| i64::try_from(from / 2 + to / 2).unwrap_or(i64::MAX);
        shift = middle(placed.from, placed.to).saturating_sub(middle(start, end));
    } else if at(end, shift) > placed.to.saturating_add(SLACK) {
        return None;
    }
    let from = at(start, shift).clamp(placed.from, placed.to);
    let to = at(end, shift).clamp(from, placed.to);
    Some(Placed { from, to, shift, children: Vec::new() })
}

/// Backwards from the end of the first span. The stack is of our own: traces may be deep.
fn walk(placed: &[Placed]) -> Vec<Piece> {
    struct Frame {
        span: usize,
        /// The next of its children that is looked at.
        next: usize,
        /// What lies behind is explained.
        until: u64,
    }
    let Some(root) = placed.first() else { return Vec::new() };
    let mut pieces = Vec::new();
    let mut add = |span, from, to| {
        if from < to {
            pieces.push(Piece { span, from: WallTime(from), to: WallTime(to) });
        }
    };
    let mut stack = vec![Frame { span: 0, next: 0, until: root.to }];
    while let Some(frame) = stack.last_mut() {
        let span = &placed[frame.span];
        let Some(child) = span.children.get(frame.next).copied() else {
            add(frame.span, span.from, frame.until);
            stack.pop();
            continue;
        };
        frame.next += 1;
        let inner = &placed[child];
        // One that was still at work then ran beside what is explained already.
        if inner.to <= frame.until && inner.from < inner.to {
            add(frame.span, inner.to, frame.until);
            frame.until = inner.from;
            stack.push(Frame { span: child, next: 0, until: inner.to });
        }
    }
    pieces.reverse();
    pieces
}

fn self_time(span: &Placed, placed: &[Placed]) -> Duration {
    let mut busy: Vec<(u64, u64)> =
        span.children.iter().map(|child| (placed[*child].from, placed[*child].to)).collect();
    busy.sort_unstable();
    let (mut waited, mut until) = (0, span.from);
    for (from, to) in busy {
        waited += to.saturating_sub(from.max(until));
        until = until.max(to);
    }
    Duration((span.to - span.from).saturating_sub(waited))
}

/// An operation on the critical paths of several traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnPath {
    /// `service.name`.
    pub service: String,
    /// Name of its spans.
    pub name: String,
    /// Kind of its spans.
    pub kind: SpanKind,
    /// Traces on whose path it is.
    pub traces: u64,
    /// Its spans in the traces.
    pub spans: u64,
    /// How long it was on a path.
    pub critical: Duration,
    /// Its self time, on a path or not.
    pub self_time: Duration,
}

/// Critical paths of several traces, summed up.
#[derive(Clone, Debug, Default)]
pub struct CriticalPaths {
    rows: BTreeMap<(String, String, u8), OnPath>,
    /// Traces.
    pub traces: u64,
    /// Sum of the lengths of their paths.
    pub total: Duration,
}

impl CriticalPaths {
    /// Adds a trace.
    pub fn add(&mut self, trace: &Trace) {
        let CriticalPath { pieces, self_times } = critical_path(trace);
        let mut on_path: BTreeMap<usize, u64> = BTreeMap::new();
        for piece in pieces {
            *on_path.entry(piece.span).or_default() += piece.to.since(piece.from).0;
        }
        self.traces += 1;
        self.total.0 = self.total.0.saturating_add(on_path.values().sum());
        let mut seen: BTreeMap<(String, String, u8), bool> = BTreeMap::new();
        for (index, span) in trace.spans.iter().enumerate() {
            let (service, name) = (span.span.service.to_string(), span.span.name.to_string());
            let key = (service.clone(), name.clone(), span.span.kind as u8);
            let row = self.rows.entry(key.clone()).or_insert(OnPath {
                service,
                name,
                kind: span.span.kind,
                traces: 0,
                spans: 0,
                critical: Duration(0),
                self_time: Duration(0),
            });
            let critical = on_path.get(&index).copied().unwrap_or(0);
            row.spans += 1;
            row.critical.0 = row.critical.0.saturating_add(critical);
            row.self_time.0 = row.self_time.0.saturating_add(self_times[index].0);
            if critical > 0 && seen.insert(key, true).is_none() {
                row.traces += 1;
            }
        }
    }

    /// Operations, those first that were longest on a path.
    pub fn rows(self) -> Vec<OnPath> {
        let mut rows: Vec<OnPath> = self.rows.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.critical, row.self_time)));
        rows
    }
}
