//! Progress: one line on a terminal that says how far something is, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Steps of a bar that shows parts of a whole.
const STEPS: u64 = 1_000;

/// How far something is, on standard error where that is a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of `what`, whose parts are told as shares.
    pub fn of(what: &'static str) -> Self {
        let bar = ProgressBar::new(STEPS).with_message(what);
        let style = ProgressStyle::with_template("{msg} {bar:30} {percent:>3}% {elapsed}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Says that a share of the whole is done, 0 to 1, and what was counted so far.
    pub fn share(&self, share: f64, said: &str) {
        self.0.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
        if !said.is_empty() {
            self.0.set_message(said.to_owned());
        }
    }

    /// Says how many spans were looked at and found.
    pub fn counted(&self, looked_at: u64, found: u64) {
        self.0.set_message(format!("{looked_at} spans looked at, {found} found"));
        self.0.tick();
    }

    /// Says what a job says of itself.
    pub fn tell(&self, progress: &Value) {
        let number = |name: &str| progress.get(name).and_then(Value::as_u64);
        if let Some(share) = progress.get("share").and_then(Value::as_f64) {
            self.share(share, "");
        }
        if let (Some(looked_at), Some(found)) = (number("looked_at"), number("found")) {
            self.counted(looked_at, found);
        }
    }

    /// Clears the line.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
