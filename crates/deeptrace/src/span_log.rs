//! Spans on standard output as they are written to the store, one JSON object a line (NDJSON), for whatever
//! reads a pipe. Who reads too slowly loses some, which is said in the log; the store's writer never waits.

use std::io::{self, Write};
use std::thread::JoinHandle;

use deeptrace_server::access::View;
use deeptrace_server::live::span_text;
use deeptrace_server::pipeline::Ingest;
use tokio::sync::broadcast::error::RecvError;

/// Starts the thread that writes them; it ends when all of `ingest` has.
pub fn start(ingest: &Ingest) -> io::Result<JoinHandle<()>> {
    let mut batches = ingest.live();
    std::thread::Builder::new().name("deeptrace-log".to_owned()).spawn(move || {
        loop {
            match batches.blocking_recv() {
                Ok(batch) => {
                    let lines = batch.spans.iter().filter_map(|span| span_text(span, &View::ALL));
                    if let Err(error) = write(lines) {
                        tracing::warn!(%error, "nobody reads the spans any more; they are not logged");
                        return;
                    }
                }
                Err(RecvError::Lagged(skipped)) => {
                    tracing::warn!(skipped, "batches of spans were not logged: they are read too slowly");
                }
                Err(RecvError::Closed) => return,
            }
        }
    })
}

fn write(lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
