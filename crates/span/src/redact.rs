//! Redaction of what only a span tells: payloads of services that are excluded, and answers that are
//! values by what was asked.

use deeptrace_model::{Payload, Span, Text};
use deeptrace_redact::{MASK, Rules};
use rustc_hash::FxHashMap;

/// Services whose verdict is remembered; when full, all are forgotten.
const SERVICES_MAX: usize = 4096;

/// Leaves out what must not be kept.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    rules: Rules,
    excluded: FxHashMap<Text, bool>,
}

impl Redactor {
    pub fn new(rules: Rules) -> Self {
        Self { rules, excluded: FxHashMap::default() }
    }

    /// `answer_is_value` is what its request says. `is_known`: its service is not only a number.
    pub fn span(&mut self, span: &mut Span, answer_is_value: bool, is_known: bool) {
        if answer_is_value && !span.response_payload.is_empty() {
            span.response_payload = Payload::from(vec![MASK; span.response_payload.len()]);
        }
        if self.rules.exclude_any() && (!is_known || self.is_excluded(&span.service)) {
            span.request_payload = Payload::default();
            span.response_payload = Payload::default();
        }
    }

    fn is_excluded(&mut self, service: &Text) -> bool {
        if let Some(known) = self.excluded.get(service) {
            return *known;
        }
        if self.excluded.len() >= SERVICES_MAX {
            self.excluded.clear();
        }
        let is_excluded = self.rules.excludes(service);
        self.excluded.insert(service.clone(), is_excluded);
        is_excluded
    }
}
