//! Payloads: the first bytes of messages, kept once where messages repeat; with what they said.
//!
//! Health checks, prepared statements and small answers are the same bytes again and again. The last
//! payload of each hash is remembered with its attributes; one that is equal to it is not copied.

use std::sync::Arc;

use deeptrace_model::{AttributeSet, Attributes, Payload};

use crate::redactor::Redactor;

/// Payloads remembered.
const SLOTS: usize = 1024;

/// Recent payloads, by hash.
#[derive(Debug)]
pub(crate) struct Payloads {
    slots: Box<[Slot]>,
    /// What finds values before they are kept.
    pub(crate) redactor: Redactor,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    payload: Payload,
    /// What was said with it; `None` before it came twice.
    said: Option<Arc<AttributeSet>>,
}

impl Default for Payloads {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS].into(), redactor: Redactor::default() }
    }
}

impl Payloads {
    /// `bytes` as a payload; `hash` is of their front. `attributes` that were said with it before are
    /// shared with those.
    pub(crate) fn keep(&mut self, bytes: &[u8], hash: u64, attributes: &mut Attributes) -> Payload {
        let slot = &mut self.slots[hash as usize % SLOTS];
        if *slot.payload != *bytes {
            *slot = Slot { payload: bytes.into(), said: None };
            return slot.payload.clone();
        }
        let is_own = !attributes.own().is_empty() && attributes.shared().next().is_none();
        if is_own {
            // The same bytes may say other things on another connection.
            let same = slot.said.take_if(|said| said.as_slice() == attributes.own());
            let said = same.unwrap_or_else(|| std::mem::take(attributes).into_set());
            *attributes = Attributes::new();
            attributes.share_new(&said);
            slot.said = Some(said);
        }
        slot.payload.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_kept_once() {
        let mut payloads = Payloads::default();
        let mut none = Attributes::new();
        let one = payloads.keep(b"GET / HTTP/1.1", 1, &mut none);
        assert!(payloads.keep(b"GET / HTTP/1.1", 1, &mut none).is_shared_with(&one));
        let other = payloads.keep(b"GET /other", 1 + SLOTS as u64, &mut none);
        assert_eq!((&*one, &*other), (&b"GET / HTTP/1.1"[..], &b"GET /other"[..]));
        assert_eq!(payloads.keep(b"", 3, &mut none), Payload::default());
    }

    #[test]
    fn what_is_said_again_is_shared_and_what_differs_is_not() {
        let mut payloads = Payloads::default();
        let said = |payloads: &mut Payloads, database: &'static str| {
            let mut attributes = Attributes::from(vec![("db.namespace".into(), database.into())]);
            payloads.keep(b"GET key", 1, &mut attributes);
            let value =
                attributes.get("db.namespace").and_then(|it| it.as_text()).map(str::to_owned);
            (value, attributes.shared().next().map(Arc::as_ptr))
        };
        assert_eq!(said(&mut payloads, "0"), (Some("0".to_owned()), None), "it came once");
        let (again, shared) = said(&mut payloads, "0");
        assert_eq!(again.as_deref(), Some("0"));
        assert!(shared.is_some() && said(&mut payloads, "0").1 == shared);
        let (other, set) = said(&mut payloads, "1");
        assert_eq!(other.as_deref(), Some("1"));
        assert_ne!(set, shared);
    }
}
