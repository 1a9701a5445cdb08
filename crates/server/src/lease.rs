//! Lease: of all servers over one store, one at a time does a duty. A document `lease/DUTY` that changes by
//! compare-and-set.
//!
//! No clocks are compared. The holder writes the document anew at least three times a term; whoever
//! wants it watches, and takes it when it has not changed for a whole term of its own clock. The holder
//! counts from before its last write, and for two thirds of a term only, so it stops before anybody else
//! begins, whatever the clocks say and however long the store took. A process that was stopped between
//! asking and doing may still act late: what is done under a lease must be harmless when done twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deeptrace_store::{Expected, Store, StoreError};
use serde::{Deserialize, Serialize};

/// A term that another version may have written is believed up to this.
const TERM_MAX: Duration = Duration::from_secs(600);

/// A duty that one at a time does.
pub struct Lease {
    store: Arc<dyn Store>,
    name: String,
    term: Duration,
    /// The version that we wrote last, and a moment before that.
    ours: Option<(u64, Instant)>,
    /// The version of somebody else, and when we saw it first.
    theirs: Option<(u64, Instant)>,
}

/// What the document says, for people and for who waits.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Process id of the holder.
    pid: u32,
    term_ms: u64,
}

impl Lease {
    /// The lease of `duty`; nobody's yet. `term` is how long the duty rests when its holder dies.
    pub fn new(store: Arc<dyn Store>, duty: &str, term: Duration) -> Self {
        Self { store, name: format!("lease/{duty}"), term, ours: None, theirs: None }
    }

    /// Takes it, or holds it for another term; says whether it is ours. To be called at least three
    /// times a term. `now` is a moment before the call.
    pub fn hold(&mut self, now: Instant) -> Result<bool, StoreError> {
        let expected = match self.store.document(&self.name)? {
            None => Expected::Absent,
            Some(there) if self.ours.is_some_and(|(version, _)| version == there.version) => {
                Expected::Version(there.version)
            }
            Some(there) => {
                self.ours = None;
                let seen = self.theirs.filter(|(version, _)| *version == there.version);
                let (version, since) = *self.theirs.insert(seen.unwrap_or((there.version, now)));
                let term = self.term.max(written_term(&there.body));
                if now.saturating_duration_since(since) < term {
                    return Ok(false);
                }
                Expected::Version(version)
            }
        };
        let written = Written {
            pid: std::process::id(),
            term_ms: u64::try_from(self.term.as_millis()).unwrap_or(u64::MAX),
        };
        let body = serde_json::to_vec(&written).unwrap_or_default();
        let version = self.store.put_document(&self.name, Some(&body), expected)?;
        self.ours = version.map(|version| (version, now));
        self.theirs = None;
        Ok(self.is_held(now))
    }

    /// Whether it is ours at `now`, without asking anybody.
    pub fn is_held(&self, now: Instant) -> bool {
        let until = |(_, since): (u64, Instant)| since + self.term * 2 / 3;
        self.ours.map(until).is_some_and(|until| now < until)
    }

    /// Lets others have it at once.
    pub fn release(&mut self) -> Result<(), StoreError> {
        match self.ours.take() {
            Some((version, _)) => {
                let expected = Expected::Version(version);
                self.store.put_document(&self.name, None, expected).map(drop)
            }
            None => Ok(()),
        }
    }
}

fn written_term(body: &[u8]) -> Duration {
    let written = serde_json::from_slice::<Written>(body);
    Duration::from_millis(written.map_or(0, |it| it.term_ms)).min(TERM_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_store::{Mode, Options};

    const TERM: Duration = Duration::from_secs(30);

    fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        (folder, store)
    }

    #[test]
    fn one_holds_it_and_a_dead_holder_is_followed_after_a_term() {
        let (_folder, store) = store();
        let mut leases: Vec<Lease> =
            (0..3).map(|_| Lease::new(Arc::clone(&store), "backup", TERM)).collect();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(leases[0].hold(at(0)).unwrap());
        assert!(!leases[1].hold(at(0)).unwrap());
        for second in (10..=100).step_by(10) {
            assert!(leases[0].hold(at(second)).unwrap(), "{second} s");
            assert!(!leases[1].hold(at(second)).unwrap(), "{second} s");
        }
        // It dies. Nobody holds it until a term has gone by for whoever has watched.
        assert!(leases[0].is_held(at(119)) && !leases[0].is_held(at(121)));
        assert!(!leases[1].hold(at(129)).unwrap());
        assert!(leases[1].hold(at(140)).unwrap());
        // Who comes back, and who has not watched, are late.
        assert!(!leases[0].hold(at(141)).unwrap());
        assert!(!leases[2].hold(at(500)).unwrap());
        assert!(leases[1].hold(at(501)).unwrap(), "nobody was there to take it");
    }

    #[test]
    fn the_clocks_of_two_hosts_need_not_agree() {
        let (_folder, store) = store();
        let mut slow = Lease::new(Arc::clone(&store), "backup", TERM);
        let mut fast = Lease::new(Arc::clone(&store), "backup", TERM);
        let begin = Instant::now();
        let ahead = Duration::from_secs(3_600);
        assert!(slow.hold(begin).unwrap());
        assert!(!fast.hold(begin + ahead).unwrap());
        // Twenty seconds later by both clocks it is held on, so that the watch begins anew.
        assert!(slow.hold(begin + TERM * 2 / 3).unwrap());
        assert!(!fast.hold(begin + ahead + TERM).unwrap());
    }

    #[test]
    fn what_is_released_is_free_at_once_and_only_by_its_holder() {
        let (_folder, store) = store();
        let mut first = Lease::new(Arc::clone(&store), "erase", TERM);
        let mut second = Lease::new(Arc::clone(&store), "erase", TERM);
        let now = Instant::now();
        assert!(first.hold(now).unwrap());
        second.release().unwrap();
        assert!(!second.hold(now).unwrap());
        first.release().unwrap();
        assert!(!first.is_held(now));
        assert!(second.hold(now).unwrap());
        first.release().unwrap();
        assert!(second.hold(now).unwrap());
    }
}
