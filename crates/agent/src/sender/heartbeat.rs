//! Heartbeat: what the server is told of this agent every ten seconds (`POST /agents`).

use std::path::Path;
use std::sync::Arc;

use deeptrace_capture::host;
use deeptrace_model::{WallTime, hash_bytes};
use serde_json::{Value, json};

use crate::status::Status;

/// Services that are named in a heartbeat, those with most spans.
const SERVICES_MAX: usize = 100;

/// Who this agent is, and where it is known how it is.
#[derive(Clone, Debug)]
pub struct Teller {
    status: Arc<Status>,
    agent_id: String,
    version: &'static str,
}

impl Teller {
    /// Two agents of one host are told apart by their data folders.
    pub fn new(status: Arc<Status>, data_dir: &Path, version: &'static str) -> Self {
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let folder = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let host = host::host().name;
        let parts: [&[u8]; 3] =
            [machine.trim_ascii(), host.as_bytes(), folder.as_os_str().as_encoded_bytes()];
        let agent_id = format!("{:016x}", hash_bytes(&parts.join(&0)));
        Self { status, agent_id, version }
    }

    /// The same after every start on this host with this data folder.
    pub(super) fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// Whether capture is on.
    pub(super) fn is_capturing(&self) -> bool {
        self.status.is_capturing()
    }

    /// What is told now; `oldest`: start of the oldest span that waits to be sent;
    /// `config`: what became of the server's configuration.
    pub fn tell(
        &self,
        oldest: Option<WallTime>,
        config: Option<Value>,
        keeps_spans: bool,
    ) -> Value {
        let host = host::host();
        let mut rows = self.status.rows();
        rows.sort_by_key(|row| std::cmp::Reverse(row.span_count));
        rows.truncate(SERVICES_MAX);
        json!({
            "agent_id": self.agent_id,
            "host_name": host.name,
            "version": self.version,
            "boot_id": format!("{:016x}", host.boot),
            "started_unix_nano": self.status.started.0,
            "capturing_unix_nano": self.status.begun().map(|begun| begun.0),
            "stopped_unix_nano": self.status.stopped().map(|stopped| stopped.0),
            "sent_unix_nano": host::clock_now().wall.0,
            "oldest_waiting_unix_nano": oldest.map(|oldest| oldest.0),
            "status": self.status.report(),
            "counters": self.status.counters(),
            "services": rows,
            "config": config,
            "keeps_spans": keeps_spans,
        })
    }
}
