//! Session: what went over a connection, as a `.stream` file of the corpus
//! (`crates/protocol/tests/table/session/mod.rs` says how it is written).

/// Bytes of a run of equal ones that are written as a repetition.
const RUN_MIN: usize = 24;
/// Bytes of one direction that are recorded; what follows is only counted.
const BYTES_MAX: usize = 24 * 1024;

/// Who sent.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Client = 0,
    Server = 1,
}

/// The calls of a connection, in order.
#[derive(Clone)]
pub struct Session {
    is_stream: bool,
    calls: Vec<(Side, Vec<u8>)>,
    /// Bytes so far.
    bytes: [usize; 2],
}

impl Session {
    /// Of a TCP connection.
    pub fn stream() -> Self {
        Self { is_stream: true, calls: Vec::new(), bytes: [0; 2] }
    }

    /// Of a UDP socket.
    pub fn datagrams() -> Self {
        Self { is_stream: false, ..Self::stream() }
    }

    /// Somebody sent `bytes`; none: it sends no more.
    pub fn add(&mut self, side: Side, bytes: &[u8]) {
        self.calls.push((side, bytes.to_vec()));
        self.bytes[side as usize] += bytes.len();
    }

    /// Whether nothing went over it.
    pub fn is_empty(&self) -> bool {
        self.bytes == [0; 2]
    }

    /// The file, of a server that listens on `port`.
    pub fn text(&self, port: u16) -> String {
        let kind = if self.is_stream { "tcp" } else { "udp" };
        let mut text = format!("open accepted {kind} {port}\n");
        let mut left = [BYTES_MAX; 2];
        for (side, bytes) in &self.calls {
            let who = if *side == Side::Client { "C" } else { "S" };
            let left = &mut left[*side as usize];
            let (seen, unseen) = bytes.split_at(bytes.len().min(*left));
            *left -= seen.len();
            text += who;
            match (bytes.len(), side) {
                (0, Side::Client) => text += " eof",
                // Of the server's own end the owner of the socket learns nothing.
                (0, Side::Server) => text.truncate(text.len() - 1),
                _ => text += &written(seen),
            }
            if !unseen.is_empty() {
                text += &format!(" +{}", unseen.len());
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        text + "close 0\n"
    }
}

/// Bytes as quoted text, with long runs as repetitions.
fn written(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut open = false;
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
        if run >= RUN_MIN {
            text += if open { "\"" } else { "" };
            text += &format!(" *{run} \"{}\"", escape(bytes[at]));
            open = false;
            at += run;
        } else {
            text += if open { "" } else { " \"" };
            text += &escape(bytes[at]);
            open = true;
            at += 1;
        }
    }
    if open { text + "\"" } else { text }
}

fn escape(byte: u8) -> String {
    match byte {
        b'\r' => "\\r".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_written_as_the_corpus_has_them() {
        let mut session = Session::stream();
        session.add(Side::Client, b"GET \"a\"\r\n\\");
        session.add(Side::Server, &[b"+".as_slice(), &[b'v'; 30], b"\x00\xff"].concat());
        session.add(Side::Server, &[b'w'; BYTES_MAX]);
        session.add(Side::Client, b"");
        session.add(Side::Server, b"");
        let cut = BYTES_MAX - 33;
        let expected = format!(
            "open accepted tcp 6379\nC \"GET \\\"a\\\"\\r\\n\\\\\"\n\
             S \"+\" *30 \"v\" \"\\x00\\xff\"\nS *{cut} \"w\" +33\nC eof\nclose 0\n"
        );
        assert_eq!(session.text(6379), expected);
    }
}
