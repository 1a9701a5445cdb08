//! The rules of the house that a test can check (ARCHITECTURE.md, "Invariants").
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// Files below `folder` with one of `extensions`, in order.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    let mut entries: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", "dist"].contains(&name.as_str()) {
            found.extend(files(&path, extensions));
        } else if extensions.iter().any(|e| name.ends_with(&format!(".{e}"))) {
            found.push(path);
        }
    }
    found
}

/// Product source: what is above the tests of a file.
fn product(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn crates() -> Vec<(String, PathBuf)> {
    let mut all: Vec<(String, PathBuf)> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().join("Cargo.toml").exists())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
        .collect();
    all.sort();
    assert!(all.len() >= 9, "the rooms have moved: {all:?}");
    all
}

/// Who may depend on whom: a stage on `model` and on no other stage, `query` also on the store's trait.
/// `bounded` and `redact` are no stages: tables with a limit, and what must not be kept.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("bounded", &[]),
    ("capture", &["model"]),
    ("redact", &[]),
    ("protocol", &["model", "bounded", "redact"]),
    ("span", &["model", "bounded", "redact"]),
    ("context", &["model", "bounded"]),
    ("correlate", &["model"]),
    ("workload", &[]),
    ("store", &["model", "bounded"]),
    ("query", &["model", "store"]),
    ("export", &["model"]),
    ("erase", &["model"]),
    ("http", &["model"]),
    ("wire", &["model"]),
    (
        "agent",
        &[
            "model",
            "http",
            "wire",
            "capture",
            "protocol",
            "span",
            "context",
            "correlate",
            "export",
            "redact",
            "erase",
        ],
    ),
    (
        "server",
        &["model", "bounded", "http", "wire", "correlate", "store", "query", "export", "erase"],
    ),
];

#[test]
fn stages_depend_on_the_model_and_on_no_other_stage() {
    for (name, folder) in crates().into_iter().filter(|(name, _)| name != "deeptrace") {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let allowed = MAY_DEPEND.iter().find(|(n, _)| *n == name);
        let allowed = allowed.unwrap_or_else(|| panic!("crates/{name}: not in MAY_DEPEND")).1;
        let dependencies = manifest.get("dependencies").and_then(|d| d.as_table());
        for dependency in dependencies.into_iter().flat_map(|d| d.keys()) {
            if let Some(room) = dependency.strip_prefix("deeptrace-") {
                assert!(allowed.contains(&room), "crates/{name} must not depend on {room}");
            }
        }
    }
}

#[test]
fn each_direct_dependency_has_its_reason() {
    let mut manifests: Vec<PathBuf> =
        crates().into_iter().map(|(_, folder)| folder.join("Cargo.toml")).collect();
    manifests.push(root().join("xtask/Cargo.toml"));
    for path in manifests {
        let text = fs::read_to_string(&path).unwrap();
        let (mut listing, mut explained) = (false, false);
        for line in text.lines() {
            if let Some(section) = line.strip_prefix('[') {
                listing = section.contains("dependencies");
                explained = false;
            } else if line.starts_with('#') {
                explained = true;
            } else if listing && line.contains('=') && !line.starts_with([' ', ']', '}']) {
                assert!(explained, "{}: no reason beside: {line}", path.display());
            } else if line.trim().is_empty() {
                explained = false;
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_capture_only() {
    for (name, folder) in crates().into_iter().filter(|(name, _)| name != "capture") {
        for file in ["src/lib.rs", "src/main.rs"] {
            if let Ok(text) = fs::read_to_string(folder.join(file)) {
                let forbids = text.contains("#![forbid(unsafe_code)]");
                assert!(forbids, "crates/{name}/{file} must forbid unsafe code");
            }
        }
    }
}

#[test]
fn kernel_programs_are_named_deeptrace() {
    use object::{Object, ObjectSymbol, SymbolKind};
    let data = fs::read(root().join("crates/capture/bpf/deeptrace.bpf.o")).unwrap();
    let elf = object::File::parse(&*data).unwrap();
    let programs: Vec<&str> = elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_global())
        .map(|symbol| symbol.name().unwrap())
        .collect();
    assert!(programs.len() >= 4, "{programs:?}");
    for program in programs {
        assert!(program.starts_with("deeptrace"), "kernel program {program}");
    }
}

/// A protocol costs its own file or folder and two lines elsewhere: its `mod` and its row.
#[test]
fn a_protocol_costs_two_lines_outside_its_file() {
    let src = root().join("crates/protocol/src");
    let lib = fs::read_to_string(src.join("lib.rs")).unwrap();
    let rows: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim().strip_suffix("::PROTOCOL,"))
        .map(|row| row.trim_start_matches('&'))
        .collect();
    assert!(rows.len() >= 5, "rows of the table are written `name::PROTOCOL,`: {rows:?}");
    // A server's program may be called like what it speaks.
    let names = root().join("crates/capture/src/service");
    let everywhere: Vec<PathBuf> = crates()
        .iter()
        .flat_map(|(_, folder)| files(&folder.join("src"), &["rs"]))
        .filter(|path| !path.starts_with(&names))
        .collect();
    // One that travels inside another is told of in one line more, and the two know each other.
    let carried = |line: &str| line.starts_with("pub const CARRIED");
    let together = |one: &str, other: &str| {
        let both = |line: &str| [one, other].iter().all(|it| line.contains(&format!("\"{it}\"")));
        lib.lines().any(|line| carried(line) && both(line))
    };
    for row in &rows {
        let own = |path: &Path| {
            let is_test = path.file_stem().is_some_and(|name| name == "tests");
            let kin = rows.iter().filter(|other| *other == row || together(row, other));
            let mut folders = kin.map(|name| src.join(name));
            // What lies under TLS is a connection in a connection.
            let is_under = *row == "tls" && path.ends_with("connection/plaintext.rs");
            is_test
                || is_under
                || folders.any(|it| path.starts_with(&it) || path == it.with_extension("rs"))
        };
        // The value of an attribute is no mention of a row, nor is what OTLP calls its transports.
        let values = [
            ".protocol.name\"",
            "\"url.scheme\"",
            "\"rpc.system.name\"",
            "=> Protocol::",
            "protocol: \"grpc\".to_owned()",
        ];
        let is_value = |line: &str| values.iter().any(|value| line.contains(value));
        let mut lines = Vec::new();
        for path in everywhere.iter().filter(|path| !own(path)) {
            for line in product(path)
                .lines()
                .filter(|line| !line.trim().starts_with("//") && !carried(line))
            {
                let here = path.starts_with(&src)
                    && (line.contains(&format!("mod {row};"))
                        || line.contains(&format!("{row}::")));
                let named = here || (line.contains(&format!("\"{row}\"")) && !is_value(line));
                if named {
                    lines.push(format!("{}: {line}", path.display()));
                }
            }
        }
        assert!(
            lines.len() <= 2,
            "protocol {row} costs more than two lines:\n{}",
            lines.join("\n")
        );
    }
}

/// A protocol in a program of one's own: its file, and two lines.
#[test]
fn the_example_protocol_costs_two_lines_outside_its_file() {
    let src = root().join("examples/tally/src");
    assert!(product(&src.join("tally.rs")).contains("pub fn detect"), "the example has moved");
    let mut lines: Vec<String> = Vec::new();
    // In the crates a tally is any count; the protocol would be there by its name.
    let main = (src.join("main.rs"), "tally");
    let paths = crates().into_iter().flat_map(|(_, folder)| files(&folder.join("src"), &["rs"]));
    for (path, mark) in [main].into_iter().chain(paths.map(|path| (path, "\"tally\""))) {
        let text = product(&path);
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        lines.extend(code.filter(|line| line.contains(mark)).map(str::to_owned));
    }
    assert_eq!(lines.len(), 2, "the example costs other than two lines:\n{}", lines.join("\n"));
}

#[test]
fn nothing_is_left_for_later_in_product_code() {
    let marks = ["todo!", "unimplemented!", "TODO", "FIXME", "#[allow(", "#![allow("];
    for (_, folder) in crates() {
        for path in files(&folder.join("src"), &["rs"]) {
            let text = product(&path);
            for mark in marks {
                assert!(!text.contains(mark), "{}: {mark}", path.display());
            }
        }
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut long = Vec::new();
    for (_, folder) in crates() {
        let mut paths = files(&folder, &["rs", "c", "h"]);
        paths.extend(files(&root().join("ui/src"), &["ts", "tsx", "svelte"]));
        for path in paths {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > 500 {
                long.push(format!("{} {lines}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "over 500 lines:\n{}", long.join("\n"));
}
