//! The examples of RFC 7541, appendix C, blocks recorded from the encoder of PyPI's `hpack` 4.2, and
//! blocks that the crate `httlib-hpack` writes, or reads like us.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Blocks as hex digits, each followed by its fields, indented.
const RECORDED: &str = include_str!("recorded.txt");

/// Appendix C.3 and C.4: requests, without and with Huffman codes. Then C.6: responses.
const REQUESTS: [[&str; 3]; 2] = [
    [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ],
    [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ],
];
const RESPONSES: [&str; 3] = [
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f\
     0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df\
     dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The fields of a block, a line each; `?` for what is not known.
fn read(table: &mut Table, block: &[u8]) -> Result<String, Broken> {
    let mut text = String::new();
    let printed = |bytes: Option<&[u8]>| {
        let Some(bytes) = bytes else { return "?".to_owned() };
        bytes
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect()
    };
    table.decode(block, true, &mut |field| {
        text += &format!("{}: {}\n", printed(field.name), printed(field.value));
    })?;
    Ok(text)
}

#[test]
fn examples_of_requests() {
    for blocks in REQUESTS {
        let mut table = Table::default();
        let said = blocks.map(|block| read(&mut table, &bytes(block)).unwrap());
        let common = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n";
        assert_eq!(said[0], common);
        assert_eq!(said[1], [common, "cache-control: no-cache\n"].concat());
        let third = ":method: GET\n:scheme: https\n:path: /index.html\n\
                     :authority: www.example.com\ncustom-key: custom-value\n";
        assert_eq!(said[2], third);
        assert_eq!(table.size, 164);
    }
}

#[test]
fn examples_of_responses_whose_table_is_small() {
    let mut table = Table { size_max: Some(256), ..Table::default() };
    let said = RESPONSES.map(|block| read(&mut table, &bytes(block)).unwrap());
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT\n";
    let place = "location: https://www.example.com\n";
    let head = |status: &str| format!(":status: {status}\ncache-control: private\n");
    assert_eq!(said[0], [&head("302"), date, place].concat());
    assert_eq!(said[1], [&head("307"), date, place].concat());
    let rest = "content-encoding: gzip\n\
                set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";
    assert_eq!(said[2], [&head("200"), &date.replace("21 GMT", "22 GMT"), place, rest].concat());
    assert_eq!((table.size, table.entries.len()), (215, 3));
}

/// Blocks of [`RECORDED`] with their fields.
fn recorded() -> Vec<(Vec<u8>, String)> {
    let mut all: Vec<(Vec<u8>, String)> = Vec::new();
    for line in RECORDED.lines() {
        match (line.strip_prefix("  "), all.last_mut()) {
            (Some(field), Some((_, fields))) => {
                fields.push_str(field);
                fields.push('\n');
            }
            _ => all.push((bytes(line), String::new())),
        }
    }
    all
}

#[test]
fn what_another_encoder_wrote() {
    let mut table = Table::default();
    for (index, (block, fields)) in recorded().into_iter().enumerate() {
        assert_eq!(read(&mut table, &block).as_deref(), Ok(&*fields), "block {index}");
    }
}

/// From whichever block on: what is told is right, what is not told was said before.
#[test]
fn what_another_encoder_wrote_from_the_middle_on() {
    let blocks = recorded();
    for from in 1..blocks.len() {
        let mut table = Table::unknown();
        for (index, (block, fields)) in blocks.iter().enumerate().skip(from) {
            let got = read(&mut table, block).unwrap();
            assert_eq!(got.lines().count(), fields.lines().count(), "block {index}");
            for (got, field) in got.lines().zip(fields.lines()) {
                let is_unknown =
                    got == "?: ?" || got.starts_with("?: ") && field.ends_with(&got[2..]);
                assert!(got == field || is_unknown, "block {index}: {got} of {field}");
            }
        }
    }
}

#[test]
fn unknown_entries_are_recovered_as_new_ones_come() {
    let mut table = Table::unknown();
    // The third request of the example: an entry from before, and a new one.
    let third = bytes(REQUESTS[0][2]);
    assert!(read(&mut table, &third).unwrap().contains("\n?: ?\ncustom-key: custom-value\n"));
    assert_eq!(read(&mut table, &[0xbe]).unwrap(), "custom-key: custom-value\n");
    assert_eq!(read(&mut table, &[0xbf]).unwrap(), "?: ?\n");
    // A new value of a name that is not known is an entry too.
    assert_eq!(read(&mut table, b"\x7f\x00\x01x").unwrap(), "?: x\n");
    assert_eq!(read(&mut table, b"\xbe\xbf").unwrap(), "?: x\ncustom-key: custom-value\n");
    // An update to zero drops all of them; what then comes is all there is.
    assert_eq!(read(&mut table, b"\x20\x3f\xe1\x1f\x40\x01a\x01b\xbe").unwrap(), "a: b\na: b\n");
    assert_eq!(read(&mut table, &[0xbf]), Err(Broken));
}

#[test]
fn an_entry_that_may_be_too_large_makes_the_rest_unknown() {
    let mut table = Table::unknown();
    read(&mut table, b"\x40\x01a\x01b").unwrap();
    let mut long = b"\x40\x01x\x7f\x81\x27".to_vec();
    long.extend(vec![b'y'; 127 + 1 + 0x27 * 128]);
    read(&mut table, &long).unwrap();
    assert_eq!(read(&mut table, b"\xbe\xbf").unwrap(), "?: ?\n?: ?\n");
    read(&mut table, b"\x40\x01a\x01b").unwrap();
    assert_eq!(read(&mut table, b"\xbe\xbf").unwrap(), "a: b\n?: ?\n");
}

#[test]
fn what_is_no_hpack_is_refused() {
    for bad in ["80", "be", "7f", "40", "4003", "ffffffffff", "3fffffffffff", "00850000000000"] {
        let mut table = Table::default();
        assert_eq!(read(&mut table, &bytes(bad)), Err(Broken), "{bad}");
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(table: &mut Table, block: &[u8]) -> Option<Fields> {
    let mut fields = Vec::new();
    let bytes = |bytes: Option<&[u8]>| bytes.expect("all entries are known").to_vec();
    table
        .decode(block, true, &mut |field| fields.push((bytes(field.name), bytes(field.value))))
        .ok()?;
    Some(fields)
}

/// Names that repeat, of the static table and others, with values that repeat and such as do not.
fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>, u8)>> {
    let name = prop_oneof![
        Just(":path".to_owned()),
        Just("content-type".to_owned()),
        Just("x-tenant".to_owned()),
        "[a-z][a-z0-9-]{0,20}",
    ];
    let value = prop_oneof![
        Just(b"/index.html".to_vec()),
        Just(b"application/grpc".to_vec()),
        vec(any::<u8>(), 0..200),
    ];
    // Huffman codes for the name and for the value, and how it is kept; see the encoder's flags.
    vec((name, value, 0u8..32), 0..12)
}

proptest! {
    #[test]
    fn what_another_encoder_writes_is_read(
        blocks in vec((headers(), proptest::option::weighted(0.3, 0u32..4096)), 1..12),
    ) {
        let mut encoder = httlib_hpack::Encoder::default();
        let (mut table, mut decoder) = (Table::default(), httlib_hpack::Decoder::default());
        for (headers, resized) in blocks {
            let (mut block, mut expected) = (Vec::new(), Vec::new());
            if let Some(size) = resized {
                encoder.update_max_dynamic_size(size, &mut block).unwrap();
            }
            for (name, value, flags) in headers {
                let field = (name.into_bytes(), value);
                encoder.encode((field.0.clone(), field.1.clone(), flags), &mut block).unwrap();
                expected.push(field);
            }
            prop_assert_eq!(fields(&mut table, &block), Some(expected.clone()));
            let mut read = Vec::new();
            decoder.decode(&mut block, &mut read).unwrap();
            let read: Fields = read.into_iter().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
