//! Rollups: sums of the latest spans of a window, made when somebody asks. Servers can sum up operations, but
//! not join the two sides of a call; and sums that each of several servers of ours kept would not join sides
//! that two of them wrote.

use std::collections::BTreeMap;

use deeptrace_model::{Duration, Span, SpanStatus, WallTime};

use super::search::Searcher;
use crate::{
    EdgeRollup, Filter, OperationKey, OperationRollup, Rollups, Step, StoreError, Window,
    joining::{Call, Joining},
    rollup::Sums,
};

/// Nanoseconds of a minute and of an hour.
const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;
/// Spans that are read, at most; about 30 MiB at once.
const SPANS_MAX: usize = 20_000;
/// The other side of a call may lie beside the window.
const BESIDE: Duration = Duration::from_secs(10);

/// Sums of `window`, widened to whole minutes. A side that waits for its other one at `now` is not told yet;
/// all are where no time is known.
pub(super) fn rollups(
    searcher: &Searcher<'_>,
    window: Window,
    step: Step,
    service: Option<&str>,
    now: Option<WallTime>,
) -> Result<Rollups, StoreError> {
    let from = window.from.0 / MINUTE * MINUTE;
    let to = (window.to.0 / MINUTE).saturating_add(1).saturating_mul(MINUTE) - 1;
    let around = Window { from: WallTime(from).minus(BESIDE), to: WallTime(to).plus(BESIDE) };
    let page = searcher.scan(&Filter::in_window(around), None, SPANS_MAX)?;
    let start = |time: WallTime| {
        (from..=to).contains(&time.0).then_some(match step {
            Step::Minute => time.0 / MINUTE * MINUTE,
            Step::Hour => time.0 / HOUR * HOUR,
            Step::Whole => from,
        })
    };
    let mut steps: BTreeMap<u64, Sums> = BTreeMap::new();
    let mut joining = Joining::default();
    let mut calls: Vec<Call> = Vec::new();
    // A page begins with the latest, and sides are joined in the order of time.
    for span in page.spans.iter().rev() {
        joining.feed(span, &mut |call| calls.push(call));
        if let Some(start) = start(span.start) {
            let tally = steps.entry(start).or_default().operation(key(span));
            tally.add(span.end.since(span.start), span.status == SpanStatus::Error);
        }
    }
    match now {
        Some(now) => joining.tick(now, &mut |call| calls.push(call)),
        None => joining.finish(&mut |call| calls.push(call)),
    }
    for call in calls {
        if let Some(start) = start(call.start) {
            let tally = steps.entry(start).or_default().edge(call.edge);
            tally.add(call.duration, call.is_error);
        }
    }
    let mut answer = Rollups { is_cut: page.next.is_some(), ..Rollups::default() };
    for (start, mut sums) in steps {
        if let Some(service) = service {
            sums.keep(service);
        }
        let start = WallTime(start);
        let operations = sums.operations.into_iter();
        answer.operations.extend(operations.map(|(operation, tally)| OperationRollup {
            start,
            operation,
            tally,
        }));
        let edges = sums.edges.into_iter();
        answer.edges.extend(edges.map(|(edge, tally)| EdgeRollup { start, edge, tally }));
    }
    Ok(answer)
}

fn key(span: &Span) -> OperationKey {
    let (service, name) = (span.service.clone(), span.name.clone());
    OperationKey { service, name, kind: span.kind }
}
