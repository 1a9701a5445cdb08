//! What happens in a window, in order.

use crate::algorithm::Window;

/// At equal times in this order: what arrives comes before what it causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A request arrives.
    Opened,
    /// Another request of its trace arrives.
    Joined,
    /// Another request of its trace is answered.
    Left,
    /// The answer to a call arrives.
    Returned,
    /// A call is made.
    Called,
    /// The answer to a call that took no time arrives.
    ReturnedAtOnce,
    /// A request is answered.
    Closed,
}

/// One thing that happened: when, what, and the index of the request or call.
pub(super) type Moment = (i64, Happening, u32);

/// All that happens in the window.
pub(super) fn timeline(window: &Window) -> Vec<Moment> {
    let mut moments = Vec::with_capacity(2 * (window.requests.len() + window.calls.len()));
    for (at, request) in (0_u32..).zip(&window.requests) {
        moments.push((request.start, Happening::Opened, at));
        moments.push((request.end.max(request.start), Happening::Closed, at));
    }
    for (at, call) in (0_u32..).zip(&window.calls) {
        let takes_time = call.end > call.start;
        let returned = if takes_time { Happening::Returned } else { Happening::ReturnedAtOnce };
        moments.push((call.start, Happening::Called, at));
        moments.push((call.end.max(call.start), returned, at));
    }
    moments.sort_unstable();
    moments
}
