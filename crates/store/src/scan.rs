//! Scan: which spans, newest first, a page at a time.

use std::{fmt, str::FromStr, sync::Arc};

use deeptrace_model::{Duration, Span, SpanId, SpanKind, SpanStatus, WallTime};

use crate::Window;

/// Which spans; what is `None` does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// When they start.
    pub window: Window,
    /// Their `service.name`.
    pub service: Option<String>,
    /// Their name.
    pub name: Option<String>,
    /// Their kind.
    pub kind: Option<SpanKind>,
    /// They took at least this long.
    pub min_duration: Option<Duration>,
    /// They took at most this long.
    pub max_duration: Option<Duration>,
    /// Their status is error.
    pub errors_only: bool,
}

impl Filter {
    /// All spans that start in `window`.
    pub fn in_window(window: Window) -> Self {
        Self {
            window,
            service: None,
            name: None,
            kind: None,
            min_duration: None,
            max_duration: None,
            errors_only: false,
        }
    }

    /// Whether `span` passes.
    pub fn matches(&self, span: &Span) -> bool {
        let duration = span.end.since(span.start);
        self.window.contains(span.start)
            && self.service.as_ref().is_none_or(|service| *service == span.service)
            && self.name.as_ref().is_none_or(|name| *name == span.name)
            && self.kind.is_none_or(|kind| kind == span.kind)
            && self.min_duration.is_none_or(|min| duration >= min)
            && self.max_duration.is_none_or(|max| duration <= max)
            && (!self.errors_only || span.status == SpanStatus::Error)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::in_window(Window::ALL)
    }
}

/// Where a page ended: the next one holds spans that come after this one, newest first. As text
/// it is the start and the id in hex, `-` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Start of the last span of the page.
    pub start: WallTime,
    /// Its id; among spans of one start the higher ids come first.
    pub id: SpanId,
}

impl Cursor {
    /// The place of `span`.
    pub fn of(span: &Span) -> Self {
        Self { start: span.start, id: span.id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.start.0, self.id)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the cursor: give back exactly the text that came with the last page")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (start, id) = text.split_once('-').ok_or(CursorError)?;
        let number = |hex: &str| match hex.len() {
            16 => u64::from_str_radix(hex, 16).map_err(|_| CursorError),
            _ => Err(CursorError),
        };
        Ok(Self { start: WallTime(number(start)?), id: SpanId(number(id)?) })
    }
}

/// Spans of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// By start, the latest first; among equal starts the higher id first.
    pub spans: Vec<Arc<Span>>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { start: WallTime(1_700_000_000_000_000_000), id: SpanId(0xabc) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "12-34", "x797979797979797-0000000000000abc"] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad:?}");
        }
    }
}
