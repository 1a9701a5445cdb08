//! Holder: who writes to a data folder, as that process has noted in the lock file.

use std::fmt;
use std::fs;
use std::path::Path;

/// Locked by the writer for as long as it lives; holds its process id and, in the next line, where it is asked.
pub(crate) const LOCK: &str = "writer.lock";

/// A process that writes to a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Where its API is asked from this host; `None` where it has none.
    pub address: Option<String>,
}

impl Holder {
    /// The process that has `folder`, if it still lives.
    pub fn of(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(LOCK)).ok()?;
        let holder = Self::parse(&text)?;
        // The note stays behind when its process has ended.
        Path::new("/proc").join(holder.pid.to_string()).exists().then_some(holder)
    }

    /// Who noted `text`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let address = lines.next().map(str::trim).filter(|line| !line.is_empty());
        Some(Self { pid, address: address.map(str::to_owned) })
    }

    /// This process, to be asked at `address`.
    pub(crate) fn us(address: Option<&str>) -> Self {
        Self { pid: std::process::id(), address: address.map(str::to_owned) }
    }
}

/// As it is noted.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or_default();
        write!(f, "{}\n{address}", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let server = Some("http://127.0.0.1:17901");
        for address in [server, None] {
            let us = Holder::us(address);
            assert_eq!(Holder::parse(&format!("{us}\n")), Some(us));
        }
        // What an older version has noted, a note that was cut off, and none.
        let old = Holder { pid: 7, address: None };
        assert_eq!(Holder::parse("7\n"), Some(old));
        assert_eq!(Holder::parse("http://"), None);
        assert_eq!(Holder::parse(""), None);
    }
}
