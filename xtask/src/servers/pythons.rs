//! Libraries that are server and client alike, in Python: Thrift, ZeroMQ, WebSocket.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python};
use crate::child::Kept;

pub const THRIFT: Server = Server {
    name: "thrift",
    protocol: "thrift",
    start: |setting| serve(setting, "thrift_server.py", &["plain"]),
    client: |_| Ok(python::program("thrift_client.py")),
    ..BASE
};

pub const THRIFT_FRAMED: Server = Server {
    name: "thrift-framed",
    protocol: "thrift",
    start: |setting| serve(setting, "thrift_server.py", &["framed"]),
    client: |_| {
        let mut command: Command = python::program("thrift_client.py");
        command.args(["--kind", "framed"]);
        Ok(command)
    },
    ..BASE
};

pub const ZMTP: Server = Server {
    name: "pyzmq",
    protocol: "zmtp",
    start: |setting| serve(setting, "zmtp_server.py", &[&setting.other.to_string()]),
    client: |_| Ok(python::program("zmtp_client.py")),
    ..BASE
};

pub const WEBSOCKET: Server = Server {
    name: "websockets",
    protocol: "websocket",
    start: |setting| serve(setting, "websocket_server.py", &[]),
    client: |_| Ok(python::program("websocket_client.py")),
    ..BASE
};

fn serve(setting: &Setting, program: &str, arguments: &[&str]) -> Result<Vec<Kept>> {
    let mut command = python::program(program);
    command.arg(setting.port.to_string()).args(arguments);
    Ok(vec![setting.start("a server in Python", &mut command)?])
}
