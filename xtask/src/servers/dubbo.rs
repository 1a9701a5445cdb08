//! Dubbo from Maven, in the two serialisations that it has by default.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, tools};
use crate::child::Kept;

pub const HESSIAN: Server = Server {
    name: "dubbo",
    protocol: "dubbo",
    maven: Some("dubbo"),
    long: true,
    start,
    client: |_| client("hessian2"),
    ..BASE
};

pub const FASTJSON: Server =
    Server { name: "dubbo-fastjson2", client: |_| client("fastjson2"), ..HESSIAN };

/// What its serialisations reach into.
const OPENED: [&str; 4] = [
    "--add-opens",
    "java.base/java.lang=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.math=ALL-UNNAMED",
];

fn java() -> Result<Command> {
    let mut command = tools::java("dubbo")?;
    command.args(OPENED).args([tools::QUIET, "-Xmx256m"]);
    Ok(command)
}

fn start(setting: &Setting) -> Result<Vec<Kept>> {
    let mut command = java()?;
    command.args(["Server", &setting.port.to_string()]);
    Ok(vec![setting.start("a Dubbo provider", &mut command)?])
}

fn client(kind: &str) -> Result<Command> {
    let mut command = java()?;
    command.args(["Client", "--kind", kind]);
    Ok(command)
}
