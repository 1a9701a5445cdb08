//! What DeepTrace is told of the tally protocol, which `wire.rs` describes: two functions.

use deeptrace::ProtocolMetadata;

const HEAD: usize = 16;

/// Whether bytes begin like a frame.
pub fn detect(payload: &[u8]) -> bool {
    matches!(payload, [b'T', b'L', b'L', b'Y', 1, ..])
}

/// The frame at the front.
pub fn parse(payload: &[u8]) -> ProtocolMetadata {
    if !payload.starts_with(&b"TLLY\x01"[..payload.len().min(5)]) {
        return ProtocolMetadata::not_mine();
    }
    let Some((head, rest)) = payload.split_at_checked(HEAD) else {
        return ProtocolMetadata::need_more();
    };
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let trace = usize::from(head[6]);
    let length = HEAD + trace + number(12) as usize;
    let told = match head[5] {
        1 => named(length, "ADD", trace, rest),
        2 => named(length, "GET", trace, rest),
        3 => named(length, "NOTE", trace, rest),
        0x80 => Some(ProtocolMetadata::response(length)),
        0x81 => failure(length, &rest[..rest.len().min(length - HEAD)]),
        _ => return ProtocolMetadata::not_mine(),
    };
    match told {
        // Nobody waits for what a note does.
        Some(told) if head[5] == 3 => told,
        Some(told) => told.id(number(8).into()),
        // The length alone would do to stay in step; the name is worth waiting for.
        None => ProtocolMetadata::need_more(),
    }
}

/// What a client sends, once the name of the tally is there.
fn named(length: usize, verb: &'static str, trace: usize, rest: &[u8]) -> Option<ProtocolMetadata> {
    let (trace, body) = rest.split_at_checked(trace)?;
    let (len, body) = body.split_first()?;
    let name = String::from_utf8_lossy(body.get(..usize::from(*len))?).into_owned();
    let message = match verb {
        "NOTE" => ProtocolMetadata::one_way(length, verb),
        _ => ProtocolMetadata::request(length, verb),
    };
    Some(message.attribute("tally.name", name).trace_header(b"traceparent", trace))
}

/// A refusal: a code, then words.
fn failure(length: usize, body: &[u8]) -> Option<ProtocolMetadata> {
    if body.len() < length - HEAD {
        return None;
    }
    let (code, words) = body.split_at_checked(2)?;
    let code = u16::from_be_bytes([code[0], code[1]]);
    let words = String::from_utf8_lossy(words).into_owned();
    Some(ProtocolMetadata::response(length).error(code.to_string(), words))
}

#[cfg(test)]
mod tests {
    use deeptrace_example_tally::{Frame, Kind};

    use super::*;

    fn frame(kind: Kind) -> Vec<u8> {
        Frame { kind, id: 7, trace: String::new() }.to_bytes()
    }

    /// What two results say, as text: metadata has no other door to the outside.
    fn same(one: &ProtocolMetadata, other: ProtocolMetadata) -> bool {
        format!("{one:?}") == format!("{other:?}")
    }

    #[test]
    fn frames_are_told() {
        let add = frame(Kind::Add("tea".into(), 3));
        let told =
            ProtocolMetadata::request(add.len(), "ADD").attribute("tally.name", "tea".to_owned());
        assert!(detect(&add) && same(&parse(&add), told.id(7)));
        let ok = frame(Kind::Ok(3));
        assert!(same(&parse(&ok), ProtocolMetadata::response(ok.len()).id(7)));
        let failed = frame(Kind::Failed(404, "no such tally".into()));
        let told = ProtocolMetadata::response(failed.len()).error("404", "no such tally");
        assert!(same(&parse(&failed), told.id(7)));
        assert!(same(&parse(b"GET / HTTP/1.1"), ProtocolMetadata::not_mine()));
    }

    #[test]
    fn every_front_waits_or_says_the_same() {
        for kind in
            [Kind::Get("tea".into()), Kind::Note("tea".into()), Kind::Failed(1, "no".into())]
        {
            let whole = frame(kind);
            let said = parse(&whole);
            for len in 1..whole.len() {
                let front = parse(&whole[..len]);
                let waits = same(&front, ProtocolMetadata::need_more());
                assert!(waits || same(&said, front), "{len} bytes");
            }
        }
    }
}
