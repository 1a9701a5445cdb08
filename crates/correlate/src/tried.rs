//! How often answers are right, by how sure they say they are: measured where the truth is known by
//! stronger evidence and the algorithm is asked all the same.

/// Steps of confidence.
const STEPS: usize = 10;
/// Examples that weigh as much as what the algorithm itself says.
const PRIOR: f32 = 4.0;
/// What the algorithm says is believed so much without any example.
const UNTRIED: f32 = 0.9;
/// Counts are halved when they reach this, so that a deploy is forgotten.
const COUNT_MAX: f32 = 500.0;
/// One of so many calls with a known parent is asked as if it were not known.
const ASKED: u64 = 4;

/// Answers that were right, of all, by confidence.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    steps: [(f32, f32); STEPS],
}

impl Tried {
    /// Whether the call with this number, which may be any hash of it, is asked although it is known.
    pub fn is_asked(number: u64) -> bool {
        number.is_multiple_of(ASKED)
    }

    /// An answer that says it is so sure was right, or wrong.
    pub fn learn(&mut self, said: f32, is_right: bool) {
        let (right, all) = &mut self.steps[step(said)];
        *right += f32::from(u8::from(is_right));
        *all += 1.0;
        if *all > COUNT_MAX {
            (*right, *all) = (*right / 2.0, *all / 2.0);
        }
    }

    /// Probability that an answer is right that says it is so sure.
    pub fn confidence(&self, said: f32) -> f32 {
        let (right, all) = self.steps[step(said)];
        ((right + PRIOR * UNTRIED * said) / (all + PRIOR)).clamp(0.0, 1.0)
    }
}

fn step(confidence: f32) -> usize {
    ((confidence * STEPS as f32) as usize).min(STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_moves_from_what_is_said_to_what_was_seen() {
        let mut tried = Tried::default();
        assert_eq!(tried.confidence(1.0), UNTRIED);
        for number in 0..100 {
            tried.learn(0.95, number % 2 == 0);
        }
        assert!((0.49..0.52).contains(&tried.confidence(0.99)), "{}", tried.confidence(0.99));
        assert_eq!(tried.confidence(0.5), UNTRIED * 0.5);
    }
}
