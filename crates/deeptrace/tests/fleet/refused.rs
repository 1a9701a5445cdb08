//! What a server will never take is dropped and counted, and what comes after it is sent.

use deeptrace_agent::sink::Batch;
use deeptrace_model::{Span, hash64};

use crate::agent::Agent;
use crate::kept::Story;
use crate::server::{Server, wait};

#[test]
fn a_batch_that_is_refused_for_good_is_sent_once() {
    let server = Server::taking(64 << 10);
    let mut agent = Agent::start(&server);
    let story = Story::new(1);
    let spans: Vec<Span> = story.batches(&story.round(0)).remove(0).spans;
    let (large, small) = spans.split_at(8);
    // Nothing compresses these bytes, so that the batch is larger than the server takes.
    let mut large = large.to_vec();
    for (n, span) in (0..).zip(&mut large) {
        let payload = (0..4096).flat_map(|at| hash64(&[n, at]).to_le_bytes());
        span.request_payload = payload.collect::<Vec<u8>>().into();
    }
    let given = [large.len() as u64, small.len() as u64];
    agent.sink().send(Batch { spans: large, ..Batch::default() });
    wait("the refusal", || agent.counter("sender_dropped_refused_spans_total") == given[0]);
    agent.sink().send(Batch { spans: small.to_vec(), ..Batch::default() });
    wait("what comes after it", || agent.counter("sender_acknowledged_spans_total") == given[1]);
    wait("an empty buffer", || agent.counter("sender_memory_bytes") == 0);
    assert_eq!(agent.counter("sender_dropped_refused_spans_total"), given[0]);
    assert_eq!(agent.counter("sender_retries_total"), 0);
    wait("what is stored", || server.store.stats().unwrap().spans == given[1]);
    // The server is told what it did not get.
    let told = || server.store.gaps(deeptrace_store::Window::ALL, 10).unwrap();
    wait("the gap", || told().iter().map(|gap| gap.events).sum::<u64>() == given[0]);
}
