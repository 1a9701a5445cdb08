//! A case of `corpus/secrets`: a session whose first comments say which secrets are in it.
//!
//! ```text
//! # secret: hunter2          must leave in no form
//! # secret-bytes: 6c6f       the same, as bytes
//! # keeps: GET /users        must still be seen: not all is masked
//! # always                   is masked whatever is configured
//! # service: payment         name of the service
//! ```

use std::path::Path;

use deeptrace_model::{
    BootTime, Close, Event, EventBody, EventId, Host, Pid, Process, ProcessKey, WallTime,
    hash_bytes,
};

use crate::session::{CONNECTION, Delivery, Session};

/// A case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub name: String,
    pub secrets: Vec<Vec<u8>>,
    pub keeps: Vec<String>,
    pub is_always: bool,
    pub service: String,
    pub text: String,
}

/// All cases, in order.
pub fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/secrets");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut case = Self { name, service: "shop".into(), ..Self::default() };
        for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("secret", secret) => case.secrets.push(secret.into()),
                ("secret-bytes", digits) => case.secrets.push(bytes(digits)),
                ("keeps", text) => case.keeps.push(text.into()),
                ("service", name) => case.service = name.into(),
                ("always", _) => case.is_always = true,
                _ => {}
            }
        }
        assert!(!case.secrets.is_empty(), "{}: no secret", case.name);
        case.text = text;
        case
    }

    pub fn session(&self) -> Session {
        Session::parse(&self.text)
    }

    /// The events of `deliveries`, one after the other.
    pub fn events(&self, deliveries: &[Delivery], feed: &mut dyn FnMut(&Event<'_>)) {
        let session = self.session();
        let (mut id, mut now) = (0, 1_000_000_000);
        let mut give = |now: u64, body: EventBody<'_>| {
            id += 1;
            feed(&Event { id: EventId(id), time: BootTime(now), body });
        };
        give(
            now,
            EventBody::Host(Host { boot: hash_bytes(self.name.as_bytes()), name: "host".into() }),
        );
        give(now, EventBody::Clock(WallTime(1_700_000_000_000_000_000)));
        give(now, EventBody::Process(self.process()));
        give(now, EventBody::Open(session.opening(session.origin.unwrap())));
        for delivery in deliveries {
            now += 1_000_000;
            match delivery {
                Delivery::Piece(piece) => give(now, EventBody::Call(session.call(piece))),
                Delivery::Tick(millis) => now += millis * 1_000_000,
                Delivery::Close(errno) => {
                    give(now, EventBody::Close(Close { connection: CONNECTION, errno: *errno }));
                }
            }
        }
    }

    fn process(&self) -> Process {
        Process {
            key: ProcessKey { pid: Pid(1), started: BootTime(1) },
            parent: Pid(0),
            comm: "app".into(),
            executable: "/usr/bin/app".into(),
            service: self.service.clone(),
            service_source: "rule".into(),
            container_id: None,
            watched_by: "default".into(),
        }
    }

    /// The same bytes cut up: each call in two, at every place; and each call with its end not copied.
    pub fn variants(&self) -> Vec<Vec<Delivery>> {
        let whole = self.session().deliveries();
        let mut all = Vec::new();
        for (index, delivery) in whole.iter().enumerate() {
            let Delivery::Piece(piece) = delivery else { continue };
            for at in 1..piece.bytes.len() {
                let (mut front, mut back) = (piece.clone(), piece.clone());
                front.bytes.truncate(at);
                let mut cut = whole.clone();
                cut[index] = Delivery::Piece(front.clone());
                all.push(cut);
                front.len = at as u32;
                back.bytes.drain(..at);
                (back.start, back.len) = (piece.start + at as u32, piece.len - at as u32);
                let mut split = whole.clone();
                split[index] = Delivery::Piece(front);
                split.insert(index + 1, Delivery::Piece(back));
                all.push(split);
            }
        }
        all
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
