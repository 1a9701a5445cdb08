//! Background: how many calls a process makes for no request at all (polling, heartbeats, metrics).
//!
//! While no request is open all calls are such. Assumes that they are as frequent while one is open,
//! which gives the share of calls that have a candidate in time and belong to none.

use deeptrace_model::BootTime;

/// Calls that weigh as much as what is believed without any.
const PRIOR_CALLS: f64 = 20.0;
/// What is believed without any.
const PRIOR: f64 = 0.02;
/// Idle time, as a share of all, below which it says nothing.
const IDLE_MIN: f64 = 0.02;
/// Counts are halved when so many nanoseconds have passed, so that the last minutes decide.
const HALF_LIFE: f64 = 120e9;

/// What was counted while requests were open, and while none was.
#[derive(Debug, Default)]
pub(crate) struct Background {
    busy: f64,
    idle: f64,
    busy_calls: f64,
    idle_calls: f64,
    is_busy: bool,
    since: Option<BootTime>,
}

impl Background {
    /// The first request was opened.
    pub(crate) fn busy_from(&mut self, time: BootTime) {
        self.change(true, time);
    }

    /// The last open request was answered.
    pub(crate) fn idle_from(&mut self, time: BootTime) {
        self.change(false, time);
    }

    fn change(&mut self, is_busy: bool, time: BootTime) {
        if let Some(since) = self.since {
            let passed = time.since(since).0 as f64;
            *(if self.is_busy { &mut self.busy } else { &mut self.idle }) += passed;
        }
        self.is_busy = is_busy;
        self.since = Some(self.since.map_or(time, |since| since.max(time)));
        if self.busy + self.idle > HALF_LIFE {
            for count in
                [&mut self.busy, &mut self.idle, &mut self.busy_calls, &mut self.idle_calls]
            {
                *count /= 2.0;
            }
        }
    }

    /// A call was made; `has_candidates`: while a request was open that contains it.
    pub(crate) fn call(&mut self, time: BootTime, has_candidates: bool) {
        // Before the first request nothing is known of what runs.
        if self.since.is_some_and(|since| has_candidates || time >= since) {
            let count = if has_candidates { &mut self.busy_calls } else { &mut self.idle_calls };
            *count += 1.0;
        }
    }

    /// Share of calls, among those with a candidate, that were made for no request.
    pub(crate) fn share(&self) -> f32 {
        let all = self.busy + self.idle;
        if self.idle <= IDLE_MIN * all {
            return PRIOR as f32;
        }
        let expected = (self.idle_calls * self.busy / self.idle).min(self.busy_calls);
        let share = (expected + PRIOR * PRIOR_CALLS) / (self.busy_calls + PRIOR_CALLS);
        share.clamp(0.0, 1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_idle_time_tell_how_many_there_are_in_busy_time() {
        let mut background = Background::default();
        for second in 0..100_u64 {
            // Half of each second is busy, with one call for a request and one for none.
            let start = second * 1_000_000_000;
            background.busy_from(BootTime(start));
            background.call(BootTime(start + 1), true);
            background.call(BootTime(start + 2), true);
            background.idle_from(BootTime(start + 500_000_000));
            background.call(BootTime(start + 700_000_000), false);
        }
        assert!((0.4..0.55).contains(&background.share()), "{}", background.share());
        assert_eq!(Background::default().share(), 0.02);
    }
}
