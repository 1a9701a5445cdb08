//! Image: the files that a process runs, their symbols, and words of its memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use deeptrace_model::Pid;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSegment, ObjectSymbol, ReadCache, ReadRef};

/// Bytes of a function that are looked at.
const CODE_MAX: u64 = 16 * 1024;
/// Symbols of one kind that are looked at.
const SYMBOLS_MAX: usize = 8;
/// Words of what a file keeps in memory that are looked at: 8 MiB.
const DATA_MAX: u64 = 1 << 20;
/// Bytes of a text that are looked at.
const TEXT_MAX: usize = 64;

type Elf<'d> = ElfFile64<'d, Endianness, &'d ReadCache<File>>;

/// A process that is looked at.
pub(super) struct Target {
    pid: Pid,
    memory: File,
    /// Files that it maps from their beginning: address, and path as the process sees it.
    files: Vec<(u64, String)>,
}

/// A symbol that was found.
pub(super) struct Symbol {
    /// Where it is in the process.
    pub(super) address: u64,
    /// Where it is in the file.
    pub(super) offset: u64,
    /// The bytes of it in the file: code.
    pub(super) code: Vec<u8>,
}

impl Target {
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let memory = File::open(format!("/proc/{}/mem", pid.0))?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", pid.0))?;
        let mut files: Vec<(u64, String)> = Vec::new();
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let (range, offset) = (words.next(), words.nth(1));
            let path = words.nth(2).filter(|path| path.starts_with('/'));
            if let (Some(range), Some(offset), Some(path)) = (range, offset, path)
                && offset.bytes().all(|digit| digit == b'0')
                && let Some(start) = range.split('-').next()
                && let Ok(start) = u64::from_str_radix(start, 16)
                && !files.iter().any(|(_, known)| known == path)
            {
                files.push((start, path.to_owned()));
            }
        }
        Ok(Self { pid, memory, files })
    }

    /// The file whose name (without its folder) is meant.
    pub(super) fn file(&self, is_meant: impl Fn(&str) -> bool) -> Option<Image<'_>> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (start, path) = self.files.iter().find(|(_, path)| is_meant(&name(path)))?;
        Some(Image { target: self, start: *start, path: path.clone() })
    }

    /// The program itself: it is mapped first.
    pub(super) fn program(&self) -> Option<Image<'_>> {
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid.0)).ok()?;
        let path = path.to_str()?.to_owned();
        let (start, _) = self.files.iter().find(|(_, known)| *known == path)?;
        Some(Image { target: self, start: *start, path })
    }

    /// Eight bytes of its memory.
    pub(super) fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// So many words of its memory.
    fn words(&self, address: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; 8 * count as usize];
        self.memory.read_exact_at(&mut bytes, address)?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// A short text in its memory that ends with a zero.
    pub(super) fn terminated(&self, address: u64) -> io::Result<String> {
        let mut bytes = [0; TEXT_MAX];
        let len = self.memory.read_at(&mut bytes, address)?;
        let text = bytes[..len].split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A short text in its memory.
    pub(super) fn text(&self, address: u64, len: u64) -> io::Result<String> {
        let mut bytes = vec![0; len.min(TEXT_MAX as u64) as usize];
        self.memory.read_exact_at(&mut bytes, address)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One of its files.
pub(super) struct Image<'a> {
    target: &'a Target,
    start: u64,
    path: String,
}

impl Image<'_> {
    /// Its name without the folder.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The file as this process sees it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/root{}", self.target.pid.0, self.path)
    }

    /// Whether the file has a section of this name.
    pub(super) fn has_section(&self, name: &str) -> bool {
        self.elf(|elf, _| elf.section_by_name(name).is_some()).unwrap_or(false)
    }

    /// The symbols of these names, each where it is found, in the order asked for.
    pub(super) fn symbols<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Symbol>; N], String> {
        self.elf(|elf, file| {
            let mut found = [const { None }; N];
            for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
                let Ok(name) = symbol.name_bytes() else { continue };
                let wanted = names.iter().position(|wanted| wanted.as_bytes() == name);
                if let Some(at) = wanted.filter(|at| found[*at].is_none())
                    && symbol.address() != 0
                {
                    found[at] = self.place(elf, file, symbol.address(), symbol.size());
                }
            }
            found
        })
    }

    /// All symbols whose names have all of these parts, for each of the lists.
    pub(super) fn search<const N: usize>(
        &self,
        wanted: [&[&str]; N],
    ) -> Result<[Vec<Symbol>; N], String> {
        self.elf(|elf, file| {
            let mut found = [const { Vec::new() }; N];
            for symbol in elf.symbols().filter(|symbol| symbol.address() != 0) {
                let Ok(name) = symbol.name() else { continue };
                let wanted =
                    wanted.iter().position(|parts| parts.iter().all(|part| name.contains(part)));
                if let Some(at) = wanted.filter(|at| found[*at].len() < SYMBOLS_MAX) {
                    found[at].extend(self.place(elf, file, symbol.address(), symbol.size()));
                }
            }
            found
        })
    }

    /// Where a program keeps a variable of each thread whose name has this part: from the thread pointer, and
    /// its bytes (ELF Handling For Thread-Local Storage, variant II).
    pub(super) fn thread_local(&self, part: &str) -> Option<(i64, u64)> {
        let found = self.elf(|elf, _| {
            let endian = elf.endian();
            let mut headers = elf.elf_program_headers().iter();
            let block = headers.find(|header| header.p_type(endian) == object::elf::PT_TLS)?;
            let align = block.p_align(endian).max(1);
            let size = block.p_memsz(endian).checked_next_multiple_of(align)?;
            let mut locals =
                elf.symbols().filter(|it| it.elf_symbol().st_type() == object::elf::STT_TLS);
            let symbol = locals.find(|it| it.name().is_ok_and(|name| name.contains(part)))?;
            Some((symbol.address().wrapping_sub(size) as i64, symbol.size()))
        });
        found.ok()?
    }

    /// The words that it keeps in memory that was made to be written, with relocations applied.
    pub(super) fn data(&self) -> Result<Vec<u64>, String> {
        let place = self.elf(|elf, _| {
            let (first, endian) = (first(elf)?, elf.endian());
            let segment = elf.elf_program_headers().iter().find(|header| {
                let is_written = header.p_flags(endian).0 & object::elf::PF_W.0 != 0;
                header.p_type(endian) == object::elf::PT_LOAD && is_written
            })?;
            let from = segment.p_vaddr(endian).checked_next_multiple_of(8)?;
            let start = self.start.wrapping_add(from.wrapping_sub(first));
            Some((start, (segment.p_filesz(endian) / 8).min(DATA_MAX)))
        })?;
        let Some((start, words)) = place else { return Ok(Vec::new()) };
        self.target.words(start, words).map_err(|error| self.failed(&error))
    }

    /// The place in the file that the process has at `address`.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let within = address.checked_sub(self.start)?;
        let found = self.elf(|elf, file| {
            self.place(elf, file, first(elf)?.checked_add(within)?, 0).map(|symbol| symbol.offset)
        });
        found.ok()?
    }

    /// What `take` finds in the file.
    fn elf<T>(
        &self,
        take: impl for<'d> FnOnce(&Elf<'d>, &'d ReadCache<File>) -> T,
    ) -> Result<T, String> {
        let file = File::open(self.path()).map_err(|error| self.failed(&error))?;
        let cache = ReadCache::new(file);
        let elf = Elf::parse(&cache).map_err(|error| self.failed(&error))?;
        Ok(take(&elf, &cache))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("cannot read {} ({error})", self.path)
    }

    fn place<'d, R: ReadRef<'d>>(
        &self,
        elf: &ElfFile64<'d, Endianness, R>,
        data: R,
        address: u64,
        size: u64,
    ) -> Option<Symbol> {
        let first = first(elf)?;
        let headers = elf.elf_program_headers().iter();
        let endian = elf.endian();
        let segment = headers.filter(|header| header.p_type(endian) == object::elf::PT_LOAD).find(
            |header| {
                let from = header.p_vaddr(endian);
                (from..from + header.p_memsz(endian)).contains(&address)
            },
        )?;
        let offset = address - segment.p_vaddr(endian) + segment.p_offset(endian);
        let code = data.read_bytes_at(offset, size.min(CODE_MAX)).unwrap_or_default().to_vec();
        Some(Symbol { address: self.start.wrapping_add(address - first), offset, code })
    }
}

/// The address for which the beginning of a file is made.
fn first<'d, R: ReadRef<'d>>(elf: &ElfFile64<'d, Endianness, R>) -> Option<u64> {
    elf.segments().map(|segment| segment.address() & !0xfff).min()
}
