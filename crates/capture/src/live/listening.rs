//! Listening: which ports are listened on, by network namespace. Tells servers' sockets from
//! clients' where their opening was not seen.

use std::collections::BTreeSet;
use std::fs;

use deeptrace_model::Pid;

/// Ports that are listened on, as (inode of the network namespace, port).
#[derive(Debug, Default)]
pub(super) struct Listening {
    ports: BTreeSet<(u64, u16)>,
}

/// Ports are 16 bits; so many in all namespaces are more than any host has.
const PORTS_MAX: usize = 1 << 18;
/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

impl Listening {
    /// Reads the listening sockets of every network namespace that one of `pids` is in.
    pub(super) fn read(pids: &[Pid]) -> Self {
        let mut listening = Self::default();
        let mut seen = BTreeSet::new();
        for pid in pids {
            let Some(netns) = netns(*pid).filter(|netns| seen.insert(*netns)) else { continue };
            for file in ["tcp", "tcp6"] {
                let table = fs::read_to_string(format!("/proc/{}/net/{file}", pid.0));
                for port in table.iter().flat_map(|table| table.lines().filter_map(port)) {
                    listening.add(netns, port);
                }
            }
        }
        listening
    }

    /// A socket began to listen.
    pub(super) fn add(&mut self, netns: u64, port: u16) {
        if self.ports.len() < PORTS_MAX {
            self.ports.insert((netns, port));
        }
    }

    /// Whether somebody listens, or has listened, on `port`.
    pub(super) fn contains(&self, netns: u64, port: u16) -> bool {
        self.ports.contains(&(netns, port))
    }
}

fn netns(pid: Pid) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{}/ns/net", pid.0)).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The local port of a line of `/proc/net/tcp` that is a listening socket.
fn port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    (state == LISTEN).then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let pid = Pid(std::process::id());
        let listening = Listening::read(&[pid]);
        assert!(listening.contains(netns(pid).unwrap(), port));
        assert!(!listening.contains(0, port));
    }

    #[test]
    fn lines_of_the_table() {
        let line = "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000";
        assert_eq!(port(line), Some(8000));
        assert_eq!(port(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(port("  sl  local_address rem_address   st tx_queue"), None);
    }
}
