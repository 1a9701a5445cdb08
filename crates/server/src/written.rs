//! Configuration of the server as it is written in `deeptrace.toml`: every key with its default.
//! What was meant is [`Config`](crate::config::Config).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[server]` as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address of the API and the page.
    pub host: String,
    /// Their port.
    pub port: u16,
    /// Names under which it is called, beside its addresses and the host's own name.
    pub names: Vec<String>,
    /// TLS.
    pub tls: Tls,
    /// Who may call it.
    pub auth: Auth,
    /// Who did what.
    pub audit: Audit,
    /// Single sign-on.
    pub oidc: Oidc,
    /// Spans of SDKs.
    pub otlp: Otlp,
}

/// `[server.tls]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the certificate and those that lead to a root; empty: no TLS.
    pub cert_file: String,
    /// PEM file of its private key.
    pub key_file: String,
    /// PEM file of the roots that issue the certificates of who may call; empty: nobody needs one.
    pub client_ca_file: String,
}

/// `[server.auth]` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether everybody has to say who they are; where nobody sets it, beyond loopback.
    pub required: Option<bool>,
    /// Minutes without a request after which a session ends.
    pub session_idle_minutes: u64,
    /// Hours after which a session ends whatever happens.
    pub session_max_hours: u64,
    /// Attempts to log in, from one address and for one name.
    pub logins_per_minute: u32,
    /// Requests of one caller; four times as many from one address.
    pub requests_per_second: u32,
}

/// `[server.audit]` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Days after which lines are removed.
    pub retention_days: u64,
    /// Bytes above which the oldest lines are removed.
    pub max_bytes: u64,
}

/// `[server.oidc]` as written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// Address of the provider, as its tokens name it; empty: no single sign-on.
    pub issuer: String,
    /// As whom it knows us.
    pub client_id: String,
    /// What proves that; empty: nothing does.
    pub client_secret: String,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Claim of the token that says what somebody is: its name, or a JSON pointer to it.
    pub roles_claim: String,
    /// Role by a value of that claim.
    pub roles: BTreeMap<String, String>,
    /// Role of who has none of these; empty: they may not come in.
    pub default_role: String,
    /// Claim that says which services somebody may see; empty: all of them.
    pub services_claim: String,
    /// Whom access tokens are for that programs bear; empty: none is taken.
    pub audience: String,
    /// What the button says.
    pub label: String,
    /// File with certificates (PEM) of whom to believe; empty: those that browsers believe.
    pub ca_file: String,
}

/// `[server.otlp]` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Address of both ports.
    pub host: String,
    /// Port of OTLP over gRPC; 0: none.
    pub grpc_port: u16,
    /// Port of OTLP over HTTP; 0: none.
    pub http_port: u16,
    /// Spans that are taken in a second; beyond, senders are told to wait.
    pub spans_per_second: u32,
}

/// `[export]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// Settled traces, pushed by the OpenTelemetry protocol.
    pub otlp: ExportOtlp,
}

/// `[export.otlp]` as written; names and meanings are those of OpenTelemetry's `OTEL_EXPORTER_OTLP_…`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportOtlp {
    /// Where to, e.g. `http://collector:4317`; `https` for TLS. Empty: nothing is pushed.
    pub endpoint: String,
    /// `grpc` or `http/protobuf`. The latter adds `/v1/traces` to an endpoint without a path.
    pub protocol: String,
    /// Sent with every request, e.g. an API key.
    pub headers: BTreeMap<String, String>,
    /// `gzip` or `none`.
    pub compression: String,
    /// Milliseconds for one request.
    pub timeout: u64,
    /// File with the certificates that are trusted, in PEM; empty: those of the system.
    pub certificate: String,
}

/// `[storage]` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Name in the store's table; absent: `elasticsearch` if that table is there, else `embedded`.
    pub backend: Option<String>,
    /// Days after which spans are removed.
    pub span_retention_days: u64,
    /// Bytes on disk above which the oldest spans are removed; absent: 10 GiB in the data folder, and
    /// as much as there is room for elsewhere.
    pub max_bytes: Option<u64>,
}

/// `[elasticsearch]` as written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Elasticsearch {
    /// Addresses of its nodes; empty: not used.
    pub hosts: Vec<String>,
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// API key, encoded as the server gave it; goes before user and password.
    pub api_key: String,
    /// File with certificates (PEM) of whom to believe; empty: those that browsers believe.
    pub ca_file: String,
    /// Beginning of the names of indices.
    pub index_prefix: String,
    /// Primary shards of the indices of one day.
    pub number_of_shards: u32,
    /// Copies of each; absent: one where there is a second node to hold it.
    pub number_of_replicas: Option<u32>,
}

/// `[backup]` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Folder in which a backup is made every day; empty: none is made.
    pub folder: String,
    /// So many of these are kept; older ones are removed.
    pub keep: usize,
    /// When it is made, `HH:MM` in UTC.
    pub time: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 7901,
            names: Vec::new(),
            tls: Tls::default(),
            auth: Auth::default(),
            audit: Audit::default(),
            oidc: Oidc::default(),
            otlp: Otlp::default(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention_days: 365, max_bytes: 1 << 30 }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: None,
            session_idle_minutes: 60,
            session_max_hours: 12,
            logins_per_minute: 10,
            requests_per_second: 100,
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            scopes: vec!["profile".to_owned()],
            roles_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            default_role: String::new(),
            services_claim: String::new(),
            audience: String::new(),
            label: "Single sign-on".to_owned(),
            ca_file: String::new(),
        }
    }
}

/// Without what is secret.
impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("roles_claim", &self.roles_claim)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Default for Otlp {
    fn default() -> Self {
        let host = "127.0.0.1".to_owned();
        Self { host, grpc_port: 4317, http_port: 4318, spans_per_second: 20_000 }
    }
}

impl Default for ExportOtlp {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: "grpc".to_owned(),
            headers: BTreeMap::new(),
            compression: "gzip".to_owned(),
            timeout: 10_000,
            certificate: String::new(),
        }
    }
}

/// Without what the headers say.
impl std::fmt::Debug for ExportOtlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, protocol, headers, compression, timeout, certificate } = self;
        f.debug_struct("ExportOtlp")
            .field("endpoint", endpoint)
            .field("protocol", protocol)
            .field("headers", &headers.keys())
            .field("compression", compression)
            .field("timeout", timeout)
            .field("certificate", certificate)
            .finish()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { backend: None, span_retention_days: 7, max_bytes: None }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self { folder: String::new(), keep: 7, time: "03:00".to_owned() }
    }
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            username: String::new(),
            password: String::new(),
            api_key: String::new(),
            ca_file: String::new(),
            index_prefix: "deeptrace".to_owned(),
            number_of_shards: 1,
            number_of_replicas: None,
        }
    }
}

/// Without what is secret.
impl std::fmt::Debug for Elasticsearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elasticsearch")
            .field("hosts", &self.hosts)
            .field("username", &self.username)
            .field("ca_file", &self.ca_file)
            .field("index_prefix", &self.index_prefix)
            .field("number_of_shards", &self.number_of_shards)
            .field("number_of_replicas", &self.number_of_replicas)
            .finish_non_exhaustive()
    }
}
