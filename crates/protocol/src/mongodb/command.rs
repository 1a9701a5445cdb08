//! Command: what a request asks for, its text without values, and the trace context in its comment.

use deeptrace_model::{TraceContext, Value};

use super::bson::{Element, Elements, number};
use super::header::{Message, Opcode, Section, Sections};
use super::text::{TEXT_MAX, render, render_all};
use crate::{Draft, TraceHeaders};

/// Commands are words of this length.
const NAME_MAX: usize = 64;

/// Commands whose first value is a collection.
const ON_COLLECTION: &[&str] = &[
    "aggregate",
    "collMod",
    "collStats",
    "compact",
    "convertToCapped",
    "count",
    "create",
    "createIndexes",
    "createSearchIndexes",
    "delete",
    "deleteIndexes",
    "distinct",
    "drop",
    "dropIndexes",
    "find",
    "findAndModify",
    "findandmodify",
    "insert",
    "killCursors",
    "listIndexes",
    "mapReduce",
    "mapreduce",
    "reIndex",
    "update",
    "validate",
];

/// Commands with passwords, proofs or nonces (drivers' specification "Command Logging and
/// Monitoring", section "Security").
const SECRET: &[&str] = &[
    "authenticate",
    "copydb",
    "copydbgetnonce",
    "copydbsaslstart",
    "createuser",
    "getnonce",
    "saslcontinue",
    "saslstart",
    "updateuser",
];

/// Fields about the session and not the question.
const UNTOLD: &[&[u8]] = &[
    b"$clusterTime",
    b"$db",
    b"$readPreference",
    b"apiStrict",
    b"apiVersion",
    b"autocommit",
    b"comment",
    b"lsid",
    b"readConcern",
    b"startTransaction",
    b"txnNumber",
    b"writeConcern",
];

/// What a request asks for.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// As on the wire; empty where it was not seen.
    pub(super) name: String,
    collection: Option<String>,
    namespace: Option<String>,
    text: String,
    trace_context: Option<TraceContext>,
    /// Documents of an insert, updates, deletes; zero where they are not all there.
    documents: i64,
}

impl Command {
    /// Reads a request that is no compressed one.
    pub(super) fn read(message: &Message<'_>) -> Self {
        match message.opcode {
            Opcode::Msg => Self::of_sections(Sections::of(message)),
            Opcode::Query => Self::of_query(message),
            Opcode::Insert => Self::legacy("insert", message),
            Opcode::Update => Self::legacy("update", message),
            Opcode::Delete => Self::legacy("delete", message),
            Opcode::GetMore => Self::legacy("getMore", message),
            _ => Self { name: "killCursors".into(), ..Self::default() },
        }
    }

    /// Whether it greets or asks whether the server is well ("Handshake", "Server Monitoring").
    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.name.as_str(), "hello" | "isMaster" | "ismaster")
    }

    fn legacy(name: &str, message: &Message<'_>) -> Self {
        let mut command = Self { name: name.into(), ..Self::default() };
        command.place(message.full_name());
        command
    }

    /// `OP_QUERY` is a command where it asks the collection `$cmd`.
    fn of_query(message: &Message<'_>) -> Self {
        let mut place = Self::legacy("find", message);
        if place.collection.as_deref() != Some("$cmd") {
            return place;
        }
        let mut command = Self::default();
        let query = message.query();
        let inner = query.and_then(|mut query| query.next());
        let wrapped = inner.filter(|e| matches!(e.key, b"$query" | b"query"));
        if let Some(query) = wrapped.and_then(|e| e.elements()).or(query) {
            command.read_body(query);
        }
        command.namespace = place.namespace.take();
        command.close();
        command
    }

    /// Takes `db.collection` apart.
    fn place(&mut self, full_name: Option<&[u8]>) {
        let name = String::from_utf8_lossy(full_name.unwrap_or_default());
        if let Some((namespace, collection)) = name.split_once('.') {
            self.namespace = Some(namespace.to_owned());
            self.collection = Some(collection.to_owned());
        }
    }

    fn of_sections(sections: Sections<'_>) -> Self {
        let mut command = Self::default();
        let mut lists = Vec::new();
        for section in sections {
            match section {
                Section::Body(elements) => command.read_body(elements),
                Section::Documents(name, documents) if lists.len() < 2 => {
                    lists.push((name, documents));
                }
                Section::Documents(..) => {}
            }
        }
        for (name, documents) in lists {
            command.read_documents(name, documents);
        }
        command.close();
        command
    }

    /// The command's own document: its first field is its name.
    fn read_body(&mut self, elements: Elements<'_>) {
        for (index, element) in elements.enumerate() {
            let key = String::from_utf8_lossy(element.key);
            if index == 0 {
                let is_word =
                    key.len() <= NAME_MAX && key.bytes().all(|b| b.is_ascii_alphanumeric());
                self.name = if is_word { key.into_owned() } else { String::new() };
                self.read_target(&element);
                continue;
            }
            match element.key {
                b"$db" => self.namespace = element.text().map(|text| text.into_owned()),
                b"collection" if self.name == "getMore" => {
                    self.collection = element.text().map(|text| text.into_owned());
                }
                b"comment" => self.trace_context = comment(&element),
                _ => {}
            }
            if !UNTOLD.contains(&element.key) {
                self.tell(&element);
            }
        }
    }

    /// The first field's value: a collection, or what an `explain` explains.
    fn read_target(&mut self, first: &Element<'_>) {
        let is_explain = self.name == "explain";
        let inner = first.elements().filter(|_| is_explain).and_then(|mut inner| inner.next());
        let named = inner.as_ref().unwrap_or(first);
        if is_explain || ON_COLLECTION.contains(&self.name.as_str()) {
            self.collection = named.text().map(|text| text.into_owned());
        }
        self.text.push('{');
        match &self.collection {
            Some(collection) if !is_explain => {
                self.text.push_str(&format!("\"{}\": \"{collection}\"", self.name));
            }
            _ => render(&mut self.text, first, 0),
        }
    }

    /// Documents beside the command.
    fn read_documents(&mut self, name: &[u8], documents: &[u8]) {
        let mut rest = documents;
        let mut count = 0;
        while let Some(len) = number(rest, 0).filter(|len| *len >= 5) {
            let Some(after) = rest.get(len as usize..) else { break };
            (rest, count) = (after, count + 1);
        }
        self.documents = if rest.is_empty() { count } else { 0 };
        let key = String::from_utf8_lossy(name);
        self.text.push_str(&format!(", \"{key}\": ["));
        match Elements::of(documents, u64::MAX).filter(|_| name != b"documents") {
            Some(elements) => render_all(&mut self.text, elements, 1),
            None => self.text.push('?'),
        }
        self.text.push(']');
    }

    fn tell(&mut self, element: &Element<'_>) {
        if self.text.len() < TEXT_MAX {
            self.text.push_str(", ");
            let is_list = element.kind == 0x04;
            if let Some(list) = element.elements().filter(|_| is_list)
                && matches!(element.key, b"documents" | b"updates" | b"deletes")
            {
                self.documents = list.count() as i64;
            }
            match element.key {
                b"documents" => self.text.push_str("\"documents\": [?]"),
                _ => render(&mut self.text, element, 0),
            }
        }
    }

    fn close(&mut self) {
        if !self.text.is_empty() {
            self.text.push('}');
        }
        let is_secret = SECRET.contains(&self.name.to_ascii_lowercase().as_str());
        if is_secret {
            self.text.clear();
        }
        let mut end = self.text.len().min(TEXT_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.truncate(end);
    }

    /// What it says. `draft` is a request or one-way.
    pub(super) fn describe(self, mut draft: Draft) -> Draft {
        let is_secret = SECRET.contains(&self.name.to_ascii_lowercase().as_str());
        let target = self.collection.as_deref().or(self.namespace.as_deref()).unwrap_or_default();
        draft.name = match (self.name.as_str(), target) {
            ("", _) => "mongodb".into(),
            (name, "") => name.into(),
            (name, target) => format!("{name} {target}").into(),
        };
        draft.attributes.push(("db.system.name".into(), "mongodb".into()));
        let mut add = |key: &'static str, text: String| {
            if !text.is_empty() {
                draft.attributes.push((key.into(), Value::from(text)));
            }
        };
        add("db.operation.name", self.name);
        add("db.collection.name", self.collection.unwrap_or_default());
        add("db.namespace", self.namespace.unwrap_or_default());
        add("db.query.text", self.text);
        if self.documents > 1 {
            // OpenTelemetry: a batch has two operations at least.
            draft.attributes.push(("db.operation.batch.size".into(), self.documents.into()));
        }
        draft.trace_context = self.trace_context;
        if is_secret {
            draft.redact.push(super::header::HEADER..usize::MAX);
        }
        draft
    }
}

/// `traceparent` in a comment: as a document's field, or as text like sqlcommenter's.
fn comment(element: &Element<'_>) -> Option<TraceContext> {
    let mut headers = TraceHeaders::default();
    if let Some(elements) = element.elements() {
        for field in elements {
            headers.header(field.key, field.text().unwrap_or_default().as_bytes());
        }
        return headers.context();
    }
    let text = element.text()?;
    let value = text.split_once("traceparent")?.1.trim_start_matches(['=', ':', '\'', '"', ' ']);
    let end = value.find(|c: char| !c.is_ascii_hexdigit() && c != '-').unwrap_or(value.len());
    headers.header(b"traceparent", &value.as_bytes()[..end]);
    headers.context()
}
