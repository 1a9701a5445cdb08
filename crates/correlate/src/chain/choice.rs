//! Ways for a hypothesis to go on, and the best of them.

/// A way for a hypothesis to go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// The likelier, the less; places settle ties.
    rank: u64,
    /// Logarithm of the likelihood until then, against a common one.
    pub(super) score: f32,
    pub(super) hypothesis: u32,
    /// Place of the request that makes the call; [`NOBODY`](super::lattice::NOBODY): none does.
    pub(super) slot: u32,
}

impl Choice {
    /// `key`: logarithm of the likelihood by which it is compared.
    pub(super) fn new(key: f32, score: f32, hypothesis: u32, slot: u32) -> Self {
        Self { rank: rank(key, hypothesis, slot), score, hypothesis, slot }
    }
}

/// Leaves the best `most` that are at most so many nats `behind` the best one, in order.
pub(super) fn best(choices: &mut Vec<Choice>, behind: f32, most: usize) {
    let likeliest = choices.iter().map(|choice| choice.rank).min().unwrap_or(0);
    let last = rank(key(likeliest) - behind, u32::MAX, u32::MAX);
    choices.retain(|choice| choice.rank <= last);
    if choices.len() > most {
        choices.select_nth_unstable_by_key(most, |choice| choice.rank);
        choices.truncate(most);
    }
    choices.sort_unstable_by_key(|choice| choice.rank);
}

/// One number that orders as `key` does, from the most, and then by places.
fn rank(key: f32, hypothesis: u32, slot: u32) -> u64 {
    let bits = key.to_bits();
    let ordered = if key.is_sign_negative() { !bits } else { bits | 1 << 31 };
    let place = (hypothesis.min(0xffff) << 16) | slot.min(0xffff);
    u64::from(!ordered) << 32 | u64::from(place)
}

/// The key of a rank.
fn key(rank: u64) -> f32 {
    let ordered = !((rank >> 32) as u32);
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_those_far_behind_not_at_all() {
        let keys = [-3.5, 2.0, -0.0, 0.5, -20.0, 2.0, 1.0];
        assert!(keys.iter().all(|it| key(rank(*it, 7, 3)) == *it));
        let choices = keys.iter().zip(0..).map(|(key, at)| Choice::new(*key, 0.0, at, 0));
        let mut choices: Vec<Choice> = choices.collect();
        best(&mut choices, 10.0, 5);
        let order: Vec<u32> = choices.iter().map(|choice| choice.hypothesis).collect();
        assert_eq!(order, [1, 5, 6, 3, 2]);
        best(&mut choices, 1.0, 5);
        assert_eq!(choices.len(), 3);
    }
}
