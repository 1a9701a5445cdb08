//! How long things take: histograms in log time, four bins an octave, smoothed over five bins.

/// Bins: 2^40 ns are eighteen minutes, what is longer counts as that.
pub(super) const BINS: usize = 160;
/// Bins an octave.
const PER_OCTAVE: f32 = 4.0;
/// Share of a delay that goes to its bin's neighbours and to itself.
const SMOOTH: [f32; 5] = [0.06, 0.24, 0.4, 0.24, 0.06];

/// A delay as it is looked up: its bin, and its size with the clock's resolution, as a logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    bin: usize,
    /// Natural logarithm of nanoseconds.
    log: f32,
}

impl Delay {
    /// `resolution`: nanoseconds below which delays cannot be told apart.
    pub(super) fn new(nanoseconds: i64, resolution: f32) -> Self {
        let size = nanoseconds.max(0) as f32 + resolution.max(1.0);
        let bin = ((size.log2() * PER_OCTAVE) as usize).min(BINS - 1);
        Self { bin, log: size.ln() }
    }

    /// Natural logarithm of a bin's width in nanoseconds, up to a constant that is the same for all.
    pub(super) fn log_width(self) -> f32 {
        self.log - 1.752
    }

    pub(super) fn bin(self) -> usize {
        self.bin
    }
}

/// Counts by delay.
#[derive(Clone, Debug)]
pub(super) struct Density {
    /// Sum of all weights.
    pub(super) weight: f32,
    bins: Box<[f32; BINS]>,
    /// Weight at or beyond each bin; right after [`freeze`](Self::freeze).
    beyond: Option<Box<[f32; BINS]>>,
}

impl Default for Density {
    fn default() -> Self {
        Self { weight: 0.0, bins: Box::new([0.0; BINS]), beyond: None }
    }
}

impl Density {
    pub(super) fn add(&mut self, delay: Delay, weight: f32) {
        self.weight += weight;
        for (offset, share) in SMOOTH.iter().enumerate() {
            let bin = (delay.bin + offset).saturating_sub(2).min(BINS - 1);
            self.bins[bin] += share * weight;
        }
    }

    /// Probability of the delay's bin; zero without examples.
    pub(super) fn probability(&self, delay: Delay) -> f32 {
        if self.weight > 0.0 { self.bins[delay.bin] / self.weight } else { 0.0 }
    }

    /// Weight of what took at least as long. Only after [`freeze`](Self::freeze).
    pub(super) fn beyond(&self, delay: Delay) -> f32 {
        self.beyond.as_ref().map_or(0.0, |beyond| beyond[delay.bin])
    }

    /// Makes it ready for [`beyond`](Self::beyond).
    pub(super) fn freeze(&mut self) {
        let mut beyond = self.bins.clone();
        for bin in (0..BINS - 1).rev() {
            beyond[bin] += beyond[bin + 1];
        }
        self.beyond = Some(beyond);
    }

    pub(super) fn scale(&mut self, factor: f32) {
        self.weight *= factor;
        for bin in self.bins.iter_mut() {
            *bin *= factor;
        }
    }
}
