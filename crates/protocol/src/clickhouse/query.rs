//! Query: what stands before the statement, which differs with the revision both sides agreed on
//! ("Native protocol", "Client packets"; thresholds as in the server's `ProtocolDefines.h`).

use deeptrace_model::{TraceContext, TraceId};

use crate::reader::Reader;

/// Revisions from which something is written in another way.
const QUOTA_KEY: u32 = 54_060;
const VERSION_PATCH: u32 = 54_401;
const SETTINGS_AS_TEXT: u32 = 54_429;
const SECRET: u32 = 54_441;
const TRACING: u32 = 54_442;
const FORWARDED_FOR: u32 = 54_443;
const REFERER: u32 = 54_447;
const DEPTH: u32 = 54_448;
const START_TIME: u32 = 54_449;
const REPLICAS: u32 = 54_453;
pub(super) const PARAMETERS: u32 = 54_459;
const ROLES: u32 = 54_472;
const LINE_NUMBERS: u32 = 54_475;
const TOKEN: u32 = 54_476;

/// Bytes before the statement that are believed.
pub(super) const HEAD_MAX: usize = 16 * 1024;
const TEXT_MAX: usize = 8 * 1024;
const SETTINGS_MAX: usize = 1024;

/// Settings that were written as text when others were numbers; besides those whose names end in
/// `_mode`, `_delimiter`, `_ratio`, `_probability` or `_rule`.
const TEXT_SETTINGS: &[&[u8]] = &[
    b"count_distinct_implementation",
    b"date_time_input_format",
    b"default_database_engine",
    b"format_avro_schema_registry_url",
    b"format_regexp",
    b"format_schema",
    b"format_template_resultset",
    b"format_template_row",
    b"input_format_avro_schema_registry_url",
    b"join_algorithm",
    b"join_default_strictness",
    b"load_balancing",
    b"log_queries_min_type",
    b"max_streams_multiplier_for_merge_tables",
    b"metrics_perf_events_list",
    b"network_compression_method",
    b"output_format_avro_codec",
    b"partial_merge_join_rows_in_left_blocks",
    b"send_logs_level",
    b"special_sort",
    b"temporary_files_codec",
    b"totals_auto_threshold",
];

/// Ends of the names of such settings.
const TEXT_ENDS: &[&[u8]] = &[b"_mode", b"_delimiter", b"_ratio", b"_probability", b"_rule"];

/// What a query says, as far as its statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// Bytes before the statement, its length with them.
    pub(super) head: usize,
    /// Length of the statement.
    pub(super) len: u64,
    /// Blocks of the query and of its answer are compressed.
    pub(super) is_compressed: bool,
    pub(super) trace_context: Option<TraceContext>,
    /// Whether it says who asks.
    pub(super) has_client: bool,
}

/// Why there is no query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Missing {
    More,
    Wrong,
}

struct Fields<'a> {
    reader: Reader<'a>,
    revision: u32,
    /// Which half of a trace's id the client writes first, where that is known.
    half: Option<Half>,
}

/// Half of a trace's id. Servers before 22.2, and what follows them, write the lower one first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Half {
    Low,
    High,
}

/// The revision of 22.1, of which some wrote one half first and some the other.
const HALVES_CHANGED: u64 = 54_454;

impl Query {
    /// Reads a query whose kind of packet was read, from the start of the packet.
    pub(super) fn read(bytes: &[u8], revision: u32) -> Result<Self, Missing> {
        let bytes = &bytes[..bytes.len().min(HEAD_MAX)];
        let mut fields = Fields { reader: Reader::new(bytes), revision, half: None };
        let query = fields.query();
        match query {
            Err(Missing::More) if bytes.len() == HEAD_MAX => Err(Missing::Wrong),
            query => query,
        }
    }
}

impl<'a> Fields<'a> {
    fn since(&self, revision: u32) -> bool {
        self.revision >= revision
    }

    fn number(&mut self) -> Result<u64, Missing> {
        self.reader.varint().ok_or(Missing::More)
    }

    /// A byte that is at most `most`.
    fn byte(&mut self, most: u8) -> Result<u8, Missing> {
        let byte = self.reader.u8().ok_or(Missing::More)?;
        if byte > most { Err(Missing::Wrong) } else { Ok(byte) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Missing> {
        let len = self.number()?;
        if len > TEXT_MAX as u64 {
            return Err(Missing::Wrong);
        }
        self.reader.take(len as usize).ok_or(Missing::More)
    }

    /// A text of one line.
    fn text(&mut self) -> Result<&'a [u8], Missing> {
        let text = self.bytes()?;
        if text.iter().any(|byte| *byte < b' ') { Err(Missing::Wrong) } else { Ok(text) }
    }

    fn query(&mut self) -> Result<Query, Missing> {
        if self.byte(1)? != 1 {
            return Err(Missing::Wrong);
        }
        self.text()?;
        let client = self.client_info()?;
        self.settings()?;
        if self.since(ROLES) {
            self.bytes()?;
        }
        if self.since(SECRET) {
            self.bytes()?;
        }
        // How far it is to be processed.
        self.byte(4)?;
        let is_compressed = self.byte(1)? == 1;
        let len = self.number()?;
        if len > 1 << 30 {
            return Err(Missing::Wrong);
        }
        let (head, has_client) = (self.reader.at(), client.is_some());
        Ok(Query { head, len, is_compressed, trace_context: client.flatten(), has_client })
    }

    /// `None` where nothing is said of who asks, else the trace context.
    fn client_info(&mut self) -> Result<Option<Option<TraceContext>>, Missing> {
        const TCP: u8 = 1;
        const HTTP: u8 = 2;
        // None, the first, one that follows from another.
        if self.byte(2)? == 0 {
            return Ok(None);
        }
        // User, query id, address.
        for _ in 0..3 {
            self.text()?;
        }
        if self.since(START_TIME) {
            self.reader.take(8).ok_or(Missing::More)?;
        }
        let interface = self.byte(7)?;
        match interface {
            TCP => self.client()?,
            HTTP => {
                self.byte(4)?;
                self.text()?;
                if self.since(FORWARDED_FOR) {
                    self.text()?;
                }
                if self.since(REFERER) {
                    self.text()?;
                }
            }
            _ => {}
        }
        if self.since(QUOTA_KEY) {
            self.text()?;
        }
        if self.since(DEPTH) {
            self.number()?;
        }
        if interface == TCP && self.since(VERSION_PATCH) {
            self.number()?;
        }
        let trace_context = if self.since(TRACING) { self.tracing()? } else { None };
        if self.since(REPLICAS) {
            for _ in 0..3 {
                self.number()?;
            }
        }
        if self.since(LINE_NUMBERS) {
            self.number()?;
            self.number()?;
        }
        if self.since(TOKEN) && self.byte(1)? == 1 {
            self.bytes()?;
        }
        Ok(Some(trace_context))
    }

    /// User and host, program, its version and revision.
    fn client(&mut self) -> Result<(), Missing> {
        self.text()?;
        self.text()?;
        let name = self.text()?;
        self.number()?;
        self.number()?;
        let revision = self.number()?;
        self.half = match revision {
            _ if name.ends_with(b"python-driver") => Some(Half::Low),
            ..HALVES_CHANGED => Some(Half::Low),
            HALVES_CHANGED => None,
            _ => Some(Half::High),
        };
        if super::is_revision(revision) { Ok(()) } else { Err(Missing::Wrong) }
    }

    /// The trace's id as two numbers, the span's, state and flags.
    fn tracing(&mut self) -> Result<Option<TraceContext>, Missing> {
        if self.byte(1)? == 0 {
            return Ok(None);
        }
        let ids = self.reader.take(24).and_then(|ids| ids.as_chunks().0.first_chunk::<3>());
        let [first, second, parent] = ids.ok_or(Missing::More)?.map(u64::from_le_bytes);
        self.text()?;
        self.byte(u8::MAX)?;
        let join = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let trace = match self.half {
            Some(Half::High) => join(first, second),
            Some(Half::Low) => join(second, first),
            None => 0,
        };
        let context = TraceContext { trace: TraceId(trace), parent };
        Ok(Some(context).filter(|_| trace != 0 && parent != 0))
    }

    fn settings(&mut self) -> Result<(), Missing> {
        for _ in 0..SETTINGS_MAX {
            let name = self.bytes()?;
            if name.is_empty() {
                return Ok(());
            }
            if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte)) {
                return Err(Missing::Wrong);
            }
            if self.since(SETTINGS_AS_TEXT) {
                self.number()?;
                self.bytes()?;
            } else if is_text(name) {
                self.bytes()?;
            } else {
                self.number()?;
            }
        }
        Err(Missing::Wrong)
    }
}

fn is_text(setting: &[u8]) -> bool {
    TEXT_SETTINGS.contains(&setting) || TEXT_ENDS.iter().any(|end| setting.ends_with(end))
}

/// Length of the parameters behind a statement: names, flags, values.
pub(super) fn parameters(bytes: &[u8]) -> Result<usize, Missing> {
    let bytes = &bytes[..bytes.len().min(4 * HEAD_MAX)];
    let reader = Reader::new(bytes);
    let mut fields = Fields { reader, revision: SETTINGS_AS_TEXT, half: None };
    match fields.settings() {
        Ok(()) => Ok(fields.reader.at()),
        Err(Missing::More) if bytes.len() == 4 * HEAD_MAX => Err(Missing::Wrong),
        Err(missing) => Err(missing),
    }
}
