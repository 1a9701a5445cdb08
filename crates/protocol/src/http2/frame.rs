//! Frames: RFC 9113 §4.1 and §6.

use std::ops::Range;

/// What a client says first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// Payload that is believed of frames but `DATA`: what every peer accepts (RFC 9113 §4.2). Larger
/// ones must have been agreed on, which nobody does for headers.
const LEN_MAX: usize = 16_384;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// `PRIORITY`, and what extensions define.
    Other,
}

/// Header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Bytes of the payload.
    pub(super) len: usize,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    /// The header at the front of at least nine bytes; `None` if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, id @ ..] = bytes.first_chunk::<HEADER>()?;
        let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let stream = u32::from_be_bytes(*id);
        let (kind, known_flags) = match kind {
            0 => (Kind::Data, END_STREAM | PADDED),
            1 => (Kind::Headers, END_STREAM | END_HEADERS | PADDED | PRIORITY),
            2 if len == 5 && stream != 0 => (Kind::Other, 0),
            3 => (Kind::Reset, 0),
            4 => (Kind::Settings, ACK),
            5 => (Kind::PushPromise, END_HEADERS | PADDED),
            6 => (Kind::Ping, ACK),
            7 => (Kind::GoAway, 0),
            8 => (Kind::WindowUpdate, 0),
            9 => (Kind::Continuation, END_HEADERS),
            // ALTSVC (RFC 7838), ORIGIN (RFC 8336), PRIORITY_UPDATE (RFC 9218).
            0x0a | 0x0c | 0x10 => (Kind::Other, 0),
            // Sent by some so that nobody relies on their absence (RFC 8701's idea).
            kind if kind % 0x1f == 0x0b => (Kind::Other, 0xff),
            _ => return None,
        };
        let frame = Self { kind, len, flags: *flags, stream };
        let is_valid = stream >> 31 == 0 && flags & !known_flags == 0 && frame.has_its_shape();
        is_valid.then_some(frame)
    }

    /// Lengths and streams that RFC 9113 §6 asks for.
    fn has_its_shape(&self) -> bool {
        let Self { len, stream, flags, .. } = *self;
        let of_stream = stream != 0 && len <= LEN_MAX;
        match self.kind {
            Kind::Data => stream != 0,
            Kind::Headers => of_stream && len > 0,
            Kind::Continuation => of_stream,
            Kind::PushPromise => of_stream && len >= 4,
            Kind::Reset => stream != 0 && len == 4,
            Kind::Settings => {
                stream == 0 && len.is_multiple_of(6) && len <= 6 * 64 && (flags == 0 || len == 0)
            }
            Kind::Ping => stream == 0 && len == 8,
            Kind::GoAway => stream == 0 && (8..=LEN_MAX).contains(&len),
            Kind::WindowUpdate => len == 4,
            Kind::Other => len <= LEN_MAX,
        }
    }

    /// Bytes of the whole frame.
    pub(super) fn size(&self) -> usize {
        HEADER + self.len
    }

    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Where data or the fragment of a header block lies in the frame of which `bytes` are there:
    /// without padding, priority and the promised stream. `None` if it can't be.
    pub(super) fn content(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let (mut start, mut end) = (HEADER, self.size());
        if self.flags & PADDED != 0 && self.kind != Kind::Continuation {
            end = end.checked_sub(usize::from(*bytes.get(HEADER)?))?;
            start += 1;
        }
        match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => start += 5,
            Kind::PushPromise => start += 4,
            _ => {}
        }
        (start <= end).then_some(start..end)
    }
}

/// The error code of what is no error (RFC 9113 §7).
pub(super) const NO_ERROR: u32 = 0;

/// The error code of what is not wanted any more (RFC 9113 §7).
pub(super) const CANCEL: u32 = 8;

/// Name of an error code (RFC 9113 §7).
pub(super) fn error_name(code: u32) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(usize::try_from(code).ok()?).copied()
}
