//! Regime: whether threads can be trusted as units in a process, from what its threads did lately.
//!
//! Where work migrates between threads (Go, virtual threads, work-stealing pools) a response is often
//! read by another thread than the one that sent the call. A reader thread in the background looks the
//! same, but there requests are still answered by the thread that read them. So both are counted:
//! migrating calls alone prove nothing, migrating calls and few pins do.

/// Share of calls whose response another thread reads, above which work may migrate.
const MIGRATION_MAX: f32 = 0.05;
/// Share of such calls above which a thread in the background reads all responses.
const READER_MIN: f32 = 0.9;
/// Share of requests that are pinned, below which migrating work is believed to migrate.
const PINNED_MIN: f32 = 0.5;
/// Calls that must have been seen before the share is believed to be small.
const CALLS_TO_TRUST: f32 = 20.0;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 2000.0;

/// A pin is never believed more than this: the remaining wrong ones are background work.
const PIN: f32 = 0.995;
/// The same for a call in the context of a thread that did not both read and answer.
const THREAD: f32 = 0.95;

/// Sliding counts of one process.
#[derive(Debug, Default)]
pub(crate) struct Regime {
    calls: Share,
    requests: Share,
    contained: Share,
}

/// How often something was so.
#[derive(Debug, Default)]
struct Share {
    so: f32,
    all: f32,
}

impl Share {
    fn count(&mut self, so: bool) {
        self.so += f32::from(u8::from(so));
        self.all += 1.0;
        if self.all > COUNT_MAX {
            self.so /= 2.0;
            self.all /= 2.0;
        }
    }

    /// The share, where `before` is believed as firmly as `weight` cases.
    fn of(&self, before: f32, weight: f32) -> f32 {
        (self.so + before * weight) / (self.all + weight)
    }
}

impl Regime {
    /// The response to a call was read, by the unit that sent it or by another.
    pub(crate) fn returned(&mut self, here: bool) {
        self.calls.count(!here);
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, pinned: bool) {
        self.requests.count(pinned);
    }

    /// A call that a thread's context would give to a request had ended when that was answered.
    pub(crate) fn contained(&mut self, so: bool) {
        self.contained.count(so);
    }

    /// Whether calls migrate, be it to a reader in the background.
    pub(crate) fn may_migrate(&self) -> bool {
        self.calls.so > MIGRATION_MAX * self.calls.all.max(CALLS_TO_TRUST)
    }

    /// Whether nearly all responses are read by other threads than those that sent the calls: a reader in
    /// the background, not migration.
    pub(crate) fn has_reader(&self) -> bool {
        self.calls.all >= CALLS_TO_TRUST && self.calls.so > READER_MIN * self.calls.all
    }

    /// How sure a pin is; `None`: threads are no units here.
    pub(crate) fn pin(&self) -> Option<f32> {
        let pinned = self.requests.of(1.0, 4.0);
        if !self.may_migrate() {
            return Some(PIN);
        }
        // To be wrong, the work of this request must have left the thread, and come back.
        (pinned >= PINNED_MIN).then(|| PIN * (1.0 - (1.0 - pinned) * self.calls.of(0.0, 1.0)))
    }

    /// How sure the context of a thread is; `None`: it is none here.
    pub(crate) fn thread(&self) -> Option<f32> {
        (!self.may_migrate()).then(|| THREAD * self.contained.of(0.9, 10.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts 100 requests and as many calls with these shares.
    fn regime(migrating: usize, pinned: usize) -> Regime {
        let mut regime = Regime::default();
        for i in 0..100 {
            regime.returned(i >= migrating);
            regime.answered(i < pinned);
        }
        regime
    }

    #[test]
    fn threads_are_units_unless_calls_migrate_and_requests_are_not_pinned() {
        assert_eq!(regime(0, 100).pin(), Some(PIN));
        assert_eq!(regime(0, 10).pin(), Some(PIN));
        assert!(regime(100, 100).pin().is_some_and(|sure| sure > 0.98));
        assert!(regime(50, 70).pin().is_some_and(|sure| (0.8..0.9).contains(&sure)));
        assert_eq!(regime(50, 30).pin(), None);
        assert_eq!(regime(50, 70).thread(), None);
        assert!(regime(0, 0).thread().is_some_and(|sure| sure > 0.8));
    }
}
