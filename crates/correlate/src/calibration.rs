//! Calibration: how often a guess agrees, in this process, with what was observed.
//!
//! Every call whose parent was observed is a labelled example: the guess is made all the same, and
//! compared. Cases are kept apart by how many requests could have been the parent. Until there are
//! examples, a guess among n is believed 1/n; a lone candidate a little less than surely. Work that
//! belongs to no request is `background`'s.

/// Cases: 1, 2, 3–4, 5–8, 9 and more candidates.
const CASES: usize = 5;
/// Examples that weigh as much as what is believed without any.
const PRIOR: f32 = 4.0;
/// Counts are halved when they reach this, so that a deploy is forgotten.
const COUNT_MAX: f32 = 500.0;
/// Belief in a lone candidate without examples.
const ALONE: f32 = 0.95;
/// Examples from which on an order that held is called one.
const ORDER_EXAMPLES: f32 = 20.0;
/// Share from which on an order is believed to hold ([`Calibration::holds`]).
const ORDER_SHARE: f32 = 0.9;

/// Agreement of one way of guessing in one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calibration {
    cases: [(f32, f32); CASES],
}

impl Calibration {
    /// A guess among `candidates` was compared with what was observed.
    pub(crate) fn learn(&mut self, candidates: usize, agreed: bool) {
        let (right, all) = &mut self.cases[case(candidates)];
        *right += f32::from(u8::from(agreed));
        *all += 1.0;
        if *all > COUNT_MAX {
            *right /= 2.0;
            *all /= 2.0;
        }
    }

    /// Probability that a guess among `candidates` is right.
    pub(crate) fn confidence(&self, candidates: usize) -> f32 {
        let (right, all) = self.cases[case(candidates)];
        let before = if candidates <= 1 { ALONE } else { 1.0 / candidates as f32 };
        (right + before * PRIOR) / (all + PRIOR)
    }

    /// Whether the order was seen to hold here.
    pub(crate) fn holds(&self, candidates: usize) -> bool {
        let (right, all) = self.cases[case(candidates)];
        all >= ORDER_EXAMPLES && right >= ORDER_SHARE * all
    }
}

fn case(candidates: usize) -> usize {
    match candidates {
        0 | 1 => 0,
        2 => 1,
        3..=4 => 2,
        5..=8 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_moves_from_chance_to_what_was_seen() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.confidence(4), 0.25);
        assert_eq!(calibration.confidence(1), ALONE);
        for _ in 0..96 {
            calibration.learn(4, true);
        }
        assert!(calibration.confidence(3) > 0.97 && calibration.holds(4));
        assert_eq!(calibration.confidence(2), 0.5);
        for _ in 0..100 {
            calibration.learn(4, false);
        }
        assert!(calibration.confidence(4) < 0.51 && !calibration.holds(4));
    }
}
