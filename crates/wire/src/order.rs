//! Orders: what a server has for an agent, as the answer to its long poll (`GET /agents/{id}/orders`).
//!
//! ```text
//! head     "DTOR", major, minor, 0, 0
//! record   kind (1 byte), length (varint), postcard; the first one says where the agent goes on
//! ```
//!
//! Kinds that a reader does not know it leaves out and counts, and fields at the end of a record that it
//! does not know it does not look at, so agent and server may differ by a minor version.

use serde::{Deserialize, Serialize};

use crate::frame;
use crate::head::WireError;
use crate::question::{Key, Question};

/// The media type of orders.
pub const ORDERS_MEDIA_TYPE: &str = "application/vnd.deeptrace.orders";
/// Keys of one record, at most.
pub const KEYS_MAX: usize = 4_096;
/// Bytes of all orders that are handed over at once, at most; one alone may be larger.
pub const ORDERS_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"DTOR";
const PLACE: u8 = 0;
const KEEP: u8 = 1;
const ASK: u8 = 2;
const CONFIG: u8 = 3;
const ERASE: u8 = 4;

/// What a server has for an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Traces with these keys are kept, other agents say.
    Keep(Vec<Key>),
    /// A question; the answer has its number.
    Ask(Ask),
    /// Configuration, for agents that accept it.
    Config(Configuration),
    /// A tombstone, as JSON: what it covers is to be erased.
    Erase(Vec<u8>),
}

/// A question with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Which server asks: its epoch.
    pub epoch: u64,
    /// Which of its questions.
    pub id: u64,
    /// What it asks.
    pub question: Question,
}

/// Configuration for agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Counts up with each change.
    pub generation: u64,
    /// JSON, nested like `deeptrace.toml`: what `PUT /config` takes.
    pub changes: String,
}

/// How far an agent has taken what one server had for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Names the process of the server: another one begins anew.
    pub epoch: u64,
    /// Orders until here were taken.
    pub last: u64,
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// What the next poll says.
    pub place: Place,
    /// In their order.
    pub orders: Vec<Order>,
    /// Records that this version does not understand.
    pub omitted: usize,
}

impl Order {
    /// As a record; `None` where it is too large to be sent.
    pub fn record(&self) -> Option<Vec<u8>> {
        match self {
            Self::Keep(keys) if keys.len() > KEYS_MAX => None,
            Self::Keep(keys) => frame::record(KEEP, keys),
            Self::Ask(ask) => frame::record(ASK, ask),
            Self::Config(config) => frame::record(CONFIG, config),
            Self::Erase(tombstone) => frame::record(ERASE, tombstone),
        }
    }
}

/// The answer to a poll, of records that [`Order::record`] has made.
pub fn encode_orders<'a>(place: Place, records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = frame::head(MAGIC);
    bytes.extend(frame::record(PLACE, &place).unwrap_or_default());
    records.for_each(|record| bytes.extend_from_slice(record));
    bytes
}

/// Reads the answer to a poll.
pub fn decode_orders(bytes: &[u8]) -> Result<Orders, WireError> {
    let mut all = Orders::default();
    frame::each(MAGIC, bytes, |kind, record| {
        let order = match kind {
            PLACE => {
                all.place = frame::read(record).unwrap_or_default();
                return;
            }
            KEEP => {
                frame::read(record).filter(|it: &Vec<Key>| it.len() <= KEYS_MAX).map(Order::Keep)
            }
            ASK => frame::read(record).map(Order::Ask),
            CONFIG => frame::read(record).map(Order::Config),
            ERASE => frame::read(record).map(Order::Erase),
            _ => None,
        };
        match order {
            Some(order) => all.orders.push(order),
            None => all.omitted += 1,
        }
    })?;
    Ok(all)
}
