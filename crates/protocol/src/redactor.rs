//! Redactor: finds values by their names in what a message says, once where messages share it.

use std::sync::Arc;

use deeptrace_model::{Attribute, AttributeSet, Attributes, Value};
use deeptrace_redact::{Payload, Rules};
use rustc_hash::FxHashMap;

use crate::Draft;

/// Shared sets whose outcome is remembered; when full, all are forgotten.
const SETS_MAX: usize = 1024;

/// Finds what must not be kept.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: Rules,
    /// Whether there is nothing to find.
    is_idle: bool,
    /// By address: a set, and what it is after redaction, if that differs.
    sets: FxHashMap<usize, (Arc<AttributeSet>, Option<Arc<AttributeSet>>)>,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Redactor {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { is_idle: rules.find_nothing(), rules, sets: FxHashMap::default() }
    }

    /// Marks in `draft.redact` where values lie in the front of a message of `size` bytes, and masks
    /// them in its texts. Says whether what answers it may be a value.
    pub(crate) fn mark(&mut self, bytes: &[u8], size: u64, draft: &mut Draft) -> bool {
        if self.is_idle {
            return false;
        }
        let payload = Payload { bytes, form: draft.form, is_cut: size > bytes.len() as u64 };
        let answer_is_value = self.rules.payload(payload, &mut draft.redact);
        if let Some(name) = self.rules.text(&draft.name) {
            draft.name = short(&name).into();
        }
        if let Some(message) = &mut draft.status_message
            && let Some(masked) = self.rules.text(message)
        {
            *message = masked;
        }
        self.attributes(&mut draft.attributes);
        answer_is_value
    }

    fn attributes(&mut self, attributes: &mut Attributes) {
        let mut changed: Vec<Attribute> = Vec::new();
        for set in attributes.shared() {
            if let Some(masked) = self.set(set) {
                changed.extend_from_slice(masked.as_slice());
            }
        }
        changed.extend(attributes.own().iter().filter_map(|one| attribute(&self.rules, one)));
        changed.into_iter().for_each(|(key, value)| attributes.set(key, value));
    }

    /// The attributes of a shared set that are others after redaction.
    fn set(&mut self, set: &Arc<AttributeSet>) -> Option<Arc<AttributeSet>> {
        let address = Arc::as_ptr(set).addr();
        if let Some((_, masked)) = self.sets.get(&address) {
            return masked.clone();
        }
        let changed: Vec<Attribute> =
            set.as_slice().iter().filter_map(|one| attribute(&self.rules, one)).collect();
        let masked = (!changed.is_empty()).then(|| Arc::new(AttributeSet::from(changed)));
        if self.sets.len() >= SETS_MAX {
            self.sets.clear();
        }
        // The set is kept, so that its address stays its own.
        self.sets.insert(address, (Arc::clone(set), masked.clone()));
        masked
    }
}

/// A name without the length of what was masked: names are few.
fn short(name: &str) -> String {
    let mut masked = false;
    let keeps = |c: &char| !(std::mem::replace(&mut masked, *c == '*') && *c == '*');
    name.chars().filter(keeps).collect()
}

/// An attribute after redaction, if that differs.
fn attribute(rules: &Rules, (key, value): &Attribute) -> Option<Attribute> {
    let value = match value {
        Value::Text(text) => Value::Text(rules.attribute(key, text)?.into()),
        Value::Texts(texts) => {
            let masked: Vec<_> = texts.iter().map(|text| rules.attribute(key, text)).collect();
            if masked.iter().all(Option::is_none) {
                return None;
            }
            let both = masked.into_iter().zip(texts);
            Value::Texts(both.map(|(new, old)| new.unwrap_or_else(|| old.clone())).collect())
        }
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => return None,
    };
    Some((key.clone(), value))
}
