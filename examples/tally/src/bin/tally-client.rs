//! A client of tallies. `tally-client PORT`, then what it reads, a line each: `open` opens a
//! connection, `call ROUNDS` has all connections at once send so many rounds of four requests and a
//! note, each round in one write, and checks the answers. It says `ok` after each line.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use deeptrace_example_tally::{Frame, Kind};

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut connections = Vec::new();
    for line in io::stdin().lock().lines() {
        match line?.split_once(' ') {
            None => connections.push((TcpStream::connect(("127.0.0.1", port))?, 0)),
            Some((_, rounds)) => {
                let rounds: u32 = rounds.parse().map_err(io::Error::other)?;
                call(&mut connections, rounds)?;
            }
        }
        println!("ok");
    }
    Ok(())
}

/// Every connection in a thread of its own.
fn call(connections: &mut [(TcpStream, u32)], rounds: u32) -> io::Result<()> {
    std::thread::scope(|scope| {
        let each = |(number, (stream, next)): (usize, &mut (TcpStream, u32))| {
            let stream: io::Result<TcpStream> = stream.try_clone();
            let first = *next;
            *next += rounds * 4;
            scope.spawn(move || talk(&mut stream?, number, (first..first + rounds * 4).step_by(4)))
        };
        let running: Vec<_> = connections.iter_mut().enumerate().map(each).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("a thread panicked")),
        })
    })
}

fn talk(
    stream: &mut TcpStream,
    number: usize,
    rounds: impl Iterator<Item = u32>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    for id in rounds {
        let name = format!("tea {number}");
        let round = [
            Kind::Get(format!("slow {number}")),
            Kind::Add(name.clone(), 1),
            Kind::Note(name.clone()),
            Kind::Get(name),
            Kind::Get(format!("nothing {number}")),
        ];
        let mut ids = [id, id + 1, u32::MAX, id + 2, id + 3].into_iter();
        let frames = round.map(|kind| {
            let trace = format!("00-{:032x}-{:016x}-01", number + 1, id + 1);
            Frame { kind, id: ids.next().unwrap_or_default(), trace }.to_bytes()
        });
        stream.write_all(&frames.concat())?;
        for _ in 0..4 {
            let answer = Frame::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let is_right = match answer.id - id {
                1 | 2 => matches!(answer.kind, Kind::Ok(tally) if tally > 0),
                _ => matches!(answer.kind, Kind::Failed(404, _)),
            };
            if !is_right {
                return Err(io::Error::other(format!("wrong answer: {answer:?}")));
            }
        }
    }
    Ok(())
}
