//! Client: requests to the nodes of one cluster. The first node that answers is asked; one that does
//! not is left alone for a while. What may be asked twice is asked again, with pauses, where a node is
//! overloaded or does not answer.

use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::{Elasticsearch, StoreError};

/// How long a node that did not answer is left alone.
const DOWN: Duration = Duration::from_secs(10);
/// How often all nodes are asked before it is given up.
const ROUNDS: u32 = 4;
/// The pause after the first round; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const CONNECT_MAX: Duration = Duration::from_secs(3);
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long what goes on by itself is waited for.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Bytes of what a node said in an error of ours.
const REASON_MAX: usize = 300;

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// With the query, beginning with `/`.
    pub(super) path: String,
    pub(super) body: &'a [u8],
    /// Whether asking twice is the same as once. If not, it is an error when nobody knows whether it
    /// was done.
    pub(super) is_repeatable: bool,
    /// For errors: what it is, after "refused".
    pub(super) action: &'static str,
}

impl<'a> Request<'a> {
    /// That may be asked twice.
    pub(super) fn new(method: &'static str, path: String, action: &'static str) -> Self {
        Self { method, path, body: &[], is_repeatable: true, action }
    }
}

/// What a node said.
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
    /// Of whom.
    place: String,
    action: &'static str,
}

/// The nodes of one cluster.
pub(super) struct Client {
    agent: ureq::Agent,
    nodes: Vec<Node>,
    authorization: Option<String>,
    pub(super) counters: Counters,
}

/// Counted since opening.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) nodes_down: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
}

struct Node {
    url: String,
    down_until: Mutex<Option<Instant>>,
}

/// Why there is no answer.
enum Failure {
    /// It was not asked.
    NotSent(String),
    /// Nobody knows whether it was done.
    Unanswered(String),
}

impl Client {
    pub(super) fn new(options: &Elasticsearch) -> Result<Self, StoreError> {
        if options.hosts.is_empty() {
            let reason = "give the address of a node, e.g. [\"http://localhost:9200\"]".to_owned();
            return Err(StoreError::Configuration { key: "elasticsearch.hosts", reason });
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .tls_config(tls(options)?)
            .timeout_connect(Some(CONNECT_MAX))
            .max_idle_connections_per_host(8)
            .user_agent(concat!("deeptrace/", env!("CARGO_PKG_VERSION")))
            .build();
        let node = |host: &String| Node {
            url: host.trim_end_matches('/').to_owned(),
            down_until: Mutex::new(None),
        };
        let Elasticsearch { username, password, api_key, .. } = options;
        let authorization = match (api_key.is_empty(), username.is_empty()) {
            (false, _) => Some(format!("ApiKey {api_key}")),
            (true, false) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            (true, true) => None,
        };
        Ok(Self {
            agent: config.into(),
            nodes: options.hosts.iter().map(node).collect(),
            authorization,
            counters: Counters::default(),
        })
    }

    /// Addresses of all nodes, for errors.
    pub(super) fn place(&self) -> String {
        self.nodes.iter().map(|node| node.url.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Asks, and again where that may help. An answer with an error that is ours to judge is an answer.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Answer, StoreError> {
        let mut pause = PAUSE;
        for round in 1.. {
            let failed = match self.ask_each(request) {
                Ok(answer) if !answer.is_busy() => return answer.checked(),
                Ok(answer) => {
                    // What a proxy says does not tell whether it was done.
                    let is_unknown = matches!(answer.status, 502 | 504);
                    let error = StoreError::Busy { reason: answer.reason(), place: answer.place };
                    if is_unknown && !request.is_repeatable {
                        return Err(error);
                    }
                    error
                }
                Err((failure, node)) => {
                    let (reason, is_unknown) = match failure {
                        Failure::NotSent(reason) => (reason, false),
                        Failure::Unanswered(reason) => (reason, true),
                    };
                    let error = StoreError::Unreachable { place: node, reason };
                    if is_unknown && !request.is_repeatable {
                        return Err(error);
                    }
                    error
                }
            };
            if round == ROUNDS {
                return Err(failed);
            }
            self.counters.repeated.fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the rounds end")
    }

    /// Has servers begin what they go on with when nobody waits for it. Waits for the end, or a while; whether it
    /// is done has to be asked.
    pub(super) fn begin(&self, request: &Request<'_>) -> Result<(), StoreError> {
        let mut last = None;
        for node in self.in_order() {
            match self.ask_one(node, request, BEGIN_MAX) {
                Ok(answer) if answer.is_busy() => return Ok(()),
                Ok(answer) => return answer.checked()?.done().map(drop),
                Err(Failure::Unanswered(_)) => return Ok(()),
                Err(Failure::NotSent(reason)) => {
                    self.counters.nodes_down.fetch_add(1, Ordering::Relaxed);
                    node.set_down(Some(Instant::now() + DOWN));
                    last = Some(StoreError::Unreachable { place: node.url.clone(), reason });
                }
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Asks one node after the other until one answers.
    fn ask_each(&self, request: &Request<'_>) -> Result<Answer, (Failure, String)> {
        let mut last = None;
        for node in self.in_order() {
            match self.ask_one(node, request, ANSWER_MAX) {
                Ok(answer) => {
                    node.set_down(None);
                    return Ok(answer);
                }
                Err(failure) => {
                    self.counters.nodes_down.fetch_add(1, Ordering::Relaxed);
                    node.set_down(Some(Instant::now() + DOWN));
                    let is_over =
                        matches!(failure, Failure::Unanswered(_)) && !request.is_repeatable;
                    last = Some((failure, node.url.clone()));
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| (Failure::NotSent("no node is known".to_owned()), self.place())))
    }

    /// The nodes that are up, in the order of the configuration, and then the others.
    fn in_order(&self) -> Vec<&Node> {
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        let now = Instant::now();
        nodes.sort_by_key(|node| node.is_down(now));
        nodes
    }

    fn ask_one(
        &self,
        node: &Node,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes_sent.fetch_add(request.body.len() as u64, Ordering::Relaxed);
        let mut message = ureq::http::Request::builder()
            .method(request.method)
            .uri(format!("{}{}", node.url, request.path));
        if let Some(authorization) = &self.authorization {
            message = message.header("authorization", authorization);
        }
        let not_sent = |error: ureq::http::Error| Failure::NotSent(error.to_string());
        let sent = if request.body.is_empty() {
            let message = self.agent.configure_request(message.body(()).map_err(not_sent)?);
            self.agent.run(message.timeout_global(Some(patience)).build())
        } else {
            let lines = request.path.split('?').next().is_some_and(|path| path.ends_with("/_bulk"));
            let kind = if lines { "application/x-ndjson" } else { "application/json" };
            let message = message.header("content-type", kind).body(request.body);
            let message = self.agent.configure_request(message.map_err(not_sent)?);
            self.agent.run(message.timeout_global(Some(patience)).build())
        };
        let mut response = sent.map_err(failure)?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| Failure::Unanswered(error.to_string()))?;
        self.counters.bytes_received.fetch_add(body.len() as u64, Ordering::Relaxed);
        let (status, place, action) =
            (response.status().as_u16(), node.url.clone(), request.action);
        Ok(Answer { status, body, place, action })
    }
}

impl Node {
    fn is_down(&self, now: Instant) -> bool {
        let down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        down_until.is_some_and(|until| now < until)
    }

    fn set_down(&self, until: Option<Instant>) {
        *self.down_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Answer {
    /// Whether it was done.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What it says, where it was done; the error where it was not.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, StoreError> {
        self.done()?.read_any()
    }

    /// What it says, whether it was done or not.
    pub(super) fn read_any<T: DeserializeOwned>(self) -> Result<T, StoreError> {
        serde_json::from_slice(&self.body).map_err(|error| StoreError::Refused {
            place: self.place,
            action: self.action.to_owned(),
            reason: format!("its answer cannot be read: {error}"),
        })
    }

    /// Itself, where it was done; the error where it was not.
    pub(super) fn done(self) -> Result<Self, StoreError> {
        if self.is_success() {
            return Ok(self);
        }
        let (reason, action) = (self.reason(), self.action.to_owned());
        Err(StoreError::Refused { place: self.place, action, reason })
    }

    /// The type of the error, as Elasticsearch names it.
    pub(super) fn error_type(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["type"].as_str().unwrap_or_default().to_owned()
    }

    /// What it says of its error, in one line.
    fn reason(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = &body["error"];
        let cause = error["failed_shards"][0]["reason"]["reason"].as_str();
        let said = cause.or_else(|| error["reason"].as_str()).or_else(|| error.as_str());
        let text = String::from_utf8_lossy(&self.body);
        let said = said.unwrap_or_else(|| text.trim()).replace('\n', " ");
        format!("{}: {}", self.status, cut(&said))
    }

    fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504) && !self.is_full()
    }

    /// Whether the node has made its indices read-only because its disk is nearly full.
    fn is_full(&self) -> bool {
        is_full(&self.error_type(), &String::from_utf8_lossy(&self.body))
    }

    /// Errors that mean the same whatever was asked.
    fn checked(self) -> Result<Self, StoreError> {
        if self.is_success() {
            return Ok(self);
        }
        if self.is_full() {
            return Err(StoreError::Full { place: self.place });
        }
        if matches!(self.status, 401 | 403) {
            let (reason, action) = (self.reason(), self.action.to_owned());
            return Err(StoreError::Denied { place: self.place, action, reason });
        }
        Ok(self)
    }
}

/// Whether an error says that a disk is nearly full: beyond the "flood stage" indices are read-only.
pub(super) fn is_full(error_type: &str, text: &str) -> bool {
    error_type == "cluster_block_exception"
        && (text.contains("flood") || text.contains("read-only-allow-delete"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn failure(error: ureq::Error) -> Failure {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let text = error.to_string();
    let is_not_sent = match &error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
        }
        ureq::Error::Timeout(what) => {
            matches!(what, ureq::Timeout::Connect | ureq::Timeout::Resolve)
        }
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Http(_) => true,
        _ => false,
    };
    if is_not_sent { Failure::NotSent(text) } else { Failure::Unanswered(text) }
}

/// Whom to believe.
fn tls(options: &Elasticsearch) -> Result<TlsConfig, StoreError> {
    let builder = TlsConfig::builder();
    let Some(path) = &options.ca_file else {
        return Ok(builder.root_certs(RootCerts::WebPki).build());
    };
    let wrong = |reason: String| StoreError::Configuration {
        key: "elasticsearch.ca_file",
        reason: format!("{}: {reason}", path.display()),
    };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate in PEM".to_owned()));
    }
    Ok(builder.root_certs(RootCerts::new_with_certs(&certificates)).build())
}
