//! GnuTLS 3, shared: `gnutls_record_recv(3)`, `gnutls_record_send(3)`.
//!
//! `gnutls_record_send` is a jump to `gnutls_record_send2`, which begins with a `push`. The work of
//! `gnutls_record_recv` and `gnutls_record_recv_seq` is done by a function without a symbol, which has
//! the type of record before the buffer.

use super::image::Image;
use super::library::{Library, Probe, ProbeKind, Reason, SENT, TYPED, common_callee};

/// The row of the table.
pub(super) const LIBRARY: Library = Library { name: "GnuTLS", is_file, probes };

const RECEIVE: &str = "gnutls_record_recv";
const RECEIVE_SEQUENCE: &str = "gnutls_record_recv_seq";
const SEND: [&str; 2] = ["gnutls_record_send2", "gnutls_record_send"];
const FREE: &str = "gnutls_deinit";

fn is_file(name: &str) -> bool {
    name.starts_with("libgnutls.so")
}

fn probes(image: &Image<'_>) -> Result<Vec<Probe>, Reason> {
    let found = image.functions(&[RECEIVE, RECEIVE_SEQUENCE, SEND[0], SEND[1], FREE]);
    let send = SEND.iter().find_map(|name| found.get(*name));
    let (Some(receive), Some(send)) = (found.get(RECEIVE), send) else {
        return Err(Reason::NotHere);
    };
    let other: Vec<_> = found.get(RECEIVE_SEQUENCE).copied().into_iter().collect();
    let work = common_callee(image, *receive, &other).filter(|work| image.is_emulated(*work));
    let (receive, shape) = work.map_or((receive.address, 0), |work| (work, TYPED));
    let probes = [
        Probe::at(image, receive, shape, ProbeKind::Function),
        Probe::at(image, send.address, SENT, ProbeKind::Function),
        found.get(FREE).and_then(|free| Probe::at(image, free.address, 0, ProbeKind::Free)),
    ];
    Ok(probes.into_iter().flatten().collect())
}
