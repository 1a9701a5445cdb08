//! Doors: where a process listens. All are bound before anything starts, so that nothing is half-started.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use deeptrace_http::{BindError, Listener, Tls, Token};

use super::{Roles, VERSION};
use crate::config::Loaded;

/// What is open before anything starts.
pub(super) struct Doors {
    pub(super) agent: Option<Listener>,
    pub(super) server: Option<Listener>,
    pub(super) tls: Option<Tls>,
    pub(super) otlp: OtlpDoors,
    pub(super) token: Token,
    pub(super) is_new: bool,
    /// Standard output is for spans.
    pub(super) log_spans: bool,
    pub(super) data_dir: std::path::PathBuf,
}

/// Where spans of SDKs come in.
#[derive(Default)]
pub(super) struct OtlpDoors {
    pub(super) grpc: Option<Listener>,
    pub(super) http: Option<Listener>,
}

impl Doors {
    /// One line on standard output, or on standard error where spans go to the other; beyond loopback, how
    /// to get in, the token only when it is new.
    pub(super) fn announce(&self) -> std::io::Result<()> {
        let out: &mut dyn Write =
            if self.log_spans { &mut std::io::stderr() } else { &mut std::io::stdout() };
        if let Some(server) = &self.server {
            writeln!(out, "deeptrace {VERSION}: page and API at {}", server.url())?;
        }
        for (name, listener) in [("gRPC", &self.otlp.grpc), ("HTTP", &self.otlp.http)] {
            if let Some(listener) = listener {
                writeln!(out, "deeptrace {VERSION}: OTLP over {name} at {}", listener.url())?;
            }
        }
        if let Some(agent) = &self.agent {
            writeln!(out, "deeptrace {VERSION}: agent API at {}", agent.url())?;
        }
        let listeners = [&self.agent, &self.server, &self.otlp.grpc, &self.otlp.http];
        let is_open = listeners.into_iter().flatten().any(|l| !l.address().ip().is_loopback());
        if is_open && self.is_new {
            writeln!(out, "admin token, shown this once: {}", self.token.as_str())?;
        } else if is_open {
            writeln!(out, "the admin token is in {}", Token::path(&self.data_dir).display())?;
        }
        Ok(())
    }
}

/// Names under which a listener may be called: those of the configuration, beyond loopback also the
/// host's own.
pub(super) fn names(listen: SocketAddr, configured: &[String]) -> Vec<String> {
    let mut names = configured.to_vec();
    if !listen.ip().is_loopback() {
        names.push(deeptrace_capture::host::host().name);
    }
    names
}

pub(super) fn bind(
    wanted: bool,
    address: SocketAddr,
    option: &'static str,
) -> Result<Option<Listener>> {
    if !wanted {
        return Ok(None);
    }
    Ok(Some(Listener::bind(address, option)?))
}

/// The ports for SDKs. Those that everybody uses are left to a collector that has them already; others
/// were asked for. Under TLS as the API is, but for loopback: SDKs look there without it.
pub(super) fn otlp_doors(roles: Roles, loaded: &Loaded, tls: Option<&Tls>) -> Result<OtlpDoors> {
    if !roles.server {
        return Ok(OtlpDoors::default());
    }
    let usual = deeptrace_server::written::Otlp::default();
    let door = |address: Option<SocketAddr>, usual: u16, key: &'static str| {
        let Some(address) = address else { return Ok(None) };
        match Listener::bind(address, key) {
            Err(error @ BindError::InUse { .. }) if address.port() == usual => {
                eprintln!("deeptrace: spans of SDKs are not taken there: {error}");
                Ok(None)
            }
            bound => {
                let tls = tls.filter(|_| !address.ip().is_loopback()).cloned();
                let bound = bound.map(|listener| Some(listener.with_tls(tls)));
                bound.context("cannot take spans of SDKs")
            }
        }
    };
    let otlp = &loaded.server.otlp;
    Ok(OtlpDoors {
        grpc: door(otlp.grpc, usual.grpc_port, "server.otlp.grpc_port")?,
        http: door(otlp.http, usual.http_port, "server.otlp.http_port")?,
    })
}

pub(super) fn agent_option(roles: Roles) -> &'static str {
    if roles.server { "--agent-port" } else { "--port" }
}
