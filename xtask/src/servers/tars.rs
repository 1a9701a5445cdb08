//! TARS: its library for Node, which is server and client.

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, tools};
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "tars",
    protocol: "tars",
    long: true,
    start,
    client: |_| tools::node("tars_client.cjs"),
    ..BASE
};

fn start(setting: &Setting) -> Result<Vec<Kept>> {
    let mut command = tools::node("tars_server.cjs")?;
    command.arg(setting.port.to_string());
    Ok(vec![setting.start("a TARS servant", &mut command)?])
}
