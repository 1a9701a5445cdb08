//! Errors inside successes, and headers that are refused.

use super::*;

/// A response of Bolt 1 to call 5 with this content.
fn sofa_response(status: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x01\0\0\x02\x01\0\0\0\x05\x01".to_vec();
    bytes.extend(status.to_be_bytes());
    bytes.extend(b"\0\x2e\0\0");
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(SOFA_RESPONSE);
    bytes.extend(content);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Draft> {
    match SofaRpc.parse(Input { bytes, from: Side::Server, is_last: true }) {
        Verdict::Done { draft, .. } => Some(*draft),
        _ => None,
    }
}

#[test]
fn an_error_inside_a_success() {
    let content = b"O\x90\x92\x07isError\x08errorMsgo\x90T\x03why";
    let draft = parse(&sofa_response(0, content)).expect("a response");
    assert_eq!((draft.stream, draft.status_message.as_deref()), (5, Some("why")));
    let error = |text| Some((Text::new_static("SOFA_ERROR"), text));
    assert_eq!(failure(b"O\x90\x92\x07isError\x08errorMsgo\x90TN"), error(None));
    assert_eq!(failure(b"O\x90\x92\x07isError\x08errorMsgo\x90FN"), None);
    assert_eq!(failure(b"O\x90\x91\x03ageo\x90T"), None);
    assert_eq!(failure(b""), None);
    let content = b"O\x90\x92\x07isError\x08errorMsgo\x90FN\
        O\x93a.B\x91\x0ddetailMessageo\x91\x03why";
    assert_eq!(failure(content), Some(("a.B".into(), Some("why".into()))));
    // An exception counts as one only where the header says so: it may be a result.
    let draft = parse(&sofa_response(0, content)).expect("a response");
    assert_eq!(draft.status, deeptrace_model::SpanStatus::Ok);
}

#[test]
fn headers_that_are_refused() {
    assert!(parse(&sofa_response(18, b"")).is_some());
    // A status that is none.
    assert!(parse(&sofa_response(15, b"")).is_none());
    let whole = sofa_response(0, b"");
    for (at, byte) in [(0, 3), (1, 1), (3, 1), (4, 2), (9, 0x20), (20, 0x07)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        assert!(parse(&bytes).is_none(), "{at}");
    }
}
