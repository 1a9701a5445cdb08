//! Transport: one batch to the server and its answer, over HTTP/2 (RFC 9113), in plain with prior
//! knowledge (§3.3) or under TLS. Connections are kept and opened again by the client.

use std::time::Duration;

use bytes::Bytes;
use deeptrace_http::ClientFiles;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::sending::{Sending, Token};

/// For a whole request with its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings find out that a network is gone, long before TCP does.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 64 << 10;
/// Bytes of orders: one that is as large as a record may be, beside what else is handed over at once.
const ORDERS_MAX: usize = deeptrace_wire::RECORD_MAX + (2 << 20);
/// The longest that a server may have us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The way to the server. Cloned, it shares its connections.
#[derive(Clone)]
pub struct Transport {
    client: Connections,
    url: String,
    authorization: Option<HeaderValue>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Acknowledged.
    Done,
    /// Not now; the server may have said when.
    Later(String, Option<Duration>),
    /// Not ever: the server does not take this.
    Never(String),
}

impl Transport {
    /// Reads certificates and token as they are now.
    pub fn new(sending: &Sending) -> Result<Self, String> {
        let tls = match sending.url.starts_with("https://") {
            true => sending.tls.read(),
            false => ClientFiles::unused(),
        };
        let tls = tls.map_err(|error| error.to_string())?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector);
        let authorization = match &sending.token {
            None => None,
            Some(Token::Text(text)) => Some(bearer(text)?),
            Some(Token::File(file)) => {
                let text = std::fs::read_to_string(file);
                let text =
                    text.map_err(|error| format!("token_file {}: {error}", file.display()))?;
                Some(bearer(text.trim())?)
            }
        };
        Ok(Self { client, url: sending.url.clone(), authorization })
    }

    /// `POST`s a body.
    pub async fn post(&self, path: &str, kind: &'static str, body: Bytes) -> Outcome {
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, kind);
        match self.ask(request, path, body, ANSWER_MAX).await {
            Ok(_) => Outcome::Done,
            Err(outcome) => outcome,
        }
    }

    /// `GET`s what the server has; never [`Outcome::Done`].
    pub async fn get(&self, path: &str) -> Result<Bytes, Outcome> {
        self.ask(Request::builder().method(Method::GET), path, Bytes::new(), ORDERS_MAX).await
    }

    async fn ask(
        &self,
        request: Builder,
        path: &str,
        body: Bytes,
        answer_max: usize,
    ) -> Result<Bytes, Outcome> {
        let request = request.uri(format!("{}{path}", self.url));
        let request = match &self.authorization {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        };
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return Err(Outcome::Never(error.to_string())),
        };
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| told(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, answer_max).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((head.status, head.headers, body))
        };
        match tokio::time::timeout(TIMEOUT, answered).await {
            Err(_) => Err(Outcome::Later("no answer within 30 s".to_owned(), None)),
            Ok(Err(error)) => Err(Outcome::Later(error, None)),
            Ok(Ok((status, headers, body))) => judge(status, &headers, body),
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the token has characters that no header can have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with what caused it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// What is wrong with the batch itself is final; everything else may be mended, a wrong token also.
fn judge(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Outcome> {
    if status.is_success() {
        return Ok(body);
    }
    let said = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    let text = format!("{status}: {said}");
    let is_final = [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    if is_final.contains(&status) {
        return Err(Outcome::Never(text));
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(Outcome::Later(text, seconds.map(|s| Duration::from_secs(s).min(RETRY_AFTER_MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_batch_itself_is_final() {
        for (status, expected) in [
            (400, None),
            (413, None),
            (415, None),
            (422, None),
            (401, Some(7)),
            (403, Some(7)),
            (404, Some(7)),
            (408, Some(7)),
            (429, Some(7)),
            (500, Some(7)),
            (503, Some(7)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
            let status = StatusCode::from_u16(status).unwrap();
            let after = match judge(status, &headers, Bytes::new()) {
                Err(Outcome::Never(_)) => None,
                Err(Outcome::Later(_, after)) => after,
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(after, expected.map(Duration::from_secs), "{status}");
        }
    }
}
