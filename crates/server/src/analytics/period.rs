//! Period: the time that a question is about, with its ends; the last hour where nobody says.

use deeptrace_http::ApiError;
use deeptrace_model::{Duration, WallTime};
use deeptrace_store::Window;
use serde::{Deserialize, Serialize};

use crate::answers::window;

/// Where no start is given.
const DEFAULT: Duration = Duration::from_secs(3600);

/// From when to when, both given back so that rates can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Since when.
    pub start_unix_nano: u64,
    /// Until when; at most now.
    pub end_unix_nano: u64,
}

impl Period {
    /// Between two times as people type them.
    pub fn new(start: &str, end: &str, now: WallTime) -> Result<Self, ApiError> {
        let end = if end.is_empty() { now } else { window("", end, now)?.to.min(now) };
        let from = if start.is_empty() {
            end.minus(DEFAULT)
        } else {
            let asked = window(start, "", now)?.from;
            if asked > end {
                return Err(ApiError::invalid("start is after end").with("start", start));
            }
            asked
        };
        Ok(Self { start_unix_nano: from.0, end_unix_nano: end.0 })
    }

    /// For the store.
    pub fn window(&self) -> Window {
        Window { from: WallTime(self.start_unix_nano), to: WallTime(self.end_unix_nano) }
    }

    /// Its length.
    pub fn length(&self) -> Duration {
        Duration(self.end_unix_nano.saturating_sub(self.start_unix_nano))
    }

    /// How many of `count` in a second.
    pub fn rate(&self, count: u64) -> f64 {
        let seconds = self.length().0 as f64 / 1e9;
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}
