//! Recognition: a client's preface, or frames from the middle of a connection.
//!
//! Frames are walked from the front of a call up to one with header fields, whose pseudo-header
//! fields must be readable and tell the side. Data alone are never enough.

use super::fields::Fields;
use super::frame::{Frame, HEADER, Kind, PREFACE};
use super::hpack::Table;
use crate::{Head, Recognition, Side};

/// Frames of a call that are looked at.
const FRAMES_MAX: usize = 32;

/// Bytes of the preface that no other protocol begins with.
const PREFACE_MIN: usize = 14;

/// Highest setting that is defined (RFC 8441, RFC 9218 and others).
const SETTING_MAX: u16 = 0x10;

pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    if is_preface(head.bytes) {
        return Recognition::Yes(Side::Client);
    }
    let side = walk(head.bytes, &mut |frame, bytes| {
        if frame.size() > head.call_len && frame.kind != Kind::Data {
            return Some(None);
        }
        match frame.kind {
            Kind::Headers => fields(frame, bytes).map(|fields| fields.side()),
            // A server's first frame, where it is known to be one.
            Kind::Settings if is_settings(frame, bytes) => head.from.map(Some),
            _ => None,
        }
    });
    match side.flatten() {
        Some(side) if head.may_be_from(side) => Recognition::Yes(side),
        _ => Recognition::No,
    }
}

/// Whether frames start here, some of which leave no doubt or are of a stream that is open.
pub(super) fn is_start(from: Side, bytes: &[u8], is_open: &dyn Fn(u32) -> bool) -> bool {
    if is_preface(bytes) {
        return from == Side::Client;
    }
    let is_mine = walk(bytes, &mut |frame, bytes| match frame.kind {
        Kind::Headers => Some(fields(frame, bytes).is_some_and(|fields| match fields.side() {
            Some(side) => side == from,
            None => is_open(frame.stream) || fields.has_unknown,
        })),
        Kind::Settings if is_settings(frame, bytes) => Some(true),
        Kind::Ping | Kind::GoAway => Some(true),
        Kind::WindowUpdate if frame.stream == 0 => Some(true),
        Kind::Data | Kind::Reset | Kind::WindowUpdate if is_open(frame.stream) => Some(true),
        Kind::Data | Kind::Reset | Kind::WindowUpdate | Kind::Other | Kind::Settings => None,
        Kind::PushPromise | Kind::Continuation => Some(false),
    });
    is_mine == Some(true)
}

fn is_preface(bytes: &[u8]) -> bool {
    bytes.len() >= PREFACE_MIN && bytes.iter().zip(PREFACE).all(|(byte, wanted)| byte == wanted)
}

/// Asks about each frame in turn, up to the first answer. `None` too if there are bytes that are
/// no frames.
fn walk<T>(bytes: &[u8], ask: &mut dyn FnMut(&Frame, &[u8]) -> Option<T>) -> Option<T> {
    let mut rest = bytes;
    for _ in 0..FRAMES_MAX {
        if rest.len() < HEADER {
            return None;
        }
        let frame = Frame::read(rest)?;
        if let Some(answer) = ask(&frame, &rest[..rest.len().min(frame.size())]) {
            return Some(answer);
        }
        rest = rest.get(frame.size()..)?;
    }
    None
}

/// The fields of a frame with a whole block, whatever its encoder's table holds.
fn fields(frame: &Frame, bytes: &[u8]) -> Option<Fields> {
    let place = frame.content(bytes)?;
    let is_whole = place.end <= bytes.len() && frame.ends_headers();
    let fragment = bytes.get(place.start..place.end.min(bytes.len()))?;
    Fields::read(&mut Table::unknown(), fragment, is_whole).ok()
}

/// RFC 9113 §6.5: settings that are defined, or the answer to some.
fn is_settings(frame: &Frame, bytes: &[u8]) -> bool {
    let settings = bytes.get(HEADER..frame.size()).unwrap_or_default();
    settings.len() == frame.len
        && settings.chunks_exact(6).all(|setting| {
            let name = u16::from(setting[0]) << 8 | u16::from(setting[1]);
            (1..=SETTING_MAX).contains(&name) || name >= 0xf000
        })
}
