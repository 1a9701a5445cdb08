//! What a running deeptrace answers over HTTP.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// The answer to `path` of whoever listens on `port` of this host.
pub fn get(port: &str, path: &str) -> Result<Value> {
    let text = ureq::get(format!("http://127.0.0.1:{port}{path}"))
        .config()
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .call()?
        .body_mut()
        .read_to_string()?;
    serde_json::from_str(&text).with_context(|| format!("the answer to {path} is not JSON"))
}
