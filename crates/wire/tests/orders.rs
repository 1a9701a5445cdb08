//! Orders and answers there and back; those of other versions; and bytes that are none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use deeptrace_model::{ExchangeKey, RequestKey, SpanId, TraceId, WallTime};
use deeptrace_wire::{
    Answer, Ask, Between, Configuration, Found, KEYS_MAX, Key, KeySet, Lookups, Order, PARTS_MAX,
    Place, Question, Scan, Summary, WireError, decode_answers, decode_orders, encode_answers,
    encode_orders,
};

const PLACE: Place = Place { epoch: 7, last: 9 };

fn orders() -> Vec<Order> {
    let window = Between { from: WallTime(1), to: WallTime(u64::MAX) };
    let id = SpanId(3);
    let lookups = Lookups {
        spans: vec![(Key::Trace(TraceId(u128::MAX)), window), (Key::Span(id), window)],
        children: vec![(id, window)],
        parents: vec![(id, window)],
        limit: 10,
    };
    let scan = Scan {
        window,
        service: Some("shop".to_owned()),
        name: None,
        kind: None,
        min_duration: None,
        max_duration: None,
        errors_only: true,
        after: Some((WallTime(4), id)),
        limit: 20,
    };
    let ask = |question| Order::Ask(Ask { epoch: 7, id: 8, question });
    vec![
        Order::Keep(vec![Key::Exchange(ExchangeKey(1)), Key::Request(RequestKey(u64::MAX))]),
        ask(Question::Lookups(lookups)),
        ask(Question::Scan(scan)),
        Order::Config(Configuration { generation: 2, changes: "{}".to_owned() }),
        Order::Erase(b"{}".to_vec()),
    ]
}

fn encoded(orders: &[Order]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = orders.iter().map(|order| order.record().unwrap()).collect();
    encode_orders(PLACE, records.iter().map(Vec::as_slice))
}

fn answers() -> Vec<Answer> {
    let next = Some((WallTime(1), SpanId(2)));
    let found = Found { epoch: 7, id: 8, part: 1, is_last: true, next, ..Found::default() };
    let summary = Summary {
        run: WallTime(1),
        number: 2,
        made: WallTime(3),
        keys: KeySet::of(&[Key::Span(SpanId(1)), Key::Trace(TraceId(2))]),
        ..Summary::default()
    };
    let kept = Answer::Kept(vec![Key::Span(SpanId(1))]);
    vec![kept, Answer::Found(found), Answer::Summary(summary)]
}

#[test]
fn there_and_back() {
    let decoded = decode_orders(&encoded(&orders())).unwrap();
    assert_eq!((decoded.place, decoded.orders, decoded.omitted), (PLACE, orders(), 0));
    let decoded = decode_answers(&encode_answers(&answers()).unwrap()).unwrap();
    assert_eq!((decoded.answers, decoded.omitted), (answers(), 0));
}

#[test]
fn what_a_later_version_adds_is_left_out_and_counted() {
    let mut bytes = encoded(&orders()[..1]);
    bytes[5] += 1;
    bytes.extend([200, 3, 1, 2, 3]);
    // A record with a field more.
    let config = Configuration { generation: 2, changes: "{}".to_owned() };
    let record = Order::Config(config.clone()).record().unwrap();
    bytes.extend([record[0], record[1] + 1]);
    bytes.extend([&record[2..], &[99]].concat());
    let decoded = decode_orders(&bytes).unwrap();
    assert_eq!(decoded.orders, [orders().remove(0), Order::Config(config)]);
    assert_eq!(decoded.omitted, 1);
    bytes[4] += 1;
    assert_eq!(decode_orders(&bytes), Err(WireError::Version(2, 1)));
}

#[test]
fn limits_hold_on_both_sides() {
    assert_eq!(Order::Keep(vec![Key::Span(SpanId(1)); KEYS_MAX + 1]).record(), None);
    assert_eq!(Order::Erase(vec![0; deeptrace_wire::RECORD_MAX]).record(), None);
    let found = Found { part: PARTS_MAX, ..Found::default() };
    let decoded = decode_answers(&encode_answers(&[Answer::Found(found)]).unwrap()).unwrap();
    assert_eq!((decoded.answers.len(), decoded.omitted), (0, 1));
}

#[test]
fn bytes_that_are_none_are_refused_wherever_they_end() {
    let whole = encoded(&orders());
    for len in 0..whole.len() {
        if let Ok(decoded) = decode_orders(&whole[..len]) {
            assert!(decoded.orders.len() < orders().len(), "{len}");
        }
        for change in [0x01, 0x80, 0xff] {
            let mut spoilt = whole.clone();
            spoilt[len] ^= change;
            let _ = decode_orders(&spoilt);
            let _ = decode_answers(&spoilt);
        }
    }
    assert_eq!(decode_answers(&whole), Err(WireError::Foreign));
}
