//! Frame of AMQP 0-9-1 (§2.3.5): type, channel, size, payload and an end byte.

use super::WINDOW;

pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
pub(super) const HEARTBEAT: u8 = 8;

/// Type, channel and size.
const FRONT: usize = 7;
const END: u8 = 0xce;
/// Frames above are not believed; brokers and clients agree on 128 KiB by default.
const SIZE_MAX: u32 = 1 << 27;

/// A frame at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) channel: u16,
    /// Bytes of the payload.
    pub(super) size: u64,
    /// Bytes with front and end.
    pub(super) len: u64,
    /// What is there of the payload, if it is looked at.
    pub(super) payload: &'a [u8],
    /// Whether bytes are missing that are looked at.
    pub(super) is_cut: bool,
}

pub(super) enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

impl<'a> Frame<'a> {
    /// Reads a frame; of methods and headers all but what is beyond the window, of bodies nothing.
    pub(super) fn read(bytes: &'a [u8], is_last: bool) -> Front<'a> {
        let Some(front) = bytes.get(..FRONT) else {
            let is_ours = matches!(bytes.first(), Some(&(METHOD..=BODY | HEARTBEAT)) | None);
            return if is_ours { Front::More } else { Front::NotMine };
        };
        let channel = u16::from_be_bytes([front[1], front[2]]);
        let size = u32::from_be_bytes([front[3], front[4], front[5], front[6]]);
        let is_right = match front[0] {
            METHOD => size >= 4,
            HEADER => size >= 14 && channel > 0,
            BODY => channel > 0,
            HEARTBEAT => size == 0,
            _ => false,
        };
        if !is_right || size > SIZE_MAX {
            return Front::NotMine;
        }
        let len = FRONT + size as usize + 1;
        let wanted = if front[0] == BODY { FRONT } else { len.min(WINDOW) };
        let there = bytes.len().min(wanted);
        let is_cut = there < wanted;
        if is_cut && !is_last {
            return Front::More;
        }
        if there == len && bytes[len - 1] != END {
            return Front::NotMine;
        }
        let payload = &bytes[FRONT..there.min(len - 1).max(FRONT)];
        let size = u64::from(size);
        Front::Frame(Self { kind: front[0], channel, size, len: len as u64, payload, is_cut })
    }

    /// A frame of which every byte is there, bodies as well.
    pub(super) fn whole(bytes: &'a [u8]) -> Option<Self> {
        match Self::read(bytes, true) {
            Front::Frame(frame) => {
                let last = usize::try_from(frame.len - 1).ok()?;
                (bytes.get(last) == Some(&END)).then_some(frame)
            }
            _ => None,
        }
    }
}
