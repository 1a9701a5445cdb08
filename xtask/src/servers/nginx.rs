//! nginx of Debian, asked by Python's own HTTP client.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python};
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "nginx",
    protocol: "http",
    packages: &["nginx"],
    start: |setting| start(setting, ""),
    client: |_| Ok(python::program("http_client.py")),
    ..BASE
};

const CONFIG: &str = r#"
daemon off; worker_processes 2; pid FOLDER/pid; error_log stderr; user root;
events { worker_connections 256; }
http {
    access_log off; sendfile on; keepalive_requests 100000; http2_max_concurrent_streams 256;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
    server {
        listen 127.0.0.1:PORT MORE;
        location /files/ { root FOLDER; }
        location /orders/ { return 200 "order $request_uri\n"; }
        location /broken/ { return 503 "later\n"; }
        location / { return 404 "nothing\n"; }
    }
}
"#;

/// Starts it; `more` stands behind the address.
pub fn start(setting: &Setting, more: &str) -> Result<Vec<Kept>> {
    std::fs::create_dir(setting.path("files"))?;
    setting.write("files/big", &"x".repeat(50_000))?;
    let config = setting.write("nginx.conf", &CONFIG.replace("MORE", more))?;
    let mut command = Command::new("nginx");
    command.args(["-p", &setting.path(""), "-c", &config]);
    Ok(vec![setting.start("nginx", &mut command)?])
}
