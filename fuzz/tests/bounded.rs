//! Every target, everywhere: its seeds, and what becomes of them when they are damaged at random.
//! The same inputs every time. An input that breaks something is kept in `out/fuzz`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use deeptrace_fuzz_targets::{Target, targets};

/// Damaged inputs of each target, and how long they may take.
const INPUTS: u64 = 400;
const TIME: Duration = Duration::from_secs(3);

#[test]
fn nothing_breaks_a_target() {
    let mut broken = Vec::new();
    for target in targets() {
        assert!(!target.seeds.is_empty(), "{} has no seeds", target.name);
        for seed in &target.seeds {
            broken.extend(breaks(&target, seed));
        }
        let begun = Instant::now();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in (0..INPUTS).take_while(|_| begun.elapsed() < TIME) {
            let input = damaged(&target.seeds, &mut random);
            broken.extend(breaks(&target, &input));
        }
    }
    broken.dedup();
    assert!(broken.is_empty(), "inputs that break a target:\n{}", broken.join("\n"));
}

/// Where the input is kept, if the target does not take it.
fn breaks(target: &Target, input: &[u8]) -> Option<String> {
    if catch_unwind(AssertUnwindSafe(|| target.run(input))).is_ok() {
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/fuzz/broken");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(target.name);
    std::fs::write(&path, input).unwrap();
    Some(path.display().to_string())
}

/// One seed with some of its bytes flipped, left out, repeated, or taken from another.
fn damaged(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(input.len());
        let len = 1 + random.below(16);
        let end = (at + len).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => input.truncate(at + 1),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let part = other[from..(from + len * 8).min(other.len())].to_vec();
                input.splice(at..end, part);
            }
        }
    }
    input
}

/// Xorshift (Marsaglia 2003): the same every time.
struct Random(u64);

impl Random {
    /// Below `limit`, which may be zero.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % limit.max(1)
    }
}
