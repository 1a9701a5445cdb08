//! tokio: the task that runs on a thread, which task wakes which, and which makes which.
//!
//! Each thread keeps the id of its task in a variable of its own (`tokio/src/runtime/context.rs`). Compilers
//! order its fields as they like, so the place is read from the code of the one function that exchanges the id.
//! A task begins with its header (`runtime/task/core.rs`), whose table (`runtime/task/raw.rs`) says where the
//! id is. Where the program was stripped, or all of it optimised as one, there is nothing to go by.

use deeptrace_model::HandOverKind;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::image::{Symbol, Target};
use super::{Evidence, Probe, Row, Runtime, places};

pub(super) const ROW: Row = Row { find, migrates: true };

/// `dt_runtime` of `bpf/event.h`.
const DT_TOKIO: u32 = 5;
/// An instruction that the kernel emulates.
const HIT_US: u64 = 1;
/// Place of the table in a header, and of the place of the id in the table.
const TABLE: u64 = 16;
const ID: u64 = 72;

fn find(target: &Target) -> Option<Result<Runtime, String>> {
    let image = target.program()?;
    let found = image.search([
        &["5tokio7runtime7context19set_current_task_id"],
        &["5tokio7runtime4task5waker11wake_by_"],
        &["5tokio7runtime4task4list", "10bind_inner"],
        &["5tokio7runtime4task2id2Id4next7NEXT_ID"],
    ]);
    let [exchange, wakes, births, next] = found.ok()?;
    if wakes.is_empty() && next.is_empty() {
        return None;
    }
    let context = image.thread_local("5tokio7runtime7context7CONTEXT");
    let (Some(exchange), Some((context, size)), Some(next)) =
        (exchange.first(), context, next.first())
    else {
        return Some(Err("a program on tokio whose parts are not apart".to_owned()));
    };
    let Some(slot) = exchanged(&exchange.code, context, size) else {
        return Some(Err(
            "the place of the task's id is not known in this build of tokio".to_owned()
        ));
    };
    let probe = |program: &'static str, symbol: &Symbol| Probe {
        program,
        evidence: Evidence::Tokio,
        path: image.path(),
        offset: symbol.offset + emulated(&symbol.code),
        at_return: false,
    };
    let wakes = wakes.iter().map(|symbol| probe("deeptrace_tokio_woken", symbol));
    let births = births.iter().map(|symbol| probe("deeptrace_tokio_born", symbol));
    Some(Ok(Runtime {
        name: "tokio".to_owned(),
        kind: DT_TOKIO,
        slot,
        at: places([next.address, TABLE, ID]),
        evidence: Some(Evidence::Tokio),
        probes: wakes.chain(births).collect(),
        hit_us: HIT_US,
        reasons: vec![Some(HandOverKind::Wake)],
        ..Runtime::default()
    }))
}

fn instructions(code: &[u8]) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}

/// The place of what a function exchanges, from the thread pointer: it is loaded and then stored, within the
/// variable that lies at `context` and has so many bytes.
fn exchanged(code: &[u8], context: i64, size: u64) -> Option<i64> {
    let end = context.saturating_add_unsigned(size);
    // From the beginning of the variable, or of all of them.
    let place = |instruction: &Instruction| {
        let displacement = instruction.memory_displacement64() as i64;
        let at = if displacement < 0 { displacement } else { context.wrapping_add(displacement) };
        let base = instruction.memory_base();
        let is_other = base == Register::RSP || base == Register::RIP;
        // What has no base begins at the thread pointer, and the variables lie below.
        let is_other = is_other || (base == Register::None && displacement >= 0);
        (!is_other && (context..end).contains(&at)).then_some(at)
    };
    let moves = |instruction: &Instruction, register: usize| {
        let is_move = instruction.mnemonic() == Mnemonic::Mov;
        let other = instruction.op_kind(register as u32 ^ 1);
        is_move
            && instruction.op_kind(register as u32) == OpKind::Register
            && instruction.op_register(register as u32).is_gpr64()
            && other == OpKind::Memory
    };
    let mut loaded = Vec::new();
    for instruction in instructions(code) {
        let Some(at) = place(&instruction) else { continue };
        if moves(&instruction, 0) {
            loaded.push(at);
        } else if moves(&instruction, 1) && loaded.contains(&at) {
            return Some(at);
        }
    }
    None
}

/// Where the first instruction is that the kernel emulates rather than steps, a tenth of the price, if the
/// arguments are still in their registers there; else the beginning.
fn emulated(code: &[u8]) -> u64 {
    for instruction in instructions(code) {
        match instruction.mnemonic() {
            Mnemonic::Push | Mnemonic::Call | Mnemonic::Jmp => return instruction.ip(),
            _ if instruction.is_jcc_short_or_near() => return instruction.ip(),
            Mnemonic::Ret => return 0,
            _ => {}
        }
        let written = instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::Register;
        let register =
            if written { instruction.op_register(0).full_register() } else { Register::None };
        if register == Register::RDI || register == Register::RSI {
            return 0;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio 1.54, rustc 1.9x, `-O`: from `set_current_task_id`.
    const EXCHANGE: &[u8] = &[
        0x53, // push %rbx
        0x48, 0x89, 0xfb, // mov %rdi,%rbx
        0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, // mov %fs:0x0,%rax
        0x48, 0x8d, 0x80, 0xe0, 0xfe, 0xff, 0xff, // lea -0x120(%rax),%rax
        0x0f, 0xb6, 0x48, 0x48, // movzbl 0x48(%rax),%ecx
        0x48, 0x8b, 0x48, 0x30, // mov 0x30(%rax),%rcx
        0x48, 0x89, 0x58, 0x30, // mov %rbx,0x30(%rax)
        0xc3, // ret
    ];

    #[test]
    fn the_place_of_the_id_is_what_is_exchanged() {
        assert_eq!(exchanged(EXCHANGE, -0x120, 80), Some(-0xf0));
        assert_eq!(exchanged(EXCHANGE, -0x120, 0x30), None, "outside of the variable");
        assert_eq!(exchanged(&EXCHANGE[..EXCHANGE.len() - 5], -0x120, 80), None, "not stored");
        // mov -0xf0(%rax),%rcx; mov %rbx,-0xf0(%rax)
        let near =
            [0x48, 0x8b, 0x88, 0x10, 0xff, 0xff, 0xff, 0x48, 0x89, 0x98, 0x10, 0xff, 0xff, 0xff];
        assert_eq!(exchanged(&near, -0x120, 80), Some(-0xf0));
    }

    #[test]
    fn probes_stand_where_the_kernel_emulates() {
        assert_eq!(emulated(EXCHANGE), 0);
        // sub $0x18,%rsp; mov (%rdi),%rax; test $2,%al; jne
        assert_eq!(emulated(&[0x48, 0x83, 0xec, 0x18, 0x48, 0x8b, 7, 0xa8, 2, 0x75, 0]), 9);
        // mov %rsi,%rdi; jmp
        assert_eq!(emulated(&[0x48, 0x89, 0xf7, 0xeb, 0]), 0);
    }
}
