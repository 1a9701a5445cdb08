//! All histories of the hypotheses that lived, and how likely each choice in them is.

use deeptrace_model::hash64;

use super::search::Found;

/// No request, no node.
pub(super) const NOBODY: u32 = u32::MAX;

/// A hypothesis after a choice, or what several became.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Logarithm of the sum of its histories' likelihoods, with what came after the choice.
    sum: f64,
    /// The same when it was made: what came after is `sum` less this.
    made: f64,
    /// Its last way in; they are chained. The first that was added is that of the best history.
    ways: u32,
    first: u32,
}

/// A way into a node.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: u32,
    /// Logarithm of the likelihood of all histories that come this way.
    weight: f64,
    call: u32,
    request: u32,
    next: u32,
}

/// Nodes in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Lattice {
    nodes: Vec<Node>,
    ways: Vec<Way>,
    /// Probability of each node, while it is decided.
    shares: Vec<f64>,
    /// State of the numbers by which histories are drawn; the same for the same input.
    random: u64,
}

impl Lattice {
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.ways.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where histories begin.
    pub(super) fn root(&mut self) -> u32 {
        self.root_with(0.0)
    }

    /// The same, with a likelihood.
    pub(super) fn root_with(&mut self, sum: f64) -> u32 {
        self.nodes.push(Node { sum, made: sum, ways: NOBODY, first: NOBODY });
        self.nodes.len() as u32 - 1
    }

    /// After `from`, `request` made `call`.
    pub(super) fn push(&mut self, from: u32, step: f32, call: u32, request: u32) -> u32 {
        let weight = self.nodes[from as usize].sum + f64::from(step);
        let way = self.ways.len() as u32;
        self.ways.push(Way { from, weight, call, request, next: NOBODY });
        self.nodes.push(Node { sum: weight, made: weight, ways: way, first: way });
        self.nodes.len() as u32 - 1
    }

    /// Another way into `node`, which no choice was made from yet.
    pub(super) fn merge(&mut self, node: u32, from: u32, step: f32, call: u32, request: u32) {
        let weight = self.nodes[from as usize].sum + f64::from(step);
        let way = self.ways.len() as u32;
        let next = self.nodes[node as usize].ways;
        self.ways.push(Way { from, weight, call, request, next });
        let node = &mut self.nodes[node as usize];
        node.ways = way;
        node.sum = log_add(node.sum, weight);
        node.made = node.sum;
    }

    /// Something that is no choice changed the likelihood.
    pub(super) fn extend(&mut self, node: u32, step: f32) {
        self.nodes[node as usize].sum += f64::from(step);
    }

    /// `other` has become equal to `node`: from here on they are one.
    pub(super) fn join(&mut self, node: u32, other: u32) {
        let (into, from) = (self.nodes[node as usize], self.nodes[other as usize]);
        // What `other` gained since it was made counts for its ways as well.
        let shift = (from.sum - from.made) - (into.sum - into.made);
        let mut way = from.ways;
        while way != NOBODY {
            let Way { from, weight, call, request, next } = self.ways[way as usize];
            let copy = self.ways.len() as u32;
            let chained = self.nodes[node as usize].ways;
            self.ways.push(Way { from, weight: weight + shift, call, request, next: chained });
            self.nodes[node as usize].ways = copy;
            way = next;
        }
        let node = &mut self.nodes[node as usize];
        node.made = log_add(node.made, from.made + shift);
        node.sum = log_add(node.sum, from.sum);
    }

    /// Logarithm of the sum of the likelihoods of the histories that end in `node`.
    pub(super) fn sum(&self, node: u32) -> f64 {
        self.nodes[node as usize].sum
    }

    /// Logarithm of the sum of the likelihoods of all histories.
    pub(super) fn total(&self, ends: &[u32]) -> f64 {
        ends.iter().map(|end| self.sum(*end)).fold(f64::NEG_INFINITY, log_add)
    }

    /// Evenly between 0 and 1 (splitmix64: Steele, Lea, Flood 2014, but for the last step).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (hash64(&[self.random]) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws one of all histories, each as often as it is likely.
    fn draw(&mut self, ends: &[u32], found: &mut Found) {
        let total = self.total(ends);
        let mut left = self.chance();
        let mut at = *ends.last().unwrap_or(&0);
        for end in ends {
            left -= (self.sum(*end) - total).exp();
            if left < 0.0 {
                at = *end;
                break;
            }
        }
        loop {
            let node = self.nodes[at as usize];
            let mut left = self.chance();
            let (mut way, mut chosen) = (node.ways, node.first);
            if chosen == NOBODY {
                return;
            }
            while way != NOBODY {
                let Way { weight, next, .. } = self.ways[way as usize];
                left -= (weight - node.made).exp();
                if left < 0.0 {
                    chosen = way;
                    break;
                }
                way = next;
            }
            let Way { from, call, request, .. } = self.ways[chosen as usize];
            found.drawn[call as usize] = request;
            at = from;
        }
    }

    /// Answers with the best history, as sure as the others agree.
    pub(super) fn decide(&mut self, best: u32, ends: &[u32], found: &mut Found) {
        self.draw(ends, found);
        let mut at = best;
        while let Some(way) = self.ways.get(self.nodes[at as usize].first as usize) {
            found.parents[way.call as usize] = way.request;
            found.confidence[way.call as usize] = 0.0;
            at = way.from;
        }
        self.shares.clear();
        self.shares.resize(self.nodes.len(), 0.0);
        let most = ends.iter().map(|end| self.nodes[*end as usize].sum).fold(f64::MIN, f64::max);
        let weight = |end: &u32| (self.nodes[*end as usize].sum - most).exp();
        let total: f64 = ends.iter().map(weight).sum();
        for end in ends {
            self.shares[*end as usize] += weight(end) / total;
        }
        for at in (0..self.nodes.len()).rev() {
            let share = self.shares[at];
            if share < 1e-6 {
                continue;
            }
            let node = self.nodes[at];
            let mut way = node.ways;
            while way != NOBODY {
                let Way { from, weight, call, request, next } = self.ways[way as usize];
                let part = share * (weight - node.made).exp();
                self.shares[from as usize] += part;
                if found.parents[call as usize] == request {
                    found.confidence[call as usize] += part as f32;
                }
                way = next;
            }
        }
    }
}

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_drawn_as_often_as_they_are_likely() {
        let mut lattice = Lattice::default();
        let mut firsts = 0;
        for _ in 0..1000 {
            lattice.clear();
            let root = lattice.root();
            let node = lattice.push(root, 0.75_f32.ln(), 0, 0);
            lattice.merge(node, root, 0.25_f32.ln(), 0, 1);
            let mut found = Found::nothing(1);
            lattice.decide(node, &[node], &mut found);
            assert_eq!(found.parents, [0]);
            assert!((0.749..0.751).contains(&found.confidence[0]));
            assert!(lattice.total(&[node]).abs() < 1e-6);
            firsts += u32::from(found.drawn[0] == 0);
        }
        assert!((700..800).contains(&firsts), "{firsts}");
    }
}
