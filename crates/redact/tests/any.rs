//! Any bytes are searched without panic, in time linear in them, and what was found lies in them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use deeptrace_redact::{Form, Payload, Rules, Written};
use proptest::prelude::*;

const FORMS: [Form; 5] = [Form::Opaque, Form::Told, Form::Http, Form::Words, Form::Fields];

/// Pieces of which texts are made that mislead.
const PIECES: &[&str] = &[
    "password",
    "ssn",
    "p%61ssword",
    "\\u0070assword",
    "X-Key",
    ":",
    "=",
    "\"",
    "\\\"",
    "\\",
    "'",
    "[",
    "]",
    "{",
    "}",
    "<",
    "</",
    ">",
    "/",
    "&",
    "%",
    "%22",
    "&quot;",
    "\r\n",
    "\r\n\r\n",
    " ",
    ",",
    "x",
    "4111111111111111",
    "ann@example.org",
    "--",
    "$t$",
    "(",
    ")",
    "HTTP/1.1",
    "GET ",
    "://",
    "\u{e9}",
    "content-type: application/json\r\n",
    "transfer-encoding: chunked\r\n",
    "5\r\n",
    "\0",
    "name=\"",
];

fn rules() -> &'static Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(made);
    &RULES
}

fn made() -> Rules {
    Rules::new(Written {
        headers: vec!["X-Key".into()],
        names: vec!["password".into(), "ssn".into(), "credit_card".into()],
        cards: true,
        addresses: true,
        services: vec!["pay*".into()],
    })
    .unwrap()
}

fn check(rules: &Rules, bytes: &[u8]) {
    for form in FORMS {
        for is_cut in [false, true] {
            let mut places = Vec::new();
            rules.payload(Payload { bytes, form, is_cut }, &mut places);
            for place in &places {
                assert!(
                    place.start <= place.end && place.end <= bytes.len(),
                    "{place:?} {bytes:?}"
                );
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = rules.text(text);
        let _ = rules.attribute("http.request.header.x-key", text);
    }
}

proptest! {
    #[test]
    fn pieces(picks in prop::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = picks.iter().map(|pick| PIECES[*pick]).collect();
        check(rules(), text.as_bytes());
    }

    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(rules(), &bytes);
    }
}

/// Each text is one for which going back and forth would show: 32 times the length would take 1024 times
/// as long. Other work on the machine makes some times several times longer.
#[test]
fn time_is_linear() {
    let rules = rules();
    for piece in [
        "password ",
        "\"password\",",
        "[\"password\",",
        "{\"password\":{",
        "password=\"\\",
        "<password>",
        "<password ",
        "name=\"password\" ",
        "/password",
        "[",
        "\\\"",
        "X-Key-",
        "a@",
        "4 ",
        "p%61ssword=",
        " password",
        "user[password][",
        "\\\\\\\\\\",
        "-password",
        "%25",
        "\"",
        "://a@",
    ] {
        let time = |len: usize| {
            let text = piece.repeat(len / piece.len());
            let run = || {
                let begun = std::time::Instant::now();
                for form in [Form::Http, Form::Words] {
                    let mut places = Vec::new();
                    let bytes = text.as_bytes();
                    rules.payload(Payload { bytes, form, is_cut: false }, &mut places);
                }
                begun.elapsed()
            };
            (0..3).map(|_| run()).min().unwrap()
        };
        let (short, long) = (time(1 << 10), time(1 << 15));
        let ratio = long.as_secs_f64() / short.as_secs_f64().max(2e-5);
        assert!(ratio < 320.0, "{piece}: 32 times the bytes took {ratio:.0} times as long");
    }
}
