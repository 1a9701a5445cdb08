//! A real server on a real port over a real store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_http::{Guard, Limits, Listener, Token};
use deeptrace_server::api::routes;
use deeptrace_server::duties::Tombstones;
use deeptrace_server::pipeline::Writer;
use deeptrace_store::{Mode, Options, Store};
use serde_json::Value;
use tokio::sync::watch;

use crate::parts::{Fussy, Made, Parts};

/// A server that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    pub token: Token,
    pub store: Arc<dyn Store>,
    pub tombstones: Arc<Tombstones>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    writer: Option<Writer>,
    folder: Arc<tempfile::TempDir>,
}

impl Server {
    pub fn start() -> Self {
        Self::waiting(Duration::from_secs(2))
    }

    /// One where agents have so long to answer.
    pub fn waiting(answer_time: Duration) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = options(&folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        Self::over(store, folder, false, answer_time)
    }

    /// One that takes bodies of so many bytes.
    pub fn taking(body_bytes: usize) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = options(&folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        Self::limited(store, folder, (false, Duration::from_secs(2)), body_bytes)
    }

    /// Two servers that share a store, as over Elasticsearch.
    pub fn pair() -> (Self, Self) {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = options(&folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let time = Duration::from_secs(2);
        let first = Self::over(Arc::clone(&store), Arc::clone(&folder), true, time);
        (first, Self::over(store, folder, true, time))
    }

    fn over(
        store: Arc<dyn Store>,
        folder: Arc<tempfile::TempDir>,
        is_shared: bool,
        answer_time: Duration,
    ) -> Self {
        let limit = Limits::default().body_bytes;
        Self::limited(store, folder, (is_shared, answer_time), limit)
    }

    fn limited(
        store: Arc<dyn Store>,
        folder: Arc<tempfile::TempDir>,
        (is_shared, answer_time): (bool, Duration),
        body_bytes: usize,
    ) -> Self {
        let data_dir = folder.path().join("data");
        let (token, _) = Token::open(&data_dir).unwrap();
        let parts = Parts::new(store, token.clone(), data_dir);
        let tombstones = parts.store.tombstones();
        let Made { api, writer, stop } = Parts { is_shared, answer_time, ..parts }.make();
        let (store, stopped) = (Arc::clone(&api.store), api.stop.clone());
        let ticking = api.orders.start(stopped.clone()).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "--port").unwrap();
        let address = listener.address();
        let guard = Guard::of_host(address, Vec::new());
        let serving = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let routes = routes(api, Arc::new(Fussy));
            // Tests ask nothing about time, also where other work has the processors.
            let answer_timeout = Duration::from_secs(300);
            let limits = Limits { answer_timeout, body_bytes, ..Limits::default() };
            runtime.block_on(listener.serve(routes, guard, limits, stopped)).unwrap();
        });
        let (threads, writer) = (vec![serving, ticking], Some(writer));
        Self { address, token, store, tombstones, stop, threads, writer, folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> Value {
        let request = client().get(self.url(path));
        let request = request.header("Authorization", format!("Bearer {}", self.token.as_str()));
        request.call().unwrap().body_mut().read_json().unwrap()
    }

    pub fn put(&self, path: &str, body: &Value) -> Value {
        let request = client().put(self.url(path));
        let request = request.header("Authorization", format!("Bearer {}", self.token.as_str()));
        request.send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.get("/status")["counters"][name].as_u64().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        self.writer.take().unwrap().finish();
        let _ = &self.folder;
    }
}

/// Nothing is too old.
pub fn options(folder: &std::path::Path) -> Options {
    Options { retention: deeptrace_model::Duration(u64::MAX), ..Options::new(folder) }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

/// Waits until it is so; what is waited for takes no longer than this by far.
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
