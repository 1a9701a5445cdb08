//! Meetings: several requests of one trace in one process, of which one makes the calls for all (the
//! last to come, mostly). They are one walk then: nobody needs to guess which of them goes on, only
//! which trace does.

use std::collections::BTreeMap;

use super::lattice::NOBODY;
use super::timeline::{Happening, Moment, timeline};
use crate::algorithm::{Call, Request, Window};

/// Meetings without which nothing is joined.
const MEETINGS_MIN: usize = 20;
/// Share of meetings with calls in which one request made all of them, from which on they are joined.
const ONE_CALLS: f32 = 0.6;
/// Class of a meeting.
const MEETING: u64 = 0x6d65_6574;

/// A window whose requests are meetings.
pub(super) struct Joined {
    pub(super) window: Window,
    pub(super) moments: Vec<Moment>,
    /// Requests of each meeting, by start.
    members: Vec<Vec<usize>>,
}

impl Joined {
    /// `None` where each request makes its own calls. `parents`: what was found without joining.
    pub(super) fn new(window: &Window, parents: &[u32]) -> Option<Self> {
        let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, request) in window.requests.iter().enumerate() {
            members.entry(request.meeting).or_default().push(at);
        }
        let mut members: Vec<Vec<usize>> = members.into_values().collect();
        members.sort_by_key(|members| members[0]);
        if !one_calls_for_all(&members, parents) {
            return None;
        }
        let mut number_of = vec![0; window.requests.len()];
        let mut requests = Vec::with_capacity(members.len());
        for (number, members) in members.iter().enumerate() {
            members.iter().for_each(|member| number_of[*member] = number);
            let first = &window.requests[members[0]];
            let end = members.iter().map(|member| window.requests[*member].end).max();
            let class = if members.len() > 1 { MEETING } else { first.class };
            let end = end.unwrap_or(first.end);
            requests.push(Request { end, class, meeting: number as u32, ..first.clone() });
        }
        let known = |call: &Call| call.known.map(|request| number_of[request]);
        let calls = window.calls.iter().map(|call| Call { known: known(call), ..call.clone() });
        let joined = Window { requests, calls: calls.collect(), tick: window.tick };
        let mut moments = timeline(&joined);
        for (number, members) in (0_u32..).zip(&members) {
            let later = members[1..].iter().map(|member| window.requests[*member].start);
            moments.extend(later.map(|start| (start, Happening::Joined, number)));
            let mut ends: Vec<i64> =
                members.iter().map(|member| window.requests[*member].end).collect();
            ends.sort_unstable();
            ends.pop();
            moments.extend(ends.into_iter().map(|end| (end, Happening::Left, number)));
        }
        moments.sort_unstable();
        Some(Self { window: joined, moments, members })
    }

    /// The request of each call, where `meetings` are the meetings: the one that contains most of its
    /// meeting's calls; of those the last to come.
    pub(super) fn requests(&self, window: &Window, meetings: &[u32]) -> Vec<u32> {
        let mut calls: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (call, meeting) in meetings.iter().enumerate().filter(|(_, it)| **it != NOBODY) {
            calls.entry(*meeting).or_default().push(call);
        }
        let contains = |member: usize, call: usize| {
            let (member, call) = (&window.requests[member], &window.calls[call]);
            member.start <= call.start && call.end <= member.end
        };
        let mut parents = vec![NOBODY; window.calls.len()];
        for (meeting, calls) in calls {
            let members = &self.members[meeting as usize];
            let held = |member: usize| calls.iter().filter(|call| contains(member, **call)).count();
            let mut ranked: Vec<(usize, usize)> =
                members.iter().map(|member| (held(*member), *member)).collect();
            ranked.sort_unstable();
            for call in &calls {
                let mut best = ranked.iter().rev().map(|(_, member)| *member);
                let chosen = best.find(|member| contains(*member, *call));
                let started =
                    |member: &&usize| window.requests[**member].start <= window.calls[*call].start;
                let chosen = chosen.or_else(|| members.iter().rfind(started).copied());
                parents[*call] = chosen.map_or(NOBODY, |member| member as u32);
            }
        }
        parents
    }
}

fn one_calls_for_all(members: &[Vec<usize>], parents: &[u32]) -> bool {
    let mut made: BTreeMap<u32, u32> = BTreeMap::new();
    for parent in parents.iter().filter(|parent| **parent != NOBODY) {
        *made.entry(*parent).or_default() += 1;
    }
    let (mut all, mut any, mut one) = (0, 0, 0);
    for members in members.iter().filter(|members| members.len() > 1) {
        let callers = members.iter().filter(|member| made.contains_key(&(**member as u32))).count();
        all += 1;
        any += usize::from(callers > 0);
        one += usize::from(callers == 1);
    }
    all >= MEETINGS_MIN && any * 2 >= all && one as f32 >= ONE_CALLS * any as f32
}
