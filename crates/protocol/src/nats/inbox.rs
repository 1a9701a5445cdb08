//! Inboxes: subjects that are made for replies; and the subjects of JetStream.

use deeptrace_model::hash_bytes;

use crate::Side;

/// What clients put before inboxes unless they are told otherwise.
const PREFIX: &[u8] = b"_INBOX.";

/// What asks for messages that come on subjects of their own.
pub(super) const PULL: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";

/// What acknowledgements begin with.
const ACK: &[u8] = b"$JS.ACK.";

/// Patterns of inboxes with another prefix that are remembered, and bytes of each.
const PATTERNS_MAX: usize = 16;
const PATTERN_LEN_MAX: usize = 128;

/// Which subjects are inboxes.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    /// What stands before the `*` that a client subscribed to.
    prefixes: Vec<Vec<u8>>,
}

impl Inboxes {
    /// The client subscribed. An inbox of its own choice has three tokens at least, the last but one
    /// of them unique (ADR-36): so long that no name is taken for it.
    pub(super) fn subscribe(&mut self, subject: &[u8]) {
        let Some(prefix) = subject.strip_suffix(b"*").filter(|prefix| prefix.ends_with(b"."))
        else {
            return;
        };
        let unique = prefix[..prefix.len() - 1].rsplit(|byte| *byte == b'.').next();
        let is_unique = unique
            .is_some_and(|token| token.len() == 22 && token.iter().all(u8::is_ascii_alphanumeric));
        if is_unique && prefix.len() <= PATTERN_LEN_MAX && !prefix.starts_with(PREFIX) {
            self.prefixes.retain(|known| known != prefix);
            if self.prefixes.len() >= PATTERNS_MAX {
                self.prefixes.remove(0);
            }
            self.prefixes.push(prefix.to_vec());
        }
    }

    /// Whether a subject is an inbox.
    pub(super) fn contains(&self, subject: &[u8]) -> bool {
        subject.starts_with(PREFIX)
            || self.prefixes.iter().any(|prefix| subject.starts_with(prefix))
    }
}

/// `Draft::stream` of the exchange that `asker` begins, whose reply goes to `inbox`.
pub(super) fn stream(asker: Side, inbox: &[u8]) -> u64 {
    // Both ends may ask with one inbox, where a client asks itself.
    (hash_bytes(inbox) | 3) ^ asker as u64
}

/// Stream and consumer that an acknowledgement is for: `$JS.ACK.<stream>.<consumer>.` and five
/// numbers, or with a domain and an account before them and a token behind (ADR-15).
pub(super) fn acknowledged(subject: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = subject.strip_prefix(ACK)?;
    let tokens: Vec<&[u8]> = rest.split(|byte| *byte == b'.').take(16).collect();
    match tokens[..] {
        [stream, consumer, _, _, _, _, _] => Some((stream, consumer)),
        [_, _, stream, consumer, _, _, _, _, _, ..] => Some((stream, consumer)),
        _ => None,
    }
}
