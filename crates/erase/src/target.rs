//! Target: which spans, by a field and the value that it has.

use deeptrace_model::Span;
use memchr::memmem;

use crate::Field;

/// Bytes of a value, at most.
const VALUE_LEN_MAX: usize = 4096;
/// Bytes of a value that need only occur, at least: a shorter one occurs by chance.
const PART_LEN_MIN: usize = 4;

/// Which spans: those whose field has the value. Its value is never in a debug log.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it is looked for.
    pub field: Field,
    value: String,
}

/// The text names no spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has not both parts.
    #[error(
        "give FIELD=VALUE: FIELD is service, trace_id, user, payload, any, or the name of an attribute"
    )]
    Shape,
    /// The value is too long.
    #[error("the value is longer than {VALUE_LEN_MAX} bytes")]
    Long,
    /// The value would be found everywhere.
    #[error("a value that need only occur has at least {PART_LEN_MIN} bytes")]
    Short,
    /// No trace has such an id.
    #[error("a trace id has 32 hex digits")]
    TraceId,
}

impl Target {
    /// With that value.
    pub fn new(field: Field, value: impl Into<String>) -> Result<Self, TargetError> {
        let mut value = value.into();
        if field == Field::TraceId {
            value.make_ascii_lowercase();
        }
        let is_id = || value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        match value.len() {
            0 => Err(TargetError::Shape),
            len if len > VALUE_LEN_MAX => Err(TargetError::Long),
            len if field.is_part() && len < PART_LEN_MIN => Err(TargetError::Short),
            _ if field == Field::TraceId && !is_id() => Err(TargetError::TraceId),
            _ => Ok(Self { field, value }),
        }
    }

    /// Of `FIELD=VALUE`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        match text.split_once('=') {
            Some((field, value)) if !field.is_empty() => Self::new(Field::of(field), value),
            _ => Err(TargetError::Shape),
        }
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether `span` is meant. Of a trace this tells only the spans to which the application gave its
    /// id; the others are those of the assembled trace.
    pub fn matches(&self, span: &Span) -> bool {
        let forms = self.forms();
        self.field.any(span, &|text| match self.field.is_part() {
            true => forms.iter().any(|form| memmem::find(text, form.as_bytes()).is_some()),
            false => text == self.value.as_bytes(),
        })
    }

    /// The value as it may be written: as it is, and where it need only occur also as in URLs (RFC 3986
    /// §2.1, RFC 1866 §8.2.1) and in JSON (RFC 8259 §7).
    pub(crate) fn forms(&self) -> Vec<String> {
        let mut forms = vec![self.value.clone()];
        if self.field.is_part() {
            let url = percent(&self.value);
            let json = serde_json::to_string(&self.value).unwrap_or_default();
            forms.extend([
                url.to_ascii_lowercase_escapes(),
                url.0.replace("%20", "+"),
                url.0,
                json.trim_matches('"').to_owned(),
            ]);
            forms.retain(|form| !form.is_empty());
            forms.sort_unstable();
            forms.dedup();
        }
        forms
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}=…)", self.field)
    }
}

/// A text in which every byte that is not unreserved is escaped.
struct Escaped(String);

fn percent(text: &str) -> Escaped {
    let escaped = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    });
    Escaped(escaped.collect())
}

impl Escaped {
    /// With lower-case hex digits, as some write them.
    fn to_ascii_lowercase_escapes(&self) -> String {
        let mut left = 0;
        let lower = self.0.chars().map(|c| {
            left = if c == '%' { 3 } else { left };
            left -= if left > 0 { 1 } else { 0 };
            if left > 0 || c == '%' { c.to_ascii_lowercase() } else { c }
        });
        lower.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_said_or_refused() {
        let target = Target::parse("user=a=b").unwrap();
        assert_eq!((&target.field, target.value()), (&Field::User, "a=b"));
        assert_eq!(Target::parse("order.id=7").unwrap().field, Field::Attribute("order.id".into()));
        for (text, error) in [
            ("user", TargetError::Shape),
            ("=x", TargetError::Shape),
            ("user=", TargetError::Shape),
            ("any=abc", TargetError::Short),
            ("trace_id=abc", TargetError::TraceId),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        assert!(!format!("{target:?}").contains("a=b"));
    }

    #[test]
    fn a_value_is_known_in_urls_and_json() {
        let forms = Target::parse("any=Anna Ö\"@x").unwrap().forms();
        for form in [
            "Anna Ö\"@x",
            "Anna%20%C3%96%22%40x",
            "Anna+%C3%96%22%40x",
            "Anna%20%c3%96%22%40x",
            "Anna Ö\\\"@x",
        ] {
            assert!(forms.iter().any(|it| it == form), "{form} is not in {forms:?}");
        }
        assert_eq!(Target::parse("user=Anna Ö").unwrap().forms(), ["Anna Ö"]);
    }
}
