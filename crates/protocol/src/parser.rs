//! What one protocol provides: a row of the table, and a parser for one connection.
//!
//! A parser sees ordered bytes of both directions and says what they are. It never sees sequence
//! numbers, calls, threads or time: the stream layer (`stream.rs`) has those and stamps the
//! messages. Nor does it see holes: bytes of a message that were not copied are skipped by their
//! announced length, and after a loss the stream layer looks for the next start.

use std::ops::Range;

use deeptrace_model::{
    Attributes, ItemKey, MessageRole, SpanStatus, Text, TraceContext, Transport,
};
use deeptrace_redact::Form;

use crate::{CARRIED, SharedNames};

/// One protocol, as a row of [`TABLE`](crate::TABLE).
pub struct Protocol {
    /// Name as in `deeptrace protocols` and in a span's `protocol`.
    pub name: &'static str,
    /// What it is, with its specification, in one line for people.
    pub title: &'static str,
    /// Transports on which it is looked for.
    pub transports: &'static [Transport],
    /// Well-known server ports. They only break ties between protocols that both say
    /// [`Recognition::Maybe`]; they never decide alone.
    pub ports: &'static [u16],
    /// What capture copies of each call once the protocol is known.
    pub copy: CopyPolicy,
    /// What is understood of it, for people; held against the corpus.
    pub support: Support,
    /// Looks at the first bytes of one call. MUST NOT say yes to bytes that another protocol could
    /// have sent, where it can tell.
    pub recognise: fn(&Head<'_>) -> Recognition,
    /// A parser for a new connection.
    pub parser: fn() -> Box<dyn Parser>,
}

impl Protocol {
    /// Kinds of sockets on which it is looked for, in words; of a protocol that travels inside
    /// another (see [`CARRIED`]) the name of that one.
    pub fn over(&self) -> Vec<&'static str> {
        let word = |kind: &Transport| match kind {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::UnixStream => "UNIX",
            Transport::UnixDatagram => "UNIX datagrams",
        };
        match CARRIED.iter().find(|carried| carried.0 == self.name) {
            Some((_, carrier)) => vec![carrier],
            None => self.transports.iter().map(word).collect(),
        }
    }
}

/// What is understood of a protocol, in words for `deeptrace protocols`; empty: nothing.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    /// Which request a response answers.
    pub pairing: Pairing,
    /// What makes a span an error.
    pub errors: &'static str,
    /// Where the application's own trace context is found.
    pub context: &'static str,
    /// How a connection goes over to TLS in its middle, which is followed.
    pub tls: &'static str,
    /// What is not told, and when.
    pub limits: &'static [&'static str],
}

/// Which request a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// The oldest one that is open on the connection.
    InOrder,
    /// The one with the same id: which one that is.
    ById(&'static str),
    /// It depends: on what.
    Mixed(&'static str),
    /// There are none: all messages are one-way.
    OneWay,
}

impl Pairing {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InOrder => "in order",
            Self::ById(words) | Self::Mixed(words) => words,
            Self::OneWay => "one-way",
        }
    }
}

/// What capture copies of each call once the protocol is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPolicy {
    /// The first bytes of a call: enough where a call starts with a head that announces lengths.
    Head,
    /// Everything up to 16 KiB a call: for pipelined and multiplexed protocols.
    All,
}

/// What is known when the protocol of a connection is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The first bytes of one call; not empty.
    pub bytes: &'a [u8],
    /// Bytes the call really moved.
    pub call_len: usize,
    /// Kind of socket.
    pub transport: Transport,
    /// Who sent them, where the opening of the connection was seen.
    pub from: Option<Side>,
    /// Port of the server's end, where known.
    pub server_port: Option<u16>,
}

impl Head<'_> {
    /// Whether `side` may have sent them, as far as the opening of the connection tells.
    pub(crate) fn may_be_from(&self, side: Side) -> bool {
        self.from.is_none_or(|from| from == side)
    }

    /// Asks for each side that may have sent them whether they are its; a reader says whether it is
    /// sure, or `None`: they are not. Surety goes before a guess, the client before the server.
    pub(crate) fn judge(
        &self,
        client: impl FnOnce(&Self) -> Option<bool>,
        server: impl FnOnce(&Self) -> Option<bool>,
    ) -> Recognition {
        let client = if self.may_be_from(Side::Client) { client(self) } else { None };
        let server = if self.may_be_from(Side::Server) { server(self) } else { None };
        match (client, server) {
            (Some(true), _) => Recognition::Yes(Side::Client),
            (_, Some(true)) => Recognition::Yes(Side::Server),
            (Some(false), _) => Recognition::Maybe(Side::Client),
            (_, Some(false)) => Recognition::Maybe(Side::Server),
            (None, None) => Recognition::No,
        }
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The end that sends requests.
    Client = 0,
    /// The end that answers them.
    Server = 1,
}

impl Side {
    /// The other end.
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Whether bytes are of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// They are not.
    No,
    /// They could be, sent by this side: believed if no other protocol is sure, and only after
    /// the parser has cut a whole message out of them.
    Maybe(Side),
    /// They are, and this side sent them.
    Yes(Side),
}

/// Bytes at the front of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Contiguous bytes from where the last verdict ended. May be cut off anywhere.
    pub bytes: &'a [u8],
    /// Who sent them.
    pub from: Side,
    /// For datagrams, cut calls and the end of a stream: `bytes` will never grow;
    /// [`Verdict::More`] then drops the datagram or loses the message, and is counted. On streams
    /// [`Parser::lost`] is asked right after, and may return what these bytes told; they then
    /// count as bytes of that message.
    pub is_last: bool,
}

/// What a parser made of the front of one direction.
#[derive(Debug)]
pub enum Verdict {
    /// Can't tell before more bytes come. MUST be bounded: a parser says `NotMine` rather than
    /// waiting for more than 64 KiB.
    More,
    /// Not this protocol, or out of step: after a few of these the connection is recognised anew.
    NotMine,
    /// So many bytes belong to no message (a greeting, padding). More than are there is allowed
    /// (here and below): the rest is skipped by its position. Never zero.
    Skip(u64),
    /// So many bytes belong to the message of `stream` that is open in this direction; opens one
    /// if none is. Never zero; [`ENDLESS`](Self::ENDLESS) for a message that only the end of the
    /// stream completes.
    Part {
        /// Bytes.
        len: u64,
        /// Stream or transaction id, zero where there is one stream.
        stream: u64,
    },
    /// So many bytes complete the message of `draft.stream` in this direction (or are one whole
    /// message). Never zero.
    Done {
        /// Bytes.
        len: u64,
        /// What the message says.
        draft: Box<Draft>,
    },
    /// So many bytes are an answer, and what it answers is not known after a loss: it is counted and
    /// given to nobody. Never zero.
    Stray(u64),
    /// What follows in both directions is another protocol, unknown as yet (after an HTTP upgrade
    /// or a `CONNECT`). Takes no bytes.
    Switch,
}

impl Verdict {
    /// Length of a part that lasts until the stream ends.
    pub const ENDLESS: u64 = 1 << 62;

    /// Length of a part, or of what is skipped, that goes to the end of the call of which these bytes
    /// are the last, whether that end was copied or not.
    pub const CALL: u64 = u64::MAX;
}

/// What a message says, without where and when it was.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Which part of an exchange it is.
    pub role: MessageRole,
    /// Name of the row it belongs to, where that is not the connection's: of a protocol that travels
    /// inside another (see [`CARRIED`](crate::CARRIED)).
    pub protocol: Option<&'static str>,
    /// Stream or transaction id, zero where there is one stream. A response answers the oldest
    /// open request of the same stream. Datagrams: at most 32 bits, see [`Output`](crate::Output).
    pub stream: u64,
    /// Low-cardinality name for the span, on requests. Empty where the message does not tell.
    pub name: Text,
    /// After OpenTelemetry's semantic conventions.
    pub attributes: Attributes,
    /// What a response says of success.
    pub status: SpanStatus,
    /// Error text, where the response has one.
    pub status_message: Option<String>,
    /// The application's own trace context.
    pub trace_context: Option<TraceContext>,
    /// Names of attributes whose bytes were sent before the agent came.
    pub unknown: Vec<&'static str>,
    /// What it puts into a queue, or takes out of one; of bytes that both who puts and who takes see.
    pub items: Vec<ItemKey>,
    /// Whether a later message of the exchange takes its place (`100 Continue`).
    pub interim: bool,
    /// Whether requests before the one that it answers stay without an answer, because theirs are
    /// lost. The message then tells of a loss before it.
    pub skips: bool,
    /// Whether bytes of it that the parser wanted were not copied.
    pub truncated: bool,
    /// Byte ranges of values, from the start of the message, that must not be kept.
    pub redact: Vec<Range<usize>>,
    /// Whether what answers it is a credential, or has one in it.
    pub asks_secret: bool,
    /// How its bytes are encoded, for finding values by their names where that is configured.
    pub form: Form,
}

impl Draft {
    /// A request of the connection's only stream.
    pub fn request(name: impl Into<Text>) -> Self {
        Self::new(MessageRole::Request, name.into())
    }

    /// A response of the connection's only stream.
    pub fn response(status: SpanStatus) -> Self {
        Self { status, ..Self::new(MessageRole::Response, Text::default()) }
    }

    /// A message that asks for no answer.
    pub fn one_way(name: impl Into<Text>) -> Self {
        Self::new(MessageRole::OneWay, name.into())
    }

    fn new(role: MessageRole, name: Text) -> Self {
        Self {
            role,
            protocol: None,
            stream: 0,
            name,
            attributes: Attributes::new(),
            status: SpanStatus::Unset,
            status_message: None,
            trace_context: None,
            unknown: Vec::new(),
            items: Vec::new(),
            interim: false,
            skips: false,
            truncated: false,
            redact: Vec::new(),
            asks_secret: false,
            form: Form::Opaque,
        }
    }
}

/// Parses one connection.
///
/// MUST NOT panic on any bytes, MUST NOT allocate by an unchecked length, MUST bound what it keeps
/// per connection. MUST give the same messages however the bytes are split over calls to `parse`.
pub trait Parser: Send {
    /// Says what the bytes at the front are. Called again with what follows until it says
    /// [`Verdict::More`].
    fn parse(&mut self, input: Input<'_>) -> Verdict;

    /// Whether a message, or a frame from which the parser can go on, may start with `bytes`, sent
    /// by `from`. Asked at the start of calls after a loss; should be as strict as it can.
    fn is_start(&self, from: Side, bytes: &[u8]) -> bool;

    /// Bytes of this direction are lost, or were sent before the agent came, or the connection
    /// ended. Returns what is known of the message that is open in this direction (the layer marks
    /// it incomplete), and forgets it; then expects [`is_start`](Self::is_start). Messages already
    /// returned as `Done` are not its concern.
    fn lost(&mut self, from: Side) -> Option<Draft>;

    /// This direction ended in order, with no byte missing. Returns the message that just this
    /// completes (an HTTP response without a length); its bytes were given as
    /// [`Verdict::Part`], perhaps as one endless one. Everything else is left for
    /// [`lost`](Self::lost), which is asked next.
    fn end(&mut self, from: Side) -> Option<Draft> {
        let _ = from;
        None
    }

    /// Whether the message that is open in the direction of `from` is over though its end was not
    /// told, because the other side went on as if it were. Asked after each call of the other side;
    /// then [`lost`](Self::lost) is asked for that message.
    fn is_overtaken(&mut self, from: Side) -> bool {
        let _ = from;
        false
    }

    /// Told before anything is parsed: what the parsers of all connections know together.
    fn share(&mut self, names: &SharedNames) {
        let _ = names;
    }

    /// Nothing moved in either direction for so long that no answer is under way but to what waits
    /// for something to happen.
    fn quiet(&mut self) {}
}

#[cfg(test)]
impl Protocol {
    /// What it says of a call of TCP that was copied whole, on a port that nobody listens on.
    pub(crate) fn says(&self, bytes: &[u8], from: Option<Side>) -> Recognition {
        let (call_len, transport) = (bytes.len(), Transport::Tcp);
        (self.recognise)(&Head { bytes, call_len, transport, from, server_port: None })
    }
}

/// What `parser` makes of whole messages, sent by `from`.
#[cfg(test)]
pub(crate) fn drafts(parser: &mut dyn Parser, from: Side, bytes: &[u8]) -> Vec<Draft> {
    let (mut drafts, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        at += match parser.parse(Input { bytes: &bytes[at..], from, is_last: false }) {
            Verdict::Part { len, .. } | Verdict::Skip(len) | Verdict::Stray(len) => len as usize,
            Verdict::Done { len, draft } => {
                drafts.push(*draft);
                len as usize
            }
            other => panic!("{other:?}"),
        };
    }
    drafts
}
