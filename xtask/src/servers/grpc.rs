//! gRPC: servers and clients in the languages whose libraries differ.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, Tls, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

pub const PYTHON: Server = Server {
    name: "grpc-python",
    protocol: "grpc",
    start: |setting| start(setting, python::program("grpc_server.py"), &[]),
    client: |_| Ok(python::program("grpc_client.py")),
    ..BASE
};

pub const GO: Server = Server {
    name: "grpc-go",
    long: true,
    start: |setting| start(setting, Command::new(tools::go()?), &[]),
    ..PYTHON
};

pub const NODE: Server = Server {
    name: "grpc-node",
    long: true,
    start: |setting| start(setting, tools::node("grpc_server.cjs")?, &[]),
    ..PYTHON
};

pub const GO_TLS: Server = Server {
    name: "grpc-go-tls",
    start: |setting| start_tls(setting, Command::new(tools::go()?)),
    ..NODE_TLS
};

/// The client is Node's: what Python's library brings for TLS has no names.
pub const NODE_TLS: Server = Server {
    name: "grpc-node-tls",
    start: |setting| start_tls(setting, tools::node("grpc_server.cjs")?),
    client: |_| tools::node("grpc_client.cjs"),
    tls: Some(Tls::Both),
    ..NODE
};

fn start_tls(setting: &Setting, server: Command) -> Result<Vec<Kept>> {
    let Certificate { certificate, key } = Certificate::make(&setting.folder)?;
    start(setting, server, &[&certificate, &key])
}

fn start(setting: &Setting, mut server: Command, options: &[&str]) -> Result<Vec<Kept>> {
    server.arg(setting.port.to_string()).args(options);
    Ok(vec![setting.start("the gRPC server", &mut server)?])
}
