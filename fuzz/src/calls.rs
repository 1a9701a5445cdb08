//! Calls: how an input says what was sent on a connection. Each is a byte of flags, a byte of length,
//! and so many bytes.

/// The server sent it.
pub const SERVER: u8 = 1;
/// Its end was not copied.
pub const CUT: u8 = 2;
/// It does not lie where the one before ended.
pub const MOVED: u8 = 4;
/// Its direction ends after it.
pub const END: u8 = 8;
/// Time passes after it.
pub const TICK: u8 = 16;

/// Flags and bytes of each call.
pub fn read(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [flags, len, rest @ ..] = data else { return None };
        let (bytes, after) = rest.split_at(rest.len().min(usize::from(*len)));
        data = after;
        Some((*flags, bytes))
    })
}

/// Adds a call to an input, as several if it is long.
pub fn write(data: &mut Vec<u8>, flags: u8, bytes: &[u8]) {
    for chunk in bytes.chunks(255) {
        data.extend([flags, chunk.len() as u8]);
        data.extend(chunk);
    }
}
