//! Response: the first error, and what answers to `Produce`, `Fetch` and `Metadata` tell besides.

use deeptrace_model::{SpanStatus, Value};

use super::api::{Api, ErrorAt, key};
use super::cursor::Cursor;
use super::error;
use super::records::Records;
use super::request::{bare, text};
use super::topics::{Name, Topics};
use crate::Draft;

/// Length and correlation id.
pub(super) const HEADER: usize = 8;

/// What a body told.
#[derive(Debug, Default)]
struct Seen {
    /// The first code that is an error.
    error: Option<&'static str>,
    message: Option<String>,
    topics: u32,
    topic: Option<String>,
    is_unnamed: bool,
    partitions: u32,
    partition: Option<i32>,
    offset: Option<i64>,
    records: Records,
}

/// What the response with this body (after the correlation id) to `api` says.
pub(super) fn describe(
    api: &Api,
    version: i16,
    correlation: i32,
    body: &[u8],
    is_cut: bool,
    topics: &mut Topics,
) -> Draft {
    let mut cursor = Cursor::new(body, api.is_flexible(version));
    let mut seen = Seen::default();
    let has_tags = api.tags_response(version);
    let is_known = api.is_known(version);
    let whole = if has_tags { cursor.tags() } else { Some(()) }
        .filter(|()| is_known)
        .and_then(|()| seen.body(api, version, &mut cursor, topics));
    let mut draft = bare(correlation);
    let mut set = |key: &'static str, value: Value| draft.attributes.push((key.into(), value));
    if let Some(error) = seen.error {
        set("error.type", error.into());
    }
    if seen.topics == 1
        && let Some(topic) = seen.topic
    {
        set("messaging.destination.name", topic.into());
        if let Some(partition) = seen.partition.filter(|_| seen.partitions == 1) {
            set("messaging.destination.partition.id", partition.to_string().into());
        }
    }
    if let Some(offset) = seen.offset.filter(|offset| *offset >= 0 && seen.partitions == 1) {
        set("messaging.kafka.offset", offset.into());
    }
    let is_single = seen.topics == 1 && seen.partitions == 1;
    let is_counted = whole.is_some() || is_single;
    let is_told = is_single && seen.partition.is_some();
    if api.key == key::FETCH && is_counted && !seen.records.is_partial {
        set("messaging.batch.message_count", i64::from(seen.records.count).into());
    }
    if seen.is_unnamed {
        draft.unknown.push("messaging.destination.name");
    }
    draft.trace_context = seen.records.context();
    draft.items = seen.records.items;
    draft.truncated = is_cut && whole.is_none();
    if let Some(error) = seen.error {
        draft.status = SpanStatus::Error;
        draft.status_message = Some(seen.message.unwrap_or_else(|| error.to_owned()));
    } else if draft.truncated && !is_told {
        draft.status = SpanStatus::Unset;
    }
    if api.is_secret {
        draft.redact.push(HEADER..usize::MAX);
    }
    draft
}

impl Seen {
    fn body(
        &mut self,
        api: &Api,
        version: i16,
        cursor: &mut Cursor<'_>,
        topics: &mut Topics,
    ) -> Option<()> {
        match api.error {
            ErrorAt::None => {}
            ErrorAt::Front => self.code(cursor.short()?),
            ErrorAt::Throttle(since) => {
                if version >= since {
                    cursor.int()?;
                }
                self.code(cursor.short()?);
            }
            ErrorAt::Topics => match api.key {
                key::PRODUCE => self.produce(version, cursor, topics)?,
                key::FETCH => self.fetch(version, cursor, topics)?,
                key::FIND_COORDINATOR => self.coordinator(version, cursor)?,
                key::METADATA => self.metadata(version, cursor, topics)?,
                _ => self.topics(api.key, version, cursor, topics)?,
            },
        }
        Some(())
    }

    fn code(&mut self, code: i16) {
        // A new member is asked to come again with the id that it is given (KIP-394).
        const MEMBER_ID_REQUIRED: i16 = 79;
        if code == MEMBER_ID_REQUIRED {
            return;
        }
        self.error = self.error.or_else(|| error::name(code));
    }

    fn name(&mut self, cursor: &mut Cursor<'_>, is_id: bool, topics: &Topics) -> Option<()> {
        let name = topics.read(cursor, is_id)?;
        self.records.of_topic(&name);
        match name {
            Name::Known(name) => self.topic = Some(name),
            Name::Unknown(_) => self.is_unnamed = true,
            Name::Impossible => return None,
        }
        Some(())
    }

    fn produce(&mut self, version: i16, cursor: &mut Cursor<'_>, topics: &Topics) -> Option<()> {
        self.topics = cursor.count()?;
        for _ in 0..self.topics {
            self.name(cursor, version >= 13, topics)?;
            let partitions = cursor.count()?;
            self.partitions = self.partitions.saturating_add(partitions);
            for _ in 0..partitions {
                let partition = cursor.int()?;
                self.code(cursor.short()?);
                self.partition = Some(partition);
                self.offset = Some(cursor.long()?);
                // When it was appended, and where the log starts.
                cursor.take(if version >= 2 { 8 } else { 0 } + if version >= 5 { 8 } else { 0 })?;
                if version >= 8 {
                    self.record_errors(cursor)?;
                }
                cursor.tags()?;
            }
            cursor.tags()?;
        }
        Some(())
    }

    fn record_errors(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        for _ in 0..cursor.count()? {
            cursor.int()?;
            cursor.string()?;
            cursor.tags()?;
        }
        let message = cursor.string()?;
        if self.message.is_none() && !message.is_empty() {
            self.message = Some(text(message));
        }
        Some(())
    }

    fn fetch(&mut self, version: i16, cursor: &mut Cursor<'_>, topics: &Topics) -> Option<()> {
        if version >= 1 {
            cursor.int()?;
        }
        if version >= 7 {
            self.code(cursor.short()?);
            cursor.int()?;
        }
        self.topics = cursor.count()?;
        for _ in 0..self.topics {
            self.name(cursor, version >= 13, topics)?;
            let partitions = cursor.count()?;
            self.partitions = self.partitions.saturating_add(partitions);
            for _ in 0..partitions {
                let partition = cursor.int()?;
                self.code(cursor.short()?);
                self.partition = Some(partition);
                // High watermark, last stable offset, start of the log.
                let offsets = 1 + usize::from(version >= 4) + usize::from(version >= 5);
                cursor.take(8 * offsets)?;
                if version >= 4 {
                    for _ in 0..cursor.count()? {
                        cursor.take(16)?;
                        cursor.tags()?;
                    }
                }
                if version >= 11 {
                    cursor.int()?;
                }
                let len = cursor.bytes_len()?;
                self.records.read(partition, cursor.rest(), len);
                cursor.take(len)?;
                cursor.tags()?;
            }
            cursor.tags()?;
        }
        Some(())
    }

    fn coordinator(&mut self, version: i16, cursor: &mut Cursor<'_>) -> Option<()> {
        if version >= 1 {
            cursor.int()?;
        }
        if version >= 4 && cursor.count()? > 0 {
            // Key, node, host and port of the first.
            cursor.string()?;
            cursor.int()?;
            cursor.string()?;
            cursor.int()?;
        } else if version >= 4 {
            return Some(());
        }
        self.code(cursor.short()?);
        let message = cursor.string()?;
        self.message = Some(text(message)).filter(|_| version >= 1 && !message.is_empty());
        Some(())
    }

    /// Learns the ids of topics. Errors of single topics are told where one was asked for.
    fn metadata(
        &mut self,
        version: i16,
        cursor: &mut Cursor<'_>,
        topics: &mut Topics,
    ) -> Option<()> {
        if version >= 3 {
            cursor.int()?;
        }
        for _ in 0..cursor.count()? {
            cursor.int()?;
            cursor.string()?;
            cursor.int()?;
            if version >= 1 {
                cursor.string()?;
            }
            cursor.tags()?;
        }
        if version >= 2 {
            cursor.string()?;
        }
        if version >= 1 {
            cursor.int()?;
        }
        self.topics = cursor.count()?;
        for _ in 0..self.topics {
            self.code(cursor.short()?);
            let name = cursor.string()?;
            let name = std::str::from_utf8(name).ok()?;
            if version >= 10 {
                topics.learn(cursor.uuid()?, name);
            }
            self.topic = Some(name.to_owned()).filter(|name| !name.is_empty());
            if version >= 1 {
                cursor.byte()?;
            }
            for _ in 0..cursor.count()? {
                cursor.take(2 + 4 + 4 + if version >= 7 { 4 } else { 0 })?;
                for _ in 0..if version >= 5 { 3 } else { 2 } {
                    cursor.skip_numbers(4)?;
                }
                cursor.tags()?;
            }
            if version >= 8 {
                cursor.int()?;
            }
            cursor.tags()?;
        }
        Some(())
    }

    /// The first topic and its first code, of answers that list topics.
    fn topics(
        &mut self,
        api: i16,
        version: i16,
        cursor: &mut Cursor<'_>,
        topics: &Topics,
    ) -> Option<()> {
        let (throttle, by_id) = match api {
            key::OFFSET_COMMIT => (3, 10),
            key::LIST_OFFSETS | key::CREATE_TOPICS => (2, i16::MAX),
            _ => (1, i16::MAX),
        };
        if version >= throttle {
            cursor.int()?;
        }
        self.topics = cursor.count()?;
        if self.topics == 0 {
            return Some(());
        }
        if api == key::DELETE_TOPICS && version >= 6 {
            let name = cursor.string()?;
            self.topic = Some(text(name)).filter(|name| !name.is_empty());
            cursor.uuid()?;
            self.code(cursor.short()?);
            return Some(());
        }
        self.name(cursor, version >= by_id, topics)?;
        if matches!(api, key::CREATE_TOPICS | key::DELETE_TOPICS) {
            if api == key::CREATE_TOPICS && version >= 7 {
                cursor.uuid()?;
            }
            self.code(cursor.short()?);
            return Some(());
        }
        self.partitions = cursor.count()?;
        if self.partitions > 0 {
            self.partition = Some(cursor.int()?);
            self.code(cursor.short()?);
        }
        Some(())
    }
}
