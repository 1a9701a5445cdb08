//! Reads a recording or capture file to its end and prints what was in it and how fast it went:
//! `cargo run --release -p deeptrace-capture --no-default-features --example source_speed -- FILE`.
//!
//! With `--record OUT` the events go into a recording as well; without a file a recording of a
//! million calls is made in memory and read.

use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use deeptrace_capture::pcap::{self, Pcap};
use deeptrace_capture::recording::{Reader, Writer};
use deeptrace_capture::{Progress, Source};
use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Event, EventBody, EventId, Pid, Tid, UnitId,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            for len in [64, 256, 1024] {
                let file = made(1_000_000, len)?;
                print!("{len} byte payloads, {} MB: ", file.len() / 1_000_000);
                read(Reader::new("memory", Cursor::new(file))?, &mut |_| Ok(()))?;
            }
            Ok(())
        }
        [path] => open(path, &mut |_| Ok(())),
        [path, flag, out] if flag == "--record" => {
            let mut writer = Writer::new(std::fs::File::create(out)?)?;
            open(path, &mut |event| Ok(writer.write(event)?))?;
            writer.finish()?;
            Ok(())
        }
        _ => Err("give a file, or FILE --record OUT, or nothing".into()),
    }
}

fn open(
    path: &str,
    each: &mut dyn FnMut(&Event<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut head = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open(path)?, &mut head)?;
    if pcap::is_pcap(&head) {
        read(Pcap::open(Path::new(path))?, each)
    } else {
        read(Reader::open(Path::new(path))?, each)
    }
}

/// A recording of `calls` calls whose payloads look like requests.
fn made(calls: u64, len: usize) -> Result<Vec<u8>, Failure> {
    let started = Instant::now();
    let mut writer = Writer::new(Vec::new())?;
    let mut payload = vec![0; len];
    for n in 0..calls {
        let text = format!("GET /users/{n}?page={} HTTP/1.1\r\nHost: shop\r\n", n * 7919 % 1000);
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte = text.as_bytes()[(at + n as usize % 3) % text.len()];
        }
        writer.write(&Event {
            id: EventId(n + 1),
            time: BootTime(n * 1000),
            body: EventBody::Call(Call {
                connection: ConnectionId(n % 100),
                pid: Pid(4000),
                tid: Tid(4001),
                unit: UnitId(4001),
                direction: Direction::Received,
                start: n * len as u64,
                len: len as u32,
                payload: &payload,
                drained: false,
                peer: None,
            }),
        })?;
    }
    let file = writer.finish()?;
    print!("written {:.0} /s; ", calls as f64 / started.elapsed().as_secs_f64());
    Ok(file)
}

fn read(
    mut source: impl Source,
    each: &mut dyn FnMut(&Event<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut events, mut bytes, mut opens) = (0_u64, [0_u64; 2], 0_u64);
    let mut failure = None;
    loop {
        let progress = source.poll(&mut |event| {
            events += 1;
            match &event.body {
                EventBody::Call(call) => bytes[call.direction as usize] += u64::from(call.len),
                EventBody::Open(_) => opens += 1,
                _ => {}
            }
            if let Err(error) = each(event) {
                failure.get_or_insert(error);
            }
        });
        match progress {
            Ok(Progress::End) => break,
            Ok(_) => {}
            Err(error) => println!("error: {error}"),
        }
        if let Some(error) = failure.take() {
            return Err(error);
        }
    }
    let took = started.elapsed().max(Duration::from_nanos(1));
    println!(
        "{events} events, {opens} connections, {} bytes received, {} sent, {:.0} events/s",
        bytes[0],
        bytes[1],
        events as f64 / took.as_secs_f64()
    );
    source.counters(&mut |name, value| {
        if value > 0 {
            println!("  {name} {value}");
        }
    });
    Ok(())
}
