//! Library: one TLS library that is understood, as a row of a table; and why another one is not.

use super::image::{Function, Image};
use super::{gnutls, go, openssl};
use crate::live::probe::Probing;

/// A TLS library.
pub(super) struct Library {
    /// As people know it.
    pub(super) name: &'static str,
    /// Whether a shared library of this file name is it. Executables are asked without this.
    pub(super) is_file: fn(&str) -> bool,
    /// What to probe in it. [`Reason::NotHere`]: it is not in this file.
    pub(super) probes: fn(&Image<'_>) -> Result<Vec<Probe>, Reason>,
}

/// All libraries, in the order in which they are asked.
pub(super) const TABLE: &[Library] = &[openssl::LIBRARY, gnutls::LIBRARY, go::LIBRARY];

/// TLS that is known and not understood, by a part of the name of a file that is mapped.
const OTHERS: &[(&str, &str)] = &[
    ("libjvm.so", "Java's own TLS"),
    ("libssl3.so", "NSS"),
    ("libmbedtls.so", "Mbed TLS"),
    ("libwolfssl.so", "wolfSSL"),
    ("libs2n.so", "s2n-tls"),
    ("libSystem.Security.Cryptography.Native.OpenSsl.so", ""),
];

/// The TLS library that a file of this name is, where it is known and not understood.
pub(super) fn other(file: &str) -> Option<&'static str> {
    let found = OTHERS.iter().find(|(part, _)| file.starts_with(part));
    found.map(|(_, name)| *name).filter(|name| !name.is_empty())
}

/// What is probed in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Offset in the file, bytes.
    pub(super) offset: u64,
    /// What the kernel's program is told.
    pub(super) shape: u64,
    pub(super) kind: ProbeKind,
    /// Whether the kernel emulates the instruction there.
    pub(super) is_emulated: bool,
}

/// Which program stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProbeKind {
    /// A function that encrypts or decrypts: its beginning and its return.
    Function,
    /// A function that ends a session.
    Free,
    /// Go: behind the stack check of `Read`, where it copies what it read, and behind that of `Write`.
    GoRead,
    GoCopy,
    GoWrite,
}

impl ProbeKind {
    /// The programs that stand there: those of the first kind as `probing` says.
    pub(super) fn programs(self, probing: Probing) -> &'static [&'static str] {
        match (self, probing) {
            (Self::Function, Probing::Sessions) => &["deeptrace_tls_both"],
            (Self::Function, _) => &["deeptrace_tls_return", "deeptrace_tls_enter"],
            (Self::Free, _) => &["deeptrace_tls_free"],
            (Self::GoRead, _) => &["deeptrace_tls_go_read"],
            (Self::GoCopy, _) => &["deeptrace_tls_go_copy"],
            (Self::GoWrite, _) => &["deeptrace_tls_go_write"],
        }
    }
}

/// Every kind.
pub(super) const KINDS: [ProbeKind; 5] = [
    ProbeKind::Function,
    ProbeKind::Free,
    ProbeKind::GoCopy,
    ProbeKind::GoRead,
    ProbeKind::GoWrite,
];

/// `enum` of `bpf/event.h`.
pub(super) const SENT: u64 = 1;
pub(super) const COUNTED: u64 = 2;
pub(super) const GO: u64 = 4;
pub(super) const TYPED: u64 = 8;
pub(super) const RESULT: u64 = 16;
pub(super) const SPILLED: u64 = 32;

/// Why there is no plaintext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    /// Another row may say more.
    #[error("no TLS library that is understood")]
    NotHere,
    #[error("TLS by no library that is known: linked in without symbols, or passed on")]
    Unknown,
    #[error("its functions are not where they were expected")]
    NoPlace,
    #[error("built by {0}; Go 1.18 and newer are understood")]
    OldGo(String),
    #[error("not understood")]
    NotUnderstood,
    #[error("not for x86-64")]
    OtherMachine,
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("the kernel refused the probes: {0}")]
    Refused(String),
    #[error("more libraries than the {0} that are probed at once")]
    TooMany(usize),
}

impl Probe {
    /// A probe at the beginning of a function.
    pub(super) fn at(image: &Image<'_>, address: u64, shape: u64, kind: ProbeKind) -> Option<Self> {
        let offset = image.file_offset(address)?;
        Some(Self { offset, shape, kind, is_emulated: image.is_emulated(address) })
    }
}

/// What both functions call, and nobody else of interest: where they do their work.
pub(super) fn common_callee(image: &Image<'_>, one: Function, other: &[Function]) -> Option<u64> {
    let theirs: Vec<u64> = other.iter().flat_map(|function| image.calls(*function)).collect();
    image.calls(one).into_iter().find(|target| theirs.contains(target))
}
