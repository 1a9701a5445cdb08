//! How often answers are right, by how sure they say they are: measured where the truth is known by
//! stronger evidence and the algorithm is asked all the same.

/// Steps of confidence.
const STEPS: usize = 10;
/// Examples that weigh as much as what the algorithm itself says.
const PRIOR: f32 = 4.0;
/// What the algorithm says is believed so much without any example: among a few requests, and among more of
/// them, which is less than is shown by default. A loop of timers on a busy host makes it sure of answers among
/// eight of which half are wrong.
const UNTRIED: f32 = 0.9;
const UNTRIED_AMONG_MANY: f32 = 0.75;
/// Requests that could have made the call, which are a few.
const FEW: u32 = 4;
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

    /// Probability that an answer among so many requests is right that says it is so sure.
    pub fn confidence(&self, said: f32, among: u32) -> f32 {
        let (right, all) = self.steps[step(said)];
        let untried = if among <= FEW { UNTRIED } else { UNTRIED_AMONG_MANY };
        ((right + PRIOR * untried * said) / (all + PRIOR)).clamp(0.0, 1.0)
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
        assert_eq!(tried.confidence(1.0, FEW), UNTRIED);
        assert_eq!(tried.confidence(1.0, FEW + 1), UNTRIED_AMONG_MANY);
        for number in 0..100 {
            tried.learn(0.95, number % 2 == 0);
        }
        for among in [2, 8] {
            let confidence = tried.confidence(0.99, among);
            assert!((0.49..0.52).contains(&confidence), "{confidence}");
        }
        assert_eq!(tried.confidence(0.5, 2), UNTRIED * 0.5);
    }
}
