//! SOFARPC from Maven, over Bolt.

use std::process::Command;

use anyhow::Result;

use super::setting::{Setting, serves};
use super::{SERVER as BASE, Server, tools};
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "sofarpc",
    protocol: "sofarpc",
    maven: Some("sofarpc"),
    long: true,
    start,
    client: |setting| {
        let mut command = java(setting)?;
        command.args(["Client", "--connections", "2"]);
        Ok(command)
    },
    ..BASE
};

fn java(setting: &Setting) -> Result<Command> {
    let mut command = tools::java("sofarpc")?;
    // Its logs are written to its home.
    command.arg(format!("-Duser.home={}", setting.path(""))).arg("-Xmx256m");
    Ok(command)
}

fn start(setting: &Setting) -> Result<Vec<Kept>> {
    let mut command = java(setting)?;
    command.args(["Server", &setting.port.to_string(), &setting.other.to_string()]);
    let kept = setting.start("a SOFARPC provider", &mut command)?;
    serves(setting.other)?;
    Ok(vec![kept])
}
