//! Program: `exchange.py` as a server or a client, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::Kept;
use crate::{packages, root};

/// Debian's own: one in the `PATH` may be a script that starts another.
pub const PYTHON: &str = "/usr/bin/python3";

/// A running program; ends when this is dropped, and with the test itself, whose pipe it reads.
pub struct Program {
    kept: Kept,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it through `wrapper` (`nsenter …`, a shell that changes the cgroup: something that
    /// becomes what it is given), as `python`, and waits until it is ready.
    pub fn start(wrapper: &[String], python: &str, arguments: &[&str]) -> Result<Self> {
        packages::ensure(&["python3"])?;
        let mut words = wrapper.iter().map(String::as_str).chain([python]);
        let mut command = Command::new(words.next().unwrap_or(python));
        command.args(words).arg(root().join("xtask/src/test/exchange.py")).args(arguments);
        Self::run(&mut command)
    }

    /// Starts any program that is told what to do in this way, and waits until it is ready.
    pub fn run(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut kept = Kept::start("a program", command)?;
        let (say, hear) = kept.pipes()?;
        let mut program = Self { kept, say, hear: BufReader::new(hear) };
        program.answer().with_context(|| format!("it did not start: {command:?}"))?;
        Ok(program)
    }

    /// A client of its own.
    pub fn client(wrapper: &[String]) -> Result<Self> {
        Self::start(wrapper, PYTHON, &["ask"])
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Has it do something; fails if it could not.
    pub fn say(&mut self, command: &str) -> Result<String> {
        writeln!(self.say, "{command}")?;
        self.answer().with_context(|| format!("failed: {command}"))
    }

    /// The same; the answer is a process id.
    pub fn say_for_pid(&mut self, command: &str) -> Result<u32> {
        let answer = self.say(command)?;
        answer.parse().with_context(|| format!("{command}: {answer:?} is no pid"))
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        self.kept.stop(Duration::from_secs(5))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.hear.read_line(&mut line)?;
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) if !rest.is_empty() => bail!("{rest}"),
            _ => bail!("it ended"),
        }
    }
}
