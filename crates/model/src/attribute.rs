//! Attribute: a name of OpenTelemetry's semantic conventions with its value.
//!
//! Spans of one connection, and messages that repeat, have most attributes in common. These are kept
//! once, as an [`AttributeSet`] that is shared; a span holds what is its own beside them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// Text that is cheap to clone: short ones lie in place, constants and long ones are shared.
pub type Text = SmolStr;

/// Name of an attribute, e.g. `http.request.method`.
pub type AttributeKey = Cow<'static, str>;

/// A name with its value.
pub type Attribute = (AttributeKey, Value);

/// Value of an attribute. `untagged` is not used: the store's format is not self-describing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Text.
    Text(Text),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Text::new_static(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl Value {
    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// Attributes that several spans share. Immutable; names do not repeat.
#[derive(Debug, Default, PartialEq)]
pub struct AttributeSet {
    attributes: Box<[Attribute]>,
    /// One bit for each name in it, by [`name_bit`].
    names: u64,
}

impl AttributeSet {
    /// The attributes, in order.
    pub fn as_slice(&self) -> &[Attribute] {
        &self.attributes
    }

    fn get(&self, name: &str, bit: u64) -> Option<&Value> {
        if self.names & bit == 0 {
            return None;
        }
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl From<Vec<Attribute>> for AttributeSet {
    fn from(attributes: Vec<Attribute>) -> Self {
        let names = attributes.iter().fold(0, |names, (key, _)| names | name_bit(key));
        Self { attributes: attributes.into(), names }
    }
}

/// A bit of a name, so that most names that are absent are told without comparing text.
fn name_bit(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let at = |index: usize| bytes.get(index).map_or(0, |byte| usize::from(*byte));
    let last = at(bytes.len().wrapping_sub(1));
    1 << ((bytes.len() * 31 + last * 7 + at(bytes.len() / 2)) & 63)
}

/// Sets that a span shares at most: of its request, of its response, of where it happened.
const SHARED_MAX: usize = 3;

/// Attributes of one span or message; names do not repeat.
///
/// In order: shared sets as they were added, then what is its own.
#[derive(Clone, Default)]
pub struct Attributes {
    shared: [Option<Arc<AttributeSet>>; SHARED_MAX],
    own: Vec<Attribute>,
    /// One bit for each name in all of them, by [`name_bit`]; perhaps also of one that was removed.
    names: u64,
}

impl Attributes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None, with room for so many of its own.
    pub fn with_capacity(own: usize) -> Self {
        Self { own: Vec::with_capacity(own), ..Self::default() }
    }

    /// Adds one whose name is not there yet.
    pub fn push(&mut self, attribute: Attribute) {
        self.names |= name_bit(&attribute.0);
        self.own.push(attribute);
    }

    /// Adds some whose names are not there yet, before all that is not shared.
    pub fn prepend(&mut self, attributes: Vec<Attribute>) {
        self.names |= attributes.iter().fold(0, |names, (key, _)| names | name_bit(key));
        self.own.splice(0..0, attributes);
    }

    /// Adds one, or replaces the value of its name.
    pub fn set(&mut self, key: AttributeKey, value: Value) {
        if self.names & name_bit(&key) != 0 {
            self.detach(&key);
            if let Some(known) = self.own.iter_mut().find(|(known, _)| *known == key) {
                known.1 = value;
                return;
            }
        }
        self.push((key, value));
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        if self.names & name_bit(name) != 0 {
            self.detach(name);
            self.own.retain(|(key, _)| key != name);
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let bit = name_bit(name);
        if self.names & bit == 0 {
            return None;
        }
        let own = self.own.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        own.or_else(|| self.shared.iter().flatten().find_map(|set| set.get(name, bit)))
    }

    /// Adds a set; its values win.
    pub fn share(&mut self, set: &Arc<AttributeSet>) {
        let has = |(key, _): &Attribute| self.get(key).is_some();
        if self.names & set.names != 0 && set.attributes.iter().any(has) {
            set.attributes.iter().cloned().for_each(|(key, value)| self.set(key, value));
        } else {
            self.share_new(set);
        }
    }

    /// Adds a set none of whose names is there yet.
    pub fn share_new(&mut self, set: &Arc<AttributeSet>) {
        match self.shared.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                self.names |= set.names;
                *slot = Some(Arc::clone(set));
            }
            None => self.extend(set.attributes.iter().cloned()),
        }
    }

    /// Adds those of a message that answers the one these are of; its values win.
    pub fn merge(&mut self, later: Self) {
        later.shared.iter().flatten().for_each(|set| self.share(set));
        for (key, value) in later.own {
            self.set(key, value);
        }
    }

    /// The sets that it shares.
    pub fn shared(&self) -> impl Iterator<Item = &Arc<AttributeSet>> {
        self.shared.iter().flatten()
    }

    /// What is its own, and in no shared set.
    pub fn own(&self) -> &[Attribute] {
        &self.own
    }

    /// All of them as a set to be shared.
    pub fn into_set(self) -> Arc<AttributeSet> {
        let attributes: Vec<Attribute> = self.iter().cloned().collect();
        Arc::new(attributes.into())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Attribute> {
        self.shared.iter().flatten().flat_map(|set| set.attributes.iter()).chain(&self.own)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let shared = self.shared.iter().flatten().map(|set| set.attributes.len());
        shared.sum::<usize>() + self.own.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the set that has `name` apart, so that it can be changed here.
    fn detach(&mut self, name: &str) {
        let has = |slot: &&mut Option<Arc<AttributeSet>>| {
            slot.as_ref().is_some_and(|set| set.get(name, name_bit(name)).is_some())
        };
        if let Some(set) = self.shared.iter_mut().find(has).and_then(Option::take) {
            self.own.extend_from_slice(&set.attributes);
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Equal if the same attributes are in the same order, shared or not.
impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl From<Vec<Attribute>> for Attributes {
    fn from(own: Vec<Attribute>) -> Self {
        let names = own.iter().fold(0, |names, (key, _)| names | name_bit(key));
        Self { own, names, ..Self::default() }
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        Vec::from_iter(attributes).into()
    }
}

impl Extend<Attribute> for Attributes {
    fn extend<I: IntoIterator<Item = Attribute>>(&mut self, attributes: I) {
        attributes.into_iter().for_each(|attribute| self.push(attribute));
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut seq = to.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|attribute| seq.serialize_element(attribute))?;
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sequence;
        impl<'de> Visitor<'de> for Sequence {
            type Value = Vec<Attribute>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of attributes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut attributes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(64));
                while let Some(attribute) = seq.next_element()? {
                    attributes.push(attribute);
                }
                Ok(attributes)
            }
        }
        from.deserialize_seq(Sequence).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&'static str, i64)]) -> Arc<AttributeSet> {
        attributes(pairs).into_set()
    }

    fn attributes(pairs: &[(&'static str, i64)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn shown(attributes: &Attributes) -> String {
        let one = |(key, value): &Attribute| format!("{key}={}", value.as_int().unwrap_or(-1));
        attributes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_shared_name_is_replaced_here_and_nowhere_else() {
        let shared = set(&[("a", 1), ("b", 2)]);
        let mut one = Attributes::new();
        one.share(&shared);
        one.push(("c".into(), 3.into()));
        let mut other = one.clone();
        other.set("a".into(), 9.into());
        other.remove("c");
        assert_eq!(shown(&one), "a=1 b=2 c=3");
        assert_eq!(shown(&other), "a=9 b=2");
        assert_eq!((one.get("b"), one.get("d")), (Some(&2.into()), None));
        assert_eq!((one.len(), other.len()), (3, 2));
    }

    #[test]
    fn what_is_merged_wins_shared_or_not() {
        for shared in [false, true] {
            let mut request = attributes(&[("a", 1), ("b", 2)]);
            let later = attributes(&[("b", 5), ("c", 6)]);
            let mut response = Attributes::new();
            if shared {
                response.share(&later.into_set());
            } else {
                response = later;
            }
            request.merge(response);
            assert_eq!(shown(&request), "a=1 b=5 c=6", "shared: {shared}");
        }
    }

    #[test]
    fn more_sets_than_there_is_room_for_are_copied() {
        let mut all = Attributes::new();
        for name in ["a", "b", "c", "d", "e"] {
            all.share(&set(&[(name, 0)]));
        }
        assert_eq!(all.iter().map(|(key, _)| key.as_ref()).collect::<String>(), "abcde");
    }
}
