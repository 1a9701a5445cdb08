//! How the provider is asked: over TLS, without redirects, with limits of time and size.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use deeptrace_http::ClientFiles;
use openidconnect::{HttpRequest, HttpResponse};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why the provider was not asked, or what came of it; without what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebError(String);

impl WebError {
    /// Of an address that is none.
    pub(super) fn of_address(error: &openidconnect::url::ParseError) -> Self {
        Self(format!("server.oidc.issuer: {error}"))
    }
}

/// Asks the provider.
pub(super) struct Web {
    agent: ureq::Agent,
}

impl Web {
    /// Which believes the certificates in `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, WebError> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            // Whom a redirect names is nobody whom the configuration trusts.
            .max_redirects(0)
            .tls_config(tls(ca_file)?)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("deeptrace/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into() })
    }

    /// Blocks until the answer is there, so not for the threads that serve.
    pub(super) fn ask(&self, request: HttpRequest) -> Result<HttpResponse, WebError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        if !is_private(request.uri()) {
            return Err(WebError(format!("an address of the provider at {host} is not https")));
        }
        let (head, body) = request.into_parts();
        let sent = if body.is_empty() {
            self.agent.run(ureq::http::Request::from_parts(head, ()))
        } else {
            self.agent.run(ureq::http::Request::from_parts(head, body))
        };
        let failed = |error: ureq::Error| WebError(format!("{host}: {}", said(&error)));
        let (head, mut body) = sent.map_err(failed)?.into_parts();
        if head.status.is_server_error() {
            return Err(WebError(format!("{host} answers {}", head.status)));
        }
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// Whether nobody on the way reads along: TLS, or no way at all.
pub(crate) fn is_private(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_here = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    uri.scheme() == Some(&Scheme::HTTPS) || (uri.scheme() == Some(&Scheme::HTTP) && is_here)
}

/// The kind of an error, where its text could hold an address with its query.
fn said(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "the address makes no sense".to_owned(),
        error => error.to_string(),
    }
}

fn tls(ca_file: Option<&Path>) -> Result<TlsConfig, WebError> {
    let builder = TlsConfig::builder();
    let Some(path) = ca_file else { return Ok(builder.root_certs(RootCerts::WebPki).build()) };
    let files = ClientFiles { ca_file: Some(path.to_owned()), identity: None };
    let roots = files.roots().map_err(|error| WebError(error.to_string()))?;
    let roots: Vec<Certificate<'static>> =
        roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(builder.root_certs(RootCerts::new_with_certs(&roots)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_asked_without_tls() {
        for (uri, expected) in [
            ("https://id.example", true),
            ("http://id.example", false),
            ("http://127.0.0.1:3000/a", true),
            ("http://[::1]", true),
            ("http://localhost", true),
            ("http://127.0.0.1.evil.example", false),
            ("http://10.0.0.1", false),
            ("ftp://localhost", false),
            ("id.example", false),
        ] {
            assert_eq!(is_private(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
