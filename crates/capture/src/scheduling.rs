//! Scheduling: our threads work in the shortest slices there are.
//!
//! On a busy processor a request must not wait until we have worked off a batch. A thread with short
//! slices gets its share as often as it wants and little at a time, so that whoever was interrupted
//! goes on at once. Less than an equal share was measured to be worse: work is then put off until the
//! kernel's tick, and done in longer pieces.
//!
//! For the same reason memory comes in small pages: clearing a huge one (2 MiB) takes as long as several
//! slices. And what a burst took and gave back is cleared again for the next burst: with huge pages that
//! was a quarter of all our time beside a saturated server. A server without an agent takes small ones too: a trace
//! for which batches are read took three times as long where a huge page was cleared for it.

use std::io;

/// Slice, nanoseconds: the shortest that the kernel grants (Linux 6.12; earlier ones have one for all).
const SLICE_NS: u64 = 100_000;
/// `SCHED_NORMAL`.
const POLICY: u32 = 0;

/// `struct sched_attr` as it was first defined (Linux 3.14); the kernel takes it by its size.
#[repr(C)]
#[derive(Debug, Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Gives short slices to the current thread, and to those that it starts from now on. An error is no
/// reason to end: then they compete like any other.
pub fn work_in_short_slices() -> io::Result<()> {
    let attributes = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: POLICY,
        nice: niceness()?,
        runtime_ns: SLICE_NS,
        ..SchedAttr::default()
    };
    // SAFETY: the kernel reads `size` bytes of a structure that outlives the call, and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Memory that this process takes from now on comes in pages of the processor's base size, not in huge
/// ones (`PR_SET_THP_DISABLE`, prctl(2)). An error is no reason to end.
pub fn take_small_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Of the current thread: whoever started us may have chosen one.
fn niceness() -> io::Result<i32> {
    current().map(|attributes| attributes.nice)
}

fn current() -> io::Result<SchedAttr> {
    let mut attributes = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes into a structure of that size.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_those_it_starts_have_short_slices() {
        let slice = || current().unwrap().runtime_ns;
        let before = slice();
        let inner = std::thread::spawn(move || {
            work_in_short_slices().unwrap();
            (slice(), std::thread::spawn(slice).join().unwrap())
        });
        // Kernels with one slice for all report none.
        let expected = if before == 0 { 0 } else { SLICE_NS };
        assert_eq!(inner.join().unwrap(), (expected, expected));
        assert_eq!(slice(), before);
    }
}
