//! The same calls through io_uring, as an application would make them.

use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};

use crate::driver::{pair, wait_for_go};

/// Sends and receives by buffer, then by message of two segments.
pub fn play() {
    wait_for_go("");
    let mut ring = IoUring::new(8).unwrap();
    let (client, server) = pair();
    let out = types::Fd(client.as_raw_fd());
    let into = types::Fd(server.as_raw_fd());
    let mut bytes = [0u8; 64];
    let room = bytes.as_mut_ptr();

    submit(&mut ring, opcode::Send::new(out, b"ring-send".as_ptr(), 9).build(), 9);
    submit(&mut ring, opcode::Recv::new(into, room, 64).build(), 9);
    submit(&mut ring, opcode::Write::new(out, b"ring-write".as_ptr(), 10).build(), 10);
    submit(&mut ring, opcode::Read::new(into, room, 64).build(), 10);
    let two = [std::io::IoSlice::new(b"ring-"), std::io::IoSlice::new(b"vector")];
    submit(&mut ring, opcode::Writev::new(out, two.as_ptr().cast(), 2).build(), 11);
    let recv = opcode::Recv::new(into, room, 64).build().flags(squeue::Flags::ASYNC);
    submit(&mut ring, recv, 11);
}

fn submit(ring: &mut IoUring, entry: squeue::Entry, moved: i32) {
    // SAFETY: every buffer of the entry outlives this call, which waits for its completion.
    unsafe { ring.submission().push(&entry).unwrap() };
    ring.submit_and_wait(1).unwrap();
    assert_eq!(ring.completion().next().unwrap().result(), moved);
}
