//! Request: header and what is told of the body.

use deeptrace_model::{SpanStatus, Text, Value};

use super::WINDOW;
use super::api::{Api, key};
use super::cursor::Cursor;
use super::records::Records;
use super::topics::{Name, Session, Topics};
use crate::Draft;

/// Length and request header without client id.
const HEADER: usize = 4 + 8;
/// `socket.request.max.bytes` of brokers is 100 MiB; some set more.
const LENGTH_MAX: i32 = 1 << 30;
/// Client ids above are not believed.
const CLIENT_ID_MAX: usize = 255;
/// Bytes of ids and names that are told.
const TEXT_MAX: usize = 256;

/// The front of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) api: &'static Api,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client_id: &'a [u8],
    /// Bytes with the length in front.
    pub(super) len: usize,
    /// What is there after the header.
    body: Cursor<'a>,
}

/// What is at the front of some bytes.
#[derive(Debug)]
pub(super) enum Front<'a> {
    Header(Header<'a>),
    /// The header is not all there.
    More,
    NotMine,
}

impl<'a> Header<'a> {
    /// Reads strictly, since it also recognises.
    pub(super) fn read(bytes: &'a [u8]) -> Front<'a> {
        match Self::try_read(bytes) {
            Some(Some(header)) => Front::Header(header),
            Some(None) => Front::NotMine,
            None => Front::More,
        }
    }

    /// `None` where bytes are missing, `Some(None)` where they are not of Kafka.
    fn try_read(bytes: &'a [u8]) -> Option<Option<Self>> {
        let mut cursor = Cursor::new(bytes, false);
        let length = cursor.int()?;
        if !(8..LENGTH_MAX).contains(&length) {
            return Some(None);
        }
        let api = Api::by_key(cursor.short()?);
        let version = cursor.short()?;
        let Some(api) = api.filter(|api| api.has_version(version)) else { return Some(None) };
        let correlation = cursor.int()?;
        if correlation < 0 {
            return Some(None);
        }
        let len = length as usize + 4;
        let mut client_id: &[u8] = &[];
        if (api.key, version) != (key::CONTROLLED_SHUTDOWN, 0) {
            let id_len = cursor.short()?;
            if id_len >= 0 {
                let id_len = id_len as usize;
                if id_len > CLIENT_ID_MAX || HEADER + 2 + id_len > len {
                    return Some(None);
                }
                client_id = cursor.take(id_len)?;
            } else if id_len != -1 {
                return Some(None);
            }
        }
        if !client_id.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | 0x80..)) {
            return Some(None);
        }
        let is_flexible = api.is_flexible(version);
        let used = bytes.len() - cursor.rest().len();
        let Some(left) = len.checked_sub(used) else { return Some(None) };
        let there = cursor.rest().len().min(left);
        let mut body = Cursor::new(&cursor.rest()[..there], is_flexible);
        if is_flexible && body.tags().is_none() {
            // Nobody sends so many tagged fields in a header.
            return if there >= 64 || used + there == len { Some(None) } else { None };
        }
        Some(Some(Self { api, version, correlation, client_id, len, body }))
    }

    /// What it says; `is_cut` if bytes are missing that were wanted.
    pub(super) fn describe(&self, topics: &Topics, is_cut: bool) -> Option<Request> {
        let mut seen = Seen::default();
        let whole = seen.body(self, topics);
        // Without a client id a request must be whole: few bytes of it are certain.
        let is_doubtful = whole.is_none() && !is_cut && self.client_id.is_empty();
        if whole == Some(false) || (is_doubtful && self.len <= WINDOW) {
            return None;
        }
        if let Some(topic) = seen.session.topic(topics) {
            (seen.topic, seen.topics, seen.is_unnamed) = (Some(topic), 1, false);
        }
        let is_one_way = self.api.key == key::PRODUCE && seen.acks == Some(0);
        let (operation, kind) = match self.api.key {
            key::PRODUCE => ("send", Some("send")),
            key::FETCH => ("poll", Some("receive")),
            key::OFFSET_COMMIT => ("commit", Some("settle")),
            _ => (self.api.name, None),
        };
        let topic = seen.topic.as_deref().filter(|_| seen.topics == 1);
        let name: Text = match topic {
            Some(topic) => format!("{operation} {topic}").into(),
            None => operation.into(),
        };
        let mut draft = if is_one_way { Draft::one_way(name) } else { Draft::request(name) };
        draft.stream = stream(self.correlation);
        let mut set = |key: &'static str, value: Value| draft.attributes.push((key.into(), value));
        set("messaging.system", "kafka".into());
        set("messaging.operation.name", operation.into());
        if let Some(kind) = kind {
            set("messaging.operation.type", kind.into());
        }
        if let Some(topic) = topic {
            set("messaging.destination.name", topic.to_owned().into());
            if let Some(partition) = seen.partition.filter(|_| seen.partitions == 1) {
                set("messaging.destination.partition.id", partition.to_string().into());
            }
        }
        if let Some(group) = seen.group.filter(|group| !group.is_empty()) {
            set("messaging.consumer.group.name", group.into());
        }
        let is_counted = whole.is_some() || (seen.topics == 1 && seen.partitions == 1);
        if is_counted && seen.records.count > 0 && !seen.records.is_partial {
            set("messaging.batch.message_count", i64::from(seen.records.count).into());
        }
        if let Some(offset) = seen.offset.filter(|_| seen.topics == 1 && seen.partitions == 1) {
            set("messaging.kafka.offset", offset.into());
        }
        if !self.client_id.is_empty() {
            set("messaging.client.id", text(self.client_id).into());
        }
        if seen.is_unnamed {
            draft.unknown.push("messaging.destination.name");
        }
        draft.trace_context = seen.records.context();
        draft.items = seen.records.items;
        draft.truncated = is_cut && whole.is_none();
        if self.api.is_secret {
            draft.redact.push(HEADER + 2 + self.client_id.len()..usize::MAX);
        }
        let is_session = self.api.key == key::FETCH && whole.is_some();
        Some(Request { draft, is_one_way, session: is_session.then_some(seen.session) })
    }
}

/// A request that is understood.
pub(super) struct Request {
    pub(super) draft: Draft,
    pub(super) is_one_way: bool,
    /// What a fetch does to its session.
    pub(super) session: Option<Session>,
}

/// Streams are correlation ids.
pub(super) fn stream(correlation: i32) -> u64 {
    u64::from(correlation.unsigned_abs())
}

/// Bytes as bounded text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
}

/// What a body told.
#[derive(Debug, Default)]
struct Seen {
    acks: Option<i16>,
    group: Option<String>,
    topics: u32,
    /// The last topic that has a name.
    topic: Option<String>,
    /// A topic was told by an id that is not known, or long ago.
    is_unnamed: bool,
    partitions: u32,
    partition: Option<i32>,
    offset: Option<i64>,
    records: Records,
    session: Session,
}

impl Seen {
    /// `None` if bytes are missing, `Some(false)` if no such request can be.
    fn body(&mut self, header: &Header<'_>, topics: &Topics) -> Option<bool> {
        let mut body = header.body;
        let version = header.version;
        if header.api.has_group {
            self.group = Some(text(body.string()?));
        }
        if !header.api.is_known(version) {
            return Some(true);
        }
        match header.api.key {
            key::PRODUCE => self.produce(&mut body, version, topics),
            key::FETCH => self.fetch(&mut body, version, topics),
            key::OFFSET_COMMIT => self.commit(&mut body, version, topics),
            key::OFFSET_FETCH => {
                // From version 8 on there are several groups.
                if version >= 8 && body.count()? != 1 {
                    return Some(true);
                }
                self.group = Some(text(body.string()?));
                Some(true)
            }
            _ => Some(true),
        }
    }

    fn produce(&mut self, body: &mut Cursor<'_>, version: i16, topics: &Topics) -> Option<bool> {
        if version >= 3 {
            body.string()?;
        }
        let acks = body.short()?;
        if !(-1..=1).contains(&acks) || body.int()? < 0 {
            return Some(false);
        }
        self.acks = Some(acks);
        self.topics = body.count()?;
        for _ in 0..self.topics {
            if !self.name(body, version >= 13, topics)? {
                return Some(false);
            }
            let partitions = body.count()?;
            self.partitions = self.partitions.saturating_add(partitions);
            for _ in 0..partitions {
                let partition = body.int()?;
                self.partition = Some(partition);
                let len = body.bytes_len()?;
                self.records.read(partition, body.rest(), len);
                body.take(len)?;
                body.tags()?;
            }
            body.tags()?;
        }
        Some(self.topics > 0)
    }

    fn fetch(&mut self, body: &mut Cursor<'_>, version: i16, topics: &Topics) -> Option<bool> {
        if version < 15 && body.int()? < -2 {
            return Some(false);
        }
        // How long to wait, and for how much.
        if body.int()? < 0 || body.int()? < 0 {
            return Some(false);
        }
        if version >= 3 {
            body.int()?;
        }
        if version >= 4 && body.byte()? > 1 {
            return Some(false);
        }
        let epoch = if version >= 7 { (body.int()?, body.int()?).1 } else { -1 };
        self.topics = body.count()?;
        for _ in 0..self.topics {
            if !self.name(body, version >= 13, topics)? {
                return Some(false);
            }
            let partitions = body.count()?;
            self.partitions = self.partitions.saturating_add(partitions);
            for _ in 0..partitions {
                self.partition = Some(body.int()?);
                if version >= 9 {
                    body.int()?;
                }
                self.offset = Some(body.long()?);
                let rest = if version >= 12 { 4 } else { 0 } + if version >= 5 { 8 } else { 0 } + 4;
                body.take(rest)?;
                body.tags()?;
            }
            body.tags()?;
        }
        let forgotten = if version >= 7 { body.count()? } else { 0 };
        self.session = match epoch {
            0 => Session::New(self.topic.clone().filter(|_| self.topics == 1)),
            1.. if forgotten > 0 => Session::New(None),
            1.. if self.topics == 0 => Session::Same,
            1.. => Session::Adds(self.topic.clone().filter(|_| self.topics == 1)),
            _ => Session::None,
        };
        if epoch > 0 {
            // A session repeats only what changed (KIP-227): others may be fetched beside these.
            self.is_unnamed = true;
            (self.topic, self.offset, self.partition) = (None, None, None);
        }
        Some(true)
    }

    fn commit(&mut self, body: &mut Cursor<'_>, version: i16, topics: &Topics) -> Option<bool> {
        if version >= 1 {
            body.int()?;
            body.string()?;
        }
        if version >= 7 {
            body.string()?;
        }
        if (2..=4).contains(&version) {
            body.long()?;
        }
        self.topics = body.count()?;
        if self.topics == 1 {
            if !self.name(body, version >= 10, topics)? {
                return Some(false);
            }
            self.partitions = body.count()?;
            if self.partitions == 1 {
                self.partition = Some(body.int()?);
                self.offset = Some(body.long()?);
            }
        }
        Some(true)
    }

    /// Reads a topic's name or id; false where it can be none.
    fn name(&mut self, body: &mut Cursor<'_>, is_id: bool, topics: &Topics) -> Option<bool> {
        let name = topics.read(body, is_id)?;
        self.records.of_topic(&name);
        match name {
            Name::Known(name) => self.topic = Some(name),
            Name::Unknown(_) => self.is_unnamed = true,
            Name::Impossible => return Some(false),
        }
        Some(true)
    }
}

/// A response without more.
pub(super) fn bare(correlation: i32) -> Draft {
    Draft { stream: stream(correlation), ..Draft::response(SpanStatus::Ok) }
}
