//! Redis of Debian, asked by redis-py.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, Tls, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "redis",
    protocol: "redis",
    packages: &["redis-server"],
    start: |setting| start(setting, &["--port", &setting.port.to_string()]),
    client: |_| Ok(python::program("redis_client.py")),
    ..BASE
};

pub const TLS: Server = Server {
    name: "redis-tls",
    start: |setting| {
        let Certificate { certificate, key } = Certificate::make(&setting.folder)?;
        let port = setting.port.to_string();
        let mut options = vec!["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
        options.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        start(setting, &options)
    },
    tls: Some(Tls::Both),
    ..SERVER
};

pub const NODE_TLS: Server = Server {
    name: "redis-node-tls",
    long: true,
    client: |_| tools::node("redis_client.cjs"),
    ..TLS
};

pub const C_TLS: Server = Server {
    name: "redis-c-tls",
    long: true,
    client: |_| {
        tools::c("redis", &["-lhiredis", "-lssl", "-lcrypto"], &["libhiredis-dev", "libssl-dev"])
    },
    ..TLS
};

fn start(setting: &Setting, options: &[&str]) -> Result<Vec<Kept>> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", ""]).args(options);
    Ok(vec![setting.start("redis-server", &mut command)?])
}
