//! Servers of Debian that are asked for what is known of a name: ZooKeeper, OpenLDAP, BIND.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python};
use crate::child::Kept;

pub const ZOOKEEPER: Server = Server {
    name: "zookeeper",
    protocol: "zookeeper",
    packages: &["zookeeper", "default-jre-headless"],
    start: |setting| {
        let config = "tickTime=2000\ndataDir=FOLDER/data\nclientPort=PORT\n\
                      clientPortAddress=127.0.0.1\nadmin.enableServer=false\n";
        let config = setting.write("zoo.cfg", config)?;
        let mut command = Command::new("/usr/share/zookeeper/bin/zkServer.sh");
        command.args(["start-foreground", &config]).env("ZOO_LOG_DIR", setting.path("logs"));
        Ok(vec![setting.start("zookeeper", &mut command)?])
    },
    client: |_| Ok(python::program("zookeeper_client.py")),
    ..BASE
};

pub const SLAPD: Server = Server {
    name: "slapd",
    protocol: "ldap",
    packages: &["slapd"],
    start: slapd,
    client: |_| Ok(python::program("ldap_client.py")),
    ..BASE
};

const OF_SLAPD: &str = r#"
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile FOLDER/pid
database mdb
suffix "dc=probe"
rootdn "cn=admin,dc=probe"
rootpw secret
directory FOLDER/data
"#;

fn slapd(setting: &Setting) -> Result<Vec<Kept>> {
    fs::create_dir(setting.path("data"))?;
    let config = setting.write("slapd.conf", OF_SLAPD)?;
    let listen = format!("ldap://127.0.0.1:{}", setting.port);
    let mut command = Command::new("slapd");
    Ok(vec![setting.start("slapd", command.args(["-d", "0", "-f", &config, "-h", &listen]))?])
}

pub const BIND: Server = Server {
    name: "bind9",
    protocol: "dns",
    packages: &["bind9"],
    start: bind,
    client: |_| Ok(python::program("dns_client.py")),
    ..BASE
};

const OF_BIND: &str = r#"
options {
    directory "FOLDER"; pid-file none; session-keyfile none; recursion no;
    listen-on port PORT { 127.0.0.1; }; listen-on-v6 { none; };
};
controls { };
zone "probe.test" { type primary; file "FOLDER/zone"; };
"#;

const ZONE: &str = r#"
$TTL 60
@ IN SOA ns.probe.test. root.probe.test. 1 3600 600 86400 60
@ IN NS ns.probe.test.
ns IN A 127.0.0.1
www IN A 192.0.2.1
text IN TXT "some text"
*.any IN A 192.0.2.2
"#;

fn bind(setting: &Setting) -> Result<Vec<Kept>> {
    setting.write("zone", ZONE)?;
    let config = setting.write("named.conf", OF_BIND)?;
    let mut command = Command::new("named");
    Ok(vec![setting.start("named", command.args(["-g", "-n", "2", "-c", &config]))?])
}
