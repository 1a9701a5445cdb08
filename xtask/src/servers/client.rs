//! Client: a program that makes known calls and writes down what it did.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::setting::Setting;
use super::truth::Call;
use crate::child::Kept;

/// A running client whose older connections are open.
pub struct Client {
    kept: Kept,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    truth: String,
}

impl Client {
    /// Starts it, and waits until its older connections are open.
    pub fn start(mut command: Command, setting: &Setting) -> Result<Self> {
        let truth = setting.path("truth.ndjson");
        let log = fs::File::create(setting.path("client.log"))?;
        command.args(["--port", &setting.port.to_string(), "--other", &setting.other.to_string()]);
        command.args(["--truth", &truth]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut kept = Kept::start("the client", &mut command)?;
        let (say, hear) = kept.pipes()?;
        let mut client = Self { kept, say, hear: BufReader::new(hear), truth };
        client.hears("ready").with_context(|| format!("see {}", setting.path("client.log")))?;
        Ok(client)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Has it make its calls, and returns them.
    pub fn go(&mut self) -> Result<Vec<Call>> {
        writeln!(self.say, "go")?;
        self.hears("done")?;
        let text = fs::read_to_string(&self.truth)?;
        let calls = text.lines().map(|line| Call::read(line).with_context(|| line.to_owned()));
        calls.collect()
    }

    fn hears(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.hear.read_line(&mut line)?;
        match line.trim() {
            found if found == word => Ok(()),
            "" => bail!("the client ended before it was {word}"),
            other => bail!("the client says {other:?} instead of {word:?}"),
        }
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        drop(self.say);
        self.kept.stop(Duration::from_secs(5))
    }
}
