//! Names: a cap on the distinct span names of a service, so that a path that nobody could template
//! does not flood every list that groups by name.

use std::collections::{BTreeMap, BTreeSet};

/// Distinct names of a service; more become `{other}` behind their first word.
pub(crate) const NAMES_MAX: usize = 200;
/// Services whose names are remembered.
const SERVICES_MAX: usize = 10_000;

/// The names seen so far, by service.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// `name`, or its first word with `{other}` where the service has too many. The flag says so.
    pub(crate) fn bound(&mut self, service: &str, name: String) -> (String, bool) {
        if let Some(seen) = self.seen.get_mut(service) {
            if seen.contains(name.as_str()) {
                return (name, false);
            }
            if seen.len() >= NAMES_MAX {
                let first = name.split(' ').next().unwrap_or_default();
                return (format!("{first} {{other}}"), true);
            }
            seen.insert(name.clone());
        } else if self.seen.len() < SERVICES_MAX {
            self.seen.insert(service.to_owned(), BTreeSet::from([name.clone()]));
        }
        (name, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_for_new_names_only() {
        let mut names = Names::default();
        for i in 0..NAMES_MAX {
            assert!(!names.bound("shop", format!("GET /{i}")).1);
        }
        assert_eq!(names.bound("shop", "GET /new".into()), ("GET {other}".into(), true));
        assert_eq!(names.bound("shop", "GET /7".into()), ("GET /7".into(), false));
        assert_eq!(names.bound("cart", "GET /new".into()), ("GET /new".into(), false));
    }
}
