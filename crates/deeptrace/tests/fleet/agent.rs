//! A real sender of an agent; spans are given to it instead of captured.

use std::sync::{Arc, Mutex};

use deeptrace_agent::sender::{self, Doing, Sender, Sending, Sends, Teller, Token};
use deeptrace_agent::sink::Sink;
use deeptrace_agent::status::Status;
use deeptrace_http::{Applied, ClientFiles, Settings};
use deeptrace_model::WallTime;
use serde_json::{Value, json};

use crate::server::Server;

/// An agent that sends until it is dropped.
pub struct Agent {
    pub sender: Option<Sender>,
    sends: Option<Sends>,
    /// What its configuration was changed to by the server.
    pub settings: Arc<Written>,
    _folder: tempfile::TempDir,
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

impl Agent {
    /// One that takes configuration from its server.
    pub fn start(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sending = Sending {
            url: server.url(""),
            port: 0,
            token: Some(Token::Text(server.token.as_str().to_owned())),
            tls: ClientFiles { ca_file: None, identity: None },
            memory_bytes: 16 << 20,
            disk_bytes: 16 << 20,
            disk_path: folder.path().join("buffer"),
            is_compressing: true,
            accepts_config: true,
        };
        let status = Arc::new(Status::new(WallTime(1)));
        let teller = Teller::new(status, folder.path(), "test");
        let settings = Arc::new(Written::default());
        let doing = Doing { settings: Some(Arc::clone(&settings) as _) };
        let (sender, sends) = sender::start(&sending, teller, doing).unwrap();
        Self { sender: Some(sender), sends: Some(sends), settings, _folder: folder }
    }

    pub fn counter(&self, name: &str) -> u64 {
        let mut found = 0;
        let add = &mut |it: &'static str, value| found += if it == name { value } else { 0 };
        self.sender.as_ref().unwrap().counters(add);
        found
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.sender.take();
        self.sends.take().unwrap().finish();
    }
}
