//! How long things take: histograms in log time, four bins an octave, smoothed over five bins.

/// Bins: 2^40 ns are eighteen minutes, what is longer counts as that.
pub(super) const BINS: usize = 160;
/// Bins an octave.
const PER_OCTAVE: f32 = 4.0;
/// Width of a bin against its size.
const NATURAL_WIDTH: f32 = std::f32::consts::LN_2 / PER_OCTAVE;
/// Steps of the clock in a bin, from which on they are not counted.
const MANY_STEPS: f32 = 8.0;
/// Share of a delay that goes to its bin's neighbours and to itself.
const SMOOTH: [f32; 5] = [0.06, 0.24, 0.4, 0.24, 0.06];

/// A delay as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    bin: usize,
    log_width: f32,
}

impl Delay {
    /// Natural logarithm of a bin's width in nanoseconds.
    pub(super) fn log_width(self) -> f32 {
        self.log_width
    }

    pub(super) fn bin(self) -> usize {
        self.bin
    }
}

/// Bins of one clock. Where its step is wider than a bin, some hold one delay that it can tell, and others
/// none: these are given nothing.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// Nanoseconds that are added to a delay: what is shorter is not told apart by its logarithm.
    resolution: f32,
    log_tick: f32,
    /// Of each bin, how many steps of the clock are in it.
    steps: [f32; BINS],
}

impl Scale {
    /// Of a clock whose step is so many nanoseconds.
    pub(super) fn new(tick: i64) -> Self {
        let resolution = tick.max(1000) as f32 / 2.0;
        let tick = tick.max(1) as f64;
        // How many steps of the clock are below the bin.
        let steps = |bin: usize| {
            let from = (bin as f64 / f64::from(PER_OCTAVE)).exp2() - f64::from(resolution);
            (from / tick).ceil().max(0.0)
        };
        let steps = std::array::from_fn(|bin| (steps(bin + 1) - steps(bin)) as f32);
        Self { resolution, log_tick: tick.ln() as f32, steps }
    }

    pub(super) fn delay(&self, nanoseconds: i64) -> Delay {
        let size = nanoseconds.max(0) as f32 + self.resolution;
        let bin = ((size.log2() * PER_OCTAVE) as usize).min(BINS - 1);
        let steps = self.steps[bin];
        // Within a bin of many steps the logarithm is what is spread evenly.
        let few = steps > 0.0 && steps < MANY_STEPS;
        let log_width = if few { steps.ln() + self.log_tick } else { (size * NATURAL_WIDTH).ln() };
        Delay { bin, log_width }
    }

    /// Natural logarithm of the clock's step in nanoseconds.
    pub(super) fn log_tick(&self) -> f32 {
        self.log_tick
    }

    fn has(&self, bin: usize) -> bool {
        self.steps[bin] > 0.0
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
    pub(super) fn add(&mut self, scale: &Scale, delay: Delay, weight: f32) {
        self.weight += weight;
        let near = |offset: usize| (delay.bin + offset).saturating_sub(2).min(BINS - 1);
        let near = (0..SMOOTH.len()).map(|offset| (near(offset), SMOOTH[offset]));
        let near = near.filter(|(bin, _)| *bin == delay.bin || scale.has(*bin));
        let all: f32 = near.clone().map(|(_, share)| share).sum();
        for (bin, share) in near {
            self.bins[bin] += share / all * weight;
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
