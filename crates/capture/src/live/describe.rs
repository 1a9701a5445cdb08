//! What a new socket is called, and which end of its connection it is.
//!
//! Only of TCP the beginning and the end are told. For UDP and UNIX sockets the kernel sets the state
//! without `inet_sock_set_state`, and closes them without any tracepoint of `sock` (looked at on Linux
//! 6.18: `connect`, `accept` and `close` of both give no event but `sk_data_ready`, which fires for each
//! packet of every socket on the host and so is too dear). The end of the stream that a UNIX socket reads is
//! a half-close as well. Socket storage is freed without telling; the exit of a process ends only sockets
//! that no other process has. So they are never closed here, and the tables downstream make room.
//!
//! A UNIX socket is therefore never said to be new at its first call: its process may be watched for less
//! long than it has the socket, and unlike TCP the kernel counts no bytes that would tell. Both ends are
//! aligned where the queue between them is seen empty (`crates/span/src/exchange.rs`), until then a join
//! is less than sure.

use deeptrace_model::{Endpoint, Open, Origin, Transport, hash64};

use super::listening::Listening;
use super::record::{Header, OpenRecord};

/// The description that goes before a socket's first call.
pub(super) fn describe(header: &Header, record: &OpenRecord, listening: &Listening) -> Open {
    let unix = matches!(record.transport, Transport::UnixStream | Transport::UnixDatagram);
    let (local, remote) = if unix {
        (Endpoint::Unix(record.local_path.clone()), Endpoint::Unix(record.remote_path.clone()))
    } else {
        // An unconnected datagram socket has no peer of its own: each call names one.
        let remote = match record.remote.port() {
            0 => Endpoint::Unknown,
            _ => Endpoint::Inet(record.remote),
        };
        (Endpoint::Inet(record.local), remote)
    };
    Open {
        connection: header.connection,
        pid: header.pid,
        tid: header.tid,
        transport: record.transport,
        local,
        remote,
        origin: origin(record, unix, listening),
        netns: record.netns,
        cgroup: record.cgroup,
        unix_pair: pair(record),
        sent: record.sent,
        received: record.received,
    }
}

fn origin(record: &OpenRecord, unix: bool, listening: &Listening) -> Origin {
    let is_server = if unix {
        // accept() gives its socket the listener's path; clients rarely bind one.
        !record.local_path.is_empty() && record.remote_path.is_empty()
    } else {
        record.transport == Transport::Tcp && listening.contains(record.netns, record.local.port())
    };
    let is_client = record.connected
        || (unix && record.local_path.is_empty() && !record.remote_path.is_empty());
    match (is_client, is_server, record.fresh) {
        (true, _, _) => Origin::Connected,
        (_, true, true) => Origin::Accepted,
        (_, true, false) => Origin::FoundServer,
        _ => Origin::Found,
    }
}

/// Names a pair of UNIX sockets alike on both ends.
fn pair(record: &OpenRecord) -> Option<(u64, bool)> {
    let (own, peer) = (record.unix_self, record.unix_peer);
    (own != 0 && peer != 0).then(|| (hash64(&[own.min(peer), own.max(peer)]), own < peer))
}
