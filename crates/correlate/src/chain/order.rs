//! Whether requests in the same state are served first come, first served: estimated from how sure the
//! delays alone are of each call, so that it does not prove itself. Where delays cannot tell two requests
//! apart, an assignment against the order is no evidence against it.

/// Steps of evidence, half a nat each, even odds in the middle.
const BINS: usize = 33;
const PER_NAT: f32 = 2.0;
/// Rounds of expectation and maximisation.
const ROUNDS: usize = 30;
/// What is kept of a probability.
const SURE: f32 = 0.999;

/// Calls that several requests in the same state could have made, by how likely the delays make it that
/// the first of them did, against chance.
#[derive(Clone, Debug)]
pub(super) struct Order {
    bins: [f32; BINS],
}

impl Default for Order {
    fn default() -> Self {
        Self { bins: [0.0; BINS] }
    }
}

impl Order {
    /// One of `many` requests made the call, as the delays say with probability `sure`; `is_first`: it had
    /// come first.
    pub(super) fn add(&mut self, is_first: bool, many: usize, sure: f32) {
        let sure = sure.clamp(1.0 - SURE, SURE);
        let first = if is_first { sure } else { 1.0 - sure };
        let odds = (first * (many.max(2) - 1) as f32 / (1.0 - first)).ln();
        let bin = (odds * PER_NAT).round() + (BINS / 2) as f32;
        self.bins[bin.clamp(0.0, (BINS - 1) as f32) as usize] += 1.0;
    }

    /// Calls that were counted.
    pub(super) fn weight(&self) -> f32 {
        self.bins.iter().sum()
    }

    /// The likeliest share of calls that the first made.
    pub(super) fn kept(&self) -> f32 {
        let all = self.weight();
        let mut kept = 0.5_f32;
        for _ in 0..if all > 0.0 { ROUNDS } else { 0 } {
            let in_order = |(bin, weight): (usize, &f32)| {
                let odds = ((bin as f32 - (BINS / 2) as f32) / PER_NAT).exp() * kept / (1.0 - kept);
                weight * odds / (1.0 + odds)
            };
            let sum: f32 = self.bins.iter().enumerate().map(in_order).sum();
            kept = (sum / all).clamp(1.0 - SURE, SURE);
        }
        kept
    }

    /// Counts what `other` has counted as well.
    pub(super) fn join(&mut self, other: &Self) {
        self.bins.iter_mut().zip(other.bins).for_each(|(weight, more)| *weight += more);
    }

    /// Forgets by `factor`.
    pub(super) fn scale(&mut self, factor: f32) {
        self.bins.iter_mut().for_each(|weight| *weight *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_delays_cannot_tell_is_no_evidence_against_order() {
        let mut order = Order::default();
        // Ties that were decided against the order, and some that delays tell.
        (0..40).for_each(|_| order.add(false, 2, 0.5));
        (0..20).for_each(|_| order.add(true, 2, 0.99));
        assert!(order.kept() > 0.95, "{}", order.kept());
        // A quarter of what delays tell is against it.
        (0..7).for_each(|_| order.add(false, 2, 0.99));
        assert!((0.7..0.8).contains(&order.kept()), "{}", order.kept());
        assert_eq!(Order::default().kept(), 0.5);
    }
}
