//! Redis of Debian, asked by redis-py.

use std::process::Command;

use super::{SERVER as BASE, Server, python};

pub const SERVER: Server = Server {
    name: "redis",
    protocol: "redis",
    packages: &["redis-server"],
    start: |setting| {
        let port = setting.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port]);
        Ok(vec![setting.start("redis-server", &mut command)?])
    },
    client: |_| Ok(python::program("redis_client.py")),
    ..BASE
};
