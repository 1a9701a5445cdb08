//! Source: where events come from. The live kernel, a recording and a packet capture are all one.

use deeptrace_model::{Demand, Event};

/// Where events come from.
pub trait Source {
    /// Delivers what there is, a bounded batch at most, without waiting.
    ///
    /// MUST deliver `Host`, then `Clock`, before anything else, and a connection's `Open` before
    /// its first call wherever the opening is known. MUST NOT deliver anything after `End`.
    fn poll(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<Progress, SourceError>;

    /// What the parsers ask for one socket. A source that cannot choose ignores it.
    fn demand(&mut self, _demand: Demand) {}

    /// Tells each counter with its value since the start.
    fn counters(&self, out: &mut dyn FnMut(&'static str, u64));
}

/// How far a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is there already.
    More,
    /// Nothing is there now; something may come.
    Idle,
    /// Nothing will ever come.
    End,
}

/// Why a source cannot go on. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The kernel, or the rights of the process, do not allow live capture.
    #[error("{problem}: {remedy}")]
    Kernel {
        /// What is missing or refused.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl SourceError {
    /// The same, where the kernel refused, with the kernel's own reason.
    #[cfg(feature = "live")]
    pub(crate) fn with_detail(self, reason: Option<String>) -> Self {
        match (self, reason) {
            (Self::Kernel { problem, remedy }, Some(reason)) => {
                Self::Kernel { problem: format!("{problem}: {reason}"), remedy }
            }
            (error, _) => error,
        }
    }
}
