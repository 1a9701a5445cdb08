//! MariaDB of Debian, asked by MySQL's connector for Python.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, Tls, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "mariadb",
    protocol: "mysql",
    packages: &["mariadb-server"],
    start: |setting| start(setting, &[]),
    client: |_| Ok(python::program("mysql_client.py")),
    ..BASE
};

pub const TLS: Server = Server {
    name: "mariadb-tls",
    long: true,
    start: |setting| {
        let Certificate { certificate, key } = Certificate::make(&setting.folder)?;
        let (certificate, key) = (format!("--ssl-cert={certificate}"), format!("--ssl-key={key}"));
        start(setting, &[&certificate, &key])
    },
    tls: Some(Tls::Both),
    ..SERVER
};

pub const NODE_TLS: Server = Server {
    name: "mariadb-node-tls",
    long: true,
    client: |_| tools::node("mysql_client.cjs"),
    ..TLS
};

pub const C_TLS: Server = Server {
    name: "mariadb-c-tls",
    long: true,
    client: |_| tools::c("mysql", &["-I/usr/include/mariadb", "-lmariadb"], &["libmariadb-dev"]),
    ..TLS
};

/// A statement a line.
const USERS: &str = "CREATE DATABASE shop;
CREATE USER probe@'127.0.0.1' IDENTIFIED BY 'probe';
GRANT ALL ON shop.* TO probe@'127.0.0.1';
";

fn start(setting: &Setting, options: &[&str]) -> Result<Vec<Kept>> {
    let data = format!("--datadir={}", setting.path("data"));
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--skip-test-db", &data]);
    setting.run(install.arg("--auth-root-authentication-method=normal"))?;
    let users = setting.write("users.sql", USERS)?;
    let mut command = Command::new("mariadbd");
    command.args([
        "--no-defaults",
        "--user=root",
        "--skip-name-resolve",
        "--bind-address=127.0.0.1",
        &data,
    ]);
    command.arg(format!("--port={}", setting.port));
    command.arg(format!("--socket={}", setting.path("socket")));
    command.arg(format!("--init-file={users}")).args(options);
    Ok(vec![setting.start("mariadbd", &mut command)?])
}
