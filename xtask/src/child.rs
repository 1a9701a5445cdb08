//! Child processes: run to the end, or kept and ended by pid; ports for them.

use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::root;

/// Runs `command` to its end; fails unless it succeeds.
pub fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("failed to start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs cargo in the repository's root.
pub fn cargo(args: &[&str]) -> Result<()> {
    succeed(cargo_command().args(args))
}

/// What a bench of a crate prints.
pub fn cargo_bench(package: &str, name: &str, argument: Option<&str>) -> Result<String> {
    let mut command = cargo_command();
    command.args(["bench", "--quiet", "--package", package, "--bench", name, "--"]).args(argument);
    let out = command.output().with_context(|| format!("failed to start bench {name}"))?;
    if !out.status.success() {
        bail!("bench {name}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A process that ends when this is dropped: first asked (`SIGTERM`), after 10 s made to.
pub struct Kept {
    name: &'static str,
    child: Child,
}

impl Kept {
    /// Starts `command`.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name, child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The ends of its standard input and output, where they were asked for; once.
    pub fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.with_context(|| format!("{} has no pipes", self.name))
    }

    /// Fails if it has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended early: {status}", self.name),
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{}: {status}", self.name);
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has no pid", self.name))?;
        kill_process(pid, signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// Asks it to end, and waits; kills it after `patience`.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < patience {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end within {patience:?} of SIGTERM", self.name)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Duration::from_secs(10)) {
            eprintln!("x: {error:#}");
        }
    }
}

/// Ports that nobody has now.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
