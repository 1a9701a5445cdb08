//! Recorded cells of the arena (`./x bench arena --record`): how many calls get the parent that they were
//! made for, none, or a wrong one. Each cell has a floor in `corpus/arena/floors.tsv`.
//!
//! `ARENA_RECORDINGS` names another folder of recordings, which are then only counted.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deeptrace_agent::pipeline::{Correlation, Options, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_capture::recording::Reader;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{BootTime, Duration, Span, SpanKind, Value};
use sha2::{Digest, Sha256};

/// The key of recorded cells, and the calls of those requests that are counted: after DeepTrace had time to
/// ask for hand-overs (`xtask/src/bench/arena/record.rs`).
const KEY: &str = "recorded";
const COUNTED: &str = "/cell";
const CALLS: u32 = 200;
/// Links below are not used in traces, unless it is configured.
const SURE_MIN: f32 = 0.8;
const TICK: Duration = Duration::from_millis(100);

/// What became of the calls of a cell.
#[derive(Default)]
struct Cell {
    right: u32,
    wrong: u32,
    methods: BTreeMap<String, [u32; 2]>,
}

/// All spans and links of a recording.
fn replay(file: &Path) -> Batch {
    let mut pipeline = Pipeline::new(Options {
        max_payload_size: 512,
        correlation: Correlation::default(),
        handlers: Vec::new(),
        rules: Default::default(),
    });
    let mut reader = Reader::open(file).unwrap();
    let (mut batch, mut all) = (Batch::default(), Batch::default());
    let (mut now, mut next) = (BootTime(0), BootTime(0));
    let take = |all: &mut Batch, batch: &mut Batch| {
        all.spans.append(&mut batch.spans);
        all.links.append(&mut batch.links);
    };
    loop {
        let progress = reader.poll(&mut |event| {
            now = now.max(event.time);
            if now >= next {
                next = now.plus(TICK);
                pipeline.tick(now, &mut batch, &mut |_| {});
                pipeline.follows(&mut |_| {});
            }
            pipeline.feed(event, &mut batch, &mut |_| {});
        });
        take(&mut all, &mut batch);
        if progress.unwrap() == Progress::End {
            break;
        }
    }
    pipeline.end(now.plus(Duration::from_secs(600)), &mut batch);
    take(&mut all, &mut batch);
    all
}

/// What a request or call is known by: its path, of gRPC its method, and on shared connections the token.
fn path(span: &Span) -> Option<String> {
    let text = |name: &str| match span.attributes.get(name) {
        Some(Value::Text(text)) => Some(text.to_string()),
        _ => None,
    };
    let path = text("url.path").or_else(|| text("rpc.method").map(|name| format!("/{name}")))?;
    let token = text("user_agent.original").filter(|_| path.starts_with("/arena/"));
    Some(token.map_or_else(|| path.clone(), |token| format!("{path}/{token}")))
}

fn disguise(token: &str, number: u32) -> String {
    let hash = Sha256::digest(format!("{KEY}:{token}:{number}"));
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/b/{hex}")
}

fn score(all: &Batch) -> Cell {
    let requests = all.spans.iter().filter(|span| span.kind == SpanKind::Server);
    let names: BTreeMap<_, _> = requests.filter_map(|span| Some((span.id, path(span)?))).collect();
    let truth: BTreeMap<String, String> = names
        .values()
        .filter_map(|path| Some((path.clone(), path.rsplit('/').next()?.to_owned())))
        .flat_map(|(path, token)| [1, 2].map(|number| (disguise(&token, number), path.clone())))
        .collect();
    let mut links = BTreeMap::new();
    for link in &all.links {
        let known = links.entry(link.child).or_insert(link);
        if link.beats(known) {
            *known = link;
        }
    }
    let mut cell = Cell::default();
    for span in all.spans.iter().filter(|span| span.kind == SpanKind::Client) {
        let Some(request) = path(span).and_then(|path| truth.get(&path).cloned()) else { continue };
        let Some(link) = links.get(&span.id).filter(|_| request.contains(COUNTED)) else {
            continue;
        };
        let Some(parent) = link.parent.filter(|_| link.confidence >= SURE_MIN) else { continue };
        let is_right = names.get(&parent) == Some(&request);
        let method = format!("{:?}", link.method).to_lowercase();
        cell.methods.entry(method).or_default()[usize::from(!is_right)] += 1;
        *(if is_right { &mut cell.right } else { &mut cell.wrong }) += 1;
    }
    cell
}

/// Columns of the file of floors, by recording: right ones at least, wrong ones at most.
fn floors(folder: &Path) -> BTreeMap<String, [f64; 2]> {
    let text = std::fs::read_to_string(folder.join("floors.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            assert_eq!(columns.len(), 3, "{line}");
            (columns[0].to_owned(), [1, 2].map(|column| columns[column].parse().unwrap()))
        })
        .collect()
}

#[test]
fn recorded_cells_hold_their_floors() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/arena");
    let other = std::env::var_os("ARENA_RECORDINGS").map(PathBuf::from);
    let floors = if other.is_none() { floors(&corpus) } else { BTreeMap::new() };
    let folder = other.unwrap_or(corpus);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".rec")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(floors.is_empty() || floors.keys().eq(&names), "each recording has its floor");
    let mut missed = Vec::new();
    for name in names {
        let cell = score(&replay(&folder.join(format!("{name}.rec"))));
        let share = |count: u32| 100.0 * f64::from(count) / f64::from(CALLS);
        let (right, wrong) = (share(cell.right), share(cell.wrong));
        println!("{name:28} {right:5.1} right {wrong:5.1} wrong {:?}", cell.methods);
        let [right_min, wrong_max] = floors.get(&name).copied().unwrap_or([0.0, 100.0]);
        if right < right_min || wrong > wrong_max {
            missed.push(format!("{name}: {right} right, {wrong} wrong"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
