//! gRPC: servers and clients in the languages whose libraries differ.

use std::process::Command;

use super::{SERVER as BASE, Server, python, tools};

pub const PYTHON: Server = Server {
    name: "grpc-python",
    protocol: "grpc",
    start: |setting| {
        let mut command = python::program("grpc_server.py");
        command.arg(setting.port.to_string());
        Ok(vec![setting.start("the gRPC server", &mut command)?])
    },
    client: |_| Ok(python::program("grpc_client.py")),
    ..BASE
};

pub const GO: Server = Server {
    name: "grpc-go",
    protocol: "grpc",
    long: true,
    start: |setting| {
        let mut command = Command::new(tools::go()?);
        command.arg(setting.port.to_string());
        Ok(vec![setting.start("the gRPC server", &mut command)?])
    },
    client: |_| Ok(python::program("grpc_client.py")),
    ..BASE
};

pub const NODE: Server = Server {
    name: "grpc-node",
    protocol: "grpc",
    long: true,
    start: |setting| {
        let mut command = tools::node("grpc_server.cjs")?;
        command.arg(setting.port.to_string());
        Ok(vec![setting.start("the gRPC server", &mut command)?])
    },
    client: |_| Ok(python::program("grpc_client.py")),
    ..BASE
};
