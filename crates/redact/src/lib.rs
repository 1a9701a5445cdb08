//! Redaction: which bytes of payloads and texts must not be kept, by what the configuration names.
//!
//! [`Rules`] are made once from [`Written`] and shared. They find places and change nothing: `protocol`
//! overwrites what they found, at equal length, before a message goes further. Finding takes time linear
//! in the bytes, and allocates nothing where nothing is found.
//!
//! Bias: where it is not clear how far a value reaches, all that follows is masked; a payload whose
//! encoding cannot be searched is masked as a whole.
#![forbid(unsafe_code)]

mod body;
mod chunks;
mod element;
mod escape;
mod http;
mod key;
mod numbers;
mod patterns;
mod rules;
mod text;
mod value;

pub use patterns::PatternError;
pub use rules::{Form, Payload, Rules, Written};

/// What values are overwritten with.
pub const MASK: u8 = b'*';

/// Overwrites `places` at equal length.
pub fn overwrite(bytes: &mut [u8], places: &[std::ops::Range<usize>]) {
    for place in places {
        let end = place.end.min(bytes.len());
        if place.start < end {
            bytes[place.start..end].fill(MASK);
        }
    }
}
