//! gRPC: servers and clients in the languages whose libraries differ.

use super::{SERVER as BASE, Server, python};

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
