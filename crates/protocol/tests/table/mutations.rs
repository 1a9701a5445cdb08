//! The corpus cut up, put out of order and damaged: splitting never changes the messages, and
//! nothing makes a parser panic or go round in circles.

use deeptrace_model::{Incomplete, Message, MessageRole};
use deeptrace_protocol::{Input, Options, Output, Side, TABLE, Verdict};

use crate::session::corpus::{Entry, describe_message, entries};
use crate::session::{Delivery, Piece};

/// Sessions with more bytes than this are tried at fewer places.
const PLACES_MAX: usize = 700;

fn messages(out: &Output) -> String {
    out.messages.iter().map(|message| describe_message(message, false)).collect()
}

fn check_same(entry: &Entry, deliveries: &[Delivery], expected: &str, what: &str) {
    let (out, _) = entry.session.run(deliveries);
    let got = messages(&out);
    if got != expected {
        let mut lines = got.lines().zip(expected.lines());
        let differ = lines.find(|(got, expected)| got != expected);
        panic!("{} {what}\n{differ:#?}", entry.path.display());
    }
}

/// Sessions of which every byte is there, with their messages.
fn whole() -> Vec<(Entry, Vec<Delivery>, String)> {
    let entries = entries().into_iter().filter(|entry| entry.session.is_whole_stream());
    let run = |entry: Entry| {
        let deliveries = entry.session.deliveries();
        let expected = messages(&entry.session.run(&deliveries).0);
        (entry, deliveries, expected)
    };
    entries.map(run).collect()
}

/// A call as two.
fn split(piece: &Piece, at: usize) -> [Delivery; 2] {
    let (front, back) = piece.bytes.split_at(at);
    [(piece.start, front), (piece.start.wrapping_add(at as u32), back)].map(|(start, bytes)| {
        let (from, len) = (piece.from, bytes.len() as u32);
        Delivery::Piece(Piece { from, start, len, bytes: bytes.into(), peer: piece.peer })
    })
}

/// Every (call, place in it), or as many as are bearable.
fn places(deliveries: &[Delivery]) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (index, delivery) in deliveries.iter().enumerate() {
        if let Delivery::Piece(piece) = delivery {
            all.extend((1..piece.bytes.len()).map(|at| (index, at)));
        }
    }
    let stride = all.len().div_ceil(PLACES_MAX).max(1);
    all.into_iter().step_by(stride).collect()
}

#[test]
fn any_split_into_two_gives_the_same_messages() {
    for (entry, deliveries, expected) in whole() {
        for (index, at) in places(&deliveries) {
            let Delivery::Piece(piece) = &deliveries[index] else { continue };
            let [front, back] = split(piece, at);
            let mut split = deliveries.clone();
            split.splice(index..=index, [front.clone(), back.clone()]);
            check_same(&entry, &split, &expected, &format!("call {index} split at {at}"));
            split[index..index + 2].swap(0, 1);
            check_same(&entry, &split, &expected, &format!("call {index} split at {at}, swapped"));
        }
    }
}

#[test]
fn any_random_split_gives_the_same_messages() {
    for (entry, deliveries, expected) in whole() {
        for seed in 1..60u64 {
            let mut random = Random(seed);
            let mut split_up = Vec::new();
            for delivery in &deliveries {
                let mut rest = delivery.clone();
                while let Delivery::Piece(piece) = &rest
                    && piece.bytes.len() > 1
                    && random.below(8) != 0
                {
                    let most = if seed % 3 == 0 { 2 } else { piece.bytes.len() };
                    let [front, back] = split(piece, 1 + random.below(most - 1));
                    split_up.push(front);
                    rest = back;
                }
                split_up.push(rest);
            }
            check_same(&entry, &split_up, &expected, &format!("random split {seed}"));
        }
    }
}

#[test]
fn repeated_and_overlapping_calls_change_nothing() {
    for (entry, deliveries, expected) in whole() {
        for (index, at) in places(&deliveries).into_iter().step_by(7) {
            let Delivery::Piece(piece) = &deliveries[index] else { continue };
            let [front, back] = split(piece, at);
            for again in [front, back, deliveries[index].clone()] {
                let mut more = deliveries.clone();
                more.insert(index + 1, again.clone());
                check_same(&entry, &more, &expected, &format!("call {index} again from {at}"));
            }
        }
    }
}

#[test]
fn prefixes_gaps_cuts_and_flipped_bytes_are_survived() {
    for entry in entries() {
        let deliveries = entry.session.deliveries();
        for (index, at) in places(&deliveries) {
            let change = |change: &dyn Fn(&mut Piece)| {
                let mut changed = deliveries.clone();
                if let Delivery::Piece(piece) = &mut changed[index] {
                    change(piece);
                }
                entry.session.run(&changed);
                changed.truncate(index + 1);
                changed.push(Delivery::Close(104));
                entry.session.run(&changed);
            };
            change(&|piece| {
                piece.bytes.truncate(at);
                piece.len = at as u32;
            });
            change(&|piece| piece.bytes.truncate(at));
            change(&|piece| {
                piece.bytes.drain(..at);
                piece.start += at as u32;
                piece.len -= at as u32;
            });
            for mask in [0x01, 0x20, 0x80, 0xff] {
                change(&|piece| piece.bytes[at] ^= mask);
            }
        }
    }
}

/// A request and its response, as the next stage pairs them: a response answers the oldest request;
/// after a loss the newest, or none where several were sent at once.
fn pairs(out: &Output) -> Vec<(&Message, &Message)> {
    let (mut open, mut pairs) = (Vec::<&Message>::new(), Vec::new());
    for message in out.messages.iter().map(|message| &**message).filter(|it| !it.interim) {
        match message.role {
            MessageRole::Request => open.push(message),
            MessageRole::Response => {
                let is_lost = u32::from(message.incomplete == Some(Incomplete::Lost));
                if message.lost_events > is_lost {
                    let is_batch = |two: &[&Message]| two[0].first.event == two[1].first.event;
                    let keep = usize::from(!open.windows(2).any(is_batch));
                    open.drain(..open.len().saturating_sub(keep));
                }
                let stream = message.stream;
                if let Some(at) = open.iter().position(|request| request.stream == stream) {
                    pairs.push((open.remove(at), message));
                }
            }
            MessageRole::OneWay => {}
        }
    }
    pairs
}

#[test]
fn no_lost_call_gives_an_answer_to_another_request() {
    // Where streams are interleaved, what is left of a message may lie anywhere behind its start.
    let holds = |whole: &Message, part: &Message| {
        let is_rest = part.truncated && whole.stream.stream != 0 && whole.stream == part.stream;
        (whole.start..whole.start + whole.size).contains(&part.start)
            || (is_rest && part.start > whole.start)
    };
    for (entry, deliveries, _) in whole() {
        let all = entry.session.run(&deliveries).0;
        let right = pairs(&all);
        // Where an answer is recorded before its request, or is cut off by the close before a request
        // is missed, nobody can know.
        let first = all.messages.first();
        let is_in_order = first.is_some_and(|message| message.role == MessageRole::Request);
        let lasts = deliveries.len().saturating_sub(2);
        for (from, count) in (0..lasts).flat_map(|from| [1, 2, 3].map(|count| (from, count))) {
            let mut rest = deliveries.clone();
            rest.drain(from..(from + count).min(lasts));
            let last = rest.len().saturating_sub(2);
            rest.insert(last, Delivery::Tick(500));
            let out = entry.session.run(&rest).0;
            let is_cut_off = |pair: &(&Message, &Message)| {
                matches!(pair.1.incomplete, Some(Incomplete::Closed(_)))
            };
            let found = pairs(&out).into_iter().filter(|pair| is_in_order && !is_cut_off(pair));
            for (request, response) in found {
                let is_right =
                    |pair: &(&Message, &Message)| holds(pair.0, request) && holds(pair.1, response);
                let at = (request.start, response.start);
                let path = entry.path.display();
                assert!(right.iter().any(is_right), "{path} {at:?} without {count} from {from}");
            }
        }
    }
}

#[test]
fn every_parser_survives_the_bytes_of_every_protocol() {
    let entries = entries();
    for protocol in TABLE {
        for entry in &entries {
            let deliveries = entry.session.deliveries();
            for (seed, is_last) in [(0, false), (0, true), (3, false), (5, true)] {
                let mut random = Random(seed + 1);
                let mut parser = (protocol.parser)();
                let mut waiting = [Vec::new(), Vec::new()];
                for delivery in &deliveries {
                    let Delivery::Piece(piece) = delivery else { continue };
                    let mut bytes = piece.bytes.clone();
                    for _ in 0..seed {
                        if let Some(index) =
                            bytes.len().checked_sub(1).map(|max| random.below(max + 1))
                        {
                            bytes[index] ^= random.next() as u8;
                        }
                    }
                    let rest = &mut waiting[piece.from as usize];
                    rest.extend_from_slice(&bytes);
                    drive(parser.as_mut(), piece.from, rest, is_last, protocol.name);
                }
                let _ = parser.end(Side::Server);
                let _ = parser.lost(Side::Client);
                let _ = parser.lost(Side::Server);
            }
        }
    }
}

/// Parses until the parser waits, and checks that it moves on each time.
fn drive(
    parser: &mut dyn deeptrace_protocol::Parser,
    from: Side,
    bytes: &mut Vec<u8>,
    is_last: bool,
    name: &str,
) {
    let rounds_max = bytes.len() + 1;
    for round in 0.. {
        assert!(round <= rounds_max, "{name} goes round in circles");
        let _ = parser.is_start(from, bytes);
        let taken = match parser.parse(Input { bytes, from, is_last }) {
            Verdict::Skip(len) | Verdict::Stray(len) | Verdict::Part { len, .. } => len,
            Verdict::Done { len, draft } => {
                for range in &draft.redact {
                    assert!(range.start <= range.end, "{name}: {range:?}");
                }
                len
            }
            Verdict::More if !is_last && bytes.len() < 64 * 1024 => return,
            Verdict::More | Verdict::NotMine | Verdict::Switch => {
                let _ = parser.lost(from);
                bytes.clear();
                return;
            }
        };
        assert!(taken > 0, "{name} took nothing");
        bytes.drain(..usize::try_from(taken).unwrap().min(bytes.len()));
        if bytes.is_empty() {
            return;
        }
    }
}

#[test]
fn the_limits_hold_whatever_comes() {
    let options = Options { reorder_bytes: 4096, ..Options::default() };
    let mut stage = deeptrace_protocol::Protocols::new(options);
    let mut out = Output::default();
    for entry in entries() {
        for round in 0..40u32 {
            let mut deliveries = entry.session.deliveries();
            for delivery in &mut deliveries {
                if let Delivery::Piece(piece) = delivery {
                    piece.start = piece.start.wrapping_add(round * 77_777);
                }
            }
            entry.session.run_in(&mut stage, &mut out, &deliveries);
            let mut held = 0;
            stage.counters(&mut |name, value| {
                if name == "protocol_reorder_bytes" {
                    held = value;
                }
            });
            assert!(held <= 4096, "{held} bytes held");
            out.messages.clear();
        }
    }
}

/// Xorshift (Marsaglia 2003): the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`, which may be zero.
    fn below(&mut self, limit: usize) -> usize {
        (self.next().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % limit.max(1)
    }
}
