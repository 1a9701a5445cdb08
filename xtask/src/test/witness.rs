//! Witness: asks servers one by one, and holds the spans that came of it to what should be watched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::program::{PYTHON, Program};
use super::watcher::{Watcher, told};

/// How long to wait for a span that must not come, where none is to come after which it could not.
const NEVER: Duration = Duration::from_millis(2500);

/// Asks, and compares.
pub struct Witness {
    pub watcher: Watcher,
    client: Program,
    round: usize,
}

/// A server that is asked, and whether its span is to be seen.
pub type Expected<'a> = (&'a str, bool);

impl Witness {
    /// The client is a process of the host, under a name of its own.
    pub fn new(watcher: Watcher, client: Program) -> Self {
        Self { watcher, client, round: 0 }
    }

    /// One request to each server on a connection of its own; those that are not watched first, so that
    /// their spans would have come when the others' have. Returns the servers' spans in the order of
    /// `expected`; fails unless they are as expected.
    pub fn expect(&mut self, when: &str, expected: &[Expected<'_>]) -> Result<Vec<Value>> {
        self.round += 1;
        let mut order: Vec<&Expected<'_>> = expected.iter().collect();
        order.sort_by_key(|(_, watched)| *watched);
        for (address, _) in &order {
            self.client.say(&format!("get {address} {}", self.path(address)))?;
        }
        let count = expected.iter().filter(|(_, watched)| *watched).count();
        if count == 0 {
            std::thread::sleep(NEVER);
        }
        let mut seen = Vec::new();
        let come = self.watcher.until("as many spans as expected", |watcher| {
            seen = self.seen(watcher)?;
            Ok(seen.len() >= count)
        });
        let find = |address: &str| {
            let path = self.path(address);
            seen.iter().filter(|span| told(span, "url.path") == path).collect::<Vec<_>>()
        };
        let mut spans = Vec::new();
        for (address, watched) in expected {
            match (find(address).as_slice(), watched) {
                ([span], true) => spans.push((*span).clone()),
                ([], false) => {}
                (found, _) => {
                    let who = self.watcher.command(&["agent", "list-processes"])?;
                    bail!("{when}: {address}: {} spans, watched: {watched}\n{who}", found.len())
                }
            }
        }
        come?;
        println!("{when}: {count} of {} servers seen", expected.len());
        Ok(spans)
    }

    /// The path that names the request to `address` in this round.
    fn path(&self, address: &str) -> String {
        let port = address.rsplit(':').next().unwrap_or_default();
        format!("/round-{}/{port}", self.round)
    }

    /// Servers' spans of this round, which are the newest; where everything is watched, there are others.
    fn seen(&self, watcher: &Watcher) -> Result<Vec<Value>> {
        let round = format!("/round-{}/", self.round);
        let page = watcher.server("/spans/search?kind=server&service=exchange&limit=1000")?;
        let spans = page["spans"].as_array().context("GET /spans/search has no spans")?;
        let of_round = |span: &&Value| told(span, "url.path").starts_with(&round);
        Ok(spans.iter().filter(of_round).cloned().collect())
    }

    /// The rule that decided on a process, and whether it is watched.
    pub fn verdict(&self, pid: u32) -> Result<(String, bool)> {
        let cursor = pid.saturating_sub(1);
        let page = self.watcher.agent(&format!("/processes?all=true&limit=1&cursor={cursor}"))?;
        let process = &page["processes"][0];
        if process["pid"].as_u64() != Some(pid.into()) {
            bail!("GET /processes knows no process {pid}");
        }
        Ok((told(process, "watched_by"), process["watched"] == true))
    }
}

/// Python under another name: what rules see as the name of a process.
pub fn named(folder: &Path, name: &str) -> Result<String> {
    let link: PathBuf = folder.join(name);
    std::fs::remove_file(&link).ok();
    std::os::unix::fs::symlink(PYTHON, &link).context("failed to give python another name")?;
    Ok(link.to_string_lossy().into_owned())
}
