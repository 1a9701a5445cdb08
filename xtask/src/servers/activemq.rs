//! ActiveMQ from Maven, over OpenWire, AMQP 1.0 and STOMP.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python, tools};
use crate::child::Kept;

pub const OPENWIRE: Server = Server {
    name: "activemq",
    protocol: "openwire",
    maven: Some("activemq"),
    long: true,
    start: |setting| start(setting, "tcp"),
    client: |_| client("tcp"),
    ..BASE
};

/// The other one of its two encodings.
pub const OPENWIRE_LOOSE: Server =
    Server { name: "activemq-loose", client: |_| client("loose"), ..OPENWIRE };

pub const AMQP: Server = Server {
    name: "activemq-amqp",
    protocol: "amqp",
    start: |setting| start(setting, "amqp"),
    client: |_| client("amqp"),
    ..OPENWIRE
};

pub const STOMP: Server = Server {
    name: "activemq-stomp",
    protocol: "stomp",
    start: |setting| start(setting, "stomp"),
    client: |_| Ok(python::program("stomp_client.py")),
    ..OPENWIRE
};

fn start(setting: &Setting, transport: &str) -> Result<Vec<Kept>> {
    let mut command = tools::java("activemq")?;
    command.args([tools::QUIET, "-Xmx256m", "Server", transport, &setting.port.to_string()]);
    Ok(vec![setting.start("ActiveMQ", &mut command)?])
}

/// Apache's client of each, by JMS.
fn client(kind: &str) -> Result<Command> {
    let mut command = tools::java("activemq")?;
    command.args([tools::QUIET, "-Xmx256m", "Client", "--kind", kind]);
    Ok(command)
}
