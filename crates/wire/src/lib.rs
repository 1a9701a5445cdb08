//! What an agent sends to a server: a batch of spans, links and gaps as bytes.
//!
//! The types of `model` are not sent as they are: postcard writes fields without names, so a field
//! more in `model` would be another format. Here each record has a length and its own list of
//! fields ([`record`]), to which a later version may only append. So versions that differ by a minor
//! number understand each other:
//!
//! - an older reader skips the fields at the end of a record, the records of a value, and the
//!   sections that it does not know; what it had to leave out it counts;
//! - a newer reader gives a field that is missing its default.
//!
//! ```text
//! head     "DTSP", major, minor, flags (1: zstd), 0, bytes of the body unpacked (u32), spans (u32),
//!          start of the first span (u64), end of the last (u64); little-endian; 32 bytes
//! body     sections, perhaps as one zstd frame: kind (1 byte), length (varint), records
//! record   length (varint), postcard
//! ```
//!
//! What goes the other way, [orders](order), and what agents answer to it, [answers](answer), have a
//! format of the same kind.
//!
//! A room of its own, because both the agent and the server need it, and neither the other.
#![forbid(unsafe_code)]

mod answer;
mod decode;
mod encode;
mod frame;
mod head;
mod order;
mod question;
mod record;
mod summary;

pub use answer::{
    ANSWERS_MEDIA_TYPE, Answer, Answers, Found, PARTS_MAX, decode_answers, encode_answers,
};
pub use decode::{Decoded, decode};
pub use encode::{Encoded, Encoder};
pub use frame::RECORD_MAX;
pub use head::{Head, PLAIN_MAX, WireError};
pub use order::{
    Ask, Configuration, KEYS_MAX, ORDERS_BYTES_MAX, ORDERS_MEDIA_TYPE, Order, Orders, Place,
    decode_orders, encode_orders,
};
pub use question::{Between, Key, Lookups, Question, Scan};
pub use summary::{KeySet, OPERATIONS_MAX, Operation, SUMMARY_KEYS_MAX, Summary};

/// The media type of a batch.
pub const MEDIA_TYPE: &str = "application/vnd.deeptrace.spans";
