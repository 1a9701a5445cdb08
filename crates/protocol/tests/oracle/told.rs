//! What two readers tell of the same bytes.

use deeptrace_model::{Direction, Message, Origin, Transport, Value};
use deeptrace_protocol::Side;
use proptest::test_runner::Config as ProptestConfig;

use crate::session::corpus::entries;
use crate::session::{Session, Step};

/// A message, as a reader tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub from: Side,
    /// Bytes of its direction before it.
    pub at: u64,
    pub len: u64,
    /// What names it.
    pub says: String,
}

/// Calls of a conversation that is generated.
pub type Calls = Vec<(Side, Vec<u8>)>;

/// A session of these calls, each cut where `cuts` say: a number for each place, taken modulo.
pub fn session(
    port: u16,
    transport: Transport,
    calls: &[(Side, Vec<u8>)],
    cuts: &[u16],
) -> Session {
    let mut steps = Vec::new();
    let mut call = |from, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        steps.push(Step::Call { from, bytes, unseen: 0, peer: None });
    };
    for (index, (from, bytes)) in calls.iter().enumerate() {
        let own = cuts.iter().skip(index % 3).step_by(3);
        let mut places: Vec<usize> = own.map(|cut| usize::from(*cut) % bytes.len()).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.dedup();
        places.windows(2).for_each(|ends| call(*from, &bytes[ends[0]..ends[1]]));
    }
    Session { origin: Some(Origin::Accepted), transport, port, steps }
}

/// What we tell of a session, in the order of each direction.
pub fn ours(session: &Session, says: impl Fn(&Message) -> String) -> Vec<Told> {
    let (out, _) = session.run(&session.deliveries());
    let begin = |from| match session.transport.is_stream() {
        true => [1000, 2000][from as usize],
        false => 0,
    };
    let told = |message: &Message| {
        let is_own = message.direction == Direction::Sent;
        let from = if is_own { session.owner() } else { session.owner().opposite() };
        let at = message.start - begin(from);
        Told { from, at, len: message.size, says: says(message) }
    };
    // The other readers tell only what is whole.
    let whole = out.messages.iter().filter(|message| message.incomplete.is_none());
    let mut all: Vec<Told> = whole.map(|message| told(message)).collect();
    all.sort();
    all
}

/// What a reader tells of a stream: it says of the bytes that are left how many the next message
/// takes, and what names it where it is to be compared; `None` where it goes no further. One that is
/// not all there is not told.
pub fn theirs(
    from: Side,
    bytes: &[u8],
    mut next: impl FnMut(&[u8]) -> Option<(usize, Option<String>)>,
) -> Vec<Told> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some((len, says)) = next(&bytes[at..]).filter(|_| at < bytes.len()) {
        assert!(len > 0);
        if at + len > bytes.len() {
            break;
        }
        if let Some(says) = says {
            all.push(Told { from, at: at as u64, len: len as u64, says });
        }
        at += len;
    }
    all
}

/// All bytes of both directions.
pub fn streams(session: &Session) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    for step in &session.steps {
        if let Step::Call { from, bytes, .. } = step {
            streams[*from as usize].extend_from_slice(bytes);
        }
    }
    streams
}

/// Has `check` look at the sessions of a protocol whose bytes are all there, but for `others`, which have a
/// reason; at least so many.
pub fn each(
    protocol: &str,
    others: &[(&str, &str)],
    least: usize,
    mut check: impl FnMut(&str, &Session),
) {
    let mut read = 0;
    let all = entries().into_iter().filter(|it| it.protocol == protocol);
    for entry in all.filter(|it| it.session.is_whole_stream()) {
        let name = entry.path.file_stem().unwrap().to_string_lossy();
        if others.iter().all(|(other, _)| *other != name) {
            check(&name, &entry.session);
            read += 1;
        }
    }
    assert!(read >= least, "{read} sessions");
}

/// An attribute as text; empty where there is none.
pub fn attribute(message: &Message, key: &str) -> String {
    let found = message.attributes.iter().find(|(name, _)| *name == key);
    match found.map(|(_, value)| value) {
        None => String::new(),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Texts(texts)) => texts.join(","),
        Some(other) => format!("{other:?}"),
    }
}

/// Panics with the first difference.
pub fn same(name: &str, ours: &[Told], theirs: &[Told]) {
    for index in 0..ours.len().max(theirs.len()) {
        let (our, their) = (ours.get(index), theirs.get(index));
        assert_eq!(our, their, "{name}: message {index}, ours and theirs");
    }
}

/// How many are generated. What fails is printed, and gets a test of its own.
pub fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}
