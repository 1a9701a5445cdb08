//! Options: where a store lies and how much it may keep.

use std::{fmt, path::PathBuf};

use deeptrace_model::Duration;

/// Where a store lies and how much it may keep.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made with mode 0700 if it is not there.
    pub folder: PathBuf,
    /// Spans that ended longer ago are removed.
    pub retention: Duration,
    /// Bytes on disk above which the oldest spans are removed.
    pub max_bytes: u64,
    /// Bytes of decoded batches and filters kept in memory for the next question.
    pub cache_bytes: usize,
    /// Whether writing gives way to a busy application on the same processor: it takes up to four times
    /// as long then.
    pub is_gentle: bool,
    /// Where this process is asked while it has the folder, for those who find it in use.
    pub address: Option<String>,
    /// Where the servers of `elasticsearch` are; nothing to the other backends.
    pub elasticsearch: Elasticsearch,
}

/// Where Elasticsearch or OpenSearch is, who we are there, and what indices are to be like.
#[derive(Clone, PartialEq, Eq)]
pub struct Elasticsearch {
    /// Addresses of nodes of one cluster, `http://…` or `https://…`; the first that answers is asked.
    pub hosts: Vec<String>,
    /// User; empty: none.
    pub username: String,
    /// Password.
    pub password: String,
    /// API key, encoded as the server gave it; empty: none. Goes before user and password.
    pub api_key: String,
    /// File with certificates (PEM) of whom to believe; `None`: those that browsers believe.
    pub ca_file: Option<PathBuf>,
    /// Beginning of the names of all indices.
    pub index_prefix: String,
    /// Primary shards of an index of one day.
    pub number_of_shards: u32,
    /// Copies of each; `None`: one where there is a second node to hold it.
    pub number_of_replicas: Option<u32>,
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            username: String::new(),
            password: String::new(),
            api_key: String::new(),
            ca_file: None,
            index_prefix: "deeptrace".to_owned(),
            number_of_shards: 1,
            number_of_replicas: None,
        }
    }
}

/// Without what is secret.
impl fmt::Debug for Elasticsearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elasticsearch")
            .field("hosts", &self.hosts)
            .field("username", &self.username)
            .field("ca_file", &self.ca_file)
            .field("index_prefix", &self.index_prefix)
            .field("number_of_shards", &self.number_of_shards)
            .field("number_of_replicas", &self.number_of_replicas)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Seven days, 10 GiB on disk and 48 MiB of memory, in `folder`; as fast as can be.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            retention: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 10 << 30,
            cache_bytes: 48 << 20,
            is_gentle: false,
            address: None,
            elasticsearch: Elasticsearch::default(),
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading and writing; one at a time for a folder.
    Write,
    /// Reading only, also while another process writes.
    Read,
}
