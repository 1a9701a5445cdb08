//! Answers: what an agent has for its server beside spans (`POST /agents/{id}/answers`).
//!
//! The format is that of [orders](crate::order), with "DTAN" in its head.

use deeptrace_model::{SpanId, WallTime};
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::head::WireError;
use crate::order::KEYS_MAX;
use crate::question::Key;
use crate::summary::Summary;

/// The media type of answers.
pub const ANSWERS_MEDIA_TYPE: &str = "application/vnd.deeptrace.answers";
/// Parts of one answer, at most.
pub const PARTS_MAX: u32 = 64;

const MAGIC: [u8; 4] = *b"DTAN";
const KEPT: u8 = 1;
const FOUND: u8 = 2;
const SUMMARY: u8 = 3;

/// What an agent has for its server.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It keeps the traces with these keys; the other agents are to be told.
    Kept(Vec<Key>),
    /// A part of what was found for a question.
    Found(Found),
    /// What it has finished and keeps.
    Summary(Summary),
}

/// A part of the answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Which server asked.
    pub epoch: u64,
    /// Which question.
    pub id: u64,
    /// Which part, from zero; less than [`PARTS_MAX`].
    pub part: u32,
    /// Whether no other part follows.
    pub is_last: bool,
    /// Of a scan: start and id of the span behind which the next page begins.
    pub next: Option<(WallTime, SpanId)>,
    /// Why the question has no whole answer.
    pub error: Option<String>,
    /// Whether everything is in it that is linked to what was found, or shares an exchange with it, on
    /// this agent.
    pub is_whole: bool,
    /// A batch of spans and links, as `POST /spans` takes it; empty: nothing.
    pub batch: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// In their order.
    pub answers: Vec<Answer>,
    /// Records that this version does not understand.
    pub omitted: usize,
}

impl Answer {
    /// As a record; `None` where it is too large to be sent.
    fn record(&self) -> Option<Vec<u8>> {
        match self {
            Self::Kept(keys) if keys.len() > KEYS_MAX => None,
            Self::Kept(keys) => frame::record(KEPT, keys),
            Self::Found(found) => frame::record(FOUND, found),
            Self::Summary(summary) => frame::record(SUMMARY, summary),
        }
    }
}

/// A body of answers; `None` where one is too large to be sent.
pub fn encode_answers(answers: &[Answer]) -> Option<Vec<u8>> {
    let mut bytes = frame::head(MAGIC);
    for answer in answers {
        bytes.extend(answer.record()?);
    }
    Some(bytes)
}

/// Reads a body of answers.
pub fn decode_answers(bytes: &[u8]) -> Result<Answers, WireError> {
    let mut all = Answers::default();
    frame::each(MAGIC, bytes, |kind, record| {
        let answer = match kind {
            KEPT => {
                frame::read(record).filter(|it: &Vec<Key>| it.len() <= KEYS_MAX).map(Answer::Kept)
            }
            FOUND => {
                frame::read(record).filter(|it: &Found| it.part < PARTS_MAX).map(Answer::Found)
            }
            SUMMARY => frame::read(record).map(Answer::Summary),
            _ => None,
        };
        match answer {
            Some(answer) => all.answers.push(answer),
            None => all.omitted += 1,
        }
    })?;
    Ok(all)
}
