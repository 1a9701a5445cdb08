//! Go's `crypto/tls`, in every Go program that speaks TLS, stripped or not, since Go 1.18 (the internal
//! ABI: <https://go.dev/s/regabi>).
//!
//! Goroutines move to other threads, and their stacks to other addresses, so nothing may be put where a
//! function returns to. Both functions are met behind their check of the stack, where the frame begins
//! with a `push` and the arguments are still in registers. `Write` tells all at its beginning. `Read` is
//! met again where it calls for the copy of what it read, or, where that is a function of its own, at the
//! first jump after it.

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};

use super::image::{Function, Image};
use super::library::{GO, Library, Probe, ProbeKind, RESULT, Reason, SENT};
use super::pclntab;

/// The row of the table.
pub(super) const LIBRARY: Library = Library { name: "Go crypto/tls", is_file: |_| false, probes };

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";
const COPY: &str = "runtime.memmove";
const READER: &str = "bytes.(*Reader).Read";

/// Instructions at the front of a function in which its stack is checked.
const CHECK_MAX: usize = 6;
/// Instructions after a call in which its result is looked at.
const RESULT_MAX: usize = 12;
/// Where the version is in `.go.buildinfo`, since Go 1.18.
const VERSION_AT: usize = 32;

fn probes(image: &Image<'_>) -> Result<Vec<Probe>, Reason> {
    let Some((_, info)) = image.section(&[".go.buildinfo"], 4096) else {
        return Err(Reason::NotHere);
    };
    let mut found = image.functions(&[READ, WRITE, COPY, READER]);
    if found.is_empty() {
        found = pclntab::functions(image, &[READ, WRITE, COPY, READER]);
    }
    let (Some(read), Some(write)) = (found.get(READ), found.get(WRITE)) else {
        return Err(Reason::NotHere);
    };
    // Before, the version is elsewhere, and arguments are on the stack.
    let version = info.get(VERSION_AT..).unwrap_or_default();
    if !version.get(1..).is_some_and(|text| text.starts_with(b"go1.")) {
        return Err(Reason::OldGo("Go 1.17 or older".to_owned()));
    }
    let (copy, shape) = copy(image, *read, found.get(COPY), found.get(READER))?;
    let begin = |function: Function| behind_check(image, function).ok_or(Reason::NoPlace);
    let probes = [
        Probe::at(image, begin(*read)?, GO, ProbeKind::GoRead),
        Probe::at(image, copy, GO | shape, ProbeKind::GoCopy),
        Probe::at(image, begin(*write)?, GO | SENT, ProbeKind::GoWrite),
    ];
    Ok(probes.into_iter().flatten().collect())
}

/// Behind the jump to `runtime.morestack`, from where the function begins anew.
fn behind_check(image: &Image<'_>, function: Function) -> Option<u64> {
    let front = image.instructions(function).into_iter().take(CHECK_MAX);
    let check = front.into_iter().find(|i| i.flow_control() == FlowControl::ConditionalBranch)?;
    Some(check.next_ip())
}

/// Where `Read` copies what it read.
fn copy(
    image: &Image<'_>,
    read: Function,
    copy: Option<&Function>,
    reader: Option<&Function>,
) -> Result<(u64, u64), Reason> {
    let code = image.instructions(read);
    let calls = |i: &Instruction, callee: Option<&Function>| {
        i.flow_control() == FlowControl::Call
            && callee.is_some_and(|callee| i.near_branch_target() == callee.address)
    };
    if let Some(call) = code.iter().find(|i| calls(i, copy)) {
        return Ok((call.ip(), 0));
    }
    let call = code.iter().position(|i| calls(i, reader)).ok_or(Reason::NoPlace)?;
    let mut info = InstructionInfoFactory::new();
    for instruction in code[call + 1..].iter().take(RESULT_MAX) {
        if instruction.flow_control() == FlowControl::ConditionalBranch {
            return Ok((instruction.ip(), RESULT));
        }
        let changes = |used: &iced_x86::UsedRegister| {
            used.register().full_register() == Register::RAX
                && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
        };
        if info.info(instruction).used_registers().iter().any(changes) {
            break;
        }
    }
    Err(Reason::NoPlace)
}
