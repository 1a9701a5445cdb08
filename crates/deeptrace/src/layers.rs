//! Layers of configuration: defaults, then the file, the environment, the command line and the API,
//! each over the one before. Every value keeps where it came from, down to the line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(String),
    /// An option of the command line.
    Argument(&'static str),
    /// `PUT /config`, since the last start or reload.
    Api,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Argument(name) => f.write_str(name),
            Self::Api => f.write_str("PUT /config"),
        }
    }
}

/// What is wrong with a layer, with its place first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct LayerError {
    /// Source of the value.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The layers merged, with the source of each value.
#[derive(Clone)]
pub struct Layers {
    defaults: Value,
    /// Tables that take any key.
    free: &'static [&'static str],
    tree: Value,
    sources: BTreeMap<String, Source>,
}

/// Without the values: passwords are among them.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Layers {
    /// With all known keys at their defaults; `free` names the tables that take any key.
    pub fn new(defaults: Value, free: &'static [&'static str]) -> Self {
        Self { tree: defaults.clone(), defaults, free, sources: BTreeMap::new() }
    }

    /// The merged values.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// All keys that are set or can be set, with their values, by name.
    pub fn leaves(&self) -> BTreeMap<String, Value> {
        let mut leaves = BTreeMap::new();
        flatten("", &self.tree, &mut |key, value| {
            leaves.insert(key.to_owned(), value.clone());
        });
        leaves
    }

    /// Where the value of `key` came from, or that of the nearest key around it.
    pub fn source(&self, key: &str) -> Source {
        let mut key = key;
        loop {
            if let Some(source) = self.sources.get(key) {
                return source.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Source::Default,
            }
        }
    }

    /// Keys that somebody set.
    pub fn set_keys(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str).filter(|key| !key.contains('['))
    }

    /// Puts a TOML file over what is there.
    pub fn file(&mut self, path: &Path, text: &str) -> Result<(), LayerError> {
        let at = |offset: usize| Source::File(path.to_owned(), line(text, offset));
        let syntax = |error: toml::de::Error| LayerError {
            place: at(error.span().map_or(0, |span| span.start)).to_string(),
            message: error.message().replace('\n', "; "),
        };
        let spans = DeTable::parse(text).map_err(syntax)?;
        let values: toml::Table = text.parse().map_err(syntax)?;
        let mut places = BTreeMap::new();
        place("", spans.get_ref(), &mut |key, offset| {
            places.insert(key, at(offset));
        });
        let Ok(values) = serde_json::to_value(values) else {
            let message = "it holds a value that no key takes".to_owned();
            return Err(LayerError { place: path.display().to_string(), message });
        };
        self.object(values, |key| places.get(key).cloned().unwrap_or_else(|| at(0)))
    }

    /// Puts variables such as `DEEPTRACE_AGENTS__TRACE__SAMPLING_RATE` over what is there. Others
    /// that begin with `DEEPTRACE_` and have no `__` are not ours to judge.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), LayerError> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix("DEEPTRACE_") else { continue };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            if key.contains('.') || lookup(&self.defaults, &key).is_some() {
                let value = self.value_of_text(&key, &text);
                self.set(&key, value, Source::Environment(name))?;
            }
        }
        Ok(())
    }

    /// Puts the value of one key over what is there.
    pub fn set(&mut self, key: &str, value: Value, source: Source) -> Result<(), LayerError> {
        let nested = key
            .rsplit('.')
            .fold(value, |value, part| Value::Object(Map::from_iter([(part.to_owned(), value)])));
        self.object(nested, |_| source.clone())
    }

    /// Puts nested values over what is there; all of them or none.
    pub fn object(
        &mut self,
        values: Value,
        source: impl Fn(&str) -> Source,
    ) -> Result<(), LayerError> {
        let mut unknown = None;
        self.check("", &values, &mut |key| {
            unknown.get_or_insert(key);
        });
        if let Some(key) = unknown {
            let message = self.unknown(&key);
            return Err(LayerError { place: source(&key).to_string(), message });
        }
        let mut sources = Vec::new();
        merge("", &mut self.tree, values, &mut |key| sources.push(key));
        self.sources.extend(sources.into_iter().map(|key| (key.clone(), source(&key))));
        Ok(())
    }

    /// A text in the form that `key` has by default: text stays text, the rest is read as TOML.
    pub fn value_of_text(&self, key: &str, text: &str) -> Value {
        let default = lookup(&self.defaults, key);
        if matches!(default, Some(Value::String(_))) {
            return Value::String(text.to_owned());
        }
        let parsed = format!("v = {text}").parse::<toml::Table>().ok();
        let parsed = parsed.and_then(|mut table| serde_json::to_value(table.remove("v")?).ok());
        match (parsed, default) {
            (Some(value), Some(Value::Array(_))) if !value.is_array() => Value::Array(vec![value]),
            (Some(value), _) => value,
            (None, Some(Value::Array(_))) => {
                text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()
            }
            (None, _) => Value::String(text.to_owned()),
        }
    }

    /// Reports keys of `value` that are not known.
    fn check(&self, prefix: &str, value: &Value, unknown: &mut impl FnMut(String)) {
        let Value::Object(table) = value else { return };
        if self.free.contains(&prefix) {
            return;
        }
        for (name, value) in table {
            let key = join(prefix, name);
            match lookup(&self.defaults, &key) {
                None => unknown(key),
                Some(Value::Object(_)) => self.check(&key, value, unknown),
                Some(_) => {}
            }
        }
    }

    /// What to say of a key that is not known.
    fn unknown(&self, key: &str) -> String {
        match self.nearest(key) {
            Some(nearest) => format!("unknown key `{key}`; the nearest known one is `{nearest}`"),
            None => format!("unknown key `{key}`"),
        }
    }

    /// The known key (or table) that is nearest to one that is not known.
    fn nearest(&self, key: &str) -> Option<String> {
        let mut known = Vec::new();
        tables("", &self.defaults, &mut |key| known.push(key));
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let score = |candidate: &String| {
            strsim::normalized_damerau_levenshtein(key, candidate)
                + strsim::normalized_damerau_levenshtein(&last(key), &last(candidate))
        };
        known.into_iter().max_by(|a, b| score(a).total_cmp(&score(b)))
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn lookup<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |value, part| value.get(part))
}

/// Each value that is not a table, by dotted key.
fn flatten(prefix: &str, value: &Value, found: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                flatten(&join(prefix, name), value, found);
            }
        }
        value => found(prefix, value),
    }
}

/// Each key, tables included.
fn tables(prefix: &str, value: &Value, found: &mut impl FnMut(String)) {
    let Value::Object(table) = value else { return };
    for (name, value) in table {
        let key = join(prefix, name);
        found(key.clone());
        tables(&key, value, found);
    }
}

/// Where each key, and each key in tables of arrays (`services[0].match`), stands in the text.
fn place(prefix: &str, table: &DeTable<'_>, found: &mut impl FnMut(String, usize)) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        found(key.clone(), name.span().start);
        match value.get_ref() {
            DeValue::Table(table) => place(&key, table, found),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let key = format!("{key}[{index}]");
                    found(key.clone(), item.span().start);
                    if let DeValue::Table(table) = item.get_ref() {
                        place(&key, table, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Puts `over` on `tree`; tells the keys that it set, with the places inside of arrays.
fn merge(prefix: &str, tree: &mut Value, over: Value, set: &mut impl FnMut(String)) {
    match (tree, over) {
        (Value::Object(tree), Value::Object(over)) => {
            for (name, value) in over {
                let key = join(prefix, &name);
                merge(&key, tree.entry(name).or_insert(Value::Null), value, set);
            }
        }
        (tree, over) => {
            elements(prefix, &over, set);
            *tree = over;
        }
    }
}

fn elements(key: &str, value: &Value, set: &mut impl FnMut(String)) {
    set(key.to_owned());
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            let key = format!("{key}[{index}]");
            set(key.clone());
            for name in item.as_object().into_iter().flat_map(Map::keys) {
                set(format!("{key}.{name}"));
            }
        }
    }
}
