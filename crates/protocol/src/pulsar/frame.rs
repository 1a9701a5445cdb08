//! Frame: two lengths, a command, and what follows it.

use super::command::{Command, Meaning};
use super::fields::{Fields, varint};
use crate::Side;

/// Bytes of a frame that are believed: brokers take 5 MiB unless they are told otherwise.
const FRAME_MAX: usize = 128 * 1024 * 1024;

/// Bytes of a command that are believed: answers may list all topics of a namespace.
const COMMAND_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a command that are waited for.
const COMMAND_WANTED: usize = 32 * 1024;

/// Bytes of metadata that are waited for.
const METADATA_MAX: usize = 4 * 1024;

/// Bytes of both lengths.
const LENGTHS: usize = 8;

pub(super) struct Frame<'a> {
    pub(super) command: &'static Command,
    /// Of the command.
    pub(super) fields: Fields<'a>,
    /// What is there of what follows the command.
    pub(super) rest: &'a [u8],
    /// Bytes that follow the command.
    pub(super) rest_len: usize,
    /// Bytes of the frame.
    pub(super) len: u64,
}

pub(super) enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

/// Both lengths; `None` if they do not fit.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| {
        bytes.get(at..at + 4).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize)
    };
    let (total, command) = (number(0)?, number(4)?);
    let is_fit = (2..=COMMAND_MAX).contains(&command) && command + 4 <= total && total <= FRAME_MAX;
    is_fit.then_some((total, command))
}

/// The command that begins with `bytes` and has `len` bytes, and what is there of its fields.
fn command(bytes: &[u8], len: usize, from: Side) -> Option<(&'static Command, &[u8])> {
    let mut rest = bytes.strip_prefix(&[0x08])?;
    let command = Command::find(varint(&mut rest)?, from)?;
    let tag = varint(&mut rest)?;
    let body_len = varint(&mut rest)?;
    let before = bytes.len() - rest.len();
    let is_fit = tag == u64::from(command.number) << 3 | 2
        && body_len.checked_add(before as u64) == Some(len as u64);
    is_fit.then_some((command, rest))
}

impl<'a> Frame<'a> {
    pub(super) fn read(bytes: &'a [u8], from: Side, is_last: bool) -> Front<'a> {
        if bytes.len() < LENGTHS {
            return if bytes.first().is_none_or(|byte| *byte == 0 || *byte < 8) {
                Front::More
            } else {
                Front::NotMine
            };
        }
        let Some((total, command_len)) = lengths(bytes) else { return Front::NotMine };
        let rest_len = total - 4 - command_len;
        let after = &bytes[LENGTHS..];
        if after.len() < command_len.min(COMMAND_WANTED) {
            return Front::More;
        }
        let is_whole = after.len() >= command_len;
        let (front, rest) = after.split_at(command_len.min(after.len()));
        let Some((command, fields)) = command(front, command_len, from) else {
            return Front::NotMine;
        };
        let carries = matches!(command.meaning, Meaning::Sends | Meaning::Delivers);
        if is_whole && !Fields(fields).is_whole() || carries != (rest_len > 0) {
            return Front::NotMine;
        }
        if rest.len() < rest_len.min(METADATA_MAX) && !is_last {
            return Front::More;
        }
        let rest = &rest[..rest.len().min(rest_len)];
        let len = total as u64 + 4;
        Front::Frame(Frame { command, fields: Fields(fields), rest, rest_len, len })
    }
}

/// Whether a frame of `from` begins here; where the sender is only guessed, one that the other end
/// never sends.
pub(super) fn fits(bytes: &[u8], from: Side, is_sure: bool) -> bool {
    let Some((_, len)) = lengths(bytes) else { return false };
    let found = |from| command(&bytes[LENGTHS..], len, from);
    let Some((_, fields)) = found(from) else { return false };
    let seen = &bytes[LENGTHS..];
    let is_whole =
        seen.len() < len || Fields(&fields[..fields.len() - (seen.len() - len)]).is_whole();
    is_whole && (is_sure || found(from.opposite()).is_none())
}
