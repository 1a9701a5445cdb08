//! What a new socket is called, and which end of its connection it is.

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
