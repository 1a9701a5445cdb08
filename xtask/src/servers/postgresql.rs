//! PostgreSQL of Debian, asked by psycopg.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::setting::Setting;
use super::{SERVER as BASE, Server, Tls, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "postgresql",
    protocol: "postgresql",
    packages: &["postgresql"],
    start: |setting| start(setting, &[]),
    client: |_| Ok(python::program("postgresql_client.py")),
    ..BASE
};

pub const TLS: Server = Server {
    name: "postgresql-tls",
    start: |setting| {
        let Certificate { certificate, key } = Certificate::make(&setting.folder)?;
        let certificate = format!("ssl_cert_file={certificate}");
        let key = format!("ssl_key_file={key}");
        start(setting, &["-c", "ssl=on", "-c", &certificate, "-c", &key])
    },
    tls: Some(Tls::Both),
    ..SERVER
};

pub const NODE_TLS: Server = Server {
    name: "postgresql-node-tls",
    long: true,
    client: |_| tools::node("postgresql_client.cjs"),
    ..TLS
};

pub const C_TLS: Server = Server {
    name: "postgresql-c-tls",
    long: true,
    client: |_| tools::c("postgresql", &["-I/usr/include/postgresql", "-lpq"], &["libpq-dev"]),
    ..TLS
};

fn start(setting: &Setting, options: &[&str]) -> Result<Vec<Kept>> {
    let programs = programs()?;
    let data = setting.path("data");
    fs::create_dir(&data)?;
    setting.run(Command::new("chown").args(["-R", "postgres:", &setting.path("")]))?;
    let mut init = setting.as_user("postgres", &format!("{programs}/initdb"));
    setting.run(init.args(["--auth", "trust", "--no-sync", "-D", &data]))?;
    let port = setting.port.to_string();
    let mut command = setting.as_user("postgres", &format!("{programs}/postgres"));
    command.args(["-D", &data, "-h", "127.0.0.1", "-k", &data, "-p", &port]).args(options);
    Ok(vec![setting.start("postgres", &mut command)?])
}

/// The folder of the newest version.
fn programs() -> Result<String> {
    let versions = fs::read_dir("/usr/lib/postgresql")?.flatten().map(|entry| entry.path());
    let newest = versions.max().context("no version of PostgreSQL is installed")?;
    Ok(newest.join("bin").to_string_lossy().into_owned())
}
