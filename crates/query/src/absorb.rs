//! Absorb: a span that an SDK reported for the same exchange and side takes the place of ours (DESIGN,
//! "SDK spans"): its ids, name, kind and status stay, and our times, link and bytes go into it.
//!
//! Which are the same is told by ids that the application carries (W3C Trace Context): the parent that a
//! request names is the span of the SDK that sent it, and the parent of the SDK's span that received it.
//! Where a proxy hands the ids on, or an SDK makes several requests of one span, the place in the tree
//! decides. Two that are equally right are none: a span twice is better than one that is not what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deeptrace_model::{
    Duration, Link, Method, OBSERVED_SPAN, ProcessKey, Relation, Span, SpanId, SpanKind, Text,
    Value, WallTime,
};

use crate::join::{Side, of_kind};

/// A member of the trace with the link to its parent, which is a member, too.
pub(crate) type Member = (Arc<Span>, Option<Link>);

/// Clocks of SDKs are read a little before or after the calls that we see.
const SLACK: Duration = Duration::from_millis(5);
/// Who decided where an id in the request names a span that was reported.
const CARRIED: &str = "traceparent";

/// The members with each of ours absorbed for which a span was reported.
pub(crate) fn absorb(members: Vec<Member>) -> Vec<Member> {
    if !members.iter().any(|(span, _)| span.is_reported()) {
        return members;
    }
    Absorbing::new(members).absorb()
}

struct Absorbing {
    members: BTreeMap<SpanId, Member>,
    /// Of ours, by which reported one it is absorbed.
    into: BTreeMap<SpanId, SpanId>,
    /// The other way round.
    taken: BTreeMap<SpanId, SpanId>,
    /// Ours whose request names a reported span that is another than they are.
    below: BTreeMap<SpanId, SpanId>,
}

impl Absorbing {
    fn new(members: Vec<Member>) -> Self {
        let members = members.into_iter().map(|member| (member.0.id, member)).collect();
        let (into, taken, below) = Default::default();
        Self { members, into, taken, below }
    }

    fn absorb(mut self) -> Vec<Member> {
        self.by_carried_ids();
        self.by_links();
        self.by_calls();
        self.by_time();
        self.result()
    }

    fn reported(&self) -> Vec<Arc<Span>> {
        let spans = self.members.values().map(|(span, _)| span);
        spans.filter(|span| span.is_reported()).cloned().collect()
    }

    fn ours(&self) -> impl Iterator<Item = &Arc<Span>> {
        let spans = self.members.values().map(|(span, _)| span);
        spans.filter(|span| !span.is_reported() && !self.into.contains_key(&span.id))
    }

    fn pair(&mut self, ours: SpanId, reported: SpanId) {
        if !self.into.contains_key(&ours) && !self.taken.contains_key(&reported) {
            self.into.insert(ours, reported);
            self.taken.insert(reported, ours);
        }
    }

    /// The parent that a request names, by trace and id.
    fn by_carried_ids(&mut self) {
        let mut requests: BTreeMap<(u128, u64), Vec<Arc<Span>>> = BTreeMap::new();
        for span in self.ours() {
            if let Some(own) = span.trace_context.filter(|own| own.parent != 0) {
                let key = ({ own.trace }.0, own.parent);
                requests.entry(key).or_default().push(Arc::clone(span));
            }
        }
        for reported in self.reported() {
            let Some(own) = reported.trace_context else { continue };
            let trace = { own.trace }.0;
            let empty = Vec::new();
            if of_kind(reported.kind) == Some(Side::Receiver) {
                let received = requests.get(&(trace, own.parent)).unwrap_or(&empty);
                self.received(&reported, received);
            }
            self.named(&reported, requests.get(&(trace, reported.id.0)).unwrap_or(&empty));
        }
    }

    /// Of those that carry the same ids on one way the deepest is where the SDK is.
    fn received(&mut self, reported: &Span, carrying: &[Arc<Span>]) {
        let is_possible = |span: &&Arc<Span>| {
            side(span) == Some(Side::Receiver) && is_within(reported.start, span)
        };
        let possible = self.of_process(reported, carrying.iter().filter(is_possible));
        let above: BTreeSet<SpanId> = possible.iter().flat_map(|id| self.above(*id)).collect();
        if let [one] = possible.difference(&above).collect::<Vec<_>>()[..] {
            self.pair(*one, reported.id);
        }
    }

    /// The topmost of those that carry the id of a reported span is what it sent.
    fn named(&mut self, reported: &Span, carrying: &[Arc<Span>]) {
        for span in carrying {
            // An id that is handed on as it came is named on the way as well.
            if !self.above(span.id).any(|id| carrying.iter().any(|it| it.id == id)) {
                self.below.insert(span.id, reported.id);
            }
        }
        if of_kind(reported.kind) != Some(Side::Sender) {
            return;
        }
        let is_possible =
            |span: &&Arc<Span>| side(span) == Some(Side::Sender) && is_within(span.start, reported);
        let possible = self.of_process(reported, carrying.iter().filter(is_possible));
        let is_topmost = |id: &&SpanId| !self.above(**id).any(|above| possible.contains(&above));
        if let [one] = possible.iter().filter(is_topmost).collect::<Vec<_>>()[..] {
            self.pair(*one, reported.id);
        }
    }

    /// Those of the process of `reported`, as far as that can be told; else all.
    fn of_process<'a>(
        &self,
        reported: &Span,
        spans: impl Iterator<Item = &'a Arc<Span>> + Clone,
    ) -> BTreeSet<SpanId> {
        let ids = |is_meant: &dyn Fn(&Span) -> bool| -> BTreeSet<SpanId> {
            spans.clone().filter(|span| is_meant(span)).map(|span| span.id).collect()
        };
        let pid = reported.process.pid;
        let same_process = ids(&|span| pid.0 != 0 && span.process.pid == pid);
        let same_service = ids(&|span| span.service == reported.service);
        [same_process, same_service]
            .into_iter()
            .find(|ids| !ids.is_empty())
            .unwrap_or_else(|| ids(&|_| true))
    }

    /// Where no ids were carried the server has found what is seen of a reported receiver, by the port of
    /// the caller, and has written that as its parent.
    fn by_links(&mut self) {
        for reported in self.reported() {
            let Some(parent) = self.parent(reported.id) else { continue };
            if side(&reported) == Some(Side::Receiver) && self.is(&parent, Side::Receiver, false) {
                self.pair(parent, reported.id);
            }
        }
    }

    /// A receiver whose calls were absorbed is the receiver that the SDK puts above these.
    fn by_calls(&mut self) {
        let mut receivers: BTreeMap<SpanId, BTreeSet<SpanId>> = BTreeMap::new();
        for (ours, reported) in &self.into {
            let Some(above) = self.parent(*ours) else { continue };
            let is_free = |id| !self.into.contains_key(id) && self.is(id, Side::Receiver, false);
            let told = self.above(*reported).find(|id| self.is(id, Side::Receiver, true));
            if let (true, Some(told)) = (is_free(&above), told) {
                receivers.entry(above).or_default().insert(told);
            }
        }
        for (ours, told) in receivers {
            let (Some(reported), 1) = (told.first(), told.len()) else { continue };
            let starts = self.members.get(reported).map(|(span, _)| span.start);
            let contains =
                |start| self.members.get(&ours).is_some_and(|(it, _)| is_within(start, it));
            if starts.is_some_and(contains) {
                self.pair(ours, *reported);
            }
        }
    }

    /// Calls of protocols that carry no ids: the only one in the time of the only reported call of the same
    /// request that could be it.
    fn by_time(&mut self) {
        let mut could_be: BTreeMap<SpanId, Vec<SpanId>> = BTreeMap::new();
        let mut could_hold: BTreeMap<SpanId, Vec<SpanId>> = BTreeMap::new();
        let is_call = |span: &&Arc<Span>| {
            side(span) == Some(Side::Sender) && !self.taken.contains_key(&span.id)
        };
        // By the request that made them.
        let mut calls: BTreeMap<SpanId, Vec<Arc<Span>>> = BTreeMap::new();
        for call in self.reported().iter().filter(is_call) {
            let request = self.above(call.id).find(|id| self.is(id, Side::Receiver, true));
            if let Some(request) = request {
                calls.entry(request).or_default().push(Arc::clone(call));
            }
        }
        for span in self.ours().filter(|span| side(span) == Some(Side::Sender)) {
            if self.below.contains_key(&span.id) || span.trace_context.is_some() {
                continue;
            }
            let Some(request) = self.parent(span.id).map(|id| self.place(id)) else { continue };
            for call in calls.get(&request).into_iter().flatten() {
                if is_within(span.start, call) && is_within(span.end, call) {
                    could_be.entry(span.id).or_default().push(call.id);
                    could_hold.entry(call.id).or_default().push(span.id);
                }
            }
        }
        for (ours, calls) in could_be {
            if let [call] = calls[..]
                && could_hold.get(&call).is_some_and(|held| held.len() == 1)
            {
                self.pair(ours, call);
            }
        }
    }

    fn is(&self, id: &SpanId, wanted: Side, reported: bool) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|(it, _)| side(it) == Some(wanted) && it.is_reported() == reported)
    }

    /// By the link, before anything was absorbed.
    fn parent(&self, id: SpanId) -> Option<SpanId> {
        self.members.get(&id)?.1.as_ref()?.parent
    }

    /// What is above a span, the nearest first; ends where links go in a circle.
    fn above(&self, id: SpanId) -> impl Iterator<Item = SpanId> {
        let next = move |id: &SpanId| self.parent(*id);
        std::iter::successors(self.parent(id), next).take(self.members.len())
    }

    /// What stands for a span of the trace now.
    fn place(&self, id: SpanId) -> SpanId {
        self.into.get(&id).copied().unwrap_or(id)
    }

    fn result(self) -> Vec<Member> {
        let mut members = Vec::with_capacity(self.members.len());
        let services = self.services();
        // The first call that names each, by id.
        let mut named: BTreeMap<SpanId, SpanId> = BTreeMap::new();
        for (call, name) in &self.below {
            named.entry(*name).or_insert(*call);
        }
        for (id, (span, link)) in &self.members {
            if self.into.contains_key(id) {
                continue;
            }
            let Some((ours, our_link)) = self.taken.get(id).and_then(|id| self.members.get(id))
            else {
                let link = self
                    .moved(span, link.as_ref())
                    .or_else(|| self.above_work(span, *named.get(id)?));
                members.push((in_service(span, &services), link));
                continue;
            };
            // Ours knows of proxies on the way; of what happened inside a process the SDK knows more.
            let seen = self.moved(ours, our_link.as_ref()).filter(|link| link.parent != Some(*id));
            let told = self.moved(span, link.as_ref());
            let is_receiver = side(span) == Some(Side::Receiver);
            let is_same = |a: &Option<Link>, b: &Option<Link>| {
                a.as_ref().and_then(|it| it.parent) == b.as_ref().and_then(|it| it.parent)
            };
            let link = match (seen, told) {
                (seen, told) if is_same(&seen, &told) => told,
                (Some(seen), _) if is_receiver => Some(seen),
                (seen, told) => told.or(seen),
            };
            let link = link.map(|link| Link { child: *id, child_start: span.start, ..link });
            members.push((Arc::new(merged(span, ours, our_link.as_ref())), link));
        }
        members
    }

    /// What the SDK of a process calls its service, where it says one name only.
    fn services(&self) -> BTreeMap<ProcessKey, Option<Text>> {
        let mut services: BTreeMap<ProcessKey, Option<Text>> = BTreeMap::new();
        for (ours, reported) in &self.into {
            let pair = self.members.get(ours).zip(self.members.get(reported));
            let Some(((ours, _), (reported, _))) = pair.filter(|pair| pair.0.0.process.pid.0 != 0)
            else {
                continue;
            };
            let said =
                services.entry(ours.process).or_insert_with(|| Some(reported.service.clone()));
            if said.as_ref().is_some_and(|said| *said != reported.service) {
                *said = None;
            }
        }
        services
    }

    /// Work inside of a process that was reported without a parent is where what it called was seen to be:
    /// `call` names it.
    fn above_work(&self, work: &Span, call: SpanId) -> Option<Link> {
        if !work.is_reported() || side(work) == Some(Side::Receiver) {
            return None;
        }
        let (_, link) = self.members.get(&call)?;
        let link = link.as_ref().filter(|link| link.method != Method::Connection)?;
        let parent = self.place(link.parent?);
        let is_other = parent != work.id && !self.above(parent).any(|id| id == work.id);
        let link = Link { child: work.id, child_start: work.start, ..link.clone() };
        is_other.then_some(Link { parent: Some(parent), ..link })
    }

    /// The link to what stands for the parent now.
    fn moved(&self, span: &Span, link: Option<&Link>) -> Option<Link> {
        let is_joined = link.is_some_and(|link| link.method == Method::Connection);
        if let Some(named) = self.below.get(&span.id)
            && !is_joined
        {
            return Some(carried(span, *named));
        }
        let link = link?;
        let parent = self.place(link.parent?);
        (parent != span.id).then(|| Link { parent: Some(parent), ..link.clone() })
    }
}

/// The span, with the name that the SDK of its process gives the service.
fn in_service(span: &Arc<Span>, services: &BTreeMap<ProcessKey, Option<Text>>) -> Arc<Span> {
    match services.get(&span.process) {
        Some(Some(service)) if !span.is_reported() && *service != span.service => {
            Arc::new(Span { service: service.clone(), ..Span::clone(span) })
        }
        _ => Arc::clone(span),
    }
}

fn side(span: &Span) -> Option<Side> {
    of_kind(span.kind)
}

/// Whether `time` is in the time of `span`, about.
fn is_within(time: WallTime, span: &Span) -> bool {
    span.start.minus(SLACK) <= time && time <= span.end.plus(SLACK)
}

/// The link that a request names.
fn carried(span: &Span, parent: SpanId) -> Link {
    Link {
        child: span.id,
        parent: Some(parent),
        child_start: span.start,
        method: Method::TraceContext,
        relation: match span.kind {
            SpanKind::Consumer => Relation::Follows,
            _ => Relation::Child,
        },
        confidence: 1.0,
        algorithm: CARRIED.into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    }
}

/// What was reported, with what was seen beside it.
fn merged(reported: &Span, ours: &Span, link: Option<&Link>) -> Span {
    let mut attributes = reported.attributes.clone();
    for (name, value) in ours.attributes.iter() {
        if attributes.get(name).is_none() {
            attributes.push((name.clone(), value.clone()));
        }
    }
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut add = |name: &'static str, value: Value| attributes.set(name.into(), value);
    add(OBSERVED_SPAN, ours.id.to_string().into());
    add("deeptrace.observed.name", Value::Text(ours.name.clone()));
    add("deeptrace.observed.start_time_unix_nano", number(ours.start.0));
    add("deeptrace.observed.end_time_unix_nano", number(ours.end.0));
    add("deeptrace.observed.duration_ns", number(ours.end.since(ours.start).0));
    if let Some(link) = link {
        let confidence = (f64::from(link.confidence) * 1e6).round() / 1e6;
        add("deeptrace.observed.link.method", link.method.as_str().into());
        add("deeptrace.observed.link.confidence", Value::Float(confidence));
    }
    Span {
        id: reported.id,
        kind: reported.kind,
        name: reported.name.clone(),
        service: reported.service.clone(),
        start: reported.start,
        end: reported.end,
        status: reported.status,
        status_message: reported.status_message.clone(),
        trace_context: reported.trace_context,
        attributes,
        ..ours.clone()
    }
}
