//! Greeting, frames and commands (RFC 23/ZMTP, RFC 37/ZMTP).

/// Signature, version, mechanism, role and filler.
const GREETING: usize = 64;

/// The signature: all that comes before the version.
const SIGNATURE: usize = 10;

/// Frames above are not believed.
const FRAME_MAX: u64 = 1 << 40;

/// Types of sockets (RFC 28/REQREP, RFC 29/PUBSUB, RFC 30/PIPELINE and the drafts).
const SOCKETS: &[&str] = &[
    "REQ", "REP", "DEALER", "ROUTER", "PUB", "XPUB", "SUB", "XSUB", "PUSH", "PULL", "PAIR",
    "CLIENT", "SERVER", "RADIO", "DISH", "SCATTER", "GATHER", "PEER", "CHANNEL", "STREAM",
];

/// Names of commands.
const COMMANDS: &[&[u8]] = &[
    b"READY",
    b"ERROR",
    b"SUBSCRIBE",
    b"CANCEL",
    b"PING",
    b"PONG",
    b"HELLO",
    b"WELCOME",
    b"INITIATE",
    b"MESSAGE",
    b"JOIN",
    b"LEAVE",
];

/// What is at the front of some bytes.
pub(super) enum Front<T> {
    Is(T),
    More,
    NotMine,
}

/// Whether one end greets here, as far as bytes are there, ten at least.
pub(super) fn is_greeting(bytes: &[u8]) -> bool {
    bytes.len() >= SIGNATURE && !matches!(greeting(bytes), Front::NotMine)
}

/// The length of the greeting.
pub(super) fn greeting(bytes: &[u8]) -> Front<u64> {
    let fits = |at: usize, wanted: u8| bytes.get(at).is_none_or(|byte| *byte == wanted);
    // Seven bytes of padding are zero in practice; the eighth is there for older versions.
    let is_signed = fits(0, 0xff) && (1..8).all(|at| fits(at, 0)) && fits(9, 0x7f);
    let mechanism = bytes.get(12..bytes.len().min(32)).unwrap_or_default();
    let is_named = mechanism.iter().all(|byte| *byte == 0 || byte.is_ascii_graphic())
        && mechanism.first().is_none_or(|byte| *byte != 0);
    if !is_signed || !fits(10, 3) || !is_named || bytes.get(32).is_some_and(|role| *role > 1) {
        return Front::NotMine;
    }
    if bytes.len() < GREETING { Front::More } else { Front::Is(GREETING as u64) }
}

/// A frame, of which not all may be there.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) is_command: bool,
    pub(super) is_more: bool,
    /// Bytes with the header.
    pub(super) len: u64,
    pub(super) body_len: u64,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Front<Self> {
        let Some(&flags) = bytes.first() else { return Front::More };
        let (is_more, is_long, is_command) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        if flags > 7 || (is_command && is_more) {
            return Front::NotMine;
        }
        let (body_len, header) = if is_long {
            let Some(Ok(len)) = bytes.get(1..9).map(<[u8; 8]>::try_from) else {
                return Front::More;
            };
            (u64::from_be_bytes(len), 9)
        } else {
            let Some(len) = bytes.get(1) else { return Front::More };
            (u64::from(*len), 2)
        };
        if body_len > FRAME_MAX || (is_long && body_len < 256) || (is_command && body_len < 2) {
            return Front::NotMine;
        }
        let there = &bytes[header..];
        let seen = usize::try_from(body_len).map_or(there.len(), |len| len.min(there.len()));
        let len = body_len + header as u64;
        Front::Is(Self { is_command, is_more, len, body_len, body: &there[..seen] })
    }

    /// Whether so many bytes of the body are there, or all.
    pub(super) fn has(&self, len: usize) -> bool {
        self.body.len() >= len || self.body.len() as u64 == self.body_len
    }

    /// The body as text, if it is short and plain.
    pub(super) fn text(&self, max: usize) -> Option<String> {
        let is_plain = !self.body.is_empty()
            && self.body_len <= max as u64
            && self.body.iter().all(|byte| matches!(byte, b' '..=b'~'));
        is_plain.then(|| String::from_utf8_lossy(self.body).into_owned())
    }

    /// The command that the body is.
    pub(super) fn command(&self) -> Option<Command<'a>> {
        if let Some(data) = self.body.strip_prefix(b"^RROR") {
            // libzmq as a server of `PLAIN` writes the name's length and first letter as one byte.
            return Some(Command { name: b"ERROR", data });
        }
        let (&len, rest) = self.body.split_first()?;
        let (name, data) = rest.split_at_checked(usize::from(len))?;
        let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_uppercase);
        is_name.then_some(Command { name, data })
    }
}

/// A command: a name, and what follows.
pub(super) struct Command<'a> {
    pub(super) name: &'a [u8],
    data: &'a [u8],
}

impl Command<'_> {
    /// The property `Socket-Type` of `READY`.
    pub(super) fn socket_type(&self) -> Option<&'static str> {
        let mut rest = self.data;
        loop {
            let (&len, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(len))?;
            let (len, after) = after.split_at_checked(4)?;
            let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]);
            let (value, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
            if name.eq_ignore_ascii_case(b"Socket-Type") {
                return SOCKETS.iter().copied().find(|socket| socket.as_bytes() == value);
            }
            rest = after;
        }
    }

    /// The reason of `ERROR`.
    pub(super) fn reason(&self) -> String {
        let Some((&len, rest)) = self.data.split_first() else { return String::new() };
        let reason = &rest[..rest.len().min(usize::from(len))];
        String::from_utf8_lossy(reason).trim().to_owned()
    }
}

/// The frames of a call.
#[derive(Default)]
struct Chain {
    frames: usize,
    /// Messages, of which the last one is whole.
    messages: usize,
    /// Bytes in frames.
    bodies: u64,
    /// Where the last frame ends.
    end: u64,
}

fn chain(bytes: &[u8]) -> Option<Chain> {
    let (mut chain, mut is_more) = (Chain::default(), false);
    while let Some(rest) = usize::try_from(chain.end).ok().and_then(|at| bytes.get(at..)) {
        if rest.is_empty() {
            break;
        }
        let Front::Is(frame) = Frame::read(rest) else { return None };
        if frame.is_command && frame.has(usize::MAX) {
            frame.command()?;
        }
        is_more = frame.is_more;
        chain.frames += 1;
        chain.messages += usize::from(!is_more);
        chain.bodies += frame.body_len;
        chain.end += frame.len;
    }
    (chain.frames > 0 && !is_more).then_some(chain)
}

/// Bytes of a message below which its frames may be chance.
const MESSAGE_MIN: u64 = 4;

/// Whether one message that begins with an empty frame, as questions and answers do, or commands
/// fill the call. Other frames look like those of many a protocol.
pub(super) fn is_telling(bytes: &[u8], call_len: usize) -> bool {
    let Some(chain) = chain(bytes).filter(|chain| chain.end == call_len as u64) else {
        return false;
    };
    match Frame::read(bytes) {
        Front::Is(frame) if frame.is_command => {
            frame.command().is_some_and(|command| COMMANDS.contains(&command.name))
        }
        Front::Is(frame) => {
            let is_envelope = frame.is_more && frame.body_len == 0;
            is_envelope && chain.messages == 1 && chain.bodies >= MESSAGE_MIN
        }
        _ => false,
    }
}

/// Whether a message may begin here, with the empty frame before it where there must be one.
pub(super) fn is_start(bytes: &[u8], has_delimiter: bool) -> bool {
    chain(bytes).is_some() && (!has_delimiter || bytes.starts_with(&[1, 0]) || bytes[0] & 4 != 0)
}
