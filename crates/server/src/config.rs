//! Configuration of the server as it was meant: checked, with units, built once and passed down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use deeptrace_http::ServerFiles;
use deeptrace_model::Duration;
use deeptrace_store::{Mode, Store, StoreError};

use crate::access::{Rules, SessionRules, oidc};
use crate::audit::Keeping;
use crate::push::{Protocol, Target};
use crate::written::{self, Audit, Auth, Backup, Elasticsearch, Export, Server, Storage, Tls};

/// Keys (and what lies below them) that are accepted and checked, but change nothing yet.
pub const NOT_YET: &[&str] = &[];

/// Keys (and what lies below them) that change without a restart.
pub const LIVE: &[&str] = &[
    "alerts",
    "correlation.default_algorithm",
    "correlation.similarity_threshold",
    "server.tls",
    "webhooks",
];

/// What was meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the API and the page listen.
    pub listen: SocketAddr,
    /// Who may call it.
    pub access: Rules,
    /// Single sign-on; `None`: there is none.
    pub oidc: Option<oidc::Settings>,
    /// How long lines of the audit log are kept.
    pub audit: Keeping,
    /// Names under which they are called, beside addresses and the host's own name.
    pub names: Vec<String>,
    /// TLS; whether there is any changes with a restart only, its files at any time.
    pub tls: Option<ServerFiles>,
    /// The row of the store's table.
    pub backend: &'static str,
    /// Spans that ended longer ago are removed.
    pub retention: Duration,
    /// Bytes on disk above which the oldest spans are removed.
    pub max_bytes: u64,
    /// Where the servers of that backend are.
    pub elasticsearch: deeptrace_store::Elasticsearch,
    /// Probability below which a link is not used when traces are assembled.
    pub threshold: f32,
    /// Where spans of SDKs come in.
    pub otlp: Otlp,
    /// Where settled traces are pushed; `None`: nowhere.
    pub push: Option<Target>,
}

/// Where spans of SDKs come in, beside the API's own port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Over gRPC; `None`: not at all.
    pub grpc: Option<SocketAddr>,
    /// Over HTTP; `None`: not at all.
    pub http: Option<SocketAddr>,
    /// Spans that are taken in a second.
    pub spans_per_second: u32,
}

/// The daily backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPlan {
    /// In which each gets a folder of its own.
    pub folder: PathBuf,
    /// So many are kept.
    pub keep: usize,
    /// When it is made: minutes since midnight, UTC.
    pub minute_of_day: u32,
}

impl BackupPlan {
    /// Checks what was written and gives it its meaning; `None` where no folder is given.
    pub fn new(backup: &Backup) -> Result<Option<Self>, ConfigError> {
        let minute_of_day = minute_of_day(&backup.time)
            .ok_or_else(|| error("backup.time", "give a time of the day in UTC, like 03:00"))?;
        if backup.keep == 0 || backup.keep > 3_660 {
            return Err(error("backup.keep", "give at least 1 and at most 3660"));
        }
        let folder = PathBuf::from(&backup.folder);
        match (backup.folder.is_empty(), folder.is_absolute()) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(Self { folder, keep: backup.keep, minute_of_day })),
            (false, false) => Err(error("backup.folder", "give an absolute path")),
        }
    }
}

fn minute_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u32| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| is_number && *number < below)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

/// A value that makes no sense: its key and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// Dotted key.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Config {
    /// Checks what was written and gives it its meaning. `threshold` is
    /// `correlation.similarity_threshold`, which the agent's part has checked.
    pub fn new(
        server: &Server,
        storage: &Storage,
        elasticsearch: &Elasticsearch,
        export: &Export,
        threshold: f32,
    ) -> Result<Self, ConfigError> {
        let backend = backend(storage.backend.as_deref(), elasticsearch)?;
        check(elasticsearch, backend)?;
        if storage.span_retention_days == 0 || storage.span_retention_days > 36_500 {
            let message = "give at least 1 day and at most 36500";
            return Err(error("storage.span_retention_days", message));
        }
        if storage.max_bytes.is_some_and(|bytes| bytes < 16 << 20) {
            let message = "less than 16777216 (16 MiB) holds no useful time";
            return Err(error("storage.max_bytes", message));
        }
        let listen = SocketAddr::new(ip("server.host", &server.host)?, server.port);
        let (access, tls) = (access(&server.auth, listen)?, tls(&server.tls)?);
        // Under TLS a session is never shown without it.
        let sessions = SessionRules { is_secure: tls.is_some(), ..access.sessions };
        Ok(Self {
            listen,
            access: Rules { sessions, ..access },
            oidc: oidc::Settings::new(&server.oidc)?,
            audit: audit(&server.audit)?,
            names: server.names.clone(),
            tls,
            backend,
            retention: Duration::from_secs(storage.span_retention_days * 24 * 3600),
            // A cluster is as large as somebody has made it.
            max_bytes: storage.max_bytes.unwrap_or(match backend {
                EMBEDDED => 10 << 30,
                _ => u64::MAX,
            }),
            elasticsearch: meant(elasticsearch),
            threshold,
            otlp: otlp(&server.otlp)?,
            push: target(&export.otlp)?,
        })
    }

    /// How the store is to be opened that has its data folder in `folder`.
    pub fn store_options(&self, folder: &Path) -> deeptrace_store::Options {
        let mut options = deeptrace_store::Options::new(folder);
        options.retention = self.retention;
        options.max_bytes = self.max_bytes;
        options.elasticsearch = self.elasticsearch.clone();
        options
    }

    /// Opens the store that has its data folder in `folder`.
    pub fn open_store(&self, folder: &Path, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
        deeptrace_store::open(self.backend, &self.store_options(folder), mode)
    }

    /// Where a server of this configuration is asked from its own host.
    pub fn url(&self) -> String {
        self.url_at(self.listen)
    }

    /// The same, bound to `address`.
    pub fn url_at(&self, address: SocketAddr) -> String {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let secure = if self.tls.is_some() { "s" } else { "" };
        format!("http{secure}://{}", SocketAddr::new(ip, address.port()))
    }
}

fn audit(audit: &Audit) -> Result<Keeping, ConfigError> {
    if !(1..=36_500).contains(&audit.retention_days) {
        return Err(error("server.audit.retention_days", "give at least 1 day and at most 36500"));
    }
    if audit.max_bytes < 1 << 20 {
        let message = "less than 1048576 (1 MiB) holds no useful time";
        return Err(error("server.audit.max_bytes", message));
    }
    let retention = std::time::Duration::from_secs(audit.retention_days * 24 * 3_600);
    Ok(Keeping { retention, max_bytes: audit.max_bytes })
}

fn access(auth: &Auth, listen: SocketAddr) -> Result<Rules, ConfigError> {
    let within = |key: &str, value: u64, most: u64| match value {
        value if (1..=most).contains(&value) => Ok(value),
        _ => {
            let message = format!("give at least 1 and at most {most}");
            Err(error(&format!("server.auth.{key}"), message))
        }
    };
    let idle = within("session_idle_minutes", auth.session_idle_minutes, 525_600)?;
    let longest = within("session_max_hours", auth.session_max_hours, 8_760)?;
    within("logins_per_minute", auth.logins_per_minute.into(), 100_000)?;
    within("requests_per_second", auth.requests_per_second.into(), 1_000_000)?;
    Ok(Rules {
        is_required: auth.required.unwrap_or(!listen.ip().is_loopback()),
        sessions: SessionRules {
            idle: std::time::Duration::from_secs(idle * 60),
            longest: std::time::Duration::from_secs(longest * 3_600),
            is_secure: false,
        },
        logins_per_minute: auth.logins_per_minute,
        requests_per_s: auth.requests_per_second,
    })
}

fn tls(written: &Tls) -> Result<Option<ServerFiles>, ConfigError> {
    let Tls { cert_file, key_file, client_ca_file } = written;
    if cert_file.is_empty() && key_file.is_empty() && client_ca_file.is_empty() {
        return Ok(None);
    }
    for (key, file) in [("server.tls.cert_file", cert_file), ("server.tls.key_file", key_file)] {
        if file.is_empty() {
            return Err(error(key, "TLS needs both cert_file and key_file"));
        }
    }
    let client_ca_file = (!client_ca_file.is_empty()).then(|| client_ca_file.into());
    Ok(Some(ServerFiles { cert_file: cert_file.into(), key_file: key_file.into(), client_ca_file }))
}

/// The backend of the data folder, and the one that a table of its own selects.
const EMBEDDED: &str = "embedded";
const ELASTICSEARCH: &str = "elasticsearch";

fn otlp(written: &written::Otlp) -> Result<Otlp, ConfigError> {
    let ip = ip("server.otlp.host", &written.host)?;
    let listen = |port| (port != 0).then(|| SocketAddr::new(ip, port));
    if written.spans_per_second == 0 {
        let message = "give at least 1; a port of 0 takes no spans at all";
        return Err(error("server.otlp.spans_per_second", message));
    }
    Ok(Otlp {
        grpc: listen(written.grpc_port),
        http: listen(written.http_port),
        spans_per_second: written.spans_per_second,
    })
}

fn target(written: &written::ExportOtlp) -> Result<Option<Target>, ConfigError> {
    let key = |name: &str| format!("export.otlp.{name}");
    let protocol = match written.protocol.as_str() {
        "grpc" => Protocol::Grpc,
        "http/protobuf" => Protocol::Http,
        _ => return Err(error(&key("protocol"), "choose grpc or http/protobuf")),
    };
    let is_gzip = match written.compression.as_str() {
        "gzip" => true,
        "none" => false,
        _ => return Err(error(&key("compression"), "choose gzip or none")),
    };
    if !(1..=600_000).contains(&written.timeout) {
        return Err(error(&key("timeout"), "give 1 to 600000 milliseconds"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &written.headers {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let message = "this is no header that HTTP can send";
        let (name, mut value) =
            parsed.ok_or_else(|| error(&key(&format!("headers.{name}")), message))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if written.endpoint.is_empty() {
        return Ok(None);
    }
    let endpoint = protocol.endpoint(&written.endpoint).ok_or_else(|| {
        error(&key("endpoint"), "give an address like http://collector:4317 or https://…")
    })?;
    Ok(Some(Target {
        endpoint,
        protocol,
        headers,
        is_gzip,
        timeout: std::time::Duration::from_millis(written.timeout),
        certificate: (!written.certificate.is_empty()).then(|| written.certificate.clone().into()),
    }))
}

fn check(elasticsearch: &Elasticsearch, backend: &str) -> Result<(), ConfigError> {
    for (index, host) in elasticsearch.hosts.iter().enumerate() {
        let key = format!("elasticsearch.hosts[{index}]");
        let rest = host.strip_prefix("http://").or_else(|| host.strip_prefix("https://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return Err(error(&key, "give an address that begins with http:// or https://"));
        };
        if rest.contains('@') {
            let message = "give user and password as elasticsearch.username and password";
            return Err(error(&key, message));
        }
        if rest.contains(['?', '#', ' ']) {
            return Err(error(&key, "give an address without a query"));
        }
    }
    if elasticsearch.hosts.is_empty() && backend == ELASTICSEARCH {
        let message = "give at least one address, e.g. [\"http://localhost:9200\"]";
        return Err(error("elasticsearch.hosts", message));
    }
    let is_prefix = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let prefix = &elasticsearch.index_prefix;
    if !prefix.starts_with(|c: char| c.is_ascii_lowercase()) || !prefix.chars().all(is_prefix) {
        let message = "give lower-case letters, digits, `-` and `_`, a letter first";
        return Err(error("elasticsearch.index_prefix", message));
    }
    // With what stands behind it, servers take 255 bytes.
    if prefix.len() > 128 {
        return Err(error("elasticsearch.index_prefix", "give at most 128 characters"));
    }
    if !(1..=1024).contains(&elasticsearch.number_of_shards) {
        return Err(error("elasticsearch.number_of_shards", "give at least 1 and at most 1024"));
    }
    for (key, text) in [
        ("elasticsearch.api_key", &elasticsearch.api_key),
        ("elasticsearch.username", &elasticsearch.username),
    ] {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error(key, "give printable ASCII without spaces"));
        }
    }
    Ok(())
}

fn meant(written: &Elasticsearch) -> deeptrace_store::Elasticsearch {
    deeptrace_store::Elasticsearch {
        hosts: written.hosts.clone(),
        username: written.username.clone(),
        password: written.password.clone(),
        api_key: written.api_key.clone(),
        ca_file: (!written.ca_file.is_empty()).then(|| PathBuf::from(&written.ca_file)),
        index_prefix: written.index_prefix.clone(),
        number_of_shards: written.number_of_shards,
        number_of_replicas: written.number_of_replicas,
    }
}

fn backend(name: Option<&str>, elasticsearch: &Elasticsearch) -> Result<&'static str, ConfigError> {
    let is_there = *elasticsearch != Elasticsearch::default();
    let name = name.unwrap_or(if is_there { ELASTICSEARCH } else { EMBEDDED });
    let names: Vec<&'static str> = deeptrace_store::TABLE.iter().map(|row| row.name).collect();
    names.iter().copied().find(|known| *known == name).ok_or_else(|| {
        let choice = names.join(", ");
        error("storage.backend", format!("this version has no backend `{name}`; choose {choice}"))
    })
}

fn ip(key: &str, text: &str) -> Result<IpAddr, ConfigError> {
    let text = if text == "localhost" { "127.0.0.1" } else { text };
    text.parse().map_err(|_| {
        let message = format!("`{text}` is no address; give one like 127.0.0.1 or 0.0.0.0");
        error(key, message)
    })
}

/// A value of `key` that makes no sense.
pub(crate) fn error(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError { key: key.to_owned(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let (server, storage) = (Server::default(), Storage::default());
        let (elastic, export) = (Elasticsearch::default(), Export::default());
        let config = Config::new(&server, &storage, &elastic, &export, 0.5).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7901".parse().unwrap());
        assert_eq!(config.retention, Duration::from_secs(604_800));
    }

    #[test]
    fn a_backup_is_planned_only_where_a_folder_is_given() {
        assert_eq!(BackupPlan::new(&Backup::default()), Ok(None));
        let backup =
            Backup { folder: "/backups".into(), time: "23:59".into(), ..Backup::default() };
        let plan = BackupPlan::new(&backup).unwrap().unwrap();
        assert_eq!((plan.keep, plan.minute_of_day), (7, 24 * 60 - 1));
        for (key, bad) in [
            ("backup.time", Backup { time: "24:00".into(), ..backup.clone() }),
            ("backup.time", Backup { time: "+3:00".into(), ..backup.clone() }),
            ("backup.time", Backup { time: "3 am".into(), ..backup.clone() }),
            ("backup.keep", Backup { keep: 0, ..backup.clone() }),
            ("backup.folder", Backup { folder: "backups".into(), ..backup }),
        ] {
            assert_eq!(BackupPlan::new(&bad).unwrap_err().key, key, "{bad:?}");
        }
    }

    #[test]
    fn each_bad_value_is_named() {
        type Spoil = fn(&mut Server, &mut Storage, &mut Elasticsearch);
        let cases: &[(&str, Spoil)] = &[
            ("server.host", |s, _, _| s.host = "traces.example".into()),
            ("server.audit.retention_days", |s, _, _| s.audit.retention_days = 0),
            ("server.audit.max_bytes", |s, _, _| s.audit.max_bytes = 1),
            ("server.auth.session_idle_minutes", |s, _, _| s.auth.session_idle_minutes = 0),
            ("server.auth.session_max_hours", |s, _, _| s.auth.session_max_hours = 9_999),
            ("server.auth.logins_per_minute", |s, _, _| s.auth.logins_per_minute = 0),
            ("server.auth.requests_per_second", |s, _, _| s.auth.requests_per_second = 0),
            ("server.tls.key_file", |s, _, _| s.tls.cert_file = "cert.pem".into()),
            ("server.tls.cert_file", |s, _, _| s.tls.client_ca_file = "ca.pem".into()),
            ("storage.backend", |_, s, _| s.backend = Some("papyrus".into())),
            ("storage.span_retention_days", |_, s, _| s.span_retention_days = 0),
            ("storage.max_bytes", |_, s, _| s.max_bytes = Some(1)),
            ("elasticsearch.hosts[0]", |_, _, e| e.hosts = vec!["localhost:9200".into()]),
            ("elasticsearch.hosts[0]", |_, _, e| e.hosts = vec!["http://ann:pw@h:9200".into()]),
            ("elasticsearch.hosts", |_, _, e| e.username = "elastic".into()),
            ("elasticsearch.hosts", |_, s, _| s.backend = Some("elasticsearch".into())),
            ("elasticsearch.index_prefix", |_, s, e| {
                s.backend = Some("embedded".into());
                e.index_prefix = "Deep Trace".into();
            }),
            ("elasticsearch.number_of_shards", |_, s, e| {
                s.backend = Some("embedded".into());
                e.number_of_shards = 0;
            }),
        ];
        for (key, spoil) in cases {
            let (mut server, mut storage) = (Server::default(), Storage::default());
            let mut elasticsearch = Elasticsearch::default();
            spoil(&mut server, &mut storage, &mut elasticsearch);
            let export = Export::default();
            let error = Config::new(&server, &storage, &elasticsearch, &export, 0.5).unwrap_err();
            assert_eq!(error.key, *key);
        }
    }

    #[test]
    fn a_table_selects_its_backend_unless_another_is_named() {
        let (server, mut storage) = (Server::default(), Storage::default());
        let there =
            Elasticsearch { hosts: vec!["http://localhost:9200".into()], ..Default::default() };
        let export = Export::default();
        let config = Config::new(&server, &storage, &there, &export, 0.5).unwrap();
        assert_eq!((config.backend, config.max_bytes), ("elasticsearch", u64::MAX));
        storage.backend = Some("embedded".into());
        let config = Config::new(&server, &storage, &there, &export, 0.5).unwrap();
        assert_eq!((config.backend, config.max_bytes), ("embedded", 10 << 30));
    }

    #[test]
    fn each_bad_value_of_what_is_pushed_is_named() {
        type Spoil = fn(&mut written::ExportOtlp);
        let cases: &[(&str, Spoil)] = &[
            ("export.otlp.endpoint", |it| it.endpoint = "collector:4317".into()),
            ("export.otlp.endpoint", |it| it.endpoint = "ftp://collector".into()),
            ("export.otlp.protocol", |it| it.protocol = "http/json".into()),
            ("export.otlp.compression", |it| it.compression = "zip".into()),
            ("export.otlp.timeout", |it| it.timeout = 0),
            ("export.otlp.headers.a b", |it| {
                it.headers.insert("a b".into(), "x".into());
            }),
        ];
        for (key, spoil) in cases {
            let mut written = written::ExportOtlp::default();
            spoil(&mut written);
            assert_eq!(target(&written).unwrap_err().key, *key);
        }
    }
}
