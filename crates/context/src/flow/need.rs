//! Need: what is wanted of capture for a process, by what is left unexplained, and when it ends.

use deeptrace_model::{BootTime, Follow, Pid};

use super::Flow;

/// Calls that are looked at before anything is decided.
const CALLS_MIN: u64 = 10;
/// Looks at a need for hand-overs near to nothing after which they are told no more.
const QUIET: u32 = 300;

/// Whether the runtime's own units were asked for, because threads are none. That is known from the first
/// two requests on, long before calls are left unexplained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Units {
    #[default]
    Unneeded,
    Needed,
    /// For so many looks at the need; whether they can be read shows when something is told.
    Asked(u32),
    /// It is decided by what is left unexplained.
    Settled,
}

/// How much is left unexplained without hand-overs, lately.
#[derive(Debug, Default)]
pub(super) struct Need {
    pub(super) calls: u64,
    pub(super) unexplained: u64,
    quiet: u32,
}

impl Flow {
    /// A call was explained by other rules, or not.
    pub(crate) fn counted(&mut self, is_explained: bool) {
        self.need.calls += 1;
        self.need.unexplained += u64::from(!is_explained);
    }

    /// Something beside socket calls of threads was told.
    pub(super) fn told(&mut self, time: BootTime) {
        if matches!(self.units, Units::Asked(_)) {
            self.set_followed(true);
        }
        self.told.get_or_insert(time);
    }

    /// Whether hand-overs are told from now on.
    pub(crate) fn set_followed(&mut self, is_followed: bool) {
        self.units = Units::Settled;
        self.is_followed = is_followed;
        (self.told, self.has_futexes) = (None, false);
        self.answers = 0;
    }

    /// Hand-overs are told, if they were not before.
    #[cfg(test)]
    pub(crate) fn set_followed_once(&mut self) {
        if !self.is_followed {
            self.set_followed(true);
        }
    }

    /// Whether the runtime's units are needed: said once.
    pub(crate) fn needs_units(&mut self) -> bool {
        let is_needed = self.units == Units::Needed;
        if is_needed {
            self.units = Units::Asked(0);
        }
        is_needed
    }

    /// What is wanted of capture, looked at five times a second.
    pub(crate) fn wants(&mut self, pid: Pid, out: &mut Vec<Follow>) {
        let Need { calls, unexplained, .. } = self.need;
        match &mut self.units {
            Units::Asked(looks) if *looks < QUIET => *looks += 1,
            Units::Asked(_) => {
                self.units = Units::Settled;
                out.push(Follow::End(pid));
            }
            _ => {}
        }
        if self.is_followed {
            out.extend(self.words.locks().into_iter().map(|word| Follow::Mute(pid, word)));
            let is_needed = unexplained * 200 > calls;
            self.need.quiet = if is_needed { 0 } else { self.need.quiet + 1 };
            if self.need.quiet >= QUIET {
                self.set_followed(false);
                out.push(Follow::End(pid));
            }
        } else if calls >= CALLS_MIN && unexplained * 50 > calls {
            self.set_followed(true);
            out.push(Follow::Begin(pid));
        } else if calls < CALLS_MIN {
            return;
        }
        self.need = Need { quiet: self.need.quiet, ..Need::default() };
    }
}
