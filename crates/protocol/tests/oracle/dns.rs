//! DNS beside the crate `simple-dns`: ids, questions, codes and answers.

use deeptrace_model::{Message, MessageRole, Transport};
use deeptrace_protocol::Side;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use simple_dns::rdata::{A, AAAA, CNAME, RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::session::corpus::entries;
use crate::session::{Session, Step};
use crate::told::{Calls, Told, attribute, config, ours, same, session, streams, theirs};

fn says(message: &Message) -> String {
    let id = message.stream.stream & 0xffff;
    let [name, kind, code, answers] =
        ["dns.question.name", "dns.question.type", "dns.response_code", "dns.answers"]
            .map(|key| attribute(message, key));
    let is_answer = message.role == MessageRole::Response;
    format!("{id:x} {is_answer} {name} {kind} {code} {answers}")
}

/// The same of the crate's reading.
fn told(bytes: &[u8]) -> Option<String> {
    let packet = Packet::parse(bytes).ok()?;
    let question = packet.questions.first();
    let name = question.map_or(String::new(), |question| match question.qname.to_string() {
        name if name.is_empty() => ".".to_owned(),
        name => name,
    });
    let kind = question.map_or(String::new(), |question| match question.qtype {
        QTYPE::TYPE(kind) => format!("{kind:?}"),
        other => format!("{other:?}"),
    });
    let is_answer = packet.has_flags(PacketFlag::RESPONSE);
    let (mut code, mut answers) = ("", Vec::new());
    if is_answer {
        code = match packet.rcode() {
            RCODE::NoError => "NOERROR",
            RCODE::FormatError => "FORMERR",
            RCODE::ServerFailure => "SERVFAIL",
            RCODE::NameError => "NXDOMAIN",
            RCODE::NotImplemented => "NOTIMP",
            RCODE::Refused => "REFUSED",
            _ => return None,
        };
        answers.extend(packet.answers.iter().filter_map(|record| match &record.rdata {
            RData::A(A { address }) => Some(std::net::Ipv4Addr::from(*address).to_string()),
            RData::AAAA(AAAA { address }) => Some(std::net::Ipv6Addr::from(*address).to_string()),
            RData::CNAME(CNAME(name)) => Some(name.to_string()),
            _ => None,
        }));
    }
    Some(format!("{:x} {is_answer} {name} {kind} {code} {}", packet.id(), answers.join(",")))
}

/// Datagrams one by one, or messages of a stream after their lengths (RFC 1035 §4.2.2).
fn all(session: &Session) -> Vec<Told> {
    if session.transport.is_stream() {
        let [client, server] = streams(session);
        let next = |bytes: &[u8]| {
            let len = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])) + 2;
            Some((len, told(bytes.get(2..len)?)))
        };
        let mut told = theirs(Side::Client, &client, next);
        told.extend(theirs(Side::Server, &server, next));
        return told;
    }
    let (mut all, mut at) = (Vec::new(), [0, 0]);
    for step in &session.steps {
        let Step::Call { from, bytes, .. } = step else { continue };
        if let Some(says) = told(bytes) {
            all.push(Told { from: *from, at: at[*from as usize], len: bytes.len() as u64, says });
        }
        at[*from as usize] += 1;
    }
    all.sort();
    all
}

#[test]
fn the_corpus_is_read_alike() {
    let whole = |session: &Session| {
        session.steps.iter().all(|step| match step {
            Step::Call { unseen, peer, .. } => *unseen == 0 && peer.is_none(),
            Step::Gap { .. } => false,
            _ => true,
        })
    };
    let mut read = 0;
    for entry in entries().iter().filter(|it| it.protocol == "dns" && whole(&it.session)) {
        let name = entry.path.display().to_string();
        same(&name, &ours(&entry.session, says), &all(&entry.session));
        read += 1;
    }
    assert!(read >= 4, "{read} sessions");
}

const TYPES: &[TYPE] = &[TYPE::A, TYPE::AAAA, TYPE::MX, TYPE::TXT, TYPE::SRV, TYPE::NS, TYPE::PTR];
const CODES: &[RCODE] =
    &[RCODE::NoError, RCODE::ServerFailure, RCODE::NameError, RCODE::Refused, RCODE::FormatError];

#[derive(Clone, Debug)]
enum Answer {
    A(u32),
    Aaaa(u128),
    Cname(String),
    Txt(String),
}

fn names() -> impl Strategy<Value = String> {
    "[a-z0-9_]([a-z0-9-]{0,14}[a-z0-9])?(\\.[a-z]{1,12}){0,4}"
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        any::<u32>().prop_map(Answer::A),
        any::<u128>().prop_map(Answer::Aaaa),
        names().prop_map(Answer::Cname),
        "[ -~]{0,30}".prop_map(Answer::Txt),
    ];
    vec(answer, 0..5)
}

/// A query and its answer; names in the answer point to what was said before, where asked for.
fn exchange(
    (id, name, kind): (u16, String, TYPE),
    (code, answers, is_compressed): (RCODE, Vec<Answer>, bool),
) -> [Vec<u8>; 2] {
    let name = Name::new(&name).unwrap();
    let question = Question::new(name.clone(), kind.into(), CLASS::IN.into(), false);
    let mut query = Packet::new_query(id);
    query.questions.push(question.clone());
    let mut reply = Packet::new_reply(id);
    reply.questions.push(question);
    *reply.rcode_mut() = code;
    for answer in &answers {
        let data = match answer {
            Answer::A(address) => RData::A(A { address: *address }),
            Answer::Aaaa(address) => RData::AAAA(AAAA { address: *address }),
            Answer::Cname(name) => RData::CNAME(CNAME(Name::new(name).unwrap())),
            Answer::Txt(text) => RData::TXT(TXT::new().with_string(text).unwrap()),
        };
        reply.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, data));
    }
    let reply = match is_compressed {
        true => reply.build_bytes_vec_compressed(),
        false => reply.build_bytes_vec(),
    };
    [query.build_bytes_vec().unwrap(), reply.unwrap()]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_queries_and_answers_are_read_alike(
        exchanges in vec(
            ((1u16.., names(), select(TYPES)), (select(CODES), answers(), any::<bool>())), 1..5),
        cuts in vec(any::<u16>(), 0..16),
    ) {
        let mut exchanges = exchanges;
        // Ids of several queries under way differ.
        exchanges.sort_by_key(|(query, _)| query.0);
        exchanges.dedup_by_key(|(query, _)| query.0);
        let (mut datagrams, mut framed): (Calls, Calls) = Default::default();
        for (query, answer) in exchanges {
            let [query, reply] = exchange(query, answer);
            for (from, bytes) in [(Side::Client, query), (Side::Server, reply)] {
                framed.push((from, [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()));
                datagrams.push((from, bytes));
            }
        }
        // So little of the protocol is certain that its first message must not be in many pieces.
        let mut cut = session(53, Transport::Tcp, &framed[..2], &[]);
        cut.steps.extend(session(53, Transport::Tcp, &framed[2..], &cuts).steps);
        for (session, name) in [
            (session(53, Transport::Udp, &datagrams, &[]), "datagrams"),
            (session(53, Transport::Tcp, &framed, &[]), "whole"),
            (cut, "cut"),
        ] {
            same(name, &ours(&session, says), &all(&session));
        }
    }
}
