//! Driver: so many requests at once, each on a connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Patience for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `count` requests for `/WAY/PREFIXn`, `at_once` at once; fails unless all are answered with 200.
pub fn drive(port: u16, way: &str, prefix: &str, at_once: usize, count: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let client = || -> Result<()> {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut reader = BufReader::new(&stream);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                let request =
                    format!("GET /{way}/{prefix}{number} HTTP/1.1\r\nHost: arena\r\n\r\n");
                (&mut &stream).write_all(request.as_bytes())?;
                answer(&mut reader)?;
            }
        };
        let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(client)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(done) => done.with_context(|| format!("{way} at {at_once}")),
            Err(_) => bail!("a client of {way} panicked"),
        })
    })
}

/// Reads one answer, of announced length or chunked.
fn answer(reader: &mut impl BufRead) -> Result<()> {
    let (mut line, mut len, mut chunked) = (String::new(), 0u64, false);
    for number in 0.. {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("closed before the answer");
        }
        let text = line.trim_end().to_ascii_lowercase();
        if number == 0 && !text.contains(" 200 ") {
            bail!("answered {text}");
        }
        if let Some(value) = text.strip_prefix("content-length:") {
            len = value.trim().parse()?;
        }
        chunked |= text.starts_with("transfer-encoding:") && text.ends_with("chunked");
        if text.is_empty() {
            break;
        }
    }
    while chunked {
        line.clear();
        reader.read_line(&mut line)?;
        len = u64::from_str_radix(line.trim(), 16).context("a chunk's length")?;
        skip(reader, len + 2)?;
        chunked = len > 0;
        len = 0;
    }
    skip(reader, len)
}

fn skip(reader: &mut impl BufRead, len: u64) -> Result<()> {
    let skipped = std::io::copy(&mut reader.take(len), &mut std::io::sink())?;
    if skipped < len {
        bail!("closed in the answer");
    }
    Ok(())
}
