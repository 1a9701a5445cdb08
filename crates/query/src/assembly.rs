//! Assembly: the tree around one span, found by asking for what is above and below it.
//!
//! First up from where it starts until a span has no parent, so that the root is there even if a
//! limit is met; then down from all that is known, one depth at a time. The parent of a receiver
//! is the other side of its exchange, else, as for all others, that of its best link.

use std::{collections::BTreeSet, sync::Arc};

use deeptrace_model::{Duration, Gap, Link, Relation, Span, SpanId, Trace, TraceId, WallTime};
use deeptrace_store::{LinkKey, LinkLookup, SpanKey, SpanLookup, Window};
use rustc_hash::FxHashMap;

use crate::{
    Answers, Lookups,
    absorb::absorb,
    join::{self, Known},
    tree,
};

/// How much an assembly may do, and what it believes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most spans of one trace.
    pub spans_max: usize,
    /// Links of lower confidence are not used; between 0 and 1.
    pub similarity_threshold: f32,
    /// What is shown of exchanges of which there are two spans of one side.
    pub view: View,
}

/// What a trace shows of an exchange that an SDK has reported and we have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// One span: the SDK's, with ours in it.
    #[default]
    Merged,
    /// Both.
    Raw,
}

impl Default for Limits {
    fn default() -> Self {
        Self { spans_max: 10_000, similarity_threshold: 0.8, view: View::Merged }
    }
}

/// Where an assembly starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// A span that is at hand.
    Span(Arc<Span>),
    /// A span that is to be found.
    Id(SpanId),
    /// A trace: by the application's own id, or by the id that any of its spans gave it.
    Trace(TraceId),
}

/// What an assembly says after each step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask this, and give the answers to the next step.
    Need(Lookups),
    /// The trace.
    Done(Box<Trace>),
    /// Nothing is stored at the start.
    Absent,
}

/// Stamps of one span may differ so much between its records.
pub(crate) const SLACK: Duration = Duration::from_secs(1);
/// A child that its parent did not wait for is looked for so long after the parent's end.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

/// A trace in the making.
#[derive(Clone, Debug)]
pub struct Assembly {
    limits: Limits,
    start: Start,
    has_started: bool,
    /// All spans that were answered, also those that turn out to belong elsewhere.
    known: Known,
    /// The best link of each child among those that were answered.
    best: FxHashMap<SpanId, Link>,
    /// Children that are named by answered links, by parent.
    named: FxHashMap<SpanId, BTreeSet<SpanId>>,
    /// What was asked already, with the step: a key is asked once.
    asked_spans: FxHashMap<SpanKey, u32>,
    asked_links: FxHashMap<LinkKey, u32>,
    steps: u32,
    /// Spans of the trace.
    members: BTreeSet<SpanId>,
    /// Members whose parent is not decided.
    rising: BTreeSet<SpanId>,
    /// Members whose children are not all decided.
    sinking: BTreeSet<SpanId>,
    /// Spans that had no place.
    refused: BTreeSet<SpanId>,
    gaps: Option<Vec<Gap>>,
    need: Lookups,
}

impl Assembly {
    /// An assembly that starts at `start`. The first step takes empty answers.
    pub fn new(start: Start, limits: Limits) -> Self {
        Self {
            limits,
            start,
            has_started: false,
            known: Known::default(),
            best: FxHashMap::default(),
            named: FxHashMap::default(),
            asked_spans: FxHashMap::default(),
            asked_links: FxHashMap::default(),
            steps: 0,
            members: BTreeSet::new(),
            rising: BTreeSet::new(),
            sinking: BTreeSet::new(),
            refused: BTreeSet::new(),
            gaps: None,
            need: Lookups::default(),
        }
    }

    /// Takes the answers to what was needed last, and says what is needed next. Every step asks
    /// something that was not asked before, so the number of steps is bounded by the trace.
    pub fn step(&mut self, answers: Answers) -> Step {
        self.absorb(answers);
        self.steps += 1;
        let limit = self.limits.spans_max.saturating_mul(4);
        self.need = Lookups { limit, ..Lookups::default() };
        if !self.has_started {
            self.begin();
        }
        if self.need.is_empty() && self.has_started && self.members.is_empty() {
            return Step::Absent;
        }
        if self.need.is_empty() {
            self.rise();
        }
        if self.need.is_empty() {
            self.sink();
        }
        if self.need.is_empty() {
            return self.end();
        }
        Step::Need(std::mem::take(&mut self.need))
    }

    /// The spans that are known to be of the trace; none leaves it again.
    pub(crate) fn members(&self) -> impl Iterator<Item = SpanId> {
        self.members.iter().copied()
    }

    /// How many spans it holds.
    pub(crate) fn held(&self) -> usize {
        self.known.spans().len()
    }

    fn absorb(&mut self, answers: Answers) {
        if self.need.gaps.is_some() || !answers.gaps.is_empty() {
            self.gaps.get_or_insert_default().extend(answers.gaps);
        }
        answers.spans.into_iter().for_each(|span| self.known.insert(span));
        for link in answers.links {
            if let Some(parent) = link.parent {
                self.named.entry(parent).or_default().insert(link.child);
            }
            let best = self.best.entry(link.child).or_insert_with(|| link.clone());
            if link.beats(best) {
                *best = link;
            }
        }
    }

    /// Finds the spans to start from.
    fn begin(&mut self) {
        let keys = match &self.start {
            Start::Span(span) => {
                let (id, span) = (span.id, Arc::clone(span));
                self.has_started = true;
                self.known.insert(span);
                self.admit(id);
                return;
            }
            Start::Id(id) => vec![SpanKey::Id(*id)],
            Start::Trace(id) => {
                let root = id.root().map(SpanKey::Id);
                root.into_iter().chain([SpanKey::Application(*id)]).collect()
            }
        };
        for key in keys {
            self.ask_span(key, Window::ALL);
        }
        if self.need.is_empty() {
            self.has_started = true;
            let found: Vec<SpanId> = self.known.spans().map(|span| span.id).collect();
            found.into_iter().for_each(|id| self.admit(id));
        }
    }

    /// Makes `id` a member, unless the trace is full.
    fn admit(&mut self, id: SpanId) {
        if self.members.contains(&id) {
            return;
        }
        if self.members.len() >= self.limits.spans_max {
            self.refused.insert(id);
            return;
        }
        self.members.insert(id);
        self.rising.insert(id);
        self.sinking.insert(id);
    }

    /// Follows parents as far as they are known; asks for the rest.
    fn rise(&mut self) {
        let mut undecided: Vec<SpanId> = self.rising.iter().copied().collect();
        while let Some(id) = undecided.pop() {
            if !self.resolve(id) {
                continue;
            }
            let parent = self.parent(id);
            if let Some((parent, link)) = &parent
                && !self.known.contains(*parent)
                && self.ask_span(SpanKey::Id(*parent), before(link))
            {
                continue;
            }
            self.rising.remove(&id);
            let parent = parent.map(|(parent, _)| parent);
            if let Some(parent) = parent.filter(|it| self.known.contains(*it))
                && !self.members.contains(&parent)
            {
                self.admit(parent);
                undecided.extend(self.rising.get(&parent));
            }
        }
    }

    /// Finds the children of members, one depth; asks for what is not known of them.
    fn sink(&mut self) {
        while self.need.is_empty() && !self.sinking.is_empty() {
            for id in self.sinking.clone() {
                if self.members.len() >= self.limits.spans_max && !self.refused.is_empty() {
                    self.sinking.clear();
                    return;
                }
                if self.children_decided(id) {
                    self.sinking.remove(&id);
                }
            }
        }
    }

    /// Admits the children of `id`; `false` while something must be asked to decide on them.
    fn children_decided(&mut self, id: SpanId) -> bool {
        let Some(span) = self.known.get(id).cloned() else { return true };
        let window = Window { from: span.start.minus(SLACK), to: span.end.plus(FOLLOWS_WITHIN) };
        if self.ask_link(LinkKey::Parent(id), window) | self.ask_partner(&span) {
            return false;
        }
        let is_sender = join::side(&span) == Some(join::Side::Sender);
        let partner = self.known.partner(&span).filter(|_| is_sender);
        let named = self.named.get(&id).cloned().unwrap_or_default();
        let mut all_decided = true;
        for child in named.into_iter().chain(partner) {
            all_decided &= self.decide(child, id);
        }
        all_decided
    }

    /// Whether it is decided if `child` belongs to `parent`; admits it if it does.
    fn decide(&mut self, child: SpanId, parent: SpanId) -> bool {
        if self.members.contains(&child) || self.refused.contains(&child) {
            return true;
        }
        if !self.known.contains(child) {
            let start = self.best.get(&child).map_or(WallTime(0), |link| link.child_start);
            let at = Window { from: start.minus(SLACK), to: start.plus(SLACK) };
            self.ask_link(LinkKey::Child(child), at);
            // Not stored, or not yet: its link alone is no span.
            return !self.ask_span(SpanKey::Id(child), at);
        }
        if !self.resolve(child) {
            return false;
        }
        if self.parent(child).is_some_and(|(it, _)| it == parent) {
            self.admit(child);
            self.rising.remove(&child);
        }
        true
    }

    /// Whether all is known that decides on the parent of `id`; asks for what is not.
    fn resolve(&mut self, id: SpanId) -> bool {
        let Some(span) = self.known.get(id).cloned() else { return true };
        let at = Window { from: span.start.minus(SLACK), to: span.start.plus(SLACK) };
        let waits = self.ask_link(LinkKey::Child(id), at);
        let is_receiver = join::side(&span) == Some(join::Side::Receiver);
        !((is_receiver && self.ask_partner(&span)) | waits)
    }

    /// The parent of `id` with the link that says so, by all that is known.
    fn parent(&self, id: SpanId) -> Option<(SpanId, Link)> {
        let span = self.known.get(id)?;
        let is_sure = |link: &Link| link.confidence >= self.limits.similarity_threshold;
        if join::side(span) == Some(join::Side::Receiver)
            && let Some(sender) = self.known.partner(span).and_then(|id| self.known.get(id))
        {
            let link = join::link(span, sender);
            if is_sure(&link) {
                return Some((sender.id, link));
            }
        }
        let link = self.best.get(&id)?;
        let is_sure = is_sure(link);
        let parent = link.parent.filter(|parent| is_sure && *parent != id)?;
        Some((parent, link.clone()))
    }

    /// The trace, or the last things that are asked for it.
    fn end(&mut self) -> Step {
        let spans: Vec<(Arc<Span>, Option<Link>)> = (self.members.iter())
            .filter_map(|id| {
                let link = self.parent(*id).filter(|(parent, _)| self.members.contains(parent));
                Some((Arc::clone(self.known.get(*id)?), link.map(|(_, link)| link)))
            })
            .collect();
        let spans = match self.limits.view {
            View::Merged => absorb(spans),
            View::Raw => spans,
        };
        let (id, spans) = tree::order(spans);
        let from = spans.iter().map(|it| it.span.start).min().unwrap_or_default();
        let to = spans.iter().map(|it| it.span.end).max().unwrap_or_default();
        // The application says that these belong together, whatever we saw.
        let around = Window { from: from.minus(join::WITHIN), to: to.plus(join::WITHIN) };
        let own =
            spans.iter().any(|it| it.span.trace_context.is_some_and(|own| { own.trace } == id));
        if own && self.ask_span(SpanKey::Application(id), around) {
            return Step::Need(std::mem::take(&mut self.need));
        }
        let others = self.known.spans().filter(|span| own && carries(span, id));
        let others: Vec<SpanId> = others.map(|span| span.id).collect();
        let before = self.members.len();
        others.into_iter().for_each(|id| self.admit(id));
        if self.members.len() > before {
            return self.step(Answers::default());
        }
        if self.gaps.is_none() {
            let window = Window { from: from.minus(SLACK), to: to.plus(SLACK) };
            self.need.gaps = Some(window);
            return Step::Need(self.need.clone());
        }
        let gaps = self.gaps.clone().unwrap_or_default();
        let refused = u32::try_from(self.refused.len()).unwrap_or(u32::MAX);
        let cut_at = (refused > 0).then_some(refused);
        Step::Done(Box::new(Trace { id, spans, gaps, cut_at }))
    }

    /// Whether what tells the other side of `span` is still to come. Most are told by the whole
    /// exchange; the request is asked for where that gives no pair.
    fn ask_partner(&mut self, span: &Span) -> bool {
        let asks = |assembly: &mut Self, lookup: Option<SpanLookup>| {
            lookup.is_some_and(|it| assembly.ask_span(it.key, it.window))
        };
        asks(self, join::exchange(span))
            || self.known.exchange_partner(span).is_none() && asks(self, join::request(span))
    }

    /// Whether the answer is still to come; asks if that was not done.
    fn ask_span(&mut self, key: SpanKey, window: Window) -> bool {
        let asked = self.asked_spans.entry(key).or_insert_with(|| {
            self.need.spans.push(SpanLookup { key, window });
            self.steps
        });
        *asked == self.steps
    }

    /// Whether the answer is still to come; asks if that was not done.
    fn ask_link(&mut self, key: LinkKey, window: Window) -> bool {
        let asked = self.asked_links.entry(key).or_insert_with(|| {
            self.need.links.push(LinkLookup { key, window });
            self.steps
        });
        *asked == self.steps
    }
}

/// When the parent of a link was: it overlaps its child, unless the child only followed.
pub(crate) fn before(link: &Link) -> Window {
    let to = link.child_start.plus(SLACK);
    match link.relation {
        Relation::Child => Window { from: link.child_start.minus(join::WITHIN), to },
        Relation::Follows => Window { from: WallTime(0), to },
    }
}

fn carries(span: &Span, id: TraceId) -> bool {
    span.trace_context.is_some_and(|context| { context.trace } == id)
}
