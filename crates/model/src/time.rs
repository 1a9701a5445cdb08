//! Three kinds of time that must never be mixed up: since boot, since the epoch, and between.

use serde::{Deserialize, Serialize};

/// Nanoseconds since the host booted, suspend included (`CLOCK_BOOTTIME`). What events carry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BootTime(pub u64);

/// Nanoseconds since the Unix epoch. What spans, stores and people use.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WallTime(pub u64);

/// A length of time in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Duration(pub u64);

impl Duration {
    /// `seconds` as a duration.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// `millis` milliseconds as a duration.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// In milliseconds, with fraction.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl BootTime {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `d`; stays at the end of time on overflow.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.0))
    }

    /// This time minus `d`; stays at zero.
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d.0))
    }
}

impl WallTime {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `d`; stays at the end of time on overflow.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.0))
    }

    /// This time minus `d`; stays at zero.
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d.0))
    }
}

/// How boot time reads as wall time, from the last `Clock` event.
///
/// The source emits one at its start, every 10 s and on steps of the wall clock. A span is
/// converted once, so a later step never moves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// A moment in boot time …
    pub boot: BootTime,
    /// … and the same moment on the wall clock.
    pub wall: WallTime,
}

impl Clock {
    /// `time` on the wall clock; before the epoch it stays at zero.
    pub fn wall(&self, time: BootTime) -> WallTime {
        let wall = i128::from(self.wall.0) + i128::from(time.0) - i128::from(self.boot.0);
        WallTime(wall.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_converts_both_sides_of_its_anchor() {
        let clock = Clock { boot: BootTime(100), wall: WallTime(1_000) };
        assert_eq!(clock.wall(BootTime(150)), WallTime(1_050));
        assert_eq!(clock.wall(BootTime(50)), WallTime(950));
        assert_eq!(Clock { boot: BootTime(100), wall: WallTime(0) }.wall(BootTime(1)), WallTime(0));
    }
}
