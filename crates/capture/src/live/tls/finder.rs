//! Finder: which TLS libraries a process has mapped, and what to probe in them. Reading files may take
//! long, so this works on a thread of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::SystemTime;

use deeptrace_model::Pid;

use super::image::with_image;
use super::library::{Probe, Reason, TABLE, other};

/// Processes that wait to be looked at.
const QUEUE_MAX: usize = 1024;
/// Files whose probes are remembered.
const FILES_MAX: usize = 4096;

/// A file, however it is called.
pub(super) type FileKey = (u64, u64);

/// A file with TLS that a process has mapped.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// As people know the library.
    pub(super) library: &'static str,
    /// As the process knows it.
    pub(super) path: String,
    /// Where we find it.
    pub(super) at: PathBuf,
    pub(super) file: FileKey,
    pub(super) probes: Result<Arc<[Probe]>, Reason>,
}

/// What was found in a process.
pub(super) struct Answer {
    pub(super) pid: Pid,
    pub(super) found: Vec<Found>,
}

/// Whom to look at.
struct Question {
    pid: Pid,
    /// It speaks TLS.
    is_speaking: bool,
}

/// The thread. It ends when this is dropped.
pub(super) struct Finder {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl Finder {
    pub(super) fn start() -> std::io::Result<Self> {
        let (questions, asked) = sync_channel(QUEUE_MAX);
        let (answer, answers) = channel();
        let thread = std::thread::Builder::new().name("tls-finder".into());
        thread.spawn(move || work(&asked, &answer))?;
        Ok(Self { questions, answers })
    }

    /// Asks to look at a process; of one that speaks TLS, at everything it has mapped. False: too many
    /// wait.
    pub(super) fn ask(&self, pid: Pid, is_speaking: bool) -> bool {
        let question = Question { pid, is_speaking };
        !matches!(self.questions.try_send(question), Err(TrySendError::Full(_)))
    }

    /// The next answer that is there.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// What is remembered of a file, while it is not changed.
pub(super) type Files = BTreeMap<FileKey, (SystemTime, Verdict)>;
pub(super) type Verdict = (&'static str, Result<Arc<[Probe]>, Reason>);

fn work(asked: &Receiver<Question>, answer: &Sender<Answer>) {
    let mut files = Files::new();
    while let Ok(Question { pid, is_speaking }) = asked.recv() {
        let found = look(pid, is_speaking, &mut files);
        if answer.send(Answer { pid, found }).is_err() {
            return;
        }
    }
}

/// The TLS libraries of a process: among what it has mapped, and in its executable; where it speaks TLS, also
/// in files that bear another name, as modules of Python do that bring their own.
pub(super) fn look(pid: Pid, is_speaking: bool, files: &mut Files) -> Vec<Found> {
    let maps = fs::read(format!("/proc/{}/maps", pid.0)).unwrap_or_default();
    let exe = fs::read_link(format!("/proc/{}/exe", pid.0)).unwrap_or_default();
    let exe = exe.to_string_lossy();
    let mut found: BTreeMap<FileKey, Found> = BTreeMap::new();
    for line in String::from_utf8_lossy(&maps).lines() {
        let Some(mapping) = Mapping::parse(line) else { continue };
        let name = mapping.path.rsplit('/').next().unwrap_or_default();
        let unknown = other(name);
        let is_exe = mapping.path == exe;
        let rows = TABLE.iter().any(|library| (library.is_file)(name));
        if !rows && unknown.is_none() && !is_exe && !is_speaking {
            continue;
        }
        let Some((at, file, changed)) = mapping.open(pid, is_exe) else { continue };
        if found.contains_key(&file) {
            continue;
        }
        let verdict = match unknown {
            Some(library) => (library, Err(Reason::NotUnderstood)),
            None => remembered(files, file, changed, || examine(&at, rows, name)),
        };
        // Of a file that nobody took for a library of TLS there is nothing to say.
        let is_of_another_kind = match &verdict.1 {
            Ok(_) | Err(Reason::NotUnderstood) => false,
            Err(reason) => !rows && (!is_exe || *reason == Reason::NotHere),
        };
        if is_of_another_kind {
            continue;
        }
        let (library, probes) = verdict;
        let path = mapping.path.to_owned();
        found.insert(file, Found { library, path, at, file, probes });
    }
    if found.is_empty() && is_speaking {
        let (library, probes) = ("unknown", Err(Reason::Unknown));
        let (path, at) = (exe.into_owned(), PathBuf::new());
        return vec![Found { library, path, at, file: (0, 0), probes }];
    }
    found.into_values().collect()
}

fn remembered(
    files: &mut Files,
    file: FileKey,
    changed: SystemTime,
    examine: impl FnOnce() -> Verdict,
) -> Verdict {
    if let Some((then, verdict)) = files.get(&file)
        && *then == changed
    {
        return verdict.clone();
    }
    let verdict = examine();
    if files.len() >= FILES_MAX {
        files.clear();
    }
    files.insert(file, (changed, verdict.clone()));
    verdict
}

/// Asks each row that may be this file.
fn examine(at: &Path, is_named: bool, name: &str) -> Verdict {
    let mut last = ("", Err(Reason::NotHere));
    for library in TABLE.iter().filter(|library| !is_named || (library.is_file)(name)) {
        match with_image(at, library.probes) {
            Err(Reason::NotHere) => last.0 = library.name,
            Ok(probes) => return (library.name, Ok(probes.into())),
            Err(reason) => return (library.name, Err(reason)),
        }
    }
    last
}

/// A line of `/proc/PID/maps` (proc_pid_maps(5)) that holds code of a file.
struct Mapping<'a> {
    range: &'a str,
    inode: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let range = fields.next()?;
        let may = fields.next()?;
        let inode = fields.nth(2)?.parse().ok().filter(|inode| *inode != 0)?;
        let path = fields.next()?.trim_start();
        (may.contains('x') && path.starts_with('/')).then_some(Self { range, inode, path })
    }

    /// Where we find the file: as the process sees it, or by the mapping itself where another file has
    /// its name now.
    fn open(&self, pid: Pid, is_exe: bool) -> Option<(PathBuf, FileKey, SystemTime)> {
        let process = PathBuf::from(format!("/proc/{}", pid.0));
        let named = process.join("root").join(self.path.trim_start_matches('/'));
        let named = if is_exe { process.join("exe") } else { named };
        let same = fs::metadata(&named).is_ok_and(|file| file.ino() == self.inode || is_exe);
        let path = if same { named } else { process.join("map_files").join(self.range) };
        let file = fs::metadata(&path).ok()?;
        Some((path, (file.dev(), file.ino()), file.modified().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_tls_by_an_unknown_library() {
        let own = Pid(std::process::id());
        assert!(look(own, false, &mut Files::new()).is_empty());
        let found = look(own, true, &mut Files::new());
        let [Found { library: "unknown", path, probes: Err(Reason::Unknown), .. }] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(*path, std::env::current_exe().unwrap().to_string_lossy());
    }

    #[test]
    fn lines_of_maps() {
        let line = "7f00-7f10 r-xp 00028000 fe:00 123                       /usr/lib/libssl.so.3";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.range, mapping.inode), ("7f00-7f10", 123));
        assert_eq!(mapping.path, "/usr/lib/libssl.so.3");
        assert!(Mapping::parse(&line.replace("r-xp", "rw-p")).is_none());
        assert!(Mapping::parse("7f00-7f10 r-xp 00000000 00:00 0    [vdso]").is_none());
    }
}
