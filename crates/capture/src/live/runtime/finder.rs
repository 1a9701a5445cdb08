//! Finder: which runtime a process has, remembered. Looking through symbols may take long, so this works on a
//! thread of its own, and begins when a process turns out to be a server: mostly it is known when it is needed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use deeptrace_model::Pid;

use super::{Runtime, Unread, find};

/// Processes that wait to be looked at; beyond, they are looked at when it is needed.
const QUEUE_MAX: usize = 1024;
/// Processes of which it is remembered; beyond, the lowest pid makes room.
const KNOWN_MAX: usize = 4096;

/// `Ok(None)`: nothing that is known.
pub(in crate::live) type Found = Result<Option<Runtime>, Unread>;

struct Answer {
    pid: Pid,
    code: Code,
    found: Found,
}

enum Known {
    Asked,
    Found(Code, Found),
}

/// Files whose code a process has mapped: with others, it may have another runtime.
#[derive(PartialEq, Eq)]
struct Code(Vec<String>);

/// The thread, which ends when this is dropped, and what it found.
pub(in crate::live) struct Finder {
    questions: SyncSender<Pid>,
    answers: Receiver<Answer>,
    known: BTreeMap<Pid, Known>,
}

impl Finder {
    pub(in crate::live) fn start() -> std::io::Result<Self> {
        let (questions, asked) = sync_channel::<Pid>(QUEUE_MAX);
        let (answer, answers) = channel();
        let thread = std::thread::Builder::new().name("runtime-finder".into());
        thread.spawn(move || work(&asked, &answer))?;
        Ok(Self { questions, answers, known: BTreeMap::new() })
    }

    /// Looks at a process, unless it was looked at.
    pub(in crate::live) fn meet(&mut self, pid: Pid) {
        if !self.known.contains_key(&pid) {
            self.ask(pid);
        }
    }

    /// What a process has. `None`: it is looked at, and [`answers`](Self::answers) will name it, unless too many
    /// wait.
    pub(in crate::live) fn found(&mut self, pid: Pid) -> Option<Found> {
        match self.known.get(&pid) {
            Some(Known::Asked) => return None,
            Some(Known::Found(code, found)) if *code == Code::of(pid) => {
                return Some(found.clone());
            }
            _ => {}
        }
        self.ask(pid);
        None
    }

    /// The processes of which it is known now.
    pub(in crate::live) fn answers(&mut self) -> Vec<Pid> {
        let mut pids = Vec::new();
        while let Ok(Answer { pid, code, found }) = self.answers.try_recv() {
            // Who is gone meanwhile was forgotten.
            if let Some(known) = self.known.get_mut(&pid) {
                *known = Known::Found(code, found);
                pids.push(pid);
            }
        }
        pids
    }

    /// A process ended, or has another program now.
    pub(in crate::live) fn forget(&mut self, pid: Pid) {
        self.known.remove(&pid);
    }

    fn ask(&mut self, pid: Pid) {
        if self.questions.try_send(pid).is_err() {
            self.known.remove(&pid);
            return;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.pop_first();
        }
        self.known.insert(pid, Known::Asked);
    }
}

fn work(asked: &Receiver<Pid>, answer: &Sender<Answer>) {
    while let Ok(pid) = asked.recv() {
        // First the code: what is loaded while it is looked through makes it be looked at again.
        let code = Code::of(pid);
        let found = find(pid);
        if answer.send(Answer { pid, code, found }).is_err() {
            return;
        }
    }
}

impl Code {
    fn of(pid: Pid) -> Self {
        let maps = std::fs::read(format!("/proc/{}/maps", pid.0)).unwrap_or_default();
        let maps = String::from_utf8_lossy(&maps);
        let file = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let is_code = fields.nth(1)?.contains('x');
            let path = fields.nth(3).filter(|path| is_code && path.starts_with('/'))?;
            Some(path.to_owned())
        };
        let mut files: Vec<String> = maps.lines().filter_map(file).collect();
        files.dedup();
        Self(files)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_is_looked_at_once_while_its_code_is_the_same() {
        let pid = Pid(std::process::id());
        let mut finder = Finder::start().unwrap();
        finder.meet(pid);
        finder.meet(pid);
        let begun = Instant::now();
        let mut named = Vec::new();
        while named.is_empty() && begun.elapsed() < Duration::from_secs(60) {
            named = finder.answers();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(named, [pid]);
        assert_eq!(finder.found(pid), Some(find(pid)));
        assert!(!Code::of(pid).0.is_empty());
        // Something was loaded since.
        let other = Known::Found(Code(Vec::new()), Ok(None));
        finder.known.insert(pid, other);
        assert_eq!(finder.found(pid), None);
        finder.forget(pid);
        assert_eq!(finder.answers(), []);
    }
}
