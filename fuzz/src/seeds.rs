//! Seeds: inputs made of the corpus.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deeptrace_capture::recording::Writer;
use deeptrace_protocol::Side;

use crate::calls::{self, CUT, END, SERVER, TICK};
use crate::session::corpus::entries;
use crate::session::{Session, Step};

/// Inputs of more bytes are left out: they take long, and say little more.
const SEED_MAX: usize = 16 * 1024;

/// Every session of the corpus, by protocol.
pub fn sessions() -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for entry in entries() {
        let seed = session(&entry.session);
        if seed.len() <= SEED_MAX {
            all.entry(entry.protocol).or_default().push(seed);
        }
    }
    all
}

fn session(session: &Session) -> Vec<u8> {
    let mut data = Vec::new();
    for step in &session.steps {
        match step {
            Step::Call { from, bytes, unseen, .. } => {
                let cut = if *unseen == 0 { 0 } else { CUT };
                let by_server = if *from == Side::Server { SERVER } else { 0 };
                calls::write(&mut data, by_server | cut, bytes);
            }
            Step::Gap { .. } => {}
            Step::End { from: Side::Client } => data.extend([END, 0]),
            Step::End { from: Side::Server } => data.extend([END | SERVER, 0]),
            Step::Tick(_) => data.extend([TICK, 0]),
            Step::Close(_) => data.extend([TICK | END, 0]),
        }
    }
    data
}

/// Header blocks of RFC 7541, appendices C.3 to C.6.
pub fn header_blocks() -> Vec<Vec<u8>> {
    let plain: &[&[u8]] = &[
        b"\x82\x86\x84\x41\x0fwww.example.com",
        b"\x82\x86\x84\xbe\x58\x08no-cache",
        b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    ];
    let huffman: &[&[u8]] = &[
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let seed = |blocks: &[&[u8]]| {
        blocks.iter().flat_map(|block| [&[block.len() as u8], *block].concat()).collect()
    };
    vec![seed(plain), seed(huffman), b"\x04\x3f\xe1\x1f\x82".to_vec()]
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// Files of the corpus that are not long.
pub fn files(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let found = fs::read_dir(corpus().join(folder)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    let wanted = |path: &&PathBuf| {
        path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted))
    };
    let contents = paths.iter().filter(wanted).filter_map(|path| fs::read(path).ok());
    contents.filter(|bytes| bytes.len() <= SEED_MAX).collect()
}

/// A header that a recording begins with.
const HEADER: usize = 12;

/// A recording whose packed part is `bytes`.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut file = header();
    file.extend(zstd::bulk::compress(bytes, 1).unwrap_or_default());
    file
}

fn header() -> Vec<u8> {
    let file = Writer::new(Vec::new()).and_then(Writer::finish).unwrap_or_default();
    file[..file.len().min(HEADER)].to_vec()
}

/// The front of what is in the recording of the corpus.
pub fn recordings() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for file in [fs::read(corpus().join("recording/shop.rec")).unwrap_or_default()] {
        let Some(packed) = file.get(HEADER..) else { continue };
        let Ok(bytes) = zstd::stream::decode_all(packed) else { continue };
        all.push([&[0], &bytes[..bytes.len().min(SEED_MAX)]].concat());
        all.push([&[1], &file[..file.len().min(SEED_MAX)]].concat());
    }
    all
}

/// A configuration with most of its tables.
pub fn configurations() -> Vec<Vec<u8>> {
    let text = "[agents.trace]\npids = [1]\ninclude_processes = [\"nginx\"]\nsampling_rate = 0.1\n\
                always_keep = [\"errors\", \"slow:1s\"]\n[agents.capture]\nmax_payload_size = 512\n\
                [agents.limits]\ncpu_percent = 10\n[server]\nhost = \"0.0.0.0\"\nport = 7901\n\
                [correlation]\nsimilarity_threshold = 0.8\n[storage]\nspan_retention_days = 7\n\
                [[services]]\nname = \"a\"\n";
    vec![text.into()]
}
