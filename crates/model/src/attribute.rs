//! Attribute: a name of OpenTelemetry's semantic conventions with its value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Name of an attribute, e.g. `http.request.method`.
pub type AttributeKey = Cow<'static, str>;

/// A name with its value.
pub type Attribute = (AttributeKey, Value);

/// Attributes of one span or message, in the order they were found; names do not repeat.
pub type Attributes = Vec<Attribute>;

/// Value of an attribute. `untagged` is not used: the store's format is not self-describing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
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
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
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
}
