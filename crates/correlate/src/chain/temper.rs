//! Tempering: answers are less sure where the window as a whole is. A wrong answer makes others wrong,
//! and what was learned from it; of neither the likelihood of one assignment knows.
//!
//! The one coefficient was fitted on the workloads of `deeptrace-workload`, seeds 1 and 3, and checked on
//! other seeds (`tests/accuracy.rs`). It assumes that doubt is spread over the window alike.

use super::lattice::NOBODY;
use super::search::Found;

/// Temperature of a window is one, and so much more for each share of doubt.
const PER_DOUBT: f32 = 2.0;
/// What is kept of a probability where there is a choice: all others were not looked at.
const SURE: f32 = 1.0 - 1e-4;

/// Makes what was found as sure as it is right.
pub(super) fn temper(found: &mut Found) {
    let answered = || found.parents.iter().zip(&found.confidence).filter(|(it, _)| **it != NOBODY);
    let doubt: f32 = answered().map(|(_, sure)| 1.0 - sure.min(1.0)).sum();
    let temperature = 1.0 + PER_DOUBT * doubt / answered().count().max(1) as f32;
    for sure in found.confidence.iter_mut().filter(|sure| (0.0..1.0).contains(*sure)) {
        let kept = sure.clamp(1.0 - SURE, SURE);
        let odds = (kept / (1.0 - kept)).powf(1.0 / temperature);
        *sure = odds / (1.0 + odds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_else_is_sure_an_answer_stays_as_sure_as_it_was() {
        let mut found =
            Found { parents: vec![0; 1000], confidence: vec![1.0; 1000], ..Found::default() };
        found.confidence[0] = 0.9;
        temper(&mut found);
        assert!((0.899..0.9).contains(&found.confidence[0]) && found.confidence[1] == 1.0);
        found.confidence[..500].fill(0.6);
        found.confidence[0] = 0.9;
        temper(&mut found);
        assert!((0.8..0.88).contains(&found.confidence[0]), "{}", found.confidence[0]);
        assert!((0.5..0.6).contains(&found.confidence[1]) && found.confidence[999] == 1.0);
    }
}
