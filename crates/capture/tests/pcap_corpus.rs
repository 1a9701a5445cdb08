//! Every capture in `corpus/pcap` gives the events written beside it, and the same ones through a
//! recording. Adding a case is adding a file; `UPDATE_EXPECT=1` writes what it gives.

use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use deeptrace_capture::pcap::Pcap;
use deeptrace_capture::recording::{Reader, Writer};
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{Direction, Event, EventBody};

#[test]
fn captures_give_the_events_beside_them() {
    let captures = captures();
    assert!(!captures.is_empty(), "corpus/pcap has captures");
    for path in captures {
        let mut writer = Writer::new(Vec::new()).expect("memory");
        let mut text = String::new();
        let pcap = Pcap::open(&path).expect("it is a capture");
        drain(pcap, &mut |event| {
            writer.write(event).expect("memory");
            line(event, &mut text);
        });
        let expected = PathBuf::from(format!("{}.events", path.display()));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expected, &text).expect("the corpus can be written");
        }
        let expected = std::fs::read_to_string(&expected).expect("UPDATE_EXPECT=1 makes it");
        assert_eq!(text, expected, "{}", path.display());

        let recording = writer.finish().expect("memory");
        let mut replayed = String::new();
        let reader = Reader::new("memory", Cursor::new(recording)).expect("it was just written");
        drain(reader, &mut |event| line(event, &mut replayed));
        assert_eq!(replayed, expected, "recording of {}", path.display());
    }
}

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/pcap");
    let entries = std::fs::read_dir(folder).expect("the corpus is there");
    let is_capture =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng");
    let mut paths: Vec<_> =
        entries.map(|entry| entry.expect("readable").path()).filter(is_capture).collect();
    paths.sort();
    paths
}

fn drain(mut source: impl Source, each: &mut dyn FnMut(&Event<'_>)) {
    while source.poll(each).expect("it is whole") != Progress::End {}
}

/// An event in a line; payloads up to 60 characters.
fn line(event: &Event<'_>, text: &mut String) {
    let Event { id, time, body } = event;
    let rest = match body {
        EventBody::Call(call) => {
            let arrow = if call.direction == Direction::Received { "->" } else { "<-" };
            let shown = call.payload[..call.payload.len().min(60)].escape_ascii();
            let (start, len, copied) = (call.start, call.len, call.payload.len());
            format!("{} {arrow} {start} {len} of which {copied}: {shown}", call.connection.0)
        }
        other => format!("{other:?}"),
    };
    writeln!(text, "{} {} {rest}", id.0, time.0).expect("memory");
}
