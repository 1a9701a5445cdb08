//! Image: an executable or shared library, as far as probes need it (System V ABI, chapters 4 and 5).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache};

use super::library::Reason;

/// Functions of a TLS library are shorter, or what is of interest is at their front.
const FUNCTION_MAX: u64 = 4096;

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

/// Where a function is, in the memory that the file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) address: u64,
    /// Bytes; zero where the file does not tell.
    pub(super) size: u64,
}

/// An open file.
pub(super) struct Image<'a> {
    elf: Elf<'a>,
}

/// Opens a file and lets `look` at it.
pub(super) fn with_image<T>(
    path: &Path,
    look: impl FnOnce(&Image<'_>) -> Result<T, Reason>,
) -> Result<T, Reason> {
    let file = File::open(path).map_err(|error| Reason::Unreadable(error.to_string()))?;
    let cache = ReadCache::new(file);
    let elf = Elf::parse(&cache).map_err(|error| Reason::Unreadable(error.to_string()))?;
    if elf.elf_header().e_machine.get(elf.endian()) != object::elf::EM_X86_64 {
        return Err(Reason::OtherMachine);
    }
    look(&Image { elf })
}

impl Image<'_> {
    /// Functions by name, of those that `wanted` names, from the dynamic symbols and then the others.
    pub(super) fn functions(&self, wanted: &[&str]) -> BTreeMap<String, Function> {
        let mut found = BTreeMap::new();
        for symbol in self.elf.dynamic_symbols().chain(self.elf.symbols()) {
            let Ok(name) = symbol.name() else { continue };
            // Symbols of Debian's Node carry their version.
            let name = name.split('@').next().unwrap_or(name);
            if symbol.is_definition() && symbol.address() != 0 && wanted.contains(&name) {
                let function = Function { address: symbol.address(), size: symbol.size() };
                found.entry(name.to_owned()).or_insert(function);
            }
        }
        found
    }

    /// Where the first section of these names is, and its bytes, at most so many.
    pub(super) fn section(&self, names: &[&str], max: u64) -> Option<(u64, Vec<u8>)> {
        let section = names.iter().find_map(|name| self.elf.section_by_name(name))?;
        let bytes = section.data_range(section.address(), section.size().min(max)).ok()??;
        Some((section.address(), bytes.to_vec()))
    }

    /// Where in the file the byte at `address` is, if that is part of a segment.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        let holds = |segment: &object::read::elf::ElfSegment64<'_, '_, Endianness, _>| {
            address.checked_sub(segment.address()).filter(|into| *into < segment.file_range().1)
        };
        let found = self.elf.segments().find_map(|segment| Some((holds(&segment)?, segment)));
        found.map(|(into, segment)| segment.file_range().0 + into)
    }

    /// Bytes of memory as the file has them.
    pub(super) fn bytes(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        self.elf.segments().find_map(|segment| {
            let rest = (segment.address() + segment.file_range().1).checked_sub(address)?;
            let within = address >= segment.address() && rest > 0;
            let bytes = segment.data_range(address, len.min(rest)).ok()??;
            within.then(|| bytes.to_vec())
        })
    }

    /// The instructions of a function, as far as its end is known.
    pub(super) fn instructions(&self, function: Function) -> Vec<Instruction> {
        let len = if function.size == 0 { FUNCTION_MAX } else { function.size.min(FUNCTION_MAX) };
        let Some(code) = self.bytes(function.address, len) else { return Vec::new() };
        let decoder = Decoder::with_ip(64, &code, function.address, DecoderOptions::NONE);
        decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).collect()
    }

    /// The functions that one calls, or ends with, directly; in the order of its code.
    pub(super) fn calls(&self, function: Function) -> Vec<u64> {
        let own = function.address..function.address + function.size.max(1);
        let calls = |i: &Instruction| {
            let leaves = i.flow_control() == FlowControl::UnconditionalBranch
                && !own.contains(&i.near_branch_target());
            i.op0_kind() == OpKind::NearBranch64
                && (leaves || i.flow_control() == FlowControl::Call)
        };
        let all = self.instructions(function);
        all.iter().filter(|i| calls(i)).map(Instruction::near_branch_target).collect()
    }

    /// Whether the kernel emulates the instruction at `address` when a probe stands there: others are
    /// put elsewhere and run by single steps, which costs ten times as much.
    pub(super) fn is_emulated(&self, address: u64) -> bool {
        let first = self.instructions(Function { address, size: 16 });
        first.first().is_some_and(is_emulated)
    }
}

/// As `arch/x86/kernel/uprobes.c` decides: `push` of a register, `nop`, and near branches.
pub(super) fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Push => instruction.op0_kind() == OpKind::Register,
        Mnemonic::Nop => instruction.len() == 1,
        _ => {
            instruction.op0_kind() == OpKind::NearBranch64
                && matches!(
                    instruction.flow_control(),
                    FlowControl::Call
                        | FlowControl::ConditionalBranch
                        | FlowControl::UnconditionalBranch
                )
        }
    }
}
