//! The `deeptrace` command: the library, with no protocol beside its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The C library's allocator keeps what a burst has taken; an agent must give it back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    deeptrace::main()
}
