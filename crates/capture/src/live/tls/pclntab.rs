//! The table of functions that Go programs carry even when they are stripped, `.gopclntab`
//! (`runtime/symtab.go`, `pcHeader`; layout since Go 1.18).

use std::collections::BTreeMap;

use super::image::{Function, Image};

const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// The largest programs have tables of 100 MB.
const TABLE_MAX: u64 = 256 << 20;
/// Magic numbers of Go 1.18 and 1.20.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
const FUNCTIONS_MAX: u64 = 1 << 22;

/// Functions by name, of those that `wanted` names. None where the table is not understood.
pub(super) fn functions(image: &Image<'_>, wanted: &[&str]) -> BTreeMap<String, Function> {
    let Some((_, table)) = image.section(&SECTIONS, TABLE_MAX) else { return BTreeMap::new() };
    // Since Go 1.26 the table does not say any more where the code begins.
    let text = image.section(&[".text"], 0).map_or(0, |(address, _)| address);
    read(&table, text, wanted).unwrap_or_default()
}

fn read(table: &[u8], text: u64, wanted: &[&str]) -> Option<BTreeMap<String, Function>> {
    let magic = u32_at(table, 0)?;
    if !MAGIC.contains(&magic) || *table.get(7)? != 8 {
        return None;
    }
    let count = u64_at(table, 8).filter(|count| *count <= FUNCTIONS_MAX)? as usize;
    let base = u64_at(table, 24).filter(|base| *base != 0).unwrap_or(text);
    let names = table.get(usize::try_from(u64_at(table, 32)?).ok()?..)?;
    let entries = table.get(usize::try_from(u64_at(table, 64)?).ok()?..)?;
    let mut found = BTreeMap::new();
    for index in 0..count {
        let at = index * 8;
        let (entry, next) = (u32_at(entries, at)?, u32_at(entries, at + 8)?);
        let name = u32_at(entries, u32_at(entries, at + 4)? as usize + 4)? as usize;
        let is_name = |wanted: &&&str| {
            let end = name.checked_add(wanted.len());
            end.and_then(|end| names.get(name..end)).is_some_and(|text| text == wanted.as_bytes())
                && names.get(name + wanted.len()) == Some(&0)
        };
        if let Some(wanted) = wanted.iter().find(is_name) {
            let address = base + u64::from(entry);
            let size = u64::from(next.saturating_sub(entry));
            found.insert((*wanted).to_owned(), Function { address, size });
        }
    }
    Some(found)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions; the header, names at 72, entries at 88.
    fn table() -> Vec<u8> {
        let mut table = 0xffff_fff1u32.to_le_bytes().to_vec();
        table.extend([0, 0, 1, 8]);
        for number in [2u64, 0, 0, 72, 0, 0, 0, 88] {
            table.extend(number.to_le_bytes());
        }
        table.extend(b"main\0other.f\0\0\0\0");
        for number in [0u32, 20, 16, 28, 64, 0, 0, 16, 5] {
            table.extend(number.to_le_bytes());
        }
        table
    }

    #[test]
    fn functions_by_name() {
        let found = read(&table(), 0x1000, &["other.f", "other"]).unwrap();
        let expected = Function { address: 0x1010, size: 48 };
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("other.f".to_owned(), expected)]);
    }

    #[test]
    fn damaged_tables_are_survived() {
        let whole = table();
        for len in 0..whole.len() {
            let _ = read(&whole[..len], 0, &["main"]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = read(&damaged, 0, &["main"]);
        }
    }
}
