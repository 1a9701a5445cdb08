//! Who changes what a server keeps: a running one (`--server`), else the data folder itself, or the
//! server that has it.

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
    /// The server at `url`, or whoever has the data folder.
    pub fn new(url: Option<&str>, common: &Common) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self::Server(Client::new(url, common)?));
        }
        let loaded = common.load()?;
        let open = |mode| loaded.server.open_store(&common.data_dir, mode);
        // No server would know what was kept in a folder whose name was mistyped.
        open(Mode::Read).context("cannot open the store")?;
        match open(Mode::Write) {
            Ok(store) => Ok(Self::Folder(store)),
            Err(error @ StoreError::InUse { .. }) => {
                Ok(Self::Server(Client::of_holder(error, common)?))
            }
            Err(error) => Err(error).context("cannot open the store"),
        }
    }
}
