//! Names of the `errno` values that end connections (`errno(3)`, Linux numbers).

/// The symbol, for `error.type`, and what it says, for people.
pub(crate) fn name(errno: u16) -> (&'static str, &'static str) {
    match errno {
        1 => ("EPERM", "not permitted"),
        2 => ("ENOENT", "no such socket"),
        13 => ("EACCES", "permission denied"),
        32 => ("EPIPE", "broken pipe"),
        71 => ("EPROTO", "protocol error"),
        99 => ("EADDRNOTAVAIL", "no local address or port left"),
        100 => ("ENETDOWN", "network is down"),
        101 => ("ENETUNREACH", "network is unreachable"),
        103 => ("ECONNABORTED", "connection aborted"),
        104 => ("ECONNRESET", "connection reset by peer"),
        110 => ("ETIMEDOUT", "connection timed out"),
        111 => ("ECONNREFUSED", "connection refused"),
        112 => ("EHOSTDOWN", "host is down"),
        113 => ("EHOSTUNREACH", "no route to host"),
        125 => ("ECANCELED", "operation canceled"),
        _ => ("_OTHER", "connection failed"),
    }
}
