//! Verdicts: a byte for each process at the place of its pid, in memory shared with the kernel's
//! programs. `bpf/maps.bpf.h` says why nobody undoes the verdict of another.

use std::fs;
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU8, Ordering};

use deeptrace_model::Pid;
use libbpf_rs::{MapCore, MapHandle};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// More pids than this no kernel has.
const PIDS_MAX: u32 = 4 << 20;

/// Values of a byte; no verdict leaves the process to the default.
const NONE: u8 = 0;
const IGNORE: u8 = 1;
const WATCH: u8 = 2;

/// The map of processes, mapped.
pub(super) struct Verdicts {
    first: NonNull<AtomicU8>,
    len: usize,
}

/// Values of `pids_per_value` bytes that the map needs for the pids that this kernel gives out.
pub(super) fn values(pids_per_value: u32) -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let pids = text.trim().parse().unwrap_or(PIDS_MAX);
    pids.clamp(1, PIDS_MAX).div_ceil(pids_per_value)
}

impl Verdicts {
    /// Maps the loaded map of processes.
    pub(super) fn map(map: &MapHandle) -> Result<Self, std::io::Error> {
        let len = map.max_entries() as usize * map.value_size() as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a free address, so no memory in use is replaced.
        let first = unsafe { mmap(null_mut(), len, access, MapFlags::SHARED, map.as_fd(), 0)? };
        let first = NonNull::new(first.cast()).expect("the kernel maps nothing at zero");
        Ok(Self { first, len })
    }

    /// Writes the verdict on a process; `None`: the default. False: there is no place for this pid.
    pub(super) fn set(&self, pid: Pid, watched: Option<bool>) -> bool {
        let at = pid.0 as usize;
        if at >= self.len {
            return watched.is_none();
        }
        let verdict = match watched {
            None => NONE,
            Some(false) => IGNORE,
            Some(true) => WATCH,
        };
        // SAFETY: `len` bytes are mapped from `first` on until this is dropped, `at` is one of them,
        // and every access, the kernel's included, is a whole byte.
        unsafe { self.first.add(at).as_ref() }.store(verdict, Ordering::Relaxed);
        true
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; references to it end within `set`.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.len) };
    }
}
