//! OpenSMTPD of Debian, asked by Python's own client. It keeps its mails in the one folder that it knows.

use std::fs;
use std::process::Command;

use super::{SERVER as BASE, Server, python};

pub const SERVER: Server = Server {
    name: "opensmtpd",
    protocol: "smtp",
    packages: &["opensmtpd"],
    start: |setting| {
        let config = "listen on 127.0.0.1 port PORT hostname probe.test\n\
                      action mails mbox\nmatch from any for domain probe.test action mails\n";
        let config = setting.write("smtpd.conf", config)?;
        fs::create_dir_all("/var/run")?;
        let mut command = Command::new("smtpd");
        Ok(vec![setting.start("smtpd", command.args(["-d", "-f", &config]))?])
    },
    client: |_| Ok(python::program("smtp_client.py")),
    // It asks for the names of its own.
    background: &["DNS A", "DNS PTR"],
    ..BASE
};
