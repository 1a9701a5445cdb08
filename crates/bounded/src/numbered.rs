//! Numbered: values that recur, each told by a small number.

use std::collections::HashMap;
use std::hash::Hash;

/// Values that recur, at most as many as its limit.
#[derive(Debug)]
pub struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
    /// The number that was told last: values come in runs.
    last: u32,
    limit: usize,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// None yet, of at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { values: Vec::new(), numbers: HashMap::default(), last: 0, limit }
    }

    /// The number of `value`. An error gives it back: it is new, and there is no room.
    pub fn number(&mut self, value: T) -> Result<u32, T> {
        if self.values.get(self.last as usize) == Some(&value) {
            return Ok(self.last);
        }
        if let Some(number) = self.numbers.get(&value) {
            self.last = *number;
        } else if self.values.len() < self.limit {
            self.last = self.values.len() as u32;
            self.values.push(value.clone());
            self.numbers.insert(value, self.last);
        } else {
            return Err(value);
        }
        Ok(self.last)
    }

    /// The value of a number that was told since it was last cleared.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.values.clear();
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_number_until_there_is_no_room() {
        let mut names = Numbered::new(2);
        assert_eq!(["a", "b", "b", "a"].map(|it| names.number(it)), [Ok(0), Ok(1), Ok(1), Ok(0)]);
        assert_eq!(names.number("c"), Err("c"));
        assert_eq!([0, 1, 2].map(|it| names.get(it)), [Some(&"a"), Some(&"b"), None]);
        names.clear();
        assert_eq!((names.number("c"), names.get(1)), (Ok(0), None));
    }
}
