//! A real server on a real port over a real store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_http::{Applied, Guard, Limits, Listener, Settings, Token};
use deeptrace_server::access::{Access, Rules};
use deeptrace_server::api::{Api, Threshold, routes};
use deeptrace_server::clock;
use deeptrace_server::correlation::{Choice, Correlation};
use deeptrace_server::duties::{Duties, Guarded, Place, Tombstones};
use deeptrace_server::jobs::Jobs;
use deeptrace_server::orders::Orders;
use deeptrace_server::otlp::Otlp;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_server::push::Push;
use deeptrace_store::{Mode, Options, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Nobody changes the configuration of these servers.
struct Fixed;

impl Settings for Fixed {
    fn show(&self) -> Value {
        json!({"config": []})
    }

    fn update(&self, _: Value) -> Result<Applied, String> {
        Ok(Applied::default())
    }

    fn reload(&self) -> Result<Applied, String> {
        Ok(Applied::default())
    }
}

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
        let data_dir = folder.path().join("data");
        let (token, _) = Token::open(&data_dir).unwrap();
        let guarded = Arc::new(Guarded::new(store).unwrap());
        let tombstones = guarded.tombstones();
        let place = Place {
            backend: "embedded",
            is_shared,
            data_dir,
            config: None,
            plan: None,
            version: "test",
        };
        let duties = Arc::new(Duties::new(Arc::clone(&guarded), place));
        let store: Arc<dyn Store> = guarded;
        let (ingest, writer) = Ingest::start(Arc::clone(&store), None).unwrap();
        let (stop, stopped) = watch::channel(false);
        let jobs = Arc::new(Jobs::new(Arc::clone(&store), stopped.clone(), false));
        let choice = Arc::new(Choice::new(deeptrace_correlate::AUTO));
        let access = Access::new(Arc::clone(&store), token.clone(), Rules::default());
        let otlp = Otlp::start(ingest.clone(), Arc::clone(&store), 1_000).unwrap();
        let orders = Orders::new(Arc::clone(&store), Arc::clone(&tombstones), is_shared);
        let orders = Arc::new(orders.waiting(answer_time));
        let ticking = orders.start(stopped.clone()).unwrap();
        let api = Api {
            store: Arc::clone(&store),
            access: Arc::new(access),
            duties,
            ingest,
            orders,
            alerts: Arc::default(),
            otlp,
            push: Push::default(),
            threshold: Arc::new(Threshold::new(0.5)),
            correlation: Correlation { choice, jobs },
            started: clock::now(),
            stop: stopped.clone(),
            version: "test",
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "--port").unwrap();
        let address = listener.address();
        let guard = Guard::of_host(address, Vec::new());
        let serving = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let routes = routes(api, Arc::new(Fixed));
            // Tests ask nothing about time, also where other work has the processors.
            let limits = Limits { answer_timeout: Duration::from_secs(300), ..Limits::default() };
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
