//! Parts: what the routes of a server work with, over a store of the test's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deeptrace_http::{Applied, Settings, Token};
use deeptrace_server::access::{Access, Rules};
use deeptrace_server::api::{Api, Threshold};
use deeptrace_server::clock;
use deeptrace_server::correlation::{Choice, Correlation};
use deeptrace_server::duties::{Duties, Guarded, Place};
use deeptrace_server::jobs::Jobs;
use deeptrace_server::orders::Orders;
use deeptrace_server::otlp::Otlp;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_server::push::Push;
use deeptrace_store::Store;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Settings that refuse one key and take every other.
pub struct Fussy;

impl Settings for Fussy {
    fn show(&self) -> Value {
        json!({"config": []})
    }

    fn update(&self, changes: Value) -> Result<Applied, String> {
        match changes.get("wrong") {
            Some(_) => Err("unknown key `wrong`".to_owned()),
            None => Ok(Applied { applied: vec!["right".to_owned()], ..Applied::default() }),
        }
    }

    fn reload(&self) -> Result<Applied, String> {
        Ok(Applied::default())
    }
}

/// Of what they are made, and how.
pub struct Parts {
    pub store: Arc<Guarded>,
    pub admin: Token,
    pub data_dir: PathBuf,
    /// Whether other servers write to the store as well.
    pub is_shared: bool,
    pub rules: Rules,
    /// Spans that are taken of SDKs.
    pub reported_per_second: u32,
    /// How long agents have to answer.
    pub answer_time: Duration,
}

/// They, with the thread that writes and what ends it all.
pub struct Made {
    pub api: Api,
    pub writer: Writer,
    pub stop: watch::Sender<bool>,
}

impl Parts {
    /// Of one server, which asks on loopback nobody who they are.
    pub fn new(store: Arc<dyn Store>, admin: Token, data_dir: PathBuf) -> Self {
        Self {
            store: Arc::new(Guarded::new(store).unwrap()),
            admin,
            data_dir,
            is_shared: false,
            rules: Rules::default(),
            reported_per_second: 1_000,
            answer_time: Duration::from_secs(2),
        }
    }

    pub fn make(self) -> Made {
        let place = Place {
            backend: "embedded",
            is_shared: self.is_shared,
            data_dir: self.data_dir,
            config: None,
            plan: None,
            version: "test",
        };
        let duties = Arc::new(Duties::new(Arc::clone(&self.store), place));
        let tombstones = self.store.tombstones();
        let store: Arc<dyn Store> = self.store;
        let (ingest, writer) = Ingest::start(Arc::clone(&store), None).unwrap();
        let (stop, stopped) = watch::channel(false);
        let jobs = Arc::new(Jobs::new(Arc::clone(&store), stopped.clone(), false));
        let choice = Arc::new(Choice::new(deeptrace_correlate::AUTO));
        let orders = Orders::new(Arc::clone(&store), tombstones, self.is_shared);
        let otlp = Otlp::start(ingest.clone(), Arc::clone(&store), self.reported_per_second);
        let api = Api {
            access: Arc::new(Access::new(Arc::clone(&store), self.admin, self.rules)),
            orders: Arc::new(orders.waiting(self.answer_time)),
            otlp: otlp.unwrap(),
            store,
            duties,
            ingest,
            alerts: Arc::default(),
            push: Push::default(),
            threshold: Arc::new(Threshold::new(0.5)),
            correlation: Correlation { choice, jobs },
            started: clock::now(),
            stop: stopped,
            version: "test",
        };
        Made { api, writer, stop }
    }
}
