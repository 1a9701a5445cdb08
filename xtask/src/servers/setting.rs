//! Setting: where a server lives while it is tested: folder, port, log.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{Kept, free_ports};

/// How long a server may take to start, and to end.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A folder and ports of its own.
pub struct Setting {
    /// Empty at the start.
    pub folder: PathBuf,
    /// Where the server is asked, on 127.0.0.1.
    pub port: u16,
    /// One more, for servers that need it.
    pub other: u16,
}

impl Setting {
    /// A fresh one.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::remove_dir_all(folder).ok();
        fs::create_dir_all(folder)?;
        let [port, other] = free_ports()?;
        Ok(Self { folder: folder.to_owned(), port, other })
    }

    /// What server and client print.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file of the folder, and returns its path. `PORT`, `OTHER` and `FOLDER` in `text` are
    /// this setting's.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        let text = text
            .replace("PORT", &self.port.to_string())
            .replace("OTHER", &self.other.to_string())
            .replace("FOLDER", &self.folder.to_string_lossy());
        fs::write(self.folder.join(name), text)
            .with_context(|| format!("failed to write {name}"))?;
        Ok(self.path(name))
    }

    /// Starts a server; it is over when this test is.
    pub fn start(&self, name: &'static str, command: &mut Command) -> Result<Kept> {
        let log = File::options().create(true).append(true).open(self.log())?;
        command.current_dir(&self.folder).stdin(Stdio::null());
        Kept::start(name, command.stdout(log.try_clone()?).stderr(log))
    }

    /// Runs something to its end.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        crate::child::succeed(command)
    }

    /// A program that becomes `user` before it starts.
    pub fn as_user(&self, user: &str, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--init-groups", program]);
        command
    }

    /// Waits until something listens.
    pub fn serves(&self) -> Result<()> {
        serves(self.port)
    }
}

/// Waits until something listens on `port`.
pub fn serves(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            bail!("nothing listens on port {port} after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
