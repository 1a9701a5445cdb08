//! Peer: the address at the other end of the connection, put into each request by the listener.

use std::net::IpAddr;

/// The address at the other end; behind a proxy that of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);
