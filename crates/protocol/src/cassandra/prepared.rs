//! Prepared statements of one connection by the server's id for them, which names the node's
//! statement and so may come from another connection: its text is then unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sql::Statement;

/// Beyond, the oldest goes; its text is then unknown where it is used again.
const IDS_MAX: usize = 256;

/// Ids are MD5 sums; longer ones are not believed.
const ID_MAX: usize = 64;

/// Statements by id.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    by_id: BTreeMap<Box<[u8]>, (u64, Arc<Statement>)>,
    /// Counts what was put in.
    count: u64,
}

impl Prepared {
    /// What `id` stands for.
    pub(super) fn get(&self, id: &[u8]) -> Option<Arc<Statement>> {
        self.by_id.get(id).map(|found| Arc::clone(&found.1))
    }

    /// `id` stands for `statement` from now on.
    pub(super) fn insert(&mut self, id: &[u8], statement: Arc<Statement>) {
        if id.is_empty() || id.len() > ID_MAX {
            return;
        }
        self.count += 1;
        if self.by_id.len() >= IDS_MAX && !self.by_id.contains_key(id) {
            let oldest = self.by_id.iter().min_by_key(|entry| entry.1.0);
            if let Some(oldest) = oldest.map(|entry| entry.0.clone()) {
                self.by_id.remove(&oldest);
            }
        }
        self.by_id.insert(id.into(), (self.count, statement));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_full() {
        let mut prepared = Prepared::default();
        let statement = Arc::new(Statement::new(b"SELECT 1"));
        for n in 0..=IDS_MAX {
            prepared.insert(n.to_string().as_bytes(), Arc::clone(&statement));
        }
        prepared.insert(&[0; ID_MAX + 1], statement);
        assert!(prepared.get(b"0").is_none() && prepared.get(b"1").is_some());
        assert_eq!(prepared.by_id.len(), IDS_MAX);
    }
}
