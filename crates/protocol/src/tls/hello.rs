//! Hello: the first message of either side, with what they agree on (RFC 8446 §4.1, §4.2).

use deeptrace_model::{SpanStatus, Value};

use super::name;
use crate::{Draft, Side};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Extensions that are read (IANA, TLS ExtensionType Values).
const SERVER_NAME: u16 = 0;
const NEXT_PROTOCOL: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// A `ServerHello` with this random asks for another hello (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Application protocols, or versions, that are told of an offer.
const OFFERS_MAX: usize = 8;

/// The longest server name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

const TLS_1_3: u16 = 0x0304;

/// Reads from the front; `None` at the end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes with their length, of one byte, before them.
    fn small(&mut self) -> Option<&'a [u8]> {
        let len = self.byte()?;
        self.take(usize::from(len))
    }

    /// Bytes with their length, of two bytes, before them.
    fn large(&mut self) -> Option<&'a [u8]> {
        let len = self.short()?;
        self.take(usize::from(len))
    }
}

/// What both hellos begin with: version, random, session.
struct Front<'a> {
    version: u16,
    random: &'a [u8],
}

impl<'a> Front<'a> {
    /// Checks all that can be checked; `kind` is the message's type.
    fn read(cursor: &mut Cursor<'a>, kind: u8) -> Option<Self> {
        (cursor.byte()? == kind).then_some(())?;
        let len = u32::from_be_bytes([0, cursor.byte()?, cursor.byte()?, cursor.byte()?]);
        (38..=32 * 1024).contains(&len).then_some(())?;
        let version = cursor.short().filter(|version| (0x0300..=0x0303).contains(version))?;
        let random = cursor.take(32)?;
        let session_len = cursor.byte().filter(|len| *len <= 32)?;
        // Of a hello that is cut only the front is there.
        let _ = cursor.take(usize::from(session_len));
        Some(Self { version, random })
    }
}

/// Who says hello in these bytes of a call, as far as they are there.
pub(super) fn side(bytes: &[u8]) -> Option<Side> {
    // A record's header first, so that no other protocol's bytes pass for it.
    let [22, 3, 0..=4, high, low, message @ ..] = bytes else { return None };
    let record_len = usize::from(u16::from_be_bytes([*high, *low]));
    let kind = *message.first()?;
    let side = match kind {
        CLIENT_HELLO => Side::Client,
        SERVER_HELLO => Side::Server,
        _ => return None,
    };
    let mut cursor = Cursor(message);
    Front::read(&mut cursor, kind)?;
    (record_len >= 39).then_some(side)
}

/// What the client offers.
#[derive(Debug, Default)]
pub(super) struct ClientHello {
    server: Option<String>,
    versions: Vec<u16>,
    protocols: Vec<String>,
}

impl ClientHello {
    /// Reads what is there; `None` if it is none, or is broken without being cut.
    pub(super) fn read(message: &[u8], is_cut: bool) -> Option<Self> {
        let mut cursor = Cursor(message);
        let front = Front::read(&mut cursor, CLIENT_HELLO)?;
        let mut hello = Self::default();
        let whole = hello.offers(&mut cursor);
        if hello.versions.is_empty() && !is_cut {
            hello.versions.push(front.version);
        }
        (whole.is_some() || is_cut).then_some(hello)
    }

    fn offers(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.large().filter(|ciphers| !ciphers.is_empty() && ciphers.len() % 2 == 0)?;
        cursor.small()?;
        if cursor.0.is_empty() {
            // Extensions are optional before TLS 1.2.
            return Some(());
        }
        cursor.short()?;
        while !cursor.0.is_empty() {
            let kind = cursor.short()?;
            let body = cursor.large()?;
            // What one extension says wrongly is left out.
            let _ = self.extension(kind, Cursor(body));
        }
        Some(())
    }

    fn extension(&mut self, kind: u16, mut body: Cursor<'_>) -> Option<()> {
        match kind {
            SERVER_NAME => {
                let mut names = Cursor(body.large()?);
                (names.byte()? == 0).then_some(())?;
                let name = names.large().filter(|name| name.len() <= NAME_MAX)?;
                self.server = printable(name);
            }
            NEXT_PROTOCOL => {
                let mut names = Cursor(body.large()?);
                while self.protocols.len() < OFFERS_MAX && !names.0.is_empty() {
                    self.protocols.extend(printable(names.small()?));
                }
            }
            SUPPORTED_VERSIONS => {
                let mut versions = Cursor(body.small()?);
                while self.versions.len() < OFFERS_MAX && !versions.0.is_empty() {
                    // Others are there to be ignored (RFC 8701).
                    let version = versions.short()?;
                    self.versions.extend(name::version(version).map(|_| version));
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The request.
    pub(super) fn draft(&self) -> Draft {
        let mut draft = Draft::request("TLS handshake");
        let mut push = |key: &'static str, value: Value| {
            draft.attributes.push((key.into(), value));
        };
        push("tls.protocol.name", "tls".into());
        if let Some(server) = &self.server {
            // What `tls.client.server_name` was deprecated for.
            push("server.address", server.clone().into());
        }
        if !self.protocols.is_empty() {
            push("deeptrace.tls.client.protocols", self.protocols.join(",").into());
        }
        let versions: Vec<&str> = self.versions.iter().filter_map(|v| name::version(*v)).collect();
        if !versions.is_empty() {
            push("deeptrace.tls.client.versions", versions.join(",").into());
        }
        draft
    }
}

/// What the server chose.
#[derive(Debug, Default)]
pub(super) struct ServerHello {
    version: u16,
    cipher: Option<u16>,
    protocol: Option<String>,
    is_resumed: bool,
    /// It asks the client to say hello again.
    pub(super) is_retry: bool,
}

impl ServerHello {
    /// Reads what is there; `None` if it is none, or is broken without being cut.
    pub(super) fn read(message: &[u8], is_cut: bool) -> Option<Self> {
        let mut cursor = Cursor(message);
        let front = Front::read(&mut cursor, SERVER_HELLO)?;
        let mut hello = Self { version: front.version, ..Self::default() };
        hello.is_retry = front.random == RETRY.as_slice();
        let whole = hello.choices(&mut cursor);
        (whole.is_some() || is_cut).then_some(hello)
    }

    fn choices(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        self.cipher = Some(cursor.short()?);
        cursor.byte()?;
        if cursor.0.is_empty() {
            return Some(());
        }
        cursor.short()?;
        while !cursor.0.is_empty() {
            let kind = cursor.short()?;
            let mut body = Cursor(cursor.large()?);
            match kind {
                SUPPORTED_VERSIONS => self.version = body.short()?,
                PRE_SHARED_KEY => self.is_resumed = true,
                NEXT_PROTOCOL => {
                    self.protocol =
                        body.large().and_then(|list| Cursor(list).small()).and_then(printable);
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Whether what follows is encrypted.
    pub(super) fn is_hidden(&self) -> bool {
        self.version >= TLS_1_3
    }

    /// The response.
    pub(super) fn draft(&self) -> Draft {
        let mut draft = Draft::response(SpanStatus::Ok);
        let mut push = |key: &'static str, value: Value| {
            draft.attributes.push((key.into(), value));
        };
        if let Some(version) = name::version(self.version) {
            push("tls.protocol.version", version.into());
        }
        if let Some(cipher) = self.cipher {
            push("tls.cipher", name::cipher(cipher).into());
        }
        if let Some(protocol) = &self.protocol {
            push("tls.next_protocol", protocol.clone().into());
        }
        if self.is_resumed {
            push("tls.resumed", true.into());
        }
        draft
    }
}

/// A name that is printable ASCII, as all are that are used.
fn printable(bytes: &[u8]) -> Option<String> {
    let is_plain = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    is_plain.then(|| String::from_utf8_lossy(bytes).into_owned())
}
