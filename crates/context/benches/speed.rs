//! Speed: messages of a busy process into evidence. Prints nanoseconds a message.

use std::hint::black_box;
use std::time::Instant;

use deeptrace_context::{Contexts, Input, Options};
use deeptrace_model::{
    BootTime, ConnectionId, Direction, EventId, Message, MessageRole, Pid, SpanId, StreamKey, Tid,
    Touch, UnitId,
};

/// Rounds of one run; each is a request with two calls, six messages, on every thread.
const ROUNDS: u64 = 20_000;

fn message(
    role: MessageRole,
    direction: Direction,
    connection: u64,
    thread: u64,
    time: u64,
) -> Message {
    let touch = Touch {
        event: EventId(time),
        time: BootTime(time),
        pid: Pid(1),
        tid: Tid(thread as u32),
        unit: UnitId(thread),
    };
    let stream = StreamKey { connection: ConnectionId(connection), stream: 0 };
    Message {
        protocol: "http",
        stream,
        direction,
        role,
        start: time,
        size: 100,
        first: touch,
        last: touch,
        span: SpanId::derive(1, stream, direction, time),
        ..Message::default()
    }
}

fn main() {
    println!("at once  on a loop  ns/message  evidence");
    for (threads, is_loop) in [(1, false), (16, false), (256, false), (16, true), (1000, true)] {
        let steps = [
            (MessageRole::Request, Direction::Received, 0),
            (MessageRole::Request, Direction::Sent, 1),
            (MessageRole::Response, Direction::Received, 1),
            (MessageRole::Request, Direction::Sent, 2),
            (MessageRole::Response, Direction::Received, 2),
            (MessageRole::Response, Direction::Sent, 0),
        ];
        let mut messages = Vec::new();
        let mut time = 0;
        for _ in 0..ROUNDS / threads {
            for (role, direction, part) in steps {
                for thread in 0..threads {
                    time += 1000;
                    let connection = thread * 3 + part;
                    let unit = if is_loop { 1 } else { thread + 1 };
                    messages.push(message(role, direction, connection, unit, time));
                }
            }
        }
        let mut contexts = Contexts::new(Options::default());
        let (mut out, mut count) = (Vec::new(), 0);
        let begun = Instant::now();
        for message in &messages {
            contexts.feed(Input::Message(message), &mut out);
            count += black_box(&out).len();
            out.clear();
        }
        let each = begun.elapsed().as_nanos() as f64 / messages.len() as f64;
        println!("{threads:7}  {is_loop:9}  {each:10.0}  {count:8}");
    }
}
