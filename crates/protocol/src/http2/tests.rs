//! Limits, and what only a parser alone shows.

use super::*;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET /` on a stream.
fn get(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &[0x82, 0x84, 0x86])
}

fn parse(parser: &mut Http2, from: Side, bytes: &[u8]) -> Verdict {
    parser.parse(Input { bytes, from, is_last: false })
}

#[test]
fn streams_that_are_never_answered_are_forgotten() {
    let mut parser = Http2::default();
    for id in (1..8001).step_by(2) {
        assert!(matches!(parse(&mut parser, Side::Client, &get(id)), Verdict::Done { .. }));
    }
    assert!(parser.streams.get(7999).is_some());
    // An answer to one that was forgotten is nobody's.
    let answer = |id| frame(1, 5, id, &[0x88]);
    assert!(matches!(parse(&mut parser, Side::Server, &answer(1)), Verdict::Stray(10)));
    assert!(matches!(parse(&mut parser, Side::Server, &answer(7999)), Verdict::Done { .. }));
}

#[test]
fn an_endless_header_block_is_not_kept() {
    let mut parser = Http2::default();
    let head = frame(1, 1, 1, &[0x82, 0x84, 0x86]);
    assert!(matches!(
        parse(&mut parser, Side::Client, &head),
        Verdict::Part { len: 12, stream: 1 }
    ));
    // A field that is never indexed, again and again.
    let more = frame(9, 0, 1, &b"\x10\x01a\x01b".repeat(3000));
    for _ in 0..100 {
        let verdict = parse(&mut parser, Side::Client, &more);
        assert!(matches!(verdict, Verdict::Part { len: 15_009, .. }), "{verdict:?}");
    }
    let last = frame(9, 4, 1, b"\x10\x01a\x01b");
    let Verdict::Done { draft, .. } = parse(&mut parser, Side::Client, &last) else { panic!() };
    assert_eq!((draft.name.as_str(), draft.truncated), ("GET /", true));
}

#[test]
fn nothing_comes_between_the_parts_of_a_block() {
    let mut parser = Http2::default();
    let _ = parse(&mut parser, Side::Client, &frame(1, 1, 1, &[0x82]));
    let ping = frame(6, 0, 0, &[0; 8]);
    assert!(matches!(parse(&mut parser, Side::Client, &ping), Verdict::NotMine));
    assert!(matches!(parse(&mut parser, Side::Server, &ping), Verdict::Skip(17)));
}

#[test]
fn an_answer_that_comes_before_its_request_is_kept_after_a_loss_it_is_not() {
    let mut parser = Http2::default();
    let answer = |id| frame(1, 5, id, &[0x88]);
    let _ = parse(&mut parser, Side::Client, &get(1));
    assert!(matches!(parse(&mut parser, Side::Server, &answer(3)), Verdict::Done { .. }));
    assert!(matches!(parse(&mut parser, Side::Client, &get(3)), Verdict::Done { .. }));
    let _ = parser.lost(Side::Client);
    assert!(matches!(parse(&mut parser, Side::Server, &answer(5)), Verdict::Stray(10)));
    // What was asked before the loss is still answered.
    assert!(matches!(parse(&mut parser, Side::Server, &answer(1)), Verdict::Done { .. }));
}

#[test]
fn values_that_are_secret_are_overwritten_wherever_they_lie() {
    let secret = b"\x10\x0dauthorization\x03top";
    let mut parser = Http2::default();
    let bytes = frame(1, 0x0d, 1, &[&[2, 0x82][..], secret, &[0, 0]].concat());
    let Verdict::Done { draft, .. } = parse(&mut parser, Side::Client, &bytes) else { panic!() };
    let [place] = &*draft.redact else { panic!("{:?}", draft.redact) };
    assert_eq!(&bytes[place.clone()], b"top");
    // In several frames, all of them.
    let (front, back) = secret.split_at(17);
    let front = frame(1, 1, 3, &[&[0x82][..], front].concat());
    let back = frame(9, 4, 3, back);
    let _ = parse(&mut parser, Side::Client, &front);
    let Verdict::Done { draft, .. } = parse(&mut parser, Side::Client, &back) else { panic!() };
    let [place] = &*draft.redact else { panic!("{:?}", draft.redact) };
    assert_eq!(*place, 0..front.len() + back.len());
}
