//! Windows: from one read of a reader to its next. The streams whose frames a read completes are, in
//! order, the tasks that are born (or made ready) between it and the next one: as many of these as of
//! those, or nothing is said.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, ConnectionId, HandOverKind, SpanId, UnitId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Bound;
use super::roles::Roles;

/// Windows of a process that wait; beyond, the oldest goes.
const WINDOWS_MAX: usize = 4096;
/// Reads and hand-overs that wait to be looked at; beyond, the oldest go.
const MARKS_MAX: usize = 65_536;
/// Tasks and streams of one window; beyond, nothing is said of it.
const ACTS_MAX: usize = 512;

#[derive(Debug)]
struct Window {
    time: BootTime,
    reader: UnitId,
    acts: Vec<Act>,
    streams: Vec<Part>,
    /// Streams with frames in it that began in an earlier one.
    others: Vec<SpanId>,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    task: UnitId,
    /// Whether by a task that goes on with what another one read.
    goes_on: bool,
    time: BootTime,
    is_birth: bool,
}

#[derive(Debug)]
enum Mark {
    Read { time: BootTime, reader: UnitId, connection: ConnectionId, parts: Vec<Part> },
    Acted(Acted),
}

/// Data went from a unit to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acted {
    pub(super) time: BootTime,
    pub(super) from: UnitId,
    pub(super) to: UnitId,
    pub(super) kind: HandOverKind,
}

/// A stream of which a read completed the first frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) span: SpanId,
    /// Where it begins.
    pub(super) start: u64,
    pub(super) is_request: bool,
    /// Who wrote the call, if that is nobody who writes for all.
    pub(super) writer: Option<UnitId>,
    /// First and last read.
    pub(super) time: (BootTime, BootTime),
}

#[derive(Debug, Default)]
pub(super) struct Windows {
    windows: VecDeque<Window>,
    /// Number of the first of `windows`, and of the last one of each reader and connection.
    first: u64,
    last: FxHashMap<UnitId, u64>,
    last_of: FxHashMap<ConnectionId, u64>,
    /// Partners that work for their readers now.
    working: FxHashSet<UnitId>,
    /// What was seen, and is looked at when it is known who carries what.
    marks: VecDeque<Mark>,
    pub(super) shed: u64,
}

impl Windows {
    /// A reader read; these are the streams whose message the read completed.
    pub(super) fn read(
        &mut self,
        reader: UnitId,
        connection: ConnectionId,
        time: BootTime,
        parts: Vec<Part>,
    ) {
        self.mark(Mark::Read { time, reader, connection, parts });
    }

    /// A task made another, or gave data to it.
    pub(super) fn acted(&mut self, acted: Acted) {
        self.mark(Mark::Acted(acted));
    }

    fn mark(&mut self, mark: Mark) {
        if self.marks.len() >= MARKS_MAX {
            self.marks.pop_front();
            self.shed += 1;
        }
        self.marks.push_back(mark);
    }

    /// Looks at what was seen until `until`.
    pub(super) fn look(&mut self, until: BootTime, roles: &Roles) {
        while let Some(Mark::Read { time, .. } | Mark::Acted(Acted { time, .. })) =
            self.marks.front()
            && *time <= until
        {
            match self.marks.pop_front() {
                Some(Mark::Read { time, reader, connection, parts }) => {
                    // It reads again: nobody works for it any more.
                    self.working.retain(|unit| roles.partner_of(*unit) != Some(reader));
                    self.open(reader, connection, time, &parts);
                }
                Some(Mark::Acted(acted)) => self.act(&acted, roles),
                None => return,
            }
        }
    }

    fn open(&mut self, reader: UnitId, connection: ConnectionId, time: BootTime, parts: &[Part]) {
        if self.windows.len() >= WINDOWS_MAX {
            self.windows.pop_front();
            self.first += 1;
            self.shed += 1;
        }
        let (acts, streams, others) = (Vec::new(), Vec::new(), Vec::new());
        self.windows.push_back(Window { time, reader, acts, streams, others });
        let number = self.first + self.windows.len() as u64 - 1;
        self.last.insert(reader, number);
        self.last_of.insert(connection, number);
        for part in parts.iter().take(ACTS_MAX) {
            self.place(reader, part);
        }
    }

    /// Puts a stream into the first of its windows that has a task too many, else into the last one.
    fn place(&mut self, reader: UnitId, part: &Part) {
        let (first, last) = part.time;
        let windows = self.windows.iter_mut().rev().take_while(|window| window.time >= first);
        let own = windows.filter(|window| window.reader == reader && window.time <= last);
        let mut own: Vec<&mut Window> = own.collect();
        own.reverse();
        let has_room = |window: &Window| window.acts.len() > window.streams.len();
        let at =
            own.iter().position(|window| has_room(window)).unwrap_or(own.len().saturating_sub(1));
        for (place, window) in own.into_iter().enumerate() {
            if place == at {
                window.streams.push(*part);
            } else if place > at && window.others.len() < ACTS_MAX {
                window.others.push(part.span);
            }
        }
    }

    fn act(&mut self, mark: &Acted, roles: &Roles) {
        let Acted { time, from, to, kind } = *mark;
        let is_birth = kind == HandOverKind::Birth;
        let is_taken = kind == HandOverKind::Taken;
        if !is_birth {
            // A partner works for its reader from when it gets a frame until it asks for the next one. It
            // was woken to get it, or wakes the reader, who had waited to be rid of it.
            if roles.partner_of(to) == Some(from) {
                self.working.insert(to);
            } else if roles.partner_of(from) == Some(to) && !self.working.remove(&from) && !is_taken
            {
                self.working.insert(from);
            }
        }
        let reader = match roles.partner_of(from) {
            Some(reader) if self.working.contains(&from) => reader,
            Some(_) => return,
            None => from,
        };
        // Who has not read yet goes on with what was read before it.
        let goes_on = !self.last.contains_key(&reader);
        let before = || self.last_of.get(&roles.connection(reader)?);
        let Some(number) = self.last.get(&reader).or_else(before) else { return };
        let Some(at) = number.checked_sub(self.first) else { return };
        if let Some(window) = self.windows.get_mut(at as usize)
            && window.acts.len() < ACTS_MAX
        {
            window.acts.push(Act { task: to, goes_on, time, is_birth });
        }
    }

    /// Binds the streams of windows that began until `until`.
    pub(super) fn bind(
        &mut self,
        until: BootTime,
        roles: &Roles,
        bound: &mut FxHashMap<SpanId, Bound>,
    ) {
        while self.windows.front().is_some_and(|window| window.time <= until) {
            let Some(mut window) = self.windows.pop_front() else { return };
            self.first += 1;
            window.streams.sort_by_key(|part| part.start);
            for is_request in [true, false] {
                window.zip(is_request, roles, bound);
            }
        }
        self.last.retain(|reader, _| roles.connection(*reader).is_some());
        let first = self.first;
        self.last_of.retain(|_, number| *number >= first);
        self.working.retain(|unit| roles.partner_of(*unit).is_some());
    }
}

impl Window {
    fn zip(&self, is_request: bool, roles: &Roles, bound: &mut FxHashMap<SpanId, Bound>) {
        let parts = self.streams.iter().filter(|part| part.is_request == is_request);
        let parts: Vec<&Part> = parts.collect();
        if parts.is_empty() {
            return;
        }
        let has_births = is_request && self.acts.iter().any(|act| act.is_birth);
        let goes_on = self.acts.iter().any(|act| act.goes_on);
        let taken: Vec<UnitId> =
            self.others.iter().filter_map(|span| bound.get(span)).map(|bound| bound.unit).collect();
        let mut acts: Vec<Act> = Vec::new();
        let fits = |act: &&Act| act.is_birth == has_births && act.goes_on == goes_on;
        for act in self.acts.iter().filter(fits) {
            let is_new = !acts.iter().any(|known| known.task == act.task);
            let is_one = !roles.is_carrier(act.task) && !roles.is_answerer(act.task);
            if is_new && is_one && !taken.contains(&act.task) {
                acts.push(*act);
            }
        }
        if acts.len() > parts.len() {
            // Who wrote a call is made ready beside who waits for its answer.
            acts.retain(|act| !parts.iter().any(|part| part.writer == Some(act.task)));
        }
        if acts.len() == parts.len() {
            for (part, act) in parts.iter().zip(&acts) {
                bound.insert(part.span, Bound { unit: act.task, time: act.time });
            }
        }
    }
}
