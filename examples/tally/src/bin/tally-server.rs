//! A server of tallies. `tally-server PORT`; 0: any free one. It prints where it listens.
//!
//! Answers about names that begin with `slow` take 20 ms, and others overtake them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deeptrace_example_tally::{Frame, Kind};

type Tallies = Arc<Mutex<BTreeMap<String, i64>>>;

/// Names that are counted; more are refused.
const NAMES_MAX: usize = 10_000;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("{}", listener.local_addr()?.port());
    let tallies = Tallies::default();
    for stream in listener.incoming() {
        let (stream, tallies) = (stream?, Arc::clone(&tallies));
        std::thread::spawn(move || serve(stream, &tallies));
    }
    Ok(())
}

fn serve(stream: TcpStream, tallies: &Tallies) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let writer = Arc::new(Mutex::new(stream));
    while let Some(frame) = Frame::read(&mut reader)? {
        let is_slow = matches!(&frame.kind, Kind::Get(name) if name.starts_with("slow"));
        let Some(kind) = answer(frame.kind, tallies) else { continue };
        let answer = Frame { kind, id: frame.id, trace: String::new() }.to_bytes();
        if is_slow {
            let writer = Arc::clone(&writer);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                write(&writer, &answer)
            });
        } else {
            write(&writer, &answer)?;
        }
    }
    Ok(())
}

fn write(writer: &Mutex<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
}

fn answer(asked: Kind, tallies: &Tallies) -> Option<Kind> {
    let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
    match asked {
        Kind::Add(name, _) if tallies.len() >= NAMES_MAX && !tallies.contains_key(&name) => {
            Some(Kind::Failed(507, "too many names".into()))
        }
        Kind::Add(name, amount) => {
            let tally = tallies.entry(name).or_default();
            *tally = tally.saturating_add(amount);
            Some(Kind::Ok(*tally))
        }
        Kind::Get(name) => Some(match tallies.get(&name) {
            Some(tally) => Kind::Ok(*tally),
            None => Kind::Failed(404, format!("no tally of {name}")),
        }),
        Kind::Note(_) => None,
        Kind::Ok(_) | Kind::Failed(..) => Some(Kind::Failed(400, "that is an answer".into())),
    }
}
