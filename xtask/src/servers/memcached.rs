//! Memcached of Debian, asked by pymemcache.

use std::process::Command;

use super::{SERVER as BASE, Server, python};

pub const SERVER: Server = Server {
    name: "memcached",
    protocol: "memcached",
    packages: &["memcached"],
    start: |setting| {
        let port = setting.port.to_string();
        let mut command = Command::new("memcached");
        command.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", &port]);
        Ok(vec![setting.start("memcached", &mut command)?])
    },
    client: |_| Ok(python::program("memcached_client.py")),
    ..BASE
};
