//! Scheduling: our threads give way to everybody else's.
//!
//! On a busy processor a request must not wait until we have worked off a batch. So our threads ask
//! for the shortest slices there are (Linux 6.12 and newer; others ignore it), and for less than an
//! equal share where there is not enough for all. Bias: on a host that has no idle time for minutes we
//! fall behind, and what the buffers cannot hold is dropped and counted.

use std::io;

/// Niceness of our threads: a third of the weight of a thread that asks for nothing.
const NICE: i32 = 5;
/// Slice, nanoseconds: the shortest that the kernel grants.
const SLICE_NS: u64 = 100_000;
/// `SCHED_NORMAL`.
const POLICY: u32 = 0;

/// `struct sched_attr` as it was first defined (Linux 3.14); the kernel takes it by its size.
#[repr(C)]
#[derive(Default)]
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

/// Lets the current thread, and those that it starts from now on, give way to others. An error is
/// no reason to end: then they compete like any other.
pub fn give_way() -> io::Result<()> {
    let attributes = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: POLICY,
        nice: NICE,
        runtime_ns: SLICE_NS,
        ..SchedAttr::default()
    };
    // SAFETY: the kernel reads `size` bytes of a structure that outlives the call, and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_those_it_starts_give_way() {
        let nice = || -> i32 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            // Field 19 of all, the 17th behind the name.
            rest.split(' ').nth(16).unwrap().parse().unwrap()
        };
        let before = nice();
        let inner = std::thread::spawn(move || {
            give_way().unwrap();
            (nice(), std::thread::spawn(nice).join().unwrap())
        });
        assert_eq!(inner.join().unwrap(), (NICE, NICE));
        assert_eq!(nice(), before);
    }
}
