//! What was meant by `[agents.sender]`.

use std::fmt;
use std::path::PathBuf;

use deeptrace_http::{ClientFiles, Identity};
use hyper::http::uri::Scheme;

use crate::config::ConfigError;
use crate::written;

/// Where spans are sent, and what is kept meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The server, without a slash at the end.
    pub url: String,
    /// Port of the server: connections to it are our own.
    pub port: u16,
    /// What the server is shown.
    pub token: Option<Token>,
    /// What is trusted and shown under TLS.
    pub tls: ClientFiles,
    /// Bytes that wait in memory, at most.
    pub memory_bytes: usize,
    /// Bytes that wait on disk, at most; 0: none.
    pub disk_bytes: u64,
    /// Where.
    pub disk_path: PathBuf,
    /// Whether batches are compressed.
    pub is_compressing: bool,
    /// Whether the server may change the configuration.
    pub accepts_config: bool,
    /// Whether spans stay here, and the server asks for them.
    pub keeps_spans: bool,
}

/// Where the token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The configuration.
    Text(String),
    /// A file, read again when the server refuses what it held.
    File(PathBuf),
}

/// Never shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Sending {
    /// `None` without a server.
    pub(crate) fn new(
        written: &written::Sender,
        is_compressing: bool,
    ) -> Result<Option<Self>, ConfigError> {
        if written.server_url.is_empty() {
            return Ok(None);
        }
        let at =
            |key: &str, message: &str| ConfigError::at(&format!("agents.sender.{key}"), message);
        let url = written.server_url.trim_end_matches('/').to_owned();
        let uri: Option<hyper::Uri> = url.parse().ok();
        let port = uri.as_ref().and_then(|uri| {
            let (scheme, _) = (uri.scheme()?, uri.host().filter(|host| !host.is_empty())?);
            let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
            let is_known = *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
            is_known.then(|| uri.port_u16().unwrap_or(usual))
        });
        let port = port.ok_or_else(|| {
            at("server_url", "give an address that begins with http:// or https://")
        })?;
        if !(1..=4096).contains(&written.mem_buffer_size) {
            return Err(at("mem_buffer_size", "give at least 1 and at most 4096 (megabytes)"));
        }
        let token = match (written.token.as_str(), written.token_file.as_str()) {
            ("", "") => None,
            (text, "") => Some(Token::Text(text.to_owned())),
            ("", file) => Some(Token::File(file.into())),
            _ => return Err(at("token_file", "give token or token_file, not both")),
        };
        let identity = match (written.cert_file.as_str(), written.key_file.as_str()) {
            ("", "") => None,
            ("", _) => return Err(at("cert_file", "give both cert_file and key_file")),
            (_, "") => return Err(at("key_file", "give both cert_file and key_file")),
            (cert, key) => Some(Identity { cert_file: cert.into(), key_file: key.into() }),
        };
        let ca_file = (!written.ca_file.is_empty()).then(|| written.ca_file.clone().into());
        Ok(Some(Self {
            url,
            port,
            token,
            tls: ClientFiles { ca_file, identity },
            memory_bytes: (written.mem_buffer_size as usize) << 20,
            disk_bytes: written.disk_buffer_size.saturating_mul(1 << 20),
            disk_path: written.disk_buffer_path.clone().into(),
            is_compressing,
            accepts_config: written.accept_config,
            keeps_spans: written.keep_spans,
        }))
    }
}
