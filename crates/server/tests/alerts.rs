//! Rules over a real store, told to a real receiver that fails and comes back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "links are not looked at")]
#[path = "../../store/tests/sample/mod.rs"]
mod sample;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration as Patience;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deeptrace_model::{Duration, Span, SpanStatus, WallTime};
use deeptrace_server::alerts::routes::{AlertsAnswer, answer, try_out};
use deeptrace_server::alerts::{Alerts, AlertsConfig, Phase, Watcher, written};
use deeptrace_store::{Batch, Expected, Mode, Options, Store};
use hmac::{Hmac, KeyInit, Mac};
use sample::{BEGIN, SECOND};
use serde_json::Value;

const SECRET: &str = "a secret of the test";

/// A request as it came.
struct Request {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(known, _)| known == name).unwrap().1
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether it is signed as the specification says.
    fn is_signed(&self) -> bool {
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(&self.body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature") == signature
    }
}

/// Answers one request after the other with these statuses; tells what came.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let split = |line: &String| {
                line.split_once(": ").map(|(a, b)| (a.to_lowercase(), b.to_owned()))
            };
            let headers: Vec<(String, String)> = lines.iter().filter_map(split).collect();
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .unwrap()
                .1
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            told.send(Request { headers, body }).unwrap();
        }
    });
    (url, heard)
}

fn at(seconds: u64) -> WallTime {
    WallTime(BEGIN + seconds * SECOND)
}

struct Setting {
    store: Arc<dyn Store>,
    config: AlertsConfig,
    _folder: tempfile::TempDir,
}

fn setting(alert: written::Alert, url: &str) -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let store =
        deeptrace_store::open("embedded", &Options::new(folder.path()), Mode::Write).unwrap();
    let webhook = written::Webhook {
        name: "ops".into(),
        url: url.into(),
        secret: SECRET.into(),
        group_wait: "0s".into(),
        ..Default::default()
    };
    let alert = written::Alert { name: "rule".into(), window: "1m".into(), ..alert };
    let config = AlertsConfig::new(&[alert], &[webhook]).unwrap();
    Setting { store, config, _folder: folder }
}

impl Setting {
    fn write(&self, spans: impl Iterator<Item = Span>) {
        self.store.write(&Batch { spans: spans.collect(), ..Batch::default() }).unwrap();
    }

    fn watcher(&self) -> Watcher {
        let alerts = Arc::new(Alerts::new(self.config.clone()));
        Watcher::new(Arc::clone(&self.store), alerts, Box::new(|_| true))
    }

    fn answer(&self) -> AlertsAnswer {
        answer(&*self.store, &self.config).unwrap()
    }

    /// Summaries of what fires.
    fn firing(&self) -> Vec<String> {
        let rule = &self.answer().rules[0];
        assert_eq!(rule.error, None);
        let firing = rule.instances.iter().filter(|it| it.phase == Phase::Firing);
        firing.map(|it| it.finding.summary.clone()).collect()
    }
}

fn errors() -> written::Alert {
    let (kind, service) = ("error-rate".into(), "users".into());
    written::Alert { kind, service, threshold: Some(0.1), ..Default::default() }
}

#[test]
fn a_message_is_told_until_it_is_taken_and_once_more_when_it_is_over() {
    let (url, heard) = receiver(&[500, 200, 200]);
    let setting = setting(errors(), &url);
    setting.write((0..400).map(sample::span));
    let next = || heard.recv_timeout(Patience::from_secs(10)).unwrap();
    let mut watcher = setting.watcher();
    watcher.step(at(1));
    let first = next();
    let message = first.json();
    assert!(first.is_signed());
    assert_eq!(message["version"], "4");
    assert_eq!(message["status"], "firing");
    assert_eq!(message["alerts"][0]["labels"]["service"], "users");
    assert_eq!(message["alerts"][0]["labels"]["alertname"], "rule");
    let webhook = setting.answer().webhooks.remove(0);
    assert_eq!(webhook.delivery.failures, 1);
    assert!(webhook.delivery.error.unwrap().contains("500"));
    // Not at once again, and the same when it is.
    watcher.step(WallTime(at(1).0 + SECOND / 2));
    assert!(heard.try_recv().is_err());
    watcher.step(at(3));
    let second = next();
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(setting.answer().webhooks[0].delivery.failures, 0);
    // Another server goes on where this one was.
    drop(watcher);
    let mut watcher = setting.watcher();
    watcher.step(at(20));
    assert!(heard.try_recv().is_err());
    watcher.step(at(300));
    let over = next().json();
    assert_eq!(
        (&over["status"], &over["alerts"][0]["status"]),
        (&"resolved".into(), &"resolved".into())
    );
    watcher.step(at(320));
    assert!(setting.answer().rules[0].instances.is_empty());
}

#[test]
fn of_two_servers_only_the_one_that_may_tells() {
    let (url, heard) = receiver(&[200]);
    let setting = setting(errors(), &url);
    setting.write((0..400).map(sample::span));
    let alerts = Arc::new(Alerts::new(setting.config.clone()));
    let mut other = Watcher::new(Arc::clone(&setting.store), alerts, Box::new(|_| false));
    other.step(at(1));
    assert!(heard.recv_timeout(Patience::from_millis(200)).is_err());
    setting.watcher().step(at(1));
    assert!(heard.recv_timeout(Patience::from_secs(10)).is_ok());
}

#[test]
fn a_receiver_that_is_away_is_shown_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
    drop(listener);
    let setting = setting(errors(), &url);
    setting.write((0..400).map(sample::span));
    setting.watcher().step(at(1));
    let shown = serde_json::to_string(&setting.answer()).unwrap();
    assert!(shown.contains("\"failures\":1"), "{shown}");
    assert!(!shown.contains("hidden") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn a_test_says_how_it_went() {
    let (url, heard) = receiver(&[204, 404]);
    let setting = setting(errors(), &url);
    let taken = try_out(&setting.config, Some("ops"), at(0)).unwrap();
    assert!(taken.outcomes[0].delivered);
    let request = heard.recv().unwrap();
    assert!(request.is_signed());
    assert_eq!(request.json()["alerts"][0]["labels"]["alertname"], "deeptrace-test");
    let refused = try_out(&setting.config, None, at(0)).unwrap();
    assert_eq!((refused.outcomes[0].delivered, refused.outcomes[0].status), (false, Some(404)));
    assert!(try_out(&setting.config, Some("nobody"), at(0)).is_err());
}

fn slow(span: Span) -> Span {
    Span { end: span.start.plus(Duration::from_secs(2)), ..span }
}

#[test]
fn each_kind_finds_what_it_looks_for() {
    let alert = |kind: &str| written::Alert { kind: kind.into(), ..Default::default() };
    let of_users = |kind: &str| written::Alert { service: "users".into(), ..alert(kind) };
    // Fewer requests than asked for say nothing.
    let few = written::Alert { min_requests: Some(1_000), ..errors() };
    let latency = written::Alert { above: Some("1s".into()), ..of_users("latency") };
    let cases: Vec<(written::Alert, Vec<&str>)> = vec![
        (errors(), vec!["% of 40 requests of users are errors"]),
        (few, vec![]),
        (latency, vec!["99th percentile of users is"]),
        (
            written::Alert { service: "nobody".into(), ..alert("missing-service") },
            vec!["no span of nobody for 1 minutes"],
        ),
        (alert("missing-service"), vec![]),
        (alert("new-error"), vec![]),
        (alert("agent-lost"), vec![]),
    ];
    for (alert, expected) in cases {
        let name = alert.kind.clone();
        let setting = setting(alert, "http://127.0.0.1:9");
        setting.write((0..400).map(sample::span).map(slow));
        setting.watcher().step(at(1));
        let firing = setting.firing();
        assert_eq!(firing.len(), expected.len(), "{name}: {firing:?}");
        for (summary, expected) in firing.iter().zip(expected) {
            assert!(summary.contains(expected), "{name}: {summary}");
        }
    }
}

#[test]
fn a_service_is_missed_and_an_error_is_new_only_after_what_was_there_is_known() {
    let alert = |kind: &str| written::Alert { kind: kind.into(), ..Default::default() };
    let missing = setting(alert("missing-service"), "http://127.0.0.1:9");
    missing.write((0..400).map(sample::span));
    let mut watcher = missing.watcher();
    watcher.step(at(1));
    assert_eq!(missing.firing(), Vec::<String>::new());
    watcher.step(at(200));
    assert_eq!(missing.firing().len(), 5, "all five services are gone");
    watcher.step(at(25 * 3600));
    assert_eq!(missing.firing(), Vec::<String>::new(), "they are not missed for ever");

    let new = setting(alert("new-error"), "http://127.0.0.1:9");
    new.write((0..400).map(sample::span));
    let mut watcher = new.watcher();
    watcher.step(at(1));
    assert_eq!(new.firing(), Vec::<String>::new());
    let other = |n| Span {
        start: WallTime(at(30).0 + n),
        end: WallTime(at(30).0 + n + 1000),
        status: SpanStatus::Error,
        status_message: Some(format!("no order {n}")),
        ..sample::span(10_000 + n)
    };
    new.write((0..3).map(|n| Span {
        service: "cart".into(),
        name: "GET /order".into(),
        kind: deeptrace_model::SpanKind::Server,
        ..other(n * 10)
    }));
    watcher.step(at(40));
    assert_eq!(new.firing(), ["GET /order of cart: no order {n}, 3 times"]);
    watcher.step(at(400));
    assert_eq!(new.firing(), Vec::<String>::new());
}

#[test]
fn an_agent_that_is_silent_is_lost_and_one_that_speaks_is_not() {
    let alert = written::Alert { kind: "agent-lost".into(), ..Default::default() };
    let setting = setting(alert, "http://127.0.0.1:9");
    for (host, second) in [("silent", 0), ("speaking", 100)] {
        let heartbeat = serde_json::json!({
            "agent_id": host, "host_name": host, "version": "1", "boot_id": "0", "started_unix_nano": 0,
            "sent_unix_nano": 0,
        });
        let body =
            serde_json::json!({"last_seen": at(second).0, "heartbeat": heartbeat}).to_string();
        let name = format!("agent/{host}");
        setting.store.put_document(&name, Some(body.as_bytes()), Expected::Any).unwrap();
    }
    setting.watcher().step(at(120));
    assert_eq!(setting.firing(), ["nothing was heard of the agent on silent for 120 s"]);
}
