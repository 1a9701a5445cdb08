//! Names: keeps the number of distinct span names of a service small.
//!
//! Bias: the first names that a service shows are kept for the life of the agent, later ones
//! share `{other}`. A service whose paths are templated well never gets near the limit.

use deeptrace_model::{Attributes, Text, Value, hash_bytes};
use rustc_hash::{FxHashMap, FxHashSet};

/// Services whose names are counted apart; all further ones share one count.
const SERVICES_MAX: usize = 4096;

/// Names that were seen, by service.
#[derive(Debug)]
pub(crate) struct Names {
    per_service: usize,
    seen: FxHashMap<u64, FxHashSet<u64>>,
    /// Service and name that were kept last: often they come again.
    last: (Text, Text),
    /// Spans whose name became `{other}`.
    pub replaced: u64,
}

impl Names {
    pub fn new(per_service: usize) -> Self {
        Self { per_service, seen: FxHashMap::default(), last: Default::default(), replaced: 0 }
    }

    /// Replaces `name` when its service has too many. The first word stays: it is the method.
    pub fn limit(&mut self, service: &Text, name: &mut Text, attributes: &mut Attributes) {
        if self.last.1 == *name && self.last.0 == *service {
            return;
        }
        let mut key = hash_bytes(service.as_bytes());
        if self.seen.len() >= SERVICES_MAX && !self.seen.contains_key(&key) {
            key = 0;
        }
        let seen = self.seen.entry(key).or_default();
        let hash = hash_bytes(name.as_bytes());
        if seen.contains(&hash) || (seen.len() < self.per_service && seen.insert(hash)) {
            self.last = (service.clone(), name.clone());
            return;
        }
        self.replaced += 1;
        *name = match name.find(' ') {
            Some(space) => Text::from_iter([&name[..space], " {other}"]),
            None => Text::new_static("{other}"),
        };
        if attributes.get("http.route").is_some() {
            attributes.set("http.route".into(), Value::from("{other}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_after_the_last_allowed_one_is_other() {
        let mut names = Names::new(2);
        let mut limited = |service: &str, name: &str| {
            let mut name = Text::new(name);
            names.limit(&service.into(), &mut name, &mut Attributes::new());
            name
        };
        assert_eq!(limited("shop", "GET /a"), "GET /a");
        assert_eq!(limited("shop", "GET /b"), "GET /b");
        assert_eq!(limited("shop", "POST /c"), "POST {other}");
        assert_eq!(limited("shop", "BEGIN"), "{other}");
        assert_eq!(limited("shop", "GET /a"), "GET /a");
        assert_eq!(limited("cart", "POST /c"), "POST /c");
        assert_eq!(names.replaced, 2);
    }
}
