//! Pthread: where a thread keeps what a program stored under a key (`pthread_setspecific`).
//!
//! glibc keeps the first keys in the thread's descriptor (`specific_1stblock`), at the same place in all
//! versions that were looked at (2.31 to 2.36).

/// Keys that lie in the descriptor.
pub(super) const KEYS: u64 = 32;
/// The first one's place from the thread pointer, and the size of one: a sequence number, and the value.
const FIRST_KEY: u64 = 0x310;
const KEY_SIZE: u64 = 16;

/// Place of the value under `key` (less than [`KEYS`]) from the thread pointer, bytes.
pub(super) fn key_place(key: u64) -> i64 {
    (FIRST_KEY + KEY_SIZE * key + 8) as i64
}
