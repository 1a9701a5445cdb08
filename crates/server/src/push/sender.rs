//! Sender: requests to a collector, one after the other, tried again as OTLP says ("Failures").

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Protocol, Push, Target};
use crate::live::ended;

/// Between two attempts: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two attempts, whatever the collector says.
const LEAST: Duration = Duration::from_millis(100);
/// For what waits when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// Why nothing can be pushed.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The certificates of the configuration cannot be used.
    #[error("cannot use the certificates in {}: {error}; see export.otlp.certificate", .file.display())]
    Certificate {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The system has no certificates.
    #[error("cannot read the certificates of this system: {0}; give export.otlp.certificate")]
    System(std::io::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
}

/// Why a request was not taken.
struct Failure {
    message: String,
    /// After which to try again; `None`: never.
    retry: Option<Option<Duration>>,
}

pub(super) struct Sender {
    target: Target,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl Sender {
    pub(super) fn new(target: &Target) -> Result<Self, SenderError> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(target)?).https_or_http();
        let mut client = Client::builder(TokioExecutor::new());
        let client = match target.protocol {
            Protocol::Grpc => client.http2_only(true).build(connector.enable_http2().build()),
            Protocol::Http => client.build(connector.enable_http1().build()),
        };
        Ok(Self { target: target.clone(), client })
    }

    /// Sends what waits until `stop` turns true, then what waits still, once.
    pub(super) async fn run(self, push: Push, mut stop: watch::Receiver<bool>) {
        loop {
            let (spans, request) = push.next();
            if spans == 0 {
                tokio::select! {
                    () = push.0.come.notified() => continue,
                    () = ended(&mut stop) => break,
                }
            }
            tokio::select! {
                () = self.deliver(&push, spans, &request) => {}
                () = ended(&mut stop) => {
                    // Sent twice is harmless: ids stay.
                    let last = self.attempt(&push, spans, &request);
                    let _ = tokio::time::timeout(FAREWELL, last).await;
                    break;
                }
            }
        }
        let rest = async {
            loop {
                let (spans, request) = push.next();
                if spans == 0 || self.attempt(&push, spans, &request).await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
    }

    /// Tries until it is taken, or refused for good.
    async fn deliver(&self, push: &Push, spans: usize, request: &[ResourceSpans]) {
        let mut wait = RETRY.0;
        let mut has_failed = false;
        while let Err(failure) = self.attempt(push, spans, request).await {
            let Failure { message, retry } = failure;
            let Some(told) = retry else {
                tracing::error!(spans, "the collector refuses spans: {message}");
                push.0.counts.dropped.fetch_add(spans as u64, Relaxed);
                return;
            };
            if !std::mem::replace(&mut has_failed, true) {
                tracing::warn!(endpoint = %self.target.endpoint, "cannot push: {message}; trying again");
            }
            // A collector that says "at once" is not asked without a rest.
            let rest = told.unwrap_or_else(|| jittered(wait)).clamp(LEAST, RETRY.1 * 10);
            tokio::time::sleep(rest).await;
            wait = (wait * 2).min(RETRY.1);
        }
        if has_failed {
            tracing::info!(endpoint = %self.target.endpoint, "pushing again");
        }
    }

    async fn attempt(
        &self,
        push: &Push,
        spans: usize,
        request: &[ResourceSpans],
    ) -> Result<(), Failure> {
        let request = ExportTraceServiceRequest { resource_spans: request.to_vec() };
        let sent = async {
            match self.target.protocol {
                Protocol::Grpc => self.grpc(request).await,
                Protocol::Http => self.http(request).await,
            }
        };
        let sent = tokio::time::timeout(self.target.timeout, sent).await;
        let answer = sent.unwrap_or_else(|_| Err(Failure::passing("no answer within the timeout")));
        let counts = &push.0.counts;
        let partial = answer
            .inspect_err(|_| {
                counts.failures.fetch_add(1, Relaxed);
            })?
            .partial_success
            .unwrap_or_default();
        if partial.rejected_spans > 0 {
            tracing::warn!(
                rejected = partial.rejected_spans,
                "the collector rejected spans: {}",
                partial.error_message
            );
        }
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(spans as u64);
        counts.rejected.fetch_add(rejected, Relaxed);
        counts.sent.fetch_add(spans as u64 - rejected, Relaxed);
        Ok(())
    }

    async fn grpc(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Failure> {
        let (client, origin) = (self.client.clone(), self.target.endpoint.clone());
        let mut service = TraceServiceClient::with_origin(client, origin);
        if self.target.is_gzip {
            service = service.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = MetadataMap::from_headers(self.target.headers.clone());
        let answer = service.export(request).await;
        Ok(answer.map_err(|status| Failure::of_status(&status))?.into_inner())
    }

    async fn http(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Failure> {
        let mut body = request.encode_to_vec();
        let mut headers = self.target.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.target.is_gzip {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            let written = packed.write_all(&body).and_then(|()| packed.finish());
            body = written.map_err(|error| Failure::passing(error.to_string()))?;
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut request = Request::new(Body::new(Full::new(Bytes::from(body))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.endpoint.clone();
        *request.headers_mut() = headers;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Failure::passing(chain(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| Failure::passing(error.to_string()))?.to_bytes();
        if !head.status.is_success() {
            return Err(Failure::of_http(head.status, &head.headers, body));
        }
        // Some answer with nothing, or with JSON.
        Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default())
    }
}

impl Failure {
    /// Worth trying again.
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Some(None) }
    }

    fn of_status(status: &Status) -> Self {
        let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let retry = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unknown => Some(told),
            Code::ResourceExhausted if told.is_some() => Some(told),
            _ => None,
        };
        Self { message: format!("{}: {}", status.code(), chain(status)), retry }
    }

    fn of_http(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let told = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let reason = tonic_types::pb::Status::decode(body).unwrap_or_default().message;
        let message = format!("{status} {reason}");
        let retry = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Self { message, retry: retry.then_some(told.map(Duration::from_secs)) }
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Between half and all of it, so that not everybody comes back at once.
fn jittered(wait: Duration) -> Duration {
    let random = deeptrace_model::hash64(&[crate::clock::now().0, u64::from(std::process::id())]);
    wait.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}

fn tls(target: &Target) -> Result<ClientConfig, SenderError> {
    use hyper_rustls::ConfigBuilderExt;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SenderError::Tls)?;
    let Some(file) = &target.certificate else {
        if target.endpoint.scheme() == Some(&Scheme::HTTP) {
            let none = RootCertStore::empty();
            return Ok(builder.with_root_certificates(none).with_no_client_auth());
        }
        return Ok(builder.with_native_roots().map_err(SenderError::System)?.with_no_client_auth());
    };
    let wrong = |error: String| SenderError::Certificate { file: file.clone(), error };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds none".to_owned()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
