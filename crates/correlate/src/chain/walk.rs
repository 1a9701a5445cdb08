//! The walks of all requests under one assignment, step by step.

use super::state::{JOINED, LEFT, State};
use super::timeline::{Happening, Moment};
use crate::algorithm::Window;

/// What happens next to one of the open requests, or to none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A request of its trace came, or was answered: [`JOINED`] or [`LEFT`].
    Met(usize, u64),
    /// It makes the call; `None`: no open request does.
    Called(Option<usize>, u32),
    /// The answer to its call comes.
    Returned(usize),
    /// It is answered.
    Closed(usize),
}

/// Goes through `moments` as `parents` say. `each` is told the place among the moments, the time, the
/// states of all open requests by arrival, and the step, before it is made.
pub(super) fn walk(
    window: &Window,
    moments: &[Moment],
    parents: &[u32],
    mut each: impl FnMut(usize, i64, &[State], Step),
) {
    let mut open: Vec<State> = Vec::new();
    let find = |open: &[State], request: u32| open.iter().position(|s| s.request == request);
    for (place, (time, happening, at)) in moments.iter().copied().enumerate() {
        match happening {
            Happening::Opened => {
                let request = &window.requests[at as usize];
                open.push(State::new(at, request.class, time, request.units[0]));
            }
            Happening::Joined | Happening::Left => {
                let Some(slot) = find(&open, at) else { continue };
                let what = if happening == Happening::Joined { JOINED } else { LEFT };
                each(place, time, &open, Step::Met(slot, what));
                open[slot] = open[slot].met(what, time);
            }
            Happening::Called => {
                let slot = find(&open, parents[at as usize]);
                each(place, time, &open, Step::Called(slot, at));
                if let Some(slot) = slot {
                    open[slot] = open[slot].called(at, &window.calls[at as usize]);
                }
            }
            Happening::Returned | Happening::ReturnedAtOnce => {
                if let Some(slot) = find(&open, parents[at as usize])
                    && open[slot].waits_for(at)
                {
                    each(place, time, &open, Step::Returned(slot));
                    let unit = window.calls[at as usize].units[1];
                    open[slot] = open[slot].returned(at, time, unit);
                }
            }
            Happening::Closed => {
                if let Some(slot) = find(&open, at) {
                    each(place, time, &open, Step::Closed(slot));
                    open.remove(slot);
                }
            }
        }
    }
}
