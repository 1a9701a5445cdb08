//! Group: assemblies that are driven together, so that the store is asked once for all of them at each
//! step. A batch of the store that is unpacked and looked through costs the same for one key as for a
//! hundred. Of those that begin in one trace only the first goes to its end.

use std::sync::Arc;

use deeptrace_model::{Link, Span, SpanId, Trace};
use deeptrace_store::{LinkKey, SpanKey, Store, StoreError, Window};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Answers, Assembly, Limits, Lookups, Start, Step, run::GAPS_MAX};

/// Spans that a group holds at once, members and those that turn out to belong elsewhere. Beyond, its later
/// assemblies are given up.
const SPANS_MAX: usize = 32_768;

/// Up to `wanted` traces of `starts`, one of which is there at least: those of the first of them, in their order.
/// `None` for a start that lies in the trace of an earlier one, and for one that is not stored any more.
pub(crate) fn run(
    store: &dyn Store,
    starts: &[&Arc<Span>],
    wanted: usize,
    limits: Limits,
) -> Result<Vec<Option<Trace>>, StoreError> {
    let mut traces: Vec<Option<Trace>> = starts.iter().map(|_| None).collect();
    let mut owners = Owners::default();
    let assembly = |span: &&Arc<Span>| Assembly::new(Start::Span(Arc::clone(span)), limits);
    let mut running: Vec<Running> = (starts.iter().map(assembly).enumerate())
        .map(|(index, assembly)| Running { index, assembly, need: None, is_asked: true })
        .collect();
    let (mut told, mut held) = (Told::default(), 0);
    let mut decided = starts.len();
    while running.iter().any(|one| one.is_asked) {
        let mut going = Vec::with_capacity(running.len());
        for mut one in running {
            if !one.is_asked {
                going.push(one);
                continue;
            }
            let answers = one.need.as_ref().map(|need| told.answers(need));
            match one.assembly.step(answers.unwrap_or_default()) {
                Step::Need(need) => {
                    one.need = Some(need);
                    owners.own(one.index, one.assembly.members());
                    going.push(one);
                }
                Step::Done(trace) => {
                    held += trace.spans.len();
                    owners.end(one.index, trace.spans.iter().map(|it| it.span.id));
                    traces[one.index] = Some(*trace);
                }
                Step::Absent => owners.end(one.index, std::iter::empty()),
            }
        }
        going.retain(|one| {
            let is_first = owners.is_first(one.index, starts[one.index].id);
            if !is_first {
                owners.end(one.index, std::iter::empty());
            }
            is_first
        });
        let mut all_held = held;
        let fits = going.iter().position(|one| {
            all_held += one.assembly.held();
            all_held > SPANS_MAX
        });
        // The first one goes on in any case: alone it is bounded by its limit.
        let fits = fits.map_or(going.len(), |fits| fits.max(1));
        if let Some(given_up) = going.drain(fits..).next() {
            decided = decided.min(given_up.index);
        }
        // Only as many as are wanted, with those that are found or will be before them.
        let (mut before, mut counted) = (0, 0);
        for one in &mut going {
            before += traces[counted..one.index].iter().flatten().count();
            counted = one.index;
            one.is_asked = before < wanted.max(1) && !owners.waits(one);
            before += usize::from(one.is_asked);
        }
        let asking = going.iter().filter(|one| one.is_asked);
        told.ask(store, asking.filter_map(|one| one.need.as_ref()))?;
        running = going;
    }
    decided = running.first().map_or(decided, |one| decided.min(one.index));
    traces.truncate(decided);
    Ok(traces)
}

struct Running {
    /// Of its start.
    index: usize,
    assembly: Assembly,
    /// What it needs for its next step; nothing for the first.
    need: Option<Lookups>,
    /// Whether that was asked; not while it waits for an earlier one, or others are enough.
    is_asked: bool,
}

/// Which of the assemblies first had each span.
#[derive(Default)]
struct Owners {
    owners: FxHashMap<SpanId, usize>,
    ended: FxHashSet<usize>,
}

impl Owners {
    fn own(&mut self, index: usize, spans: impl Iterator<Item = SpanId>) {
        for id in spans {
            let owner = self.owners.entry(id).or_insert(index);
            *owner = index.min(*owner);
        }
    }

    fn end(&mut self, index: usize, spans: impl Iterator<Item = SpanId>) {
        self.own(index, spans);
        self.ended.insert(index);
    }

    /// Whether the span is in none before that one.
    fn is_first(&self, index: usize, id: SpanId) -> bool {
        self.owners.get(&id).is_none_or(|owner| *owner == index)
    }

    /// Whether it has a span of an earlier one that is not at its end: mostly it is the same trace, which that
    /// one will have found then.
    fn waits(&self, one: &Running) -> bool {
        let mut owners = one.assembly.members().filter_map(|id| self.owners.get(&id));
        owners.any(|owner| *owner < one.index && !self.ended.contains(owner))
    }
}

/// What the store told, by what was asked: the next step of one may ask what another has asked.
#[derive(Default)]
struct Told {
    spans: FxHashMap<SpanKey, Vec<Asked<Arc<Span>>>>,
    links: FxHashMap<LinkKey, Vec<Asked<Link>>>,
    gaps: Vec<(Window, Vec<deeptrace_model::Gap>)>,
}

struct Asked<T> {
    window: Window,
    /// Whether the answer is still to come.
    is_open: bool,
    found: Vec<T>,
}

impl<T> Asked<T> {
    fn new(window: Window) -> Self {
        Self { window, is_open: true, found: Vec::new() }
    }
}

impl Told {
    /// Asks what was not asked before.
    fn ask<'a>(
        &mut self,
        store: &dyn Store,
        needs: impl Iterator<Item = &'a Lookups>,
    ) -> Result<(), StoreError> {
        let (mut spans, mut links, mut limit) = (Vec::new(), Vec::new(), 0_usize);
        let mut windows: Vec<Window> = Vec::new();
        for need in needs {
            limit = limit.saturating_add(need.limit);
            for it in &need.spans {
                let asked = self.spans.entry(it.key).or_default();
                if asked.iter().all(|other| other.window != it.window) {
                    asked.push(Asked::new(it.window));
                    spans.push(*it);
                }
            }
            for it in &need.links {
                let asked = self.links.entry(it.key).or_default();
                if asked.iter().all(|other| other.window != it.window) {
                    asked.push(Asked::new(it.window));
                    links.push(*it);
                }
            }
            windows.extend(need.gaps);
        }
        self.ask_gaps(store, &windows)?;
        let (found_spans, found_links) = store.look_up(&spans, &links, limit)?;
        self.take_spans(&found_spans);
        self.take_links(&found_links);
        spans.iter().for_each(|it| close(self.spans.get_mut(&it.key)));
        links.iter().for_each(|it| close(self.links.get_mut(&it.key)));
        Ok(())
    }

    /// Asks once for all windows; for each of them where there are too many gaps in all.
    fn ask_gaps(&mut self, store: &dyn Store, windows: &[Window]) -> Result<(), StoreError> {
        let Some(all) = windows.iter().copied().reduce(Window::union) else { return Ok(()) };
        let gaps = store.gaps(all, GAPS_MAX)?;
        let is_whole = gaps.len() < GAPS_MAX;
        for window in windows {
            let gaps = match is_whole {
                true => {
                    gaps.iter().filter(|gap| window.overlaps(gap.from, gap.to)).cloned().collect()
                }
                false => store.gaps(*window, GAPS_MAX)?,
            };
            self.gaps.push((*window, gaps));
        }
        Ok(())
    }

    fn take_spans(&mut self, found: &[Arc<Span>]) {
        for span in found {
            for key in SpanKey::all_of(span) {
                for asked in self.spans.get_mut(&key).into_iter().flatten() {
                    if asked.is_open && asked.window.overlaps(span.start, span.end) {
                        asked.found.push(Arc::clone(span));
                    }
                }
            }
        }
    }

    fn take_links(&mut self, found: &[Link]) {
        for link in found {
            let keys = [Some(LinkKey::Child(link.child)), link.parent.map(LinkKey::Parent)];
            for key in keys.into_iter().flatten() {
                for asked in self.links.get_mut(&key).into_iter().flatten() {
                    if asked.is_open && asked.window.contains(link.child_start) {
                        asked.found.push(link.clone());
                    }
                }
            }
        }
    }

    fn answers(&self, need: &Lookups) -> Answers {
        let mut answers = Answers::default();
        for it in &need.spans {
            let asked = self.spans.get(&it.key).into_iter().flatten();
            for asked in asked.filter(|asked| asked.window == it.window) {
                answers.spans.extend(asked.found.iter().cloned());
            }
        }
        for it in &need.links {
            let asked = self.links.get(&it.key).into_iter().flatten();
            for asked in asked.filter(|asked| asked.window == it.window) {
                answers.links.extend(asked.found.iter().cloned());
            }
        }
        let gaps = self.gaps.iter().find(|(window, _)| need.gaps == Some(*window));
        answers.gaps.extend(gaps.into_iter().flat_map(|(_, gaps)| gaps.iter().cloned()));
        answers
    }
}

/// All that was asked of a key is answered.
fn close<T>(asked: Option<&mut Vec<Asked<T>>>) {
    asked.into_iter().flatten().for_each(|asked| asked.is_open = false);
}
