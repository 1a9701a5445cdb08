//! Namespaces: a client's, a router's and a server's network, joined by veth pairs, with NAT between.
//!
//! Each is held by a process that reads our pipe: they go with it, however this test ends, and the
//! host's own network is never touched.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Result, bail};

use crate::child::Kept;

/// The router's address on the client's side; its port 80 leads to the server.
pub const DOOR: (&str, &str) = ("10.97.1.1", "fd97:1::1");
/// The router's address on the server's side, which hides the client's.
pub const BEHIND: (&str, &str) = ("10.97.2.1", "fd97:2::1");
/// The client's addresses.
pub const CLIENT: (&str, &str) = ("10.97.1.2", "fd97:1::2");
/// The server's addresses.
pub const SERVER: (&str, &str) = ("10.97.2.2", "fd97:2::2");

/// Addresses and routes; `$C`, `$R` and `$S` are the processes that hold the namespaces.
const SETUP: &str = r#"
at() { pid=$1; shift; nsenter --target $pid --net "$@"; }
at $R ip link add c type veth peer name eth0 netns $C
at $R ip link add s type veth peer name eth0 netns $S
for p in $C $R $S; do at $p ip link set lo up; done
at $R ip address add 10.97.1.1/24 dev c; at $R ip address add fd97:1::1/64 dev c nodad
at $R ip address add 10.97.2.1/24 dev s; at $R ip address add fd97:2::1/64 dev s nodad
at $C ip address add 10.97.1.2/24 dev eth0; at $C ip address add fd97:1::2/64 dev eth0 nodad
at $S ip address add 10.97.2.2/24 dev eth0; at $S ip address add fd97:2::2/64 dev eth0 nodad
at $R ip link set c up; at $R ip link set s up; at $C ip link set eth0 up; at $S ip link set eth0 up
at $C ip route add default via 10.97.1.1; at $C ip -6 route add default via fd97:1::1
at $S ip route add default via 10.97.2.1; at $S ip -6 route add default via fd97:2::1
at $R sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
at $R nft -f - <<'RULES'
table ip nat {
    chain before { type nat hook prerouting priority dstnat;
        ip daddr 10.97.1.1 tcp dport 80 dnat to 10.97.2.2:8080; }
    chain after { type nat hook postrouting priority srcnat;
        ip daddr 10.97.2.2 tcp dport 8080 masquerade to :30000-30999 random; }
}
table ip6 nat {
    chain before { type nat hook prerouting priority dstnat;
        ip6 daddr fd97:1::1 tcp dport 80 dnat to [fd97:2::2]:8081; }
    chain after { type nat hook postrouting priority srcnat;
        ip6 daddr fd97:2::2 tcp dport 8081 masquerade to :30000-30999 random; }
}
RULES
"#;

/// Three network namespaces.
pub struct Namespaces {
    client: Holder,
    /// Nobody enters it, but the others need it.
    _router: Holder,
    server: Holder,
}

/// The process that a namespace lives as long as, and the pipe that it reads.
pub struct Holder(Kept, #[expect(dead_code, reason = "closing it ends the process")] ChildStdin);

impl Holder {
    /// A new network, under a host name of its own.
    pub fn named(name: &str) -> Result<Self> {
        hold(&["--net", "--uts", "sh", "-c", &format!("hostname {name}; echo; exec cat")])
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// What starts a program under its host name as well.
    pub fn on_host(&self) -> Vec<String> {
        [enter(self), vec!["--uts".to_owned()]].concat()
    }
}

impl Namespaces {
    /// Makes them; the same addresses every time, which is no conflict.
    pub fn make() -> Result<Self> {
        let network = || hold(&["--net", "sh", "-c", "echo; exec cat"]);
        let (client, router, server) = (network()?, network()?, network()?);
        let mut setup = Command::new("sh");
        for (name, holder) in [("C", &client), ("R", &router), ("S", &server)] {
            setup.env(name, holder.0.pid().to_string());
        }
        // What failed says so itself.
        if !setup.args(["-e", "-c", SETUP]).status()?.success() {
            bail!("the namespaces could not be joined");
        }
        Ok(Self { client, _router: router, server })
    }

    /// What starts a program in the client's.
    pub fn in_client(&self) -> Vec<String> {
        enter(&self.client)
    }

    /// What starts a program in the server's.
    pub fn in_server(&self) -> Vec<String> {
        enter(&self.server)
    }
}

/// A new namespace.
fn hold(arguments: &[&str]) -> Result<Holder> {
    let mut command = Command::new("unshare");
    // It is in the namespace once it has said something.
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut kept = Kept::start("a namespace", &mut command)?;
    let (input, output) = kept.pipes()?;
    if BufReader::new(output).read_line(&mut String::new())? == 0 {
        bail!("this kernel makes no network namespaces");
    }
    Ok(Holder(kept, input))
}

fn enter(holder: &Holder) -> Vec<String> {
    let pid = holder.0.pid().to_string();
    ["nsenter", "--target", &pid, "--net"].map(str::to_owned).to_vec()
}
