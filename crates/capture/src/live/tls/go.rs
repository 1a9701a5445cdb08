//! Go's `crypto/tls`, in every Go program that speaks TLS, stripped or not, since Go 1.18 (the internal
//! ABI: <https://go.dev/s/regabi>).
//!
//! Goroutines move to other threads, and their stacks to other addresses, so nothing may be put where a
//! function returns to. Both functions are met behind their check of the stack, where the frame begins
//! with a `push` and the arguments are still in registers. `Write` tells all at its beginning. `Read` is
//! met again where it calls for the copy of what it read, or, where that is a function of its own, at the
//! first jump after it. A `Read` that waited there when the probes came was not met before; its arguments
//! are also above its frame.

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register};

use super::image::{Function, Image};
use super::library::{GO, Library, Probe, ProbeKind, RESULT, Reason, SENT, SPILLED};
use super::pclntab;

/// The row of the table.
pub(super) const LIBRARY: Library = Library { name: "Go crypto/tls", is_file: |_| false, probes };

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).Write";
const COPY: &str = "runtime.memmove";
const READER: &str = "bytes.(*Reader).Read";

/// Instructions at the front of a function in which its stack is checked.
const CHECK_MAX: usize = 6;
/// Instructions at the front of a function in which it saves its arguments.
const SAVES_MAX: usize = 20;
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
    let spilled = if saves_arguments(&image.instructions(*read)) { SPILLED } else { 0 };
    let begin = |function: Function| behind_check(image, function).ok_or(Reason::NoPlace);
    let probes = [
        Probe::at(image, begin(*read)?, GO, ProbeKind::GoRead),
        Probe::at(image, copy, GO | shape | spilled, ProbeKind::GoCopy),
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

/// Whether a function puts its frame's address into `rbp` and its first three arguments behind the address
/// that it returns to, which is 16 bytes above (the internal ABI's spill area).
fn saves_arguments(code: &[Instruction]) -> bool {
    let front = &code[..code.len().min(SAVES_MAX)];
    let is_register = |i: &Instruction, to, from| {
        i.mnemonic() == Mnemonic::Mov && i.op0_register() == to && i.op1_register() == from
    };
    if !front.iter().any(|i| is_register(i, Register::RBP, Register::RSP)) {
        return false;
    }
    let Some(frame) = front.iter().find_map(frame) else { return false };
    [Register::RAX, Register::RBX, Register::RCX].iter().zip(0..).all(|(register, number)| {
        front.iter().any(|i| {
            i.mnemonic() == Mnemonic::Mov
                && i.memory_base() == Register::RSP
                && i.memory_index() == Register::None
                && i.memory_displacement64() == frame + 16 + 8 * number
                && i.op1_register() == *register
        })
    })
}

/// Bytes that an instruction makes room for on the stack.
fn frame(instruction: &Instruction) -> Option<u64> {
    if instruction.op0_register() != Register::RSP || instruction.op_count() != 2 {
        return None;
    }
    let change = instruction.try_immediate(1).ok()?;
    match instruction.mnemonic() {
        Mnemonic::Sub => Some(change),
        // 128 is written as its negative, which is shorter.
        Mnemonic::Add => Some(change.wrapping_neg()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    /// The front of `Read` as Go 1.26 makes it.
    const READ: [u8; 34] = [
        0x49, 0x3b, 0x66, 0x10, // cmp rsp, [r14+16]
        0x76, 0x10, // jbe
        0x55, // push rbp
        0x48, 0x89, 0xe5, // mov rbp, rsp
        0x48, 0x83, 0xec, 0x58, // sub rsp, 88
        0x48, 0x89, 0x44, 0x24, 0x68, // mov [rsp+104], rax
        0x48, 0x89, 0x4c, 0x24, 0x78, // mov [rsp+120], rcx
        0x48, 0x89, 0x5c, 0x24, 0x70, // mov [rsp+112], rbx
        0xc6, 0x44, 0x24, 0x1f, 0x00, // mov byte [rsp+31], 0
    ];

    fn is_saved(code: &[u8]) -> bool {
        let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        saves_arguments(&decoder.into_iter().collect::<Vec<_>>())
    }

    #[test]
    fn arguments_above_the_frame() {
        assert!(is_saved(&READ));
        // Any of them elsewhere, or another frame: they are not known.
        for (at, byte) in [(18, 0x60), (23, 0x80), (28, 0x78), (13, 0x60), (9, 0xec)] {
            let mut other = READ;
            other[at] = byte;
            assert!(!is_saved(&other), "{at}");
        }
        assert!(!is_saved(&READ[..28]));
    }
}
