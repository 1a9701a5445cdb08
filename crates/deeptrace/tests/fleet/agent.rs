//! An agent without capture: spans are given to its sink, which sends them or keeps them for real.

use std::path::Path;
use std::sync::{Arc, Mutex};

use deeptrace::kept::{Answering, Keeping};
use deeptrace_agent::sender::{self, Doing, Keeping as Keys, Sending, Sends, Teller, Token};
use deeptrace_agent::sink::Sink;
use deeptrace_agent::status::Status;
use deeptrace_http::{Applied, ClientFiles, Settings};
use deeptrace_model::WallTime;
use deeptrace_server::duties::Guarded;
use deeptrace_server::kept::Kept;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_store::Mode;
use serde_json::{Value, json};

use crate::server::{Server, options};

/// An agent that runs until it is dropped.
pub struct Agent {
    sink: Option<Box<dyn Sink>>,
    pub keys: Keys,
    sends: Option<Sends>,
    writer: Option<Writer>,
    /// What its configuration was changed to by the server.
    pub settings: Arc<Written>,
    folder: tempfile::TempDir,
}

/// Settings that remember what they are given, and refuse one key.
#[derive(Default)]
pub struct Written(pub Mutex<Vec<Value>>);

impl Settings for Written {
    fn show(&self) -> Value {
        json!({"config": []})
    }

    fn update(&self, changes: Value) -> Result<Applied, String> {
        if changes["agents"]["trace"].get("wrong").is_some() {
            return Err("unknown key `wrong`".to_owned());
        }
        self.0.lock().unwrap().push(changes);
        Ok(Applied { applied: vec!["agents.trace.pids".to_owned()], ..Applied::default() })
    }

    fn reload(&self) -> Result<Applied, String> {
        Ok(Applied::default())
    }
}

fn sending(server: &Server, folder: &Path, keeps_spans: bool) -> Sending {
    Sending {
        url: server.url(""),
        port: 0,
        token: Some(Token::Text(server.token.as_str().to_owned())),
        tls: ClientFiles { ca_file: None, identity: None },
        memory_bytes: 64 << 20,
        disk_bytes: 64 << 20,
        disk_path: folder.join("buffer"),
        is_compressing: true,
        accepts_config: true,
        keeps_spans,
    }
}

impl Agent {
    /// One that sends its spans, and takes configuration from its server.
    pub fn start(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Arc::new(Written::default());
        let doing = Doing { settings: Some(Arc::clone(&settings) as _), kept: None };
        let teller = Teller::new(Arc::new(Status::new(WallTime(1))), folder.path(), "test");
        let sending = sending(server, folder.path(), false);
        let (sender, sends) = sender::start(&sending, teller, doing).unwrap();
        let keys = sender.keeping();
        let sink: Option<Box<dyn Sink>> = Some(Box::new(sender));
        Self { sink, keys, sends: Some(sends), writer: None, settings, folder }
    }

    /// One that keeps its spans, as if it had been there for ever.
    pub fn keeping(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let store = Arc::new(Guarded::new(store).unwrap());
        let (ingest, writer) = Ingest::start(Arc::clone(&store) as _, None).unwrap();
        let kept = Arc::new(Kept::new(store, WallTime(1)));
        let answering = Arc::new(Answering(Arc::clone(&kept)));
        let doing = Doing { settings: None, kept: Some(answering) };
        let teller = Teller::new(Arc::new(Status::new(WallTime(1))), folder.path(), "test");
        let sending = sending(server, folder.path(), true);
        let (sender, sends) = sender::start(&sending, teller, doing).unwrap();
        let (keys, settings) = (sender.keeping(), Arc::default());
        let sink: Option<Box<dyn Sink>> = Some(Box::new(Keeping::new(kept, ingest, sender)));
        Self { sink, keys, sends: Some(sends), writer: Some(writer), settings, folder }
    }

    pub fn sink(&mut self) -> &mut dyn Sink {
        &mut **self.sink.as_mut().unwrap()
    }

    /// Where its files are.
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().to_owned()
    }

    pub fn counter(&self, name: &str) -> u64 {
        let mut found = 0;
        let add = &mut |it: &'static str, value| found += if it == name { value } else { 0 };
        self.sink.as_ref().unwrap().counters(add);
        found
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.sink.take();
        self.sends.take().unwrap().finish();
        self.writer.take().into_iter().for_each(Writer::finish);
    }
}
