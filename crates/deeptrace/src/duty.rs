//! Who does a duty of the data: a running server (`--server`), else this process on the data folder; where
//! that is in use, the server that has it.

use std::path::absolute;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use deeptrace_server::duties::{Duties, Guarded, Job, JobState, Place};
use deeptrace_store::{Mode, StoreError};
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::config::Loaded;
use crate::progress::Progress;
use crate::{Common, audited};

/// Between two questions how far a job is.
const POLL: Duration = Duration::from_millis(200);
/// Without news for so long, whoever did the job has died.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Who does it.
pub enum Doer {
    /// A running server.
    Server(Client),
    /// We, on the data folder.
    Folder(Box<Duties>),
}

/// Whether a store may be made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is an error.
    Refused,
    /// It is made.
    Made,
}

impl Doer {
    /// The server at `url`, or whoever has the data folder.
    pub fn new(url: Option<&str>, common: &Common, absent: Absent) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self::Server(Client::new(url, common)?));
        }
        let loaded = common.load()?;
        let open = |mode| loaded.server.open_store(&common.data_dir, mode);
        if absent == Absent::Refused {
            open(Mode::Read).context("cannot open the store")?;
        }
        match open(Mode::Write) {
            Ok(store) => {
                // Before it is done: whoever is killed meanwhile has been noted.
                audited::note_command(common, "begun");
                let guarded = Guarded::new(store).context("cannot read what was erased")?;
                let duties = Duties::new(Arc::new(guarded), place(&loaded, common));
                Ok(Self::Folder(Box::new(duties)))
            }
            Err(error @ StoreError::InUse { .. }) => {
                Ok(Self::Server(Client::of_holder(error, common)?))
            }
            Err(error) => Err(error).context("cannot open the store"),
        }
    }
}

/// Where duties are done under this configuration.
pub fn place(loaded: &Loaded, common: &Common) -> Place {
    let absolute = |path: &std::path::Path| absolute(path).unwrap_or_else(|_| path.to_owned());
    Place {
        backend: loaded.server.backend,
        is_shared: (deeptrace_store::TABLE.iter())
            .any(|row| row.name == loaded.server.backend && row.is_shared),
        data_dir: absolute(&common.data_dir),
        config: loaded.file.as_deref().map(absolute),
        plan: loaded.backup.clone(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Waits for the end of a job and returns what came of it.
pub fn wait<T: DeserializeOwned>(client: &Client, job: Job, progress: &Progress) -> Result<T> {
    let mut job = job;
    let mut heard = Instant::now();
    loop {
        match job.state {
            JobState::Done => {
                progress.end();
                let result = job.result.unwrap_or_default();
                return serde_json::from_value(result)
                    .context("the server gave a result of another version");
            }
            JobState::Failed => bail!("{}", job.error.unwrap_or_default()),
            JobState::Running if heard.elapsed() > SILENCE_MAX => {
                bail!(
                    "no news of job {} for two minutes: its server has died; start it, then look again",
                    job.id
                )
            }
            JobState::Running => progress.tell(&job.progress),
        }
        std::thread::sleep(POLL);
        let later: Job = client.get(&format!("/jobs/{}", job.id), &[])?;
        if later.updated_unix_nano != job.updated_unix_nano {
            heard = Instant::now();
        }
        job = later;
    }
}
