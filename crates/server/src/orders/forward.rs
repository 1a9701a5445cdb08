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

/// Takes what was handed to the server with `epoch`, and tells it with the agent that it is from. Pieces of a
/// question for which nobody waits are removed; returns how many.
pub fn take(
    store: &dyn Store,
    epoch: u64,
    is_waiting: &dyn Fn(u64) -> bool,
    out: &mut dyn FnMut(&str, Found),
) -> Result<u64, StoreError> {
    let documents = store.documents(&format!("{PREFIX}{epoch:016x}/"), None, PIECES_MAX)?;
    let mut parts: BTreeMap<(u64, u32), Vec<(&str, Piece)>> = BTreeMap::new();
    let mut late = 0;
    for document in &documents {
        match postcard::from_bytes::<Piece>(&document.body) {
            Ok(piece) if is_waiting(piece.id) => {
                let of_part = parts.entry((piece.id, piece.part)).or_default();
                of_part.push((&document.name, piece));
            }
            _ => {
                late += 1;
                store.put_document(&document.name, None, Expected::Any)?;
            }
        }
    }
    let is_whole = |pieces: &Vec<(&str, Piece)>| pieces.iter().all(|it| it.1.count == pieces.len());
    for pieces in parts.into_values().filter(is_whole) {
        // They are listed by name, which is in order.
        let bytes: Vec<u8> = pieces.iter().flat_map(|(_, piece)| &piece.bytes).copied().collect();
        if let (Ok(found), Some((_, piece))) = (postcard::from_bytes(&bytes), pieces.first()) {
            out(&piece.agent, found);
        }
        for (name, _) in &pieces {
            store.put_document(name, None, Expected::Any)?;
        }
    }
    Ok(late)
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
