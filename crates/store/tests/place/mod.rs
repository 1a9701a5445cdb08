//! Where the store of a test lies: a fresh folder, or fresh indices of a server that the environment
//! names. They are removed at the end.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use deeptrace_store::{Backend, Elasticsearch, Options};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Addresses, with commas between them, of Elasticsearch or OpenSearch.
pub const HOSTS: &str = "DEEPTRACE_TEST_ELASTICSEARCH";
/// What else is needed to get in there.
const USERNAME: &str = "DEEPTRACE_TEST_ELASTICSEARCH_USERNAME";
const PASSWORD: &str = "DEEPTRACE_TEST_ELASTICSEARCH_PASSWORD";
const API_KEY: &str = "DEEPTRACE_TEST_ELASTICSEARCH_API_KEY";
const CA_FILE: &str = "DEEPTRACE_TEST_ELASTICSEARCH_CA_FILE";

/// A place for one test.
pub struct Place {
    pub options: Options,
    is_remote: bool,
    _folder: tempfile::TempDir,
}

impl Place {
    /// `None`, said loudly, where the server that the backend needs is not given.
    pub fn of(backend: &Backend) -> Option<Self> {
        static SAID: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("data"));
        let is_remote = backend.name == "elasticsearch";
        if is_remote {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let prefix = format!("test-{}-{number}", std::process::id());
            let Some(elasticsearch) = elasticsearch(&prefix) else {
                // Past the harness, which keeps what tests print.
                let said =
                    b"SKIPPED: elasticsearch: DEEPTRACE_TEST_ELASTICSEARCH names no server\n";
                SAID.call_once(|| std::io::stderr().write_all(said).unwrap());
                return None;
            };
            options.elasticsearch = elasticsearch;
        }
        Some(Self { options, is_remote, _folder: folder })
    }
}

/// The server of the environment, with indices that begin with `prefix`.
pub fn elasticsearch(prefix: &str) -> Option<Elasticsearch> {
    let text = |name| env::var(name).unwrap_or_default();
    let hosts: Vec<String> = env::var(HOSTS).ok()?.split(',').map(str::to_owned).collect();
    Some(Elasticsearch {
        hosts,
        username: text(USERNAME),
        password: text(PASSWORD),
        api_key: text(API_KEY),
        ca_file: env::var(CA_FILE).ok().map(PathBuf::from),
        index_prefix: prefix.to_owned(),
        ..Elasticsearch::default()
    })
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that has failed may have no server any more.
        if self.is_remote && !std::thread::panicking() {
            let Elasticsearch { index_prefix: prefix, .. } = &self.options.elasticsearch;
            ask(&self.options.elasticsearch, "DELETE", &format!("/{prefix}-*"), "");
            ask(&self.options.elasticsearch, "DELETE", &format!("/_index_template/{prefix}-*"), "");
        }
    }
}

/// Asks the server itself, past the store.
pub fn ask(at: &Elasticsearch, method: &str, path: &str, body: &str) -> serde_json::Value {
    let mut config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    if let Some(file) = &at.ca_file {
        let certificate = Certificate::from_pem(&fs::read(file).unwrap()).unwrap();
        let roots = RootCerts::new_with_certs(&[certificate]);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    let agent: ureq::Agent = config.build().into();
    let host = at.hosts.last().unwrap();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{host}{path}"))
        .header("content-type", "application/json");
    let request = match (at.api_key.as_str(), at.username.as_str()) {
        ("", "") => request,
        ("", name) => {
            let pair = format!("{name}:{}", at.password);
            let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
            request.header("authorization", format!("Basic {pair}"))
        }
        (key, _) => request.header("authorization", format!("ApiKey {key}")),
    };
    let mut answer = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}
