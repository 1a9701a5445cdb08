//! Prepared statements and portals of one connection, by the client's names for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sql::Statement;

/// Beyond, the oldest goes; its text is then unknown where it is used again.
const NAMES_MAX: usize = 256;

/// Names are identifiers of at most 63 bytes; longer ones are not told apart beyond this.
const NAME_MAX: usize = 128;

/// Statements by name. The empty name is the unnamed statement or portal.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: BTreeMap<Box<[u8]>, (u64, Arc<Statement>)>,
    /// Counts what was put in.
    count: u64,
}

impl Names {
    /// What `name` stands for.
    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Statement>> {
        self.by_name.get(key(name)).map(|found| Arc::clone(&found.1))
    }

    /// `name` stands for `statement` from now on.
    pub(super) fn insert(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.count += 1;
        if self.by_name.len() >= NAMES_MAX && !self.by_name.contains_key(key(name)) {
            let oldest = self.by_name.iter().min_by_key(|entry| entry.1.0);
            if let Some(oldest) = oldest.map(|entry| entry.0.clone()) {
                self.by_name.remove(&oldest);
            }
        }
        self.by_name.insert(key(name).into(), (self.count, statement));
    }

    /// Nothing is known of any name.
    pub(super) fn clear(&mut self) {
        self.by_name.clear();
    }

    /// `name` stands for nothing that is known.
    pub(super) fn remove(&mut self, name: &[u8]) {
        self.by_name.remove(key(name));
    }
}

fn key(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_full() {
        let mut names = Names::default();
        let statement = Arc::new(Statement::new(b"SELECT 1"));
        for n in 0..=NAMES_MAX {
            names.insert(n.to_string().as_bytes(), Arc::clone(&statement));
        }
        assert!(names.get(b"0").is_none());
        assert!(names.get(b"1").is_some());
        assert_eq!(names.by_name.len(), NAMES_MAX);
    }
}
