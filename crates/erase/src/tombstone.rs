//! Tombstone: what was erased, without the value, for whatever comes back: late spans, buffers of agents
//! that were away, restored backups.
//!
//! It covers spans that started before it was set. What a user does afterwards is new.

use deeptrace_model::{Span, SpanId, TraceId, WallTime};
use serde::{Deserialize, Serialize};

use crate::needle::{Needle, Salted};
use crate::{Field, NoRandom, Target, hex, random};

/// How far an erasure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Spans may be left; whoever finds it goes on.
    Open,
    /// What was stored is erased.
    Done,
}

/// What was erased, without the value.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Tombstone {
    written: Written,
    salted: Salted,
    field: Field,
}

/// As it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// 16 hex digits.
    id: String,
    /// Name of the field.
    field: String,
    /// When it was set; spans that started later are not covered.
    at_unix_nano: u64,
    state: State,
    #[serde(with = "hex")]
    salt: [u8; 16],
    /// Forms of the value.
    needles: Vec<Needle>,
    /// Of a trace: the first eight bytes of the hash of each of its spans' ids, as hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<String>,
}

impl Tombstone {
    /// For `target`, at `now`. `spans` are those that the target names and that cannot be told by
    /// themselves: the spans of a trace.
    pub fn new(
        target: &Target,
        now: WallTime,
        spans: impl IntoIterator<Item = SpanId>,
    ) -> Result<Self, NoRandom> {
        let salt = random::<16>()?;
        let salted = Salted::new(&salt);
        let mut spans: Vec<String> = spans.into_iter().map(|id| short(&salted, id)).collect();
        spans.sort_unstable();
        let written = Written {
            id: hex::text(&random::<8>()?),
            field: target.field.to_string(),
            at_unix_nano: now.0,
            state: State::Open,
            salt,
            needles: target.forms().iter().map(|form| salted.needle(form.as_bytes())).collect(),
            spans,
        };
        Ok(Self { written, salted, field: target.field.clone() })
    }

    /// 16 hex digits that name it.
    pub fn id(&self) -> &str {
        &self.written.id
    }

    /// Where the value was looked for.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// When it was set.
    pub fn at(&self) -> WallTime {
        WallTime(self.written.at_unix_nano)
    }

    /// How far the erasure has come.
    pub fn state(&self) -> State {
        self.written.state
    }

    /// The same, in that state.
    #[must_use]
    pub fn in_state(mut self, state: State) -> Self {
        self.written.state = state;
        self
    }

    /// Whether `span` is to be erased.
    pub fn covers(&self, span: &Span) -> bool {
        if span.start.0 > self.written.at_unix_nano {
            return false;
        }
        let Self { written, salted, .. } = self;
        let is_it = |text: &[u8]| match self.field.is_part() {
            true => written.needles.iter().any(|needle| needle.is_in(salted, text)),
            false => written.needles.iter().any(|needle| needle.is(salted, text)),
        };
        self.field.any(span, &is_it) || self.field == Field::TraceId && self.has(span.id, &is_it)
    }

    /// Whether the span is of the trace: one that it had, or the root that its id was derived from.
    fn has(&self, id: SpanId, is_it: &dyn Fn(&[u8]) -> bool) -> bool {
        self.written.spans.binary_search(&short(&self.salted, id)).is_ok()
            || is_it(TraceId::from_root(id).to_string().as_bytes())
    }
}

fn short(salted: &Salted, id: SpanId) -> String {
    hex::text(&salted.hash(id.to_string().as_bytes())[..8])
}

impl std::fmt::Debug for Tombstone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tombstone({} of {}, {:?})", self.written.id, self.field, self.written.state)
    }
}

impl PartialEq for Tombstone {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl TryFrom<Written> for Tombstone {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        // It becomes part of the names of documents.
        if written.id.len() != 16 || hex::bytes(&written.id).is_none() {
            return Err("the id of a tombstone has 16 hex digits".to_owned());
        }
        written.spans.sort_unstable();
        let (salted, field) = (Salted::new(&written.salt), Field::of(&written.field));
        Ok(Self { written, salted, field })
    }
}

impl From<Tombstone> for Written {
    fn from(tombstone: Tombstone) -> Self {
        tombstone.written
    }
}
