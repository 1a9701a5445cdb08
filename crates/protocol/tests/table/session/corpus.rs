//! The files of `corpus/protocol`, and what came out of a session as text.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use deeptrace_model::{Message, Value};
use deeptrace_protocol::{Output, Protocols};

use super::{Session, escape};

/// A file of the corpus.
pub struct Entry {
    /// Name of the folder: that of the protocol.
    pub protocol: String,
    pub path: PathBuf,
    pub session: Session,
}

/// All files, in order.
pub fn entries() -> Vec<Entry> {
    // Tests and fuzz targets of other crates share this file.
    let corpus = ["../../corpus/protocol", "../corpus/protocol"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = corpus.map(|path| root.join(path)).into_iter().find(|path| path.is_dir()).unwrap();
    let mut all = Vec::new();
    for folder in sorted(&root).into_iter().filter(|path| path.is_dir()) {
        let protocol = folder.file_name().unwrap().to_string_lossy().into_owned();
        for path in sorted(&folder).into_iter().filter(|p| p.extension() == Some("stream".as_ref()))
        {
            let text = fs::read_to_string(&path).unwrap();
            let session = std::panic::catch_unwind(|| Session::parse(&text))
                .unwrap_or_else(|_| panic!("{}", path.display()));
            all.push(Entry { protocol: protocol.clone(), path, session });
        }
    }
    assert!(!all.is_empty(), "no corpus in {}", root.display());
    all
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Everything that came out, for people and for comparison.
pub fn describe(out: &Output, stage: &Protocols) -> String {
    let mut text = String::new();
    for message in &out.messages {
        text += &describe_message(message, true);
    }
    for demand in &out.demands {
        let skip = demand.skip_until.map(|(way, at)| format!(", skip {way:?} until {at}"));
        writeln!(text, "demand {} bytes{}", demand.bytes_per_call, skip.unwrap_or_default())
            .unwrap();
    }
    for (_, protocol) in stage.connections() {
        writeln!(text, "open, speaks {}", protocol.unwrap_or("what is not known")).unwrap();
    }
    stage.counters(&mut |name, value| {
        let is_plain = ["protocol_calls_total", "protocol_messages_total", "protocol_connections"];
        if value > 0 && !is_plain.contains(&name) {
            writeln!(text, "{name} {value}").unwrap();
        }
    });
    text
}

/// A message; without `touches` if it must not matter how its bytes came.
pub fn describe_message(message: &Message, touches: bool) -> String {
    let m = message;
    let mut text = format!("{:?} {} {:?} {}+{}", m.role, m.protocol, m.direction, m.start, m.size);
    if touches {
        write!(text, " events {}..{}", m.first.event.0, m.last.event.0).unwrap();
    }
    if m.stream.stream != 0 {
        write!(text, " stream {:x}", m.stream.stream).unwrap();
    }
    writeln!(text, " {:?} {:?}", m.status, m.name).unwrap();
    let flags = [
        (m.truncated, "truncated".to_owned()),
        (m.interim, "interim".to_owned()),
        (m.lost_events > 0, format!("lost events {}", m.lost_events)),
        (m.incomplete.is_some(), format!("incomplete {:?}", m.incomplete)),
        (!m.unknown.is_empty(), format!("unknown {:?}", m.unknown)),
        (m.status_message.is_some(), format!("message {:?}", m.status_message)),
        (m.trace_context.is_some(), format!("{:?}", m.trace_context)),
        (!m.items.is_empty(), format!("items {:x?}", m.items)),
    ];
    for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
        writeln!(text, "  {flag}").unwrap();
    }
    for (key, value) in m.attributes.iter() {
        match value {
            Value::Text(value) => writeln!(text, "  {key} = {value:?}").unwrap(),
            Value::Int(value) => writeln!(text, "  {key} = {value}").unwrap(),
            other => writeln!(text, "  {key} = {other:?}").unwrap(),
        }
    }
    writeln!(text, "  \"{}\"", escape(&m.payload)).unwrap();
    text
}
