//! Rules: what is configured, made ready once and shared by the stages.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::body::is_text;
use crate::patterns::{PatternError, Patterns};
use crate::{http, numbers, text};

/// Before these, the rest of an attribute's key is a name of the application's.
const NAMED: &[&str] = &[".header.", ".metadata.", ".parameter.", ".attribute."];

/// What is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Names of header fields, whole, in any case.
    pub headers: Vec<String>,
    /// Parts of keys, in any case.
    pub names: Vec<String>,
    /// Whether card numbers are masked.
    pub cards: bool,
    /// Whether e-mail addresses are masked.
    pub addresses: bool,
    /// Services whose payloads are not kept; `*` and `?` are wildcards.
    pub services: Vec<String>,
}

/// How a payload is encoded, as far as that decides where its values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Names are not in it, or cannot be read: nobody can tell where a value is.
    #[default]
    Opaque,
    /// Its parser has said where all values are, named or not.
    Told,
    /// A message of HTTP/1.
    Http,
    /// Words of text; what follows a name may all be its value.
    Words,
    /// Fields with their names, which are no text.
    Fields,
}

/// The front of a message.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How they are encoded.
    pub form: Form,
    /// Whether more bytes follow that are not here.
    pub is_cut: bool,
}

/// What must not be kept. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Rules(Option<Arc<Ready>>);

#[derive(Debug)]
struct Ready {
    written: Written,
    patterns: Option<Patterns>,
    services: GlobSet,
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Rules {
    /// Makes ready what is configured.
    pub fn new(written: Written) -> Result<Self, PatternError> {
        let patterns = Patterns::new(&written.names, &written.headers)?;
        let services = globs(&written.services)?;
        if written == Written::default() {
            return Ok(Self::default());
        }
        Ok(Self(Some(Arc::new(Ready { written, patterns, services }))))
    }

    /// What they were made of; `None` where nothing is to be masked.
    pub fn written(&self) -> Option<&Written> {
        self.0.as_ref().map(|ready| &ready.written)
    }

    /// Whether nothing in a message is to be looked for.
    pub fn find_nothing(&self) -> bool {
        self.0.as_ref().is_none_or(|ready| ready.finds_nothing())
    }

    /// Whether payloads of a service are not kept.
    pub fn excludes(&self, service: &str) -> bool {
        self.0.as_ref().is_some_and(|ready| ready.services.is_match(service))
    }

    /// Whether payloads of some services are not kept.
    pub fn exclude_any(&self) -> bool {
        self.0.as_ref().is_some_and(|ready| !ready.services.is_empty())
    }

    /// Finds where values lie in a payload. Says whether what answers it may be a value without its name.
    pub fn payload(&self, payload: Payload<'_>, places: &mut Vec<Range<usize>>) -> bool {
        match &self.0 {
            Some(ready) if !ready.finds_nothing() => ready.payload(payload, places),
            _ => false,
        }
    }

    /// A text with its values masked; `None` if there are none.
    pub fn text(&self, text: &str) -> Option<String> {
        let ready = self.0.as_ref().filter(|ready| !ready.finds_nothing())?;
        let mut places = Vec::new();
        ready.text(text.as_bytes(), &mut places);
        (!places.is_empty()).then(|| masked(text, &places))
    }

    /// The same for the value of an attribute, which is masked as a whole if its key is a name.
    pub fn attribute(&self, key: &str, text: &str) -> Option<String> {
        let name = NAMED.iter().find_map(|mark| Some(&key[key.find(mark)? + mark.len()..]));
        let patterns = self.0.as_ref().and_then(|ready| ready.patterns.as_ref());
        if let Some((name, patterns)) = name.zip(patterns) {
            let found = patterns.first(name.as_bytes());
            let whole = |found: crate::patterns::Found| {
                !found.is_whole || (found.start, found.end) == (0, name.len())
            };
            if found.is_some_and(whole) {
                return Some("*".repeat(text.len()));
            }
        }
        self.text(text)
    }
}

impl Ready {
    fn finds_nothing(&self) -> bool {
        self.patterns.is_none() && !self.written.cards && !self.written.addresses
    }

    fn payload(&self, payload: Payload<'_>, places: &mut Vec<Range<usize>>) -> bool {
        let Payload { bytes, form, is_cut } = payload;
        let all = 0..bytes.len();
        match form {
            Form::Told => return false,
            Form::Opaque => {
                places.push(all);
                return self.has_name(bytes);
            }
            Form::Fields if self.has_name(bytes) || (is_cut && text::has_value(bytes)) => {
                places.push(all);
                return true;
            }
            // A name may be in what is not here.
            Form::Fields => return is_cut && self.patterns.is_some(),
            Form::Words if !is_text(bytes) => {
                places.push(all);
                return self.has_name(bytes);
            }
            _ => {}
        }
        let mut is_asked = false;
        if let Some(patterns) = &self.patterns {
            match form {
                Form::Http => is_asked = http::find(patterns, bytes, is_cut, places),
                Form::Words => is_asked = words(patterns, bytes, is_cut, places),
                _ => {}
            }
        } else if form == Form::Http
            && let Some(end) = http::head_end(bytes)
            && !is_text(&bytes[end..])
        {
            places.push(end..bytes.len());
        }
        self.numbers(bytes, is_cut, places);
        is_asked
    }

    fn text(&self, bytes: &[u8], places: &mut Vec<Range<usize>>) {
        if let Some(patterns) = &self.patterns {
            // Long ones are cut; which, is not known here.
            text::find(patterns, bytes, true, places);
        }
        self.numbers(bytes, false, places);
    }

    fn numbers(&self, bytes: &[u8], is_cut: bool, places: &mut Vec<Range<usize>>) {
        text::users(bytes, places);
        if self.written.cards {
            numbers::cards(bytes, is_cut, places);
        }
        if self.written.addresses {
            numbers::addresses(bytes, is_cut, places);
        }
    }

    fn has_name(&self, bytes: &[u8]) -> bool {
        let find = |patterns: &Patterns| patterns.first(bytes);
        self.patterns.as_ref().and_then(find).is_some_and(|found| !found.is_whole)
    }
}

/// Values in words: beside a name as in texts, and all after the first name.
fn words(patterns: &Patterns, bytes: &[u8], is_cut: bool, places: &mut Vec<Range<usize>>) -> bool {
    text::find(patterns, bytes, is_cut, places);
    // A name may be in what is not here.
    let Some(found) = patterns.first(bytes) else { return is_cut };
    places.push(found.end..bytes.len());
    true
}

/// `text` with `places` overwritten; a character that is cut by one is replaced.
fn masked(text: &str, places: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    crate::overwrite(&mut bytes, places);
    match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

fn globs(services: &[String]) -> Result<GlobSet, PatternError> {
    let error = |index, message| PatternError { list: "exclude_payloads", index, message };
    let mut set = GlobSetBuilder::new();
    for (index, service) in services.iter().enumerate() {
        if service.is_empty() {
            return Err(error(Some(index), "an empty name matches no service".to_owned()));
        }
        let glob = Glob::new(service).map_err(|wrong| {
            error(Some(index), format!("{service:?} is not a pattern: {}", wrong.kind()))
        })?;
        set.add(glob);
    }
    set.build().map_err(|wrong| error(None, wrong.to_string()))
}
