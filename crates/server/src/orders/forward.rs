//! Forward: an answer that came to another server than the one that asked goes there through the store, in
//! pieces that fit a document.

use std::collections::BTreeMap;

use deeptrace_store::{Expected, Store, StoreError};
use deeptrace_wire::Found;
use serde::{Deserialize, Serialize};

/// Names of the documents begin with it; epoch, question, part and piece follow.
const PREFIX: &str = "answer/";
/// Bytes of a piece; a document may have twice as many.
const PIECE_BYTES: usize = 512 << 10;
/// Pieces that are looked at together.
const PIECES_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
struct Piece {
    agent: String,
    /// Which question.
    id: u64,
    part: u32,
    /// How many pieces the part has.
    count: usize,
    bytes: Vec<u8>,
}

/// Hands a part of an answer to the server that asked.
pub fn put(store: &dyn Store, agent: &str, found: &Found) -> Result<(), StoreError> {
    let Found { epoch, id, part, .. } = *found;
    // Numbers and texts always become bytes.
    let bytes = postcard::to_stdvec(found).unwrap_or_default();
    let pieces = bytes.chunks(PIECE_BYTES);
    let count = pieces.len();
    for (number, bytes) in pieces.enumerate() {
        let piece = Piece { agent: agent.to_owned(), id, part, count, bytes: bytes.to_vec() };
        let body = postcard::to_stdvec(&piece).unwrap_or_default();
        let name = format!("{PREFIX}{epoch:016x}/{id:016x}/{part:04}/{number:04}");
        store.put_document(&name, Some(&body), Expected::Any)?;
    }
    Ok(())
}

/// Tells what was handed to the server with `epoch` for `oldest` and later questions, with the agent that it is
/// from; also what it told before. Whether there was anything.
pub fn take(
    store: &dyn Store,
    epoch: u64,
    oldest: u64,
    out: &mut dyn FnMut(&str, Found),
) -> Result<bool, StoreError> {
    // What belongs to a question comes behind its own name.
    let after = format!("{PREFIX}{epoch:016x}/{oldest:016x}");
    let documents = store.documents(&format!("{PREFIX}{epoch:016x}/"), Some(&after), PIECES_MAX)?;
    let pieces = documents.iter().filter_map(|it| postcard::from_bytes::<Piece>(&it.body).ok());
    let mut parts: BTreeMap<(u64, u32), Vec<Piece>> = BTreeMap::new();
    pieces.for_each(|piece| parts.entry((piece.id, piece.part)).or_default().push(piece));
    for pieces in parts.into_values() {
        // They are listed by name, which is in order.
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| &piece.bytes).copied().collect();
        let first = pieces.first().filter(|first| first.count == pieces.len());
        if let (Ok(found), Some(first)) = (postcard::from_bytes(&bytes), first) {
            out(&first.agent, found);
        }
    }
    Ok(!documents.is_empty())
}

/// Removes what was handed to the server with `epoch` for questions that nobody waits for any more. Whether
/// something is left.
pub fn tidy(
    store: &dyn Store,
    epoch: u64,
    is_waiting: &dyn Fn(u64) -> bool,
) -> Result<bool, StoreError> {
    let documents = store.documents(&format!("{PREFIX}{epoch:016x}/"), None, PIECES_MAX)?;
    for document in &documents {
        let piece = postcard::from_bytes::<Piece>(&document.body);
        if !piece.is_ok_and(|piece| is_waiting(piece.id)) {
            store.put_document(&document.name, None, Expected::Any)?;
        }
    }
    Ok(!documents.is_empty())
}

/// Removes all that was meant for a server that has ended; `epoch` as 16 hex digits.
pub fn clear(store: &dyn Store, epoch: &str) -> Result<(), StoreError> {
    loop {
        let documents = store.documents(&format!("{PREFIX}{epoch}/"), None, PIECES_MAX)?;
        if documents.is_empty() {
            return Ok(());
        }
        for document in &documents {
            store.put_document(&document.name, None, Expected::Any)?;
        }
    }
}
