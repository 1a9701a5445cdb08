//! Group: assemblies that are driven together, so that the store is asked once for all of them at each
//! step. A batch of the store that is unpacked and looked through costs the same for one key as for a
//! hundred.

use std::collections::BTreeMap;
use std::sync::Arc;

use deeptrace_model::{Link, Span, SpanId, Trace};
use deeptrace_store::{LinkKey, LinkLookup, SpanKey, SpanLookup, Store, StoreError, Window};

use crate::{Answers, Assembly, Limits, Lookups, Start, Step, run::GAPS_MAX};

/// Spans that a group holds at once, members and those that turn out to belong elsewhere. Beyond, its later
/// assemblies are given up.
const SPANS_MAX: usize = 32_768;

/// The traces of `starts`, in their order. `None` for a start that lies in the trace of an earlier one, for
/// one that is not stored any more, and for one that had to be given up.
pub(crate) fn run(
    store: &dyn Store,
    starts: &[Arc<Span>],
    limits: Limits,
) -> Result<Vec<Option<Trace>>, StoreError> {
    let mut traces: Vec<Option<Trace>> = starts.iter().map(|_| None).collect();
    // The first start in whose trace a span is.
    let mut owners: BTreeMap<SpanId, usize> = BTreeMap::new();
    let assembly = |span| Assembly::new(Start::Span(Arc::clone(span)), limits);
    let mut running: Vec<Running> = (starts.iter().map(assembly).enumerate())
        .map(|(index, assembly)| Running { index, assembly, need: Lookups::default() })
        .collect();
    let (mut told, mut finished) = (Told::default(), 0);
    while !running.is_empty() {
        let mut going = Vec::with_capacity(running.len());
        for mut one in running {
            match one.assembly.step(told.answers(&one.need)) {
                Step::Need(need) => {
                    one.need = need;
                    going.push(one);
                }
                Step::Done(trace) => {
                    finished += trace.spans.len();
                    own(&mut owners, one.index, trace.spans.iter().map(|it| it.span.id));
                    traces[one.index] = Some(*trace);
                }
                Step::Absent => {}
            }
        }
        for one in &going {
            own(&mut owners, one.index, one.assembly.members());
        }
        let is_first = |one: &Running| owners.get(&starts[one.index].id) == Some(&one.index);
        going.retain(is_first);
        let mut held = finished;
        let fits = going.iter().position(|one| {
            held += one.assembly.held();
            held > SPANS_MAX
        });
        // The first one goes on in any case: alone it is bounded by its limit.
        going.truncate(fits.unwrap_or(going.len()).max(1));
        told.ask(store, going.iter().map(|one| &one.need))?;
        running = going;
    }
    Ok(traces)
}

struct Running {
    /// Of its start.
    index: usize,
    assembly: Assembly,
    need: Lookups,
}

fn own(owners: &mut BTreeMap<SpanId, usize>, index: usize, spans: impl Iterator<Item = SpanId>) {
    for id in spans {
        let owner = owners.entry(id).or_insert(index);
        *owner = index.min(*owner);
    }
}

/// What the store told, by what was asked: the next step of one may ask what another has asked.
#[derive(Default)]
struct Told {
    spans: BTreeMap<SpanKey, Vec<Asked<Arc<Span>>>>,
    links: BTreeMap<LinkKey, Vec<Asked<Link>>>,
    gaps: Vec<(Window, Vec<deeptrace_model::Gap>)>,
}

struct Asked<T> {
    window: Window,
    found: Vec<T>,
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
                    asked.push(Asked { window: it.window, found: Vec::new() });
                    spans.push(*it);
                }
            }
            for it in &need.links {
                let asked = self.links.entry(it.key).or_default();
                if asked.iter().all(|other| other.window != it.window) {
                    asked.push(Asked { window: it.window, found: Vec::new() });
                    links.push(*it);
                }
            }
            windows.extend(need.gaps);
        }
        self.ask_gaps(store, &windows)?;
        let (found_spans, found_links) = store.look_up(&spans, &links, limit)?;
        self.take_spans(&spans, &found_spans);
        self.take_links(&links, &found_links);
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

    fn take_spans(&mut self, lookups: &[SpanLookup], found: &[Arc<Span>]) {
        let is_new = is_new(lookups.iter().map(|it| (it.key, it.window)));
        for span in found {
            let exchange = span.exchange.key().map(SpanKey::Exchange);
            let application = span.trace_context.map(|own| SpanKey::Application(own.trace));
            let request = SpanKey::Request(span.exchange.request_key());
            let keys = [Some(SpanKey::Id(span.id)), Some(request), exchange, application];
            for key in keys.into_iter().flatten() {
                for asked in self.spans.get_mut(&key).into_iter().flatten() {
                    if is_new(key, asked.window) && asked.window.overlaps(span.start, span.end) {
                        asked.found.push(Arc::clone(span));
                    }
                }
            }
        }
    }

    fn take_links(&mut self, lookups: &[LinkLookup], found: &[Link]) {
        let is_new = is_new(lookups.iter().map(|it| (it.key, it.window)));
        for link in found {
            let keys = [Some(LinkKey::Child(link.child)), link.parent.map(LinkKey::Parent)];
            for key in keys.into_iter().flatten() {
                for asked in self.links.get_mut(&key).into_iter().flatten() {
                    if is_new(key, asked.window) && asked.window.contains(link.child_start) {
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

/// Whether a key was asked with a window this time, not before.
fn is_new<K: Ord>(lookups: impl Iterator<Item = (K, Window)>) -> impl Fn(K, Window) -> bool {
    let mut windows: BTreeMap<K, Vec<Window>> = BTreeMap::new();
    lookups.for_each(|(key, window)| windows.entry(key).or_default().push(window));
    move |key, window| windows.get(&key).is_some_and(|asked| asked.contains(&window))
}
