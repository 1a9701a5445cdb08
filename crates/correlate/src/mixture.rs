//! A mixture of up to three normal densities, by expectation and maximisation (Dempster, Laird, Rubin
//! 1977); how many is decided by Schwarz's criterion (1978).

/// Rounds until the parts stand.
const ROUNDS: usize = 30;
/// Samples that are looked at.
const SAMPLES_MAX: usize = 2000;

/// Weight, mean and deviation of each part.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    parts: Vec<(f64, f64, f64)>,
}

impl Mixture {
    /// Of `samples`; no part is narrower than `least`.
    pub(crate) fn new(samples: &[f64], least: f64) -> Self {
        let step = samples.len().div_ceil(SAMPLES_MAX).max(1);
        let mut samples: Vec<f64> = samples.iter().copied().step_by(step).collect();
        samples.sort_unstable_by(f64::total_cmp);
        let fits = (1..=3).map(|many| {
            let mixture = Self::of(&samples, many, least);
            let likelihood: f64 = samples.iter().map(|sample| mixture.density(*sample).ln()).sum();
            let cost = (3 * many - 1) as f64 * (samples.len().max(1) as f64).ln() / 2.0;
            (likelihood - cost, mixture)
        });
        let best = fits.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, mixture)| mixture);
        best.unwrap_or(Self { parts: Vec::new() })
    }

    fn of(samples: &[f64], many: usize, least: f64) -> Self {
        let count = samples.len().max(1) as f64;
        let chunk = samples.len().div_ceil(many).max(1);
        let mut parts: Vec<(f64, f64, f64)> = samples
            .chunks(chunk)
            .map(|some| {
                let mean = some.iter().sum::<f64>() / some.len() as f64;
                let square = some.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                (some.len() as f64 / count, mean, (square / some.len() as f64).sqrt().max(least))
            })
            .collect();
        for _ in 0..if many > 1 { ROUNDS } else { 0 } {
            let mut sums = vec![(1e-9, 0.0, 0.0); parts.len()];
            for sample in samples {
                let shares: Vec<f64> = parts.iter().map(|part| normal(*part, *sample)).collect();
                let total = shares.iter().sum::<f64>().max(1e-300);
                for (sum, share) in sums.iter_mut().zip(shares) {
                    let share = share / total;
                    *sum = (sum.0 + share, sum.1 + share * sample, sum.2 + share * sample * sample);
                }
            }
            for (part, (weight, sum, square)) in parts.iter_mut().zip(sums) {
                let mean = sum / weight;
                let deviation = (square / weight - mean * mean).max(0.0).sqrt().max(least);
                *part = (weight / count, mean, deviation);
            }
        }
        Self { parts }
    }

    fn density(&self, sample: f64) -> f64 {
        self.parts.iter().map(|part| normal(*part, sample)).sum::<f64>().max(1e-300)
    }

    /// Logarithm of the density at `sample`, against that of the widest part's middle.
    pub(crate) fn fit(&self, sample: f64) -> f64 {
        let scale = self.parts.iter().map(|(weight, _, deviation)| weight / deviation).sum::<f64>();
        (self.density(sample) / scale.max(1e-300)).ln()
    }
}

fn normal((weight, mean, deviation): (f64, f64, f64), sample: f64) -> f64 {
    let distance = (sample - mean) / deviation;
    weight / (deviation * std::f64::consts::TAU.sqrt()) * (-0.5 * distance * distance).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_two_parts() {
        let samples: Vec<f64> =
            (0..400).map(|i| f64::from(i % 20) + if i < 200 { 0.0 } else { 500.0 }).collect();
        let mixture = Mixture::new(&samples, 1.0);
        assert!(mixture.parts.len() >= 2);
        assert!(mixture.fit(10.0) > mixture.fit(250.0) + 10.0);
        assert!(mixture.fit(510.0) > mixture.fit(250.0) + 10.0);
    }
}
