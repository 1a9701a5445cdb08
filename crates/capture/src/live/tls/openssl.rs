//! OpenSSL 1.1 and 3 and what has its interface, shared or linked into an executable with symbols:
//! `SSL_read(3)`, `SSL_write(3)`.
//!
//! `SSL_read` and `SSL_read_ex` begin with an instruction that the kernel cannot emulate. Both call one
//! function that does the work, of which no symbol is left, with the same arguments and the address of
//! the count behind them. That one begins with a `push`, and serves both.

use super::image::Image;
use super::library::{COUNTED, Library, Probe, ProbeKind, Reason, SENT, common_callee};

/// The row of the table.
pub(super) const LIBRARY: Library = Library { name: "OpenSSL", is_file, probes };

const NAMES: [&str; 6] =
    ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_write_ex2", "SSL_free"];

/// Also as Python's wheels call it: `libssl-81ffa89e.so.3`. Not NSS's `libssl3.so`.
fn is_file(name: &str) -> bool {
    name.strip_prefix("libssl").is_some_and(|rest| rest.starts_with(".so") || rest.starts_with('-'))
}

fn probes(image: &Image<'_>) -> Result<Vec<Probe>, Reason> {
    let found = image.functions(&NAMES);
    if !found.contains_key("SSL_read") || !found.contains_key("SSL_write") {
        return Err(Reason::NotHere);
    }
    let mut probes = Vec::new();
    let mut add = |address, shape, kind| probes.extend(Probe::at(image, address, shape, kind));
    for (plain, counted, direction) in [
        ("SSL_read", ["SSL_read_ex", "SSL_read_ex"], 0),
        ("SSL_write", ["SSL_write_ex", "SSL_write_ex2"], SENT),
    ] {
        let plain = found[plain];
        let others: Vec<_> = counted.iter().filter_map(|name| found.get(*name)).copied().collect();
        match common_callee(image, plain, &others).filter(|work| image.is_emulated(*work)) {
            Some(work) => add(work, direction | COUNTED, ProbeKind::Function),
            None => {
                add(plain.address, direction, ProbeKind::Function);
                if let Some(counted) = found.get(counted[0]) {
                    add(counted.address, direction | COUNTED, ProbeKind::Function);
                }
            }
        }
    }
    if let Some(free) = found.get("SSL_free") {
        add(free.address, 0, ProbeKind::Free);
    }
    Ok(probes)
}
