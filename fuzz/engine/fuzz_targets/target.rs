//! The target that `DEEPTRACE_TARGET` names, driven by libFuzzer; `./x fuzz` drives them all.
#![no_main]

use std::sync::OnceLock;

use deeptrace_fuzz_targets::{Target, targets};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| TARGET.get_or_init(named).run(data));

fn named() -> Target {
    let name = std::env::var("DEEPTRACE_TARGET").unwrap_or_default();
    let found = targets().into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
        panic!("DEEPTRACE_TARGET is '{name}', and must be one of {}", names.join(", "))
    })
}
