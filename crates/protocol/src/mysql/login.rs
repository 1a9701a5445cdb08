//! Login: the greeting, what answers it, and a change of user ("Connection Phase").

use super::packet::{Packet, counted, long, text};

// Capability flags.
const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const LENGTH_ENCODED_AUTH: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;
const ZSTD: u32 = 1 << 26;

/// Capabilities, packet size, character set and what is zero; MariaDB's own flags are at its end.
const FIXED: usize = 32;
const ZERO: std::ops::Range<usize> = 9..28;

/// Longer ones are not believed.
pub(super) const LOGIN_MAX: usize = 64 * 1024;
/// Bytes of a login that are looked at.
pub(super) const WINDOW: usize = 1024;
const VERSION_MAX: usize = 128;

/// What a greeting tells: whether it is MariaDB's. `None` if the packet is none.
pub(super) fn greeting(packet: &Packet<'_>) -> Option<bool> {
    let (10, rest) = packet.body.split_first().map(|parts| (*parts.0, parts.1))? else {
        return None;
    };
    if packet.sequence != 0 || !(20..1024).contains(&packet.len) {
        return None;
    }
    let (version, rest) = text(rest)?;
    let is_text = version.iter().all(|byte| (b' '..=b'~').contains(byte));
    let begins = version.first().is_some_and(u8::is_ascii_digit);
    if !is_text || !begins || version.len() > VERSION_MAX {
        return None;
    }
    // Thread, eight bytes of a challenge, a zero.
    (rest.get(12).is_none_or(|byte| *byte == 0))
        .then(|| version.windows(7).any(|window| window.eq_ignore_ascii_case(b"mariadb")))
}

/// Whether the front of a packet may be one of a greeting, which is cut in its version.
pub(super) fn may_greet(packet: &Packet<'_>) -> bool {
    let Some((10, version)) = packet.body.split_first() else { return false };
    let is_version = version.iter().all(|byte| (b' '..=b'~').contains(byte));
    let begins = version.first().is_some_and(u8::is_ascii_digit) && version.get(1) == Some(&b'.');
    is_version && begins && packet.sequence == 0 && (20..1024).contains(&packet.len)
}

/// What a client says of itself.
pub(super) struct Login {
    /// It asks for TLS, and says the rest in it.
    pub(super) is_ssl_request: bool,
    /// It knows TLS.
    has_tls: bool,
    /// It would compress.
    pub(super) compresses: bool,
    /// Metadata ends with `EOF`.
    pub(super) has_eof: bool,
    pub(super) database: Option<String>,
}

impl Login {
    /// Whether a client's first packet is one: of a connection, or of what it says under TLS, where
    /// it has sent `SSLRequest` before.
    pub(super) fn begins(packet: &Packet<'_>) -> bool {
        let is_first = |login: Self| match packet.sequence {
            1 => true,
            2 => login.has_tls && !login.is_ssl_request,
            _ => false,
        };
        Self::read(packet).is_some_and(is_first)
    }

    /// Reads `SSLRequest` or `HandshakeResponse41`; `None` if the packet is neither.
    pub(super) fn read(packet: &Packet<'_>) -> Option<Self> {
        let body = packet.window(WINDOW);
        let flags = long(body, 0)?;
        let is_zero = body.get(ZERO)?.iter().all(|byte| *byte == 0);
        let is_ssl_request = packet.len == FIXED && flags & SSL != 0;
        let is_long = packet.len > FIXED && packet.len < LOGIN_MAX;
        if packet.sequence == 0 || flags & PROTOCOL_41 == 0 || !is_zero {
            return None;
        }
        (is_ssl_request || is_long).then(|| Self {
            is_ssl_request,
            has_tls: flags & SSL != 0,
            compresses: flags & (COMPRESS | ZSTD) != 0,
            has_eof: flags & DEPRECATE_EOF == 0,
            database: body.get(FIXED..).and_then(|rest| database(flags, rest)),
        })
    }
}

/// The database behind user and authentication.
fn database(flags: u32, rest: &[u8]) -> Option<String> {
    if flags & CONNECT_WITH_DB == 0 {
        return None;
    }
    let (_, rest) = text(rest)?;
    let rest = if flags & LENGTH_ENCODED_AUTH != 0 {
        counted(rest)?.1
    } else if flags & SECURE_CONNECTION != 0 {
        rest.get(1 + usize::from(*rest.first()?)..)?
    } else {
        text(rest)?.1
    };
    name(text(rest)?.0)
}

/// The database of `COM_CHANGE_USER`.
pub(super) fn changed_database(body: &[u8]) -> Option<String> {
    let (_, rest) = text(body.get(1..)?)?;
    let rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    name(text(rest)?.0)
}

fn name(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}
