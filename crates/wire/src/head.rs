//! Head: what can be told of a batch without unpacking it.

use deeptrace_model::WallTime;

/// Bytes of a batch unpacked, at most; a larger one is refused before anything is unpacked.
pub const PLAIN_MAX: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"DTSP";
/// Readers refuse another one.
const MAJOR: u8 = 1;
/// Counts up with each field that is appended.
const MINOR: u8 = 0;
const ZSTD: u8 = 1;

/// What stands in front of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of who wrote it.
    pub version: (u8, u8),
    /// Whether the body is a zstd frame.
    pub is_compressed: bool,
    /// Bytes of the body unpacked.
    pub plain_len: usize,
    /// Spans in it.
    pub spans: u32,
    /// Start of the earliest span.
    pub from: WallTime,
    /// End of the latest span.
    pub to: WallTime,
}

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They begin with something else.
    #[error("this is no batch of spans")]
    Foreign,
    /// A version with which nothing is shared.
    #[error(
        "the batch has version {0}.{1}, this program reads {MAJOR}.x; use the same version of agent and server"
    )]
    Version(u8, u8),
    /// Larger than is unpacked.
    #[error("the batch has {0} bytes unpacked, more than {PLAIN_MAX}; send smaller ones")]
    TooLarge(usize),
    /// Cut off or changed on the way.
    #[error("the batch is damaged: {0}")]
    Damaged(&'static str),
}

impl Head {
    /// Bytes that it takes.
    pub const LEN: usize = 32;

    /// Of a batch of this version.
    pub(crate) fn new(is_compressed: bool, plain_len: usize) -> Self {
        Self {
            version: (MAJOR, MINOR),
            is_compressed,
            plain_len,
            spans: 0,
            from: WallTime(0),
            to: WallTime(0),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend([self.version.0, self.version.1, u8::from(self.is_compressed) * ZSTD, 0]);
        out.extend((self.plain_len as u32).to_le_bytes());
        out.extend(self.spans.to_le_bytes());
        out.extend(self.from.0.to_le_bytes());
        out.extend(self.to.0.to_le_bytes());
    }

    /// Reads the head at the front of `bytes`, and refuses what is never unpacked.
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(WireError::Foreign);
        }
        let Some((head, _)) = bytes.split_first_chunk::<{ Self::LEN }>() else {
            return Err(WireError::Damaged("it ends in its head"));
        };
        let (major, minor) = (head[4], head[5]);
        if major != MAJOR {
            return Err(WireError::Version(major, minor));
        }
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let plain_len = u32_at(8) as usize;
        if plain_len > PLAIN_MAX {
            return Err(WireError::TooLarge(plain_len));
        }
        Ok(Self {
            version: (major, minor),
            is_compressed: head[6] & ZSTD != 0,
            plain_len,
            spans: u32_at(12),
            from: WallTime(u64_at(16)),
            to: WallTime(u64_at(24)),
        })
    }
}
