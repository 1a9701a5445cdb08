//! Watch: the start of a body that a detector looks at (see `web/meaning.rs`).

use crate::web::meaning::{self, REQUEST_MAX, RESPONSE_MAX, Row, Wanted};
use crate::{Draft, Input};

/// Who looks.
#[derive(Debug)]
pub(super) enum Reader {
    Request(Wanted),
    Response(Row),
}

/// A body of which nothing was taken yet.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) reader: Reader,
    /// Its length, where that was announced.
    pub(super) length: u64,
}

/// What is there of it.
pub(super) enum Watched<'a> {
    /// Not yet enough.
    More,
    /// As much as is looked at, and whether the body is thereby done with.
    Seen(&'a [u8], bool),
}

impl Watch {
    /// `chunk` of a body in chunks: where the data of the first begin, and how many there are.
    pub(super) fn look<'a>(
        &self,
        input: &Input<'a>,
        chunk: Option<Option<(usize, u64)>>,
    ) -> Watched<'a> {
        let (start, len) = match chunk {
            None => (0, self.length),
            Some(Some((start, len))) => (start, len),
            // The parser of chunks says what is wrong.
            Some(None) if input.is_last || input.bytes.contains(&b'\n') => {
                return Watched::Seen(&[], false);
            }
            Some(None) if input.bytes.len() > REQUEST_MAX => return Watched::Seen(&[], false),
            Some(None) => return Watched::More,
        };
        let most = match self.reader {
            Reader::Request(_) => REQUEST_MAX,
            Reader::Response(_) => RESPONSE_MAX,
        };
        let wanted = usize::try_from(len).map_or(most, |len| len.min(most));
        let data = input.bytes.get(start..).unwrap_or_default();
        if data.len() < wanted && !input.is_last {
            return Watched::More;
        }
        Watched::Seen(&data[..data.len().min(wanted)], chunk.is_none())
    }

    /// Adds what the body tells; returns who reads the response.
    pub(super) fn read(&self, body: &[u8], draft: &mut Draft) -> Option<Row> {
        match self.reader {
            Reader::Request(wanted) => meaning::ask_body(wanted, body, draft),
            Reader::Response(row) => {
                meaning::answer_body(row, body, draft);
                None
            }
        }
    }
}
