//! Payloads: the first bytes of messages, kept once where messages repeat; with what they said.
//!
//! Health checks, prepared statements and small answers are the same bytes again and again. The last
//! payload of each hash is remembered with its attributes; one that is equal to it is not copied. Where each
//! message has a number of its own, the bytes differ and what they said is the same: then that is shared.

use std::sync::Arc;

use deeptrace_model::{AttributeSet, Attributes, Payload, Value, hash_bytes, hash64};

use crate::redactor::Redactor;

/// Payloads remembered.
const SLOTS: usize = 1024;

/// Recent payloads, by hash.
#[derive(Debug)]
pub(crate) struct Payloads {
    slots: Box<[Slot]>,
    /// What was said lately by bytes that differ, by its hash; `None` before it came twice.
    sets: Box<[(u64, Option<Arc<AttributeSet>>)]>,
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
        Self {
            slots: vec![Slot::default(); SLOTS].into(),
            sets: vec![(0, None); SLOTS].into(),
            redactor: Redactor::default(),
        }
    }
}

impl Payloads {
    /// `bytes` as a payload; `hash` is of their front. `attributes` that were said with it before are
    /// shared with those.
    pub(crate) fn keep(&mut self, bytes: &[u8], hash: u64, attributes: &mut Attributes) -> Payload {
        let slot = &mut self.slots[hash as usize % SLOTS];
        let is_own = !attributes.own().is_empty() && attributes.shared().next().is_none();
        if *slot.payload != *bytes {
            *slot = Slot { payload: bytes.into(), said: None };
            let payload = slot.payload.clone();
            if is_own {
                self.share(attributes);
            }
            return payload;
        }
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

    /// Shares attributes with those that were the same lately.
    fn share(&mut self, attributes: &mut Attributes) {
        let hash = attributes.own().iter().fold(0, |hash, (_, value)| match value {
            Value::Text(text) => hash64(&[hash, hash_bytes(text.as_bytes())]),
            Value::Int(number) => hash64(&[hash, *number as u64]),
            // Rare; told apart when they are compared.
            Value::Float(_) | Value::Bool(_) | Value::Texts(_) => hash64(&[hash]),
        });
        let (known, said) = &mut self.sets[hash as usize % SLOTS];
        if *known != hash {
            (*known, *said) = (hash, None);
            return;
        }
        let same = said.take_if(|said| said.as_slice() == attributes.own());
        let same = same.unwrap_or_else(|| std::mem::take(attributes).into_set());
        *attributes = Attributes::new();
        attributes.share_new(&same);
        *said = Some(same);
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
    fn what_bytes_with_a_number_of_their_own_say_is_shared() {
        let mut payloads = Payloads::default();
        let mut said = |number: u8, path: &'static str| {
            let mut attributes =
                Attributes::from(vec![("url.path".into(), path.into()), ("n".into(), 1.into())]);
            payloads.keep(&[b'#', number], number.into(), &mut attributes);
            assert_eq!(attributes.get("url.path").and_then(Value::as_text), Some(path));
            attributes.shared().next().map(Arc::as_ptr)
        };
        assert_eq!(said(1, "/"), None, "it came once");
        let shared = said(2, "/");
        assert!(shared.is_some());
        assert_eq!(said(3, "/other"), None);
        assert_eq!(said(4, "/"), shared);
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
