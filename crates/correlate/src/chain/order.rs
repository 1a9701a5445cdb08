//! Whether requests in the same state are served first come, first served.
//!
//! An order that the delays explain is no evidence: whoever came much earlier mostly goes first anywhere.
//! So for each call two things are compared: how likely its request was to make it by the delays until
//! then, and how likely it is by all that came after. Where both are the same nothing is learned; it is
//! where delays left it open, and what came after shows that the first went first.

use std::cmp::Ordering;

/// Shares of pairs in order that are tried, the first of them chance.
const SHARES: [f32; 12] = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.995, 0.999];
/// What is kept of a probability.
const SURE: f32 = 0.999;

/// Nats that an order must explain, to be believed (very strong evidence: Kass, Raftery 1995).
const EVIDENCE: f32 = 5.0;

/// How well each share explains the calls that several requests in the same state could have made.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// Logarithms of likelihoods, against that of chance.
    likelihoods: [f32; SHARES.len()],
    /// Calls that were counted.
    pub(super) weight: f32,
}

/// When a request came to where it is; at equal times the place in which they are held, or nothing.
pub(super) type Since = (i64, u32);

/// Requests in the same state, of which one made a call.
#[derive(Debug)]
pub(super) struct Level<'a> {
    /// Of each, since when it has been there, and the logarithm of the odds that it makes the call now, by the
    /// delays (Cox's model for discrete times: 1972, section 6).
    pub(super) waiting: &'a [(Since, f32)],
    /// Which of them did.
    pub(super) own: usize,
    /// How sure that is by all that there is but order.
    pub(super) sure: f32,
}

/// Logarithm of the probability, against that by delays alone, that `own` makes the call of all that are
/// `waiting`. Who came at the same time is in no order.
pub(super) fn tilt(waiting: &[(Since, f32)], own: usize, kept: f32) -> f32 {
    let (in_order, overtaken) = ((2.0 * kept).ln(), (2.0 * (1.0 - kept)).ln());
    let (mut total, mut weighted, mut own_weight) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (nth, (since, odds)) in waiting.iter().enumerate() {
        let mut weight = 0.0;
        for (other, _) in waiting {
            weight += match other.cmp(since) {
                Ordering::Less => overtaken,
                Ordering::Equal => 0.0,
                Ordering::Greater => in_order,
            };
        }
        if nth == own {
            own_weight = weight;
        }
        let odds = (odds - waiting[own].1).clamp(-40.0, 40.0);
        total += odds.exp();
        weighted += (odds + weight).exp();
    }
    own_weight + (total / weighted).ln()
}

impl Order {
    /// A call was made.
    pub(super) fn add(&mut self, level: &Level<'_>) {
        let Level { waiting, own, sure } = level;
        let sure = sure.clamp(1.0 - SURE, SURE);
        let share = |it: &(Since, f32)| (it.1 - waiting[*own].1).clamp(-40.0, 40.0).exp();
        let total: f32 = waiting.iter().map(share).sum();
        let before = (1.0 / total).clamp(1.0 - SURE, SURE);
        if sure < before {
            // Whoever else may have made it is in another state.
            return;
        }
        for (likelihood, kept) in self.likelihoods.iter_mut().zip(SHARES) {
            let by_order = (before * tilt(waiting, *own, kept).exp()).clamp(0.0, 1.0);
            let for_it = by_order * sure / before;
            let against = (1.0 - by_order) * (1.0 - sure) / (1.0 - before);
            *likelihood += (for_it + against).max(1e-6).ln();
        }
        self.weight += 1.0;
    }

    /// The likeliest share of pairs in order; one half where nothing else is much likelier.
    pub(super) fn kept(&self) -> f32 {
        let best = self.likelihoods.iter().zip(SHARES).rev().max_by(|a, b| a.0.total_cmp(b.0));
        best.filter(|(gain, _)| **gain >= EVIDENCE).map_or(SHARES[0], |(_, kept)| kept)
    }

    /// Counts what `other` has counted as well.
    pub(super) fn join(&mut self, other: &Self) {
        self.likelihoods.iter_mut().zip(other.likelihoods).for_each(|(it, more)| *it += more);
        self.weight += other.weight;
    }

    /// Forgets by `factor`.
    pub(super) fn scale(&mut self, factor: f32) {
        self.likelihoods.iter_mut().for_each(|it| *it *= factor);
        self.weight *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(order: &mut Order, times: usize, oddss: [f32; 2], own: usize, sure: f32) {
        let waiting = [((0, 0), oddss[0]), ((1, 0), oddss[1])];
        (0..times).for_each(|_| order.add(&Level { waiting: &waiting, own, sure }));
    }

    #[test]
    fn what_delays_explain_is_no_evidence_of_order() {
        let mut order = Order::default();
        assert_eq!(order.kept(), 0.5);
        // Ties of which nothing is known later, and some that came so much earlier that they go first.
        add(&mut order, 40, [0.0, 0.0], 1, 0.5);
        add(&mut order, 190, [0.0, -3.0], 0, 0.95);
        add(&mut order, 10, [0.0, -3.0], 1, 0.95);
        assert!(order.kept() <= 0.6, "{}", order.kept());
    }

    #[test]
    fn who_comes_at_the_same_time_is_in_no_order() {
        assert_eq!(tilt(&[((5, 0), 0.0), ((5, 0), 0.0)], 0, 0.99), 0.0);
        assert!(tilt(&[((5, 0), 0.0), ((6, 0), 0.0)], 0, 0.99) > 0.6);
        assert!(tilt(&[((5, 0), 0.0), ((6, 0), 0.0)], 1, 0.99) < -3.0);
    }

    #[test]
    fn what_delays_left_open_and_later_events_show_is_evidence() {
        let mut order = Order::default();
        add(&mut order, 40, [0.0, 0.0], 0, 0.99);
        assert!(order.kept() > 0.98, "{}", order.kept());
        // A quarter of them is against it.
        add(&mut order, 13, [0.0, 0.0], 1, 0.99);
        assert!((0.7..0.85).contains(&order.kept()), "{}", order.kept());
    }
}
