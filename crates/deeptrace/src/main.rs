//! The `deeptrace` command.
#![forbid(unsafe_code)]

fn main() {}
