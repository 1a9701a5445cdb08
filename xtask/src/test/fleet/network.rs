//! The network of the fleet: three hosts around a router, NAT in front of the second, certificates for
//! the server on the third.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::test::namespaces::Holder;

/// Where A asks for B: the router's address on A's side.
pub const DOOR: &str = "10.98.1.1:80";
/// The server, on C.
pub const SERVER: &str = "10.98.3.2";
pub const SERVER_PORT: u16 = 21_901;

/// Addresses and routes; `$A`, `$B`, `$C` and `$R` are the processes that hold the namespaces.
const SETUP: &str = r#"
at() { pid=$1; shift; nsenter --target $pid --net "$@"; }
at $R ip link set lo up
i=1
for p in $A $B $C; do
    at $R ip link add h$i type veth peer name eth0 netns $p
    at $R ip address add 10.98.$i.1/24 dev h$i; at $R ip link set h$i up
    at $p ip link set lo up; at $p ip link set eth0 up
    at $p ip address add 10.98.$i.2/24 dev eth0; at $p ip route add default via 10.98.$i.1
    i=$((i+1))
done
at $R sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
at $R nft -f - <<'RULES'
table ip nat {
    chain before { type nat hook prerouting priority dstnat;
        ip daddr 10.98.1.1 tcp dport 80 dnat to 10.98.2.2:8080; }
    chain after { type nat hook postrouting priority srcnat;
        ip daddr 10.98.2.2 tcp dport 8080 masquerade to :30000-30999 random; }
}
table ip cut {
    chain forward { type filter hook forward priority filter; policy accept; }
}
RULES
"#;

/// Three hosts and what lies between.
pub struct Network {
    pub hosts: [Holder; 3],
    router: Holder,
}

impl Network {
    pub fn make() -> Result<Self> {
        let hosts = [Holder::named("dtw-a")?, Holder::named("dtw-b")?, Holder::named("dtw-c")?];
        let router = Holder::named("dtw-r")?;
        let mut setup = Command::new("sh");
        for (name, holder) in ["A", "B", "C"].into_iter().zip(&hosts).chain([("R", &router)]) {
            setup.env(name, holder.pid().to_string());
        }
        if !setup.args(["-e", "-c", SETUP]).status()?.success() {
            bail!("the namespaces could not be joined");
        }
        Ok(Self { hosts, router })
    }

    /// Packets between B and the server vanish, or do not any more; those of the applications pass.
    pub fn cut(&self, is_cut: bool) -> Result<()> {
        let rules = match is_cut {
            true => "add rule ip cut forward ip saddr 10.98.2.2 tcp dport 21901 drop",
            false => "flush chain ip cut forward",
        };
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.router.pid().to_string(), "--net", "nft", rules]);
        child::succeed(&mut command)
    }
}

/// The server's address.
pub fn url() -> String {
    format!("https://{SERVER}:{SERVER_PORT}")
}

/// A root (`ca.pem`) and a certificate for the server (`server.pem`, `server.key`).
pub fn certificates(folder: &Path) -> Result<()> {
    let make = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=root \
    -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server \
    -keyout server.key -out server.csr
printf 'subjectAltName=IP:10.98.3.2\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile server.ext -out server.pem
"#;
    let mut command = Command::new("sh");
    command.args(["-e", "-c", make]).current_dir(folder);
    let out = command.output()?;
    if !out.status.success() {
        bail!("openssl made no certificates: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}
