//! A real server over a real store, which asks everybody who they are unless it is told not to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use deeptrace_http::{Guard, Limits, Listener, Token};
use deeptrace_server::access::oidc::Provider;
use deeptrace_server::access::token::NewToken;
use deeptrace_server::access::user::NewUser;
use deeptrace_server::access::{Access, Role, Rules, Services, token, user};
use deeptrace_server::api::routes;
use deeptrace_server::audit::{Auditor, Keeping};
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_store::{Expected, Mode, Options, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::parts::{Fussy, Made, Parts};

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub admin: Token,
    pub store: Arc<dyn Store>,
    stop: watch::Sender<bool>,
    threads: Option<(JoinHandle<()>, Writer)>,
    ingest: Option<Ingest>,
    folder: Arc<tempfile::TempDir>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// `NAME=VALUE` of the cookie that was set.
    pub fn cookie(&self) -> String {
        let set = self.headers["set-cookie"].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}

/// Rules under which no test has to wait.
pub fn rules() -> Rules {
    Rules {
        is_required: true,
        logins_per_minute: 10_000,
        requests_per_s: 100_000,
        ..Rules::default()
    }
}

impl Server {
    pub fn start(rules: Rules) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        Self::over(store, folder, (rules, None), false)
    }

    /// With single sign-on, and an audit log.
    pub fn start_with(rules: Rules, provider: Option<Provider>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        Self::over(store, folder, (rules, provider), true)
    }

    /// With an audit log.
    pub fn start_audited(rules: Rules) -> Self {
        Self::start_with(rules, None)
    }

    /// Another server over the same store.
    pub fn replica(&self, rules: Rules) -> Self {
        self.replica_with(rules, None)
    }

    pub fn replica_with(&self, rules: Rules, provider: Option<Provider>) -> Self {
        let (store, folder) = (Arc::clone(&self.store), Arc::clone(&self.folder));
        Self::over(store, folder, (rules, provider), false)
    }

    fn over(
        store: Arc<dyn Store>,
        folder: Arc<tempfile::TempDir>,
        (rules, provider): (Rules, Option<Provider>),
        is_audited: bool,
    ) -> Self {
        let data = folder.path().join("data");
        let (admin, _) = Token::open(&data).unwrap();
        let Made { mut api, writer, stop } = made(&store, &admin, rules);
        let ingest = api.ingest.clone();
        let mut access = Access::new(Arc::clone(&store), admin.clone(), rules);
        if let Some(provider) = provider {
            access = access.with_provider(provider);
        }
        if is_audited {
            let keeping = Keeping::default();
            let auditor = Auditor::start(Arc::clone(&store), "w".to_owned(), keeping, Some(data));
            access = access.audited(Arc::new(auditor.unwrap()));
        }
        api.access = Arc::new(access);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "--port").unwrap();
        let address = listener.address();
        let (guard, stopped) = (Guard::of_host(address, Vec::new()), stop.subscribe());
        let serve = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let routes = routes(api, Arc::new(Fussy));
            runtime.block_on(listener.serve(routes, guard, Limits::default(), stopped)).unwrap();
        };
        let threads = Some((std::thread::spawn(serve), writer));
        Self { address, admin, store, stop, threads, ingest: Some(ingest), folder }
    }

    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// The text of a token of this role, of some services or of all.
    pub fn token(&self, role: Role, services: &[&str]) -> String {
        let services = Services::new(services.iter().map(|name| (*name).to_owned()));
        let new = NewToken { name: format!("t-{role}"), role, services, expires_in: None };
        token::create(&*self.store, new).unwrap().token
    }

    pub fn user(&self, name: &str, role: Role, password: &str) {
        let new = NewUser {
            name: name.to_owned(),
            role,
            services: Services::ALL,
            password: Some(password.to_owned()),
            replace: true,
        };
        user::add(&*self.store, new).unwrap();
    }

    /// Asks with these headers and this body.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let client = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let client: ureq::Agent = client.max_redirects(0).build().into();
        let mut response = client.run(request.body(body.to_owned()).unwrap()).unwrap();
        // What agents are answered is no text.
        let body = response.body_mut().read_to_vec().unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), text }
    }

    /// Asks as the bearer of a token.
    pub fn bear(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }

    /// Logs in; the answer has the cookie.
    pub fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({"name": name, "password": password}).to_string();
        self.ask("POST", "/login", &[], &body)
    }

    pub fn ingest(&self) -> &Ingest {
        self.ingest.as_ref().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.ingest.take();
        let (thread, writer) = self.threads.take().unwrap();
        thread.join().unwrap();
        writer.finish();
    }
}

/// What routes work with.
fn made(store: &Arc<dyn Store>, admin: &Token, rules: Rules) -> Made {
    // So that who polls for orders has something to fetch and need not wait.
    let config = br#"{"generation": 1, "config": {}}"#;
    store.put_document("agents/config", Some(config), Expected::Any).unwrap();
    // No request of these tests gets so far that a file would be touched.
    let parts = Parts::new(Arc::clone(store), admin.clone(), "/nonexistent".into());
    Parts { rules, ..parts }.make()
}

/// Each route of the router: method and path.
pub fn router_rows(store: &Arc<dyn Store>, admin: &Token) -> Vec<(String, String)> {
    let Made { api, writer, .. } = made(store, admin, rules());
    let text = format!("{:?}", routes(api, Arc::new(Fussy)));
    writer.finish();
    // The only thing that axum tells of its routes: under each number its methods, and elsewhere its
    // path. The router for what is not found comes last and counts from one again.
    let (mut methods, mut paths) = (BTreeMap::new(), BTreeMap::new());
    for numbered in text.split("RouteId(").skip(1) {
        let Some((number, rest)) = numbered.split_once("): ") else { continue };
        if let Some(path) = rest.strip_prefix('"') {
            paths.entry(number).or_insert(path.split('"').next().unwrap());
        } else if let Some((_, allowed)) = rest.split_once("allow_header: Bytes(b\"") {
            methods.entry(number).or_insert(allowed.split('"').next().unwrap());
        }
    }
    let mut rows = Vec::new();
    for (number, path) in paths.iter().filter(|(_, path)| !path.contains("__private__axum")) {
        for method in methods[number].split(',').filter(|method| *method != "HEAD") {
            rows.push((method.to_owned(), (*path).to_owned()));
        }
    }
    rows
}
