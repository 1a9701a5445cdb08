//! MQTT 3.1.1 and 5.0 beside the crate `mqttbytes`.

use bytes::BytesMut;
use deeptrace_model::{Message, MessageRole, Transport};
use deeptrace_protocol::Side;
use mqttbytes::{QoS, v4, v5};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::session::Session;
use crate::told::{Calls, Told, attribute, config, each, ours, same, session, streams, theirs};

/// Bytes of a packet that the crate reads.
const PACKET_MAX: usize = 1 << 20;

/// Requests by their names, answers by their identifiers.
fn says(message: &Message) -> String {
    match message.role {
        MessageRole::Response => format!("answer {}", message.stream.stream & 0xffff),
        _ => {
            let operation = attribute(message, "messaging.operation.name");
            format!("{operation} {}", attribute(message, "messaging.destination.name"))
        }
    }
}

/// What a publication is called.
fn verb(from: Side) -> &'static str {
    if from == Side::Client { "publish" } else { "deliver" }
}

/// What a packet of one of the two versions says, whose types are alike but not the same; `None`: such a packet
/// is passed over.
macro_rules! of_version {
    ($name:ident, $version:ident, $unsubscribed:ident) => {
        fn $name(packet: $version::Packet, from: Side) -> Option<String> {
            use $version::Packet;
            Some(match packet {
                Packet::Connect(_) => "connect ".to_owned(),
                Packet::ConnAck(_) => "answer 0".to_owned(),
                Packet::Publish(publish) => format!("{} {}", verb(from), publish.topic),
                Packet::PubAck(ack) => format!("answer {}", ack.pkid),
                Packet::PubRec(ack) => format!("answer {}", ack.pkid),
                Packet::PubComp(ack) => format!("answer {}", ack.pkid),
                Packet::Subscribe(subscribe) => {
                    let filters = subscribe.filters.into_iter().map(|it| it.path);
                    format!("subscribe {}", filters.collect::<Vec<String>>().join(", "))
                }
                Packet::SubAck(ack) => format!("answer {}", ack.pkid),
                Packet::Unsubscribe(unsubscribe) => {
                    format!("unsubscribe {}", unsubscribe.$unsubscribed.join(", "))
                }
                Packet::UnsubAck(ack) => format!("answer {}", ack.pkid),
                Packet::PubRel(_)
                | Packet::PingReq
                | Packet::PingResp
                | Packet::Disconnect { .. } => return None,
            })
        }
    };
}

of_version!(of_4, v4, topics);
of_version!(of_5, v5, filters);

/// Whether a packet answers once more what `PUBREC` refused before: some servers send that.
fn is_late(packet: &v5::Packet, refused: &mut Vec<u16>) -> bool {
    use v5::{Packet, PubRecReason};
    match packet {
        Packet::PubRec(ack)
            if !matches!(
                ack.reason,
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers
            ) =>
        {
            refused.push(ack.pkid);
            false
        }
        Packet::PubComp(ack) => refused.contains(&ack.pkid),
        _ => false,
    }
}

fn all(session: &Session, is_5: bool) -> Vec<Told> {
    let mut all = Vec::new();
    let streams = streams(session);
    for from in [Side::Client, Side::Server] {
        let mut refused = Vec::new();
        all.extend(theirs(from, &streams[from as usize], |bytes| {
            let mut stream = BytesMut::from(bytes);
            let says = if is_5 {
                let packet = v5::read(&mut stream, PACKET_MAX).ok()?;
                (!is_late(&packet, &mut refused)).then(|| of_5(packet, from)).flatten()
            } else {
                of_4(v4::read(&mut stream, PACKET_MAX).ok()?, from)
            };
            Some((bytes.len() - stream.len(), says))
        }));
    }
    all
}

fn check(name: &str, session: &Session, is_5: bool) {
    same(name, &ours(session, says), &all(session, is_5));
}

#[test]
fn the_corpus_is_read_alike() {
    each("mqtt", &[], 3, |name, session| {
        let [client, _] = streams(session);
        // `CONNECT`: header, name with its length, level.
        check(name, session, client.get(8) == Some(&5));
    });
}

/// When a publication expires, and what its user says besides.
type Properties = (Option<u32>, Vec<(String, String)>);

/// A publication, or a subscription where there is no payload.
#[derive(Clone, Debug)]
struct Act {
    topic: String,
    payload: Option<Vec<u8>>,
    quality: QoS,
    from: Side,
    properties: Option<Properties>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let quality = select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
    let property = (proptest::option::of(any::<u32>()), vec(("[a-z]{1,8}", "[ -~]{0,20}"), 0..3));
    let act = (
        "[a-z0-9]{1,10}(/[a-z0-9 ]{1,10}){0,4}",
        proptest::option::weighted(0.8, vec(any::<u8>(), 0..300)),
        quality,
        select(&[Side::Client, Side::Server][..]),
        proptest::option::of(property),
    );
    let act = act.prop_map(|(topic, payload, quality, from, properties)| Act {
        topic,
        payload,
        quality,
        from,
        properties,
    });
    vec(act, 1..8)
}

fn written(write: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    write(&mut buffer).unwrap();
    buffer.to_vec()
}

fn calls_of_4(acts: &[Act]) -> Calls {
    let mut calls: Calls = Vec::new();
    calls.push((Side::Client, written(|buffer| v4::Connect::new("shop").write(buffer))));
    let accepted = v4::ConnAck::new(v4::ConnectReturnCode::Success, false);
    calls.push((Side::Server, written(|buffer| accepted.write(buffer))));
    for (number, act) in (1..).zip(acts) {
        let Some(payload) = &act.payload else {
            let mut subscribe = v4::Subscribe::new(&act.topic, act.quality);
            subscribe.pkid = number;
            calls.push((Side::Client, written(|buffer| subscribe.write(buffer))));
            let code = v4::SubscribeReasonCode::Success(act.quality);
            let ack = v4::SubAck::new(number, vec![code]);
            calls.push((Side::Server, written(|buffer| ack.write(buffer))));
            continue;
        };
        let mut publish = v4::Publish::new(&act.topic, act.quality, payload.clone());
        publish.pkid = if act.quality == QoS::AtMostOnce { 0 } else { number };
        calls.push((act.from, written(|buffer| publish.write(buffer))));
        let back = act.from.opposite();
        match act.quality {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                calls.push((back, written(|buffer| v4::PubAck::new(number).write(buffer))));
            }
            QoS::ExactlyOnce => {
                calls.push((back, written(|buffer| v4::PubRec::new(number).write(buffer))));
                calls.push((act.from, written(|buffer| v4::PubRel::new(number).write(buffer))));
                calls.push((back, written(|buffer| v4::PubComp::new(number).write(buffer))));
            }
        }
    }
    calls
}

fn calls_of_5(acts: &[Act]) -> Calls {
    let mut calls: Calls = Vec::new();
    calls.push((Side::Client, written(|buffer| v5::Connect::new("shop").write(buffer))));
    let mut accepted = v5::ConnAck::new(v5::ConnectReturnCode::Success, false);
    // Without them the crate leaves out their length as well, which must be there (§3.2.2.3).
    accepted.properties = Some(v5::ConnAckProperties::new());
    calls.push((Side::Server, written(|buffer| accepted.write(buffer))));
    for (number, act) in (1..).zip(acts) {
        let Some(payload) = &act.payload else {
            let mut subscribe = v5::Subscribe::new(&act.topic, act.quality);
            subscribe.pkid = number;
            calls.push((Side::Client, written(|buffer| subscribe.write(buffer))));
            let code = match act.quality {
                QoS::AtMostOnce => v5::SubscribeReasonCode::QoS0,
                QoS::AtLeastOnce => v5::SubscribeReasonCode::QoS1,
                QoS::ExactlyOnce => v5::SubscribeReasonCode::QoS2,
            };
            let ack = v5::SubAck::new(number, vec![code]);
            calls.push((Side::Server, written(|buffer| ack.write(buffer))));
            continue;
        };
        let mut publish = v5::Publish::new(&act.topic, act.quality, payload.clone());
        publish.pkid = if act.quality == QoS::AtMostOnce { 0 } else { number };
        publish.properties = act.properties.clone().map(|(expiry, user)| v5::PublishProperties {
            payload_format_indicator: None,
            message_expiry_interval: expiry,
            topic_alias: None,
            response_topic: None,
            correlation_data: None,
            user_properties: user,
            subscription_identifiers: Vec::new(),
            content_type: None,
        });
        calls.push((act.from, written(|buffer| publish.write(buffer))));
        let back = act.from.opposite();
        match act.quality {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                calls.push((back, written(|buffer| v5::PubAck::new(number).write(buffer))));
            }
            QoS::ExactlyOnce => {
                calls.push((back, written(|buffer| v5::PubRec::new(number).write(buffer))));
                calls.push((act.from, written(|buffer| v5::PubRel::new(number).write(buffer))));
                calls.push((back, written(|buffer| v5::PubComp::new(number).write(buffer))));
            }
        }
    }
    calls
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_packets_are_read_alike(
        acts in acts(), is_5: bool, cuts in vec(any::<u16>(), 0..24),
    ) {
        let calls = if is_5 { calls_of_5(&acts) } else { calls_of_4(&acts) };
        check("whole", &session(1883, Transport::Tcp, &calls, &[]), is_5);
        check("cut", &session(1883, Transport::Tcp, &calls, &cuts), is_5);
    }
}
