//! HTTP/2: nginx, HAProxy and Caddy of Debian, asked by PyPI's h2; nginx under TLS, asked by several.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, Tls, nginx, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

const HTTP2: Server =
    Server { protocol: "http2", client: |_| Ok(python::program("http2_client.py")), ..BASE };

pub const NGINX: Server = Server {
    name: "nginx-http2",
    packages: &["nginx"],
    start: |setting| nginx::start(setting, "http2"),
    // One span of a request sent at the attach has the wrong time.
    long: true,
    ..HTTP2
};

pub const HAPROXY: Server =
    Server { name: "haproxy", packages: &["haproxy"], start: haproxy, long: true, ..HTTP2 };

pub const CADDY: Server = Server { name: "caddy", packages: &["caddy"], start: caddy, ..HTTP2 };

pub const TLS: Server = Server {
    name: "nginx-http2-tls",
    start: |setting| {
        let Certificate { certificate, key } = Certificate::make(&setting.folder)?;
        let files = format!("ssl_certificate {certificate}; ssl_certificate_key {key}");
        nginx::start(setting, &format!("ssl http2; {files}"))
    },
    tls: Some(Tls::Both),
    ..NGINX
};

pub const C_TLS: Server = Server {
    name: "http2-c-tls",
    client: |_| tools::c("http2", &["-lcurl"], &["libcurl4-openssl-dev"]),
    ..TLS
};

/// curl's other library.
pub const GNUTLS: Server = Server {
    name: "http2-gnutls",
    client: |_| {
        let packages = ["libcurl4-openssl-dev", "libcurl3-gnutls"];
        tools::c("http2", &["-l:libcurl-gnutls.so.4"], &packages)
    },
    ..TLS
};

const OF_HAPROXY: &str = r#"
global
    tune.bufsize 32768
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend all
    bind 127.0.0.1:PORT proto h2
    http-request return status 200 content-type text/plain string "order" if { path_beg /orders/ }
    http-request return status 200 content-type text/plain file FOLDER/big if { path_beg /files/ }
    http-request return status 503 content-type text/plain string "later" if { path_beg /broken/ }
    http-request return status 404 content-type text/plain string "nothing"
"#;

fn haproxy(setting: &Setting) -> Result<Vec<Kept>> {
    setting.write("big", &"x".repeat(20_000))?;
    let config = setting.write("haproxy.cfg", OF_HAPROXY)?;
    let mut command = Command::new("haproxy");
    Ok(vec![setting.start("haproxy", command.args(["-db", "-f", &config]))?])
}

const OF_CADDY: &str = r#"
{
    admin off
    auto_https off
    servers {
        protocols h1 h2c
    }
}
http://127.0.0.1:PORT {
    bind 127.0.0.1
    root * FOLDER
    handle /files/* {
        file_server
    }
    handle /orders/* {
        respond "order {uri}" 200
    }
    handle /broken/* {
        respond "later" 503
    }
    handle {
        respond "nothing" 404
    }
}
"#;

fn caddy(setting: &Setting) -> Result<Vec<Kept>> {
    std::fs::create_dir(setting.path("files"))?;
    setting.write("files/big", &"x".repeat(50_000))?;
    let config = setting.write("Caddyfile", OF_CADDY)?;
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config", &config]);
    let folder = setting.path("");
    command.env("HOME", &folder).env("XDG_DATA_HOME", &folder).env("XDG_CONFIG_HOME", &folder);
    Ok(vec![setting.start("caddy", &mut command)?])
}
