//! Shared: what several servers on one host have in common: an OpenSearch for their store, and HAProxy, which
//! divides the connections of agents among the servers that live.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::network::{SERVER, SERVER_PORT};
use super::printed;
use crate::child::Kept;
use crate::packages;
use crate::servers::setting::{PATIENCE, Setting};
use crate::servers::tools;
use crate::test::Skipped;

/// The oldest Java that runs OpenSearch 2.
const JAVA: u32 = 17;

const OF_HAPROXY: &str = r#"
defaults
    mode tcp
    timeout connect 2s
    timeout client 5m
    timeout server 5m
    option redispatch
    default-server inter 500ms fall 1 rise 1 on-marked-down shutdown-sessions
listen servers
    bind SERVER:DOOR
    balance roundrobin
"#;

/// What several servers have in common.
pub struct Shared {
    setting: Setting,
    java: PathBuf,
    /// What starts a program on their host.
    on_host: Vec<String>,
    opensearch: Kept,
    door: Kept,
    /// Of the indices of each server.
    prefixes: &'static [&'static str],
    /// So many servers the door does not lead to: the first.
    beside: usize,
}

impl Shared {
    /// For servers on a host whose indices begin so, and whose ports follow the one of agents; the door leads to
    /// all but the first `beside`. With its files in `folder`.
    pub fn start(
        folder: PathBuf,
        on_host: Vec<String>,
        prefixes: &'static [&'static str],
        beside: usize,
    ) -> Result<Self> {
        packages::ensure(&["haproxy", "curl"])?;
        let Some(java) = tools::java_home(JAVA)? else {
            return Err(Skipped::because(&format!("OpenSearch needs Java {JAVA} or later")));
        };
        let setting = Setting::new(&folder)?;
        let mut config =
            OF_HAPROXY.replace("SERVER", SERVER).replace("DOOR", &SERVER_PORT.to_string());
        for port in (SERVER_PORT + 1..).take(prefixes.len()).skip(beside) {
            config.push_str(&format!("    server at-{port} {SERVER}:{port} check\n"));
        }
        let config = setting.write("haproxy.cfg", &config)?;
        let mut command = on(&on_host, "haproxy");
        let door = setting.start("haproxy", command.args(["-db", "-f", &config]))?;
        let opensearch = opensearch(&setting, &java, &on_host)?;
        let shared = Self { setting, java, on_host, opensearch, door, prefixes, beside };
        shared.serves()?;
        Ok(shared)
    }

    /// Whether the door does not lead to a server.
    pub fn is_beside(&self, server: usize) -> bool {
        server < self.beside
    }

    /// Lines of a server's configuration.
    pub fn config(&self, server: usize) -> String {
        let prefix = self.prefixes[server];
        format!("[elasticsearch]\nhosts = [{:?}]\nindex_prefix = {prefix:?}\n", self.url())
    }

    /// Ends OpenSearch without a chance to tidy up.
    pub fn kill(&mut self) -> Result<()> {
        self.opensearch.signal(Signal::KILL)?;
        // It has not ended as it should, and that is meant.
        let _ = self.opensearch.wait();
        Ok(())
    }

    /// Starts it again over what it has left.
    pub fn restart(&mut self) -> Result<()> {
        self.opensearch = opensearch(&self.setting, &self.java, &self.on_host)?;
        self.serves()
    }

    pub fn stop(mut self) -> Result<()> {
        self.door.stop(PATIENCE)?;
        self.opensearch.stop(PATIENCE)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.setting.port)
    }

    fn serves(&self) -> Result<()> {
        let (begun, url) = (Instant::now(), self.url());
        let url = format!("{url}/_cluster/health?wait_for_status=yellow");
        while printed(on(&self.on_host, "curl").args(["-sfm", "5", &url])).is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("OpenSearch does not serve; see {}", self.setting.log().display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

fn on(host: &[String], program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(&host[0]);
    command.args(&host[1..]).arg(program);
    command
}

fn opensearch(setting: &Setting, java: &std::path::Path, on_host: &[String]) -> Result<Kept> {
    let named = tools::java_of("opensearch2", Some(java))?;
    let mut command = on(on_host, named.get_program());
    command.args(named.get_args()).args(["-Xms512m", "-Xmx512m", "Server"]);
    command.args([setting.port.to_string(), setting.other.to_string(), setting.path("data")]);
    setting.start("OpenSearch", &mut command).context("OpenSearch")
}
