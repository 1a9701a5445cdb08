//! What listeners of the WebSockets are told.

use super::*;

#[test]
fn traces_are_pushed_once_when_they_are_settled() {
    let served = Served::start();
    let mut traces = listen(&served, "/ws/traces");
    let mut spans = listen(&served, "/ws/spans");
    let batch = call(0x10, 0, "GET /ok");
    // The parts of a trace come apart, the root last.
    let (root, rest) = (batch.spans[0].clone(), batch.spans[1..].to_vec());
    served.send(Batch { spans: rest, links: batch.links, gaps: Vec::new() });
    std::thread::sleep(Duration::from_millis(500));
    served.send(Batch { spans: vec![root], ..Batch::default() });
    let first: Value = read(&mut spans);
    assert_eq!(first["span_id"], "0000000000000011");
    let summary = read(&mut traces);
    assert_eq!((&summary["name"], &summary["span_count"]), (&json!("GET /ok"), &json!(3)));
    served.send(call(0x20, 5_000_000, "GET /next"));
    assert_eq!(read(&mut traces)["name"], "GET /next", "each trace comes once");
}

type Socket = tungstenite::WebSocket<tungstenite::stream::MaybeTlsStream<std::net::TcpStream>>;

/// A live list of the server, which has to say something within ten seconds.
#[test]
fn a_listener_is_told_what_it_does_not_get() {
    let served = Served::start();
    let mut socket = listen(&served, "/ws/spans");
    let mut batch = Batch::default();
    (0..100).for_each(|n| batch.spans.extend(call(n * 16, n * 1_000, "GET /ok").spans));
    served.send(batch);
    assert_eq!(read(&mut socket), json!({"skipped": {"batches": 0, "spans": 100}}));
    let ids: Vec<Value> = (0..200).map(|_| read(&mut socket)["span_id"].clone()).collect();
    assert_eq!(ids.last().unwrap(), "0000000000000632");
}

fn listen(served: &Served, path: &str) -> Socket {
    let (socket, _) = tungstenite::connect(format!("ws://{}{path}", served.address)).unwrap();
    if let tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    socket
}

fn read(socket: &mut Socket) -> Value {
    loop {
        if let tungstenite::Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}
