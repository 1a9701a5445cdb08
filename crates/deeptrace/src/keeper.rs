//! Who changes what a server keeps: a running one (`--server`), else the data folder itself, which
//! has to be free for that.

use std::sync::Arc;

use anyhow::{Context, Result};
use deeptrace_store::{Mode, Store, StoreError};

use crate::Common;
use crate::client::Client;

/// Who changes it.
pub enum Keeper {
    /// A running server.
    Server(Client),
    /// The data folder.
    Folder(Arc<dyn Store>),
}

impl Keeper {
    /// The server at `url`, or the data folder where there is none.
    pub fn new(url: Option<&str>, common: &Common) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self::Server(Client::new(url, common)?));
        }
        let loaded = common.load()?;
        match loaded.server.open_store(&common.data_dir, Mode::Write) {
            Ok(store) => Ok(Self::Folder(store)),
            Err(error @ StoreError::InUse { .. }) => Err(error).with_context(|| {
                format!("a server is running: ask it with --server {}", loaded.server.url())
            }),
            Err(error) => Err(error).context("cannot open the store"),
        }
    }
}
