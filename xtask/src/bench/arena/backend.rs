//! Backend: answers any GET after a random while, on a thread for each connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// Least and most time of an answer, microseconds.
const DELAY_US: (u64, u64) = (1000, 12_000);

/// A running backend.
pub struct Backend {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Backend {
    /// Listens on `port`.
    pub fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("the backend's port")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        std::thread::spawn(move || {
            let delays = Delays::default();
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let delays = delays.clone();
                // A connection that breaks is its client's affair.
                std::thread::spawn(move || serve(&stream, &delays).ok());
            }
        });
        Ok(Self { port, stop })
    }

    /// Ends it; connections end with their clients.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn serve(stream: &TcpStream, delays: &Delays) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            std::thread::sleep(delays.next());
            (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
        }
    }
}

/// How long answers take.
#[derive(Clone, Default)]
pub struct Delays(Arc<AtomicU64>);

impl Delays {
    /// The next delay: a number without pattern from a counter (SplitMix64's first step).
    pub fn next(&self) -> Duration {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let number = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        let (least, most) = DELAY_US;
        Duration::from_micros(least + number % (most - least))
    }
}
