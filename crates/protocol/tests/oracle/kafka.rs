//! Kafka beside the crate `kafka-protocol`, which is generated from the broker's own schemas.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use deeptrace_model::{Message, MessageRole, SpanStatus, Transport};
use deeptrace_protocol::{Options, Output, Protocols, Side};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message as _, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::session::{Session, Step};
use crate::told::{Calls, Told, attribute, config, each, ours, same, session, streams, theirs};

/// Ends what is told of an answer whose errors the tests do not look for.
const OPEN: &str = "?";

/// Sessions of which the crate does not read all, and why.
const OTHERS: &[(&str, &str)] = &[
    ("java_fetch", "the client asks for versions by one that the crate does not know yet"),
    ("java_group", "as java_fetch"),
    ("java_produce", "as java_fetch"),
];

fn says(message: &Message) -> String {
    let id = message.stream.stream;
    if message.role == MessageRole::Response {
        return format!("#{id} {}", message.status == SpanStatus::Error);
    }
    let operation = attribute(message, "messaging.operation.name");
    let destination = match operation.as_str() {
        "send" => attribute(message, "messaging.destination.name"),
        // Sessions and ids: another test.
        _ => String::new(),
    };
    format!("#{id} {operation} {destination} {}", attribute(message, "messaging.client.id"))
}

/// A frame after its length.
fn frame(bytes: &[u8]) -> Option<(usize, Bytes)> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    Some((4 + len, Bytes::copy_from_slice(bytes.get(4..4 + len)?)))
}

/// What is asked of each correlation id.
type Asked = HashMap<i32, (ApiKey, i16)>;

fn request(bytes: &[u8], asked: &mut Asked) -> Option<(usize, Option<String>)> {
    let (len, mut rest) = frame(bytes)?;
    let key = ApiKey::try_from(i16::from_be_bytes([rest[0], rest[1]])).ok()?;
    let version = i16::from_be_bytes([rest[2], rest[3]]);
    let header = RequestHeader::decode(&mut rest, key.request_header_version(version)).ok()?;
    let id = header.correlation_id;
    asked.insert(id, (key, version));
    let (operation, destination) = match RequestKind::decode(key, &mut rest, version).ok()? {
        RequestKind::Produce(produce) => {
            let topics: Vec<_> = produce.topic_data.iter().map(|it| it.name.to_string()).collect();
            (
                "send".to_owned(),
                if let [topic] = &topics[..] { topic.clone() } else { String::new() },
            )
        }
        RequestKind::Fetch(_) => ("poll".to_owned(), String::new()),
        RequestKind::OffsetCommit(_) => ("commit".to_owned(), String::new()),
        _ => (format!("{key:?}"), String::new()),
    };
    let client = header.client_id.unwrap_or_default();
    Some((len, Some(format!("#{id} {operation} {destination} {client}"))))
}

fn response(bytes: &[u8], asked: &Asked) -> Option<(usize, Option<String>)> {
    let (len, mut rest) = frame(bytes)?;
    let id = i32::from_be_bytes(*rest.first_chunk()?);
    let (key, version) = *asked.get(&id)?;
    ResponseHeader::decode(&mut rest, key.response_header_version(version)).ok()?;
    // A new member that is to come again with the id it is given.
    const MEMBER_ID_REQUIRED: i16 = 79;
    let codes = match ResponseKind::decode(key, &mut rest, version).ok()? {
        ResponseKind::Produce(produce) => {
            let partitions = produce.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.map(|partition| partition.error_code).collect()
        }
        ResponseKind::Fetch(fetch) => {
            let partitions = fetch.responses.iter().flat_map(|topic| &topic.partitions);
            let codes = partitions.map(|partition| partition.error_code);
            codes.chain([fetch.error_code]).collect()
        }
        ResponseKind::ApiVersions(it) => vec![it.error_code],
        ResponseKind::JoinGroup(it) => vec![it.error_code],
        ResponseKind::SyncGroup(it) => vec![it.error_code],
        ResponseKind::Heartbeat(it) => vec![it.error_code],
        ResponseKind::InitProducerId(it) => vec![it.error_code],
        ResponseKind::SaslHandshake(it) => vec![it.error_code],
        ResponseKind::SaslAuthenticate(it) => vec![it.error_code],
        _ => return Some((len, Some(OPEN.to_owned()))),
    };
    let is_error = codes.iter().any(|code| *code != 0 && *code != MEMBER_ID_REQUIRED);
    Some((len, Some(format!("#{id} {is_error}"))))
}

fn all(session: &Session) -> Vec<Told> {
    let [client, server] = streams(session);
    let mut asked = Asked::new();
    let mut told = theirs(Side::Client, &client, |bytes| request(bytes, &mut asked));
    told.extend(theirs(Side::Server, &server, |bytes| response(bytes, &asked)));
    told
}

fn check(name: &str, session: &Session) {
    let (mut ours, theirs) = (ours(session, says), all(session));
    for (our, their) in ours.iter_mut().zip(&theirs) {
        if their.says == OPEN {
            our.says = OPEN.to_owned();
        }
    }
    same(name, &ours, &theirs);
}

#[test]
fn the_corpus_is_read_alike() {
    each("kafka", OTHERS, 7, check);
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Frames of an exchange.
fn exchange(
    id: i32,
    key: ApiKey,
    version: i16,
    request: impl Encodable,
    response: impl Encodable,
) -> [(Side, Vec<u8>); 2] {
    let framed = |bytes: BytesMut| {
        let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&len[..], &bytes].concat()
    };
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(text("shop")));
    let mut asked = BytesMut::new();
    header.encode(&mut asked, key.request_header_version(version)).unwrap();
    request.encode(&mut asked, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
    let mut answered = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(id);
    header.encode(&mut answered, key.response_header_version(version)).unwrap();
    response.encode(&mut answered, version).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
    [(Side::Client, framed(asked)), (Side::Server, framed(answered))]
}

/// Every version of requests that say nothing, and of their answers.
macro_rules! empty {
    ($($key:ident $request:ident $response:ident,)*) => {
        fn empty() -> Calls {
            let (mut calls, mut id) = (Calls::new(), 0);
            $(
                let versions = $request::VERSIONS.intersect(&$response::VERSIONS);
                for version in versions.min..=versions.max {
                    id += 1;
                    let (request, response) = ($request::default(), $response::default());
                    calls.extend(exchange(id, ApiKey::$key, version, request, response));
                }
            )*
            calls
        }
    };
}

empty! {
    ApiVersions ApiVersionsRequest ApiVersionsResponse,
    Metadata MetadataRequest MetadataResponse,
    ListOffsets ListOffsetsRequest ListOffsetsResponse,
    Fetch FetchRequest FetchResponse,
    OffsetCommit OffsetCommitRequest OffsetCommitResponse,
    OffsetFetch OffsetFetchRequest OffsetFetchResponse,
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
    JoinGroup JoinGroupRequest JoinGroupResponse,
    Heartbeat HeartbeatRequest HeartbeatResponse,
    LeaveGroup LeaveGroupRequest LeaveGroupResponse,
    SyncGroup SyncGroupRequest SyncGroupResponse,
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
    ListGroups ListGroupsRequest ListGroupsResponse,
    CreateTopics CreateTopicsRequest CreateTopicsResponse,
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
    InitProducerId InitProducerIdRequest InitProducerIdResponse,
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse,
    EndTxn EndTxnRequest EndTxnResponse,
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse,
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
    DescribeCluster DescribeClusterRequest DescribeClusterResponse,
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
}

#[test]
fn every_version_of_what_says_nothing_is_read_alike() {
    check("empty", &session(9092, Transport::Tcp, &empty(), &[]));
}

fn batch(values: &[Vec<u8>], compression: Compression) -> Bytes {
    let record = |(offset, value): (i64, &Vec<u8>)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: NO_SEQUENCE,
        timestamp: 1_800_000_000_000,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Default::default(),
    };
    let records: Vec<Record> = (0..).zip(values).map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

type Values = Vec<Vec<u8>>;

/// A topic, and values for each of its first partitions.
fn topics() -> impl Strategy<Value = Vec<(String, Vec<Values>)>> {
    let values = vec(vec(any::<u8>(), 0..60), 1..4);
    vec(("[a-zA-Z0-9._-]{1,30}", vec(values, 1..3)), 1..3)
}

fn produced(id: i32, version: i16, topics: &[(String, Vec<Values>)], code: i16) -> Calls {
    let mut request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000);
    let mut response = ProduceResponse::default();
    for (name, partitions) in topics {
        let name = TopicName(text(name));
        let (mut data, mut told) = (Vec::new(), Vec::new());
        for (index, values) in (0..).zip(partitions) {
            let records = Some(batch(values, Compression::None));
            data.push(PartitionProduceData::default().with_index(index).with_records(records));
            told.push(PartitionProduceResponse::default().with_index(index).with_error_code(code));
        }
        let topic = TopicProduceData::default().with_name(name.clone());
        request.topic_data.push(topic.with_partition_data(data));
        let topic = TopicProduceResponse::default().with_name(name);
        response.responses.push(topic.with_partition_responses(told));
    }
    exchange(id, ApiKey::Produce, version, request, response).into()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_produced_is_read_alike(
        // From version 13 on topics have ids.
        requests in vec((3i16..=12, topics(), prop_oneof![Just(0i16), Just(3), Just(10)]), 1..4),
        cuts in vec(any::<u16>(), 0..16),
    ) {
        let mut calls = Calls::new();
        for (id, (version, topics, code)) in (1..).zip(requests) {
            calls.extend(produced(id, version, &topics, code));
        }
        check("whole", &session(9092, Transport::Tcp, &calls, &[]));
        check("cut", &session(9092, Transport::Tcp, &calls, &cuts));
    }
}

const ORDERS: Uuid = Uuid::from_u128(0x1234_5678);

/// What a poll says, of the newest version: topics have ids.
fn fetched(id: i32, records: Option<Bytes>) -> Calls {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(ORDERS).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]);
    let data = PartitionData::default().with_partition_index(0).with_records(records);
    let topic = FetchableTopicResponse::default().with_topic_id(ORDERS);
    let response = FetchResponse::default().with_responses(vec![topic.with_partitions(vec![data])]);
    exchange(id, ApiKey::Fetch, 16, request, response).into()
}

fn named(id: i32) -> Calls {
    let name = Some(TopicName(text("orders")));
    let topic = MetadataResponseTopic::default().with_name(name).with_topic_id(ORDERS);
    let response = MetadataResponse::default().with_topics(vec![topic]);
    exchange(id, ApiKey::Metadata, 12, MetadataRequest::default(), response).into()
}

/// Messages of several connections, one after the other, as one agent sees them.
fn seen(connections: &[Calls]) -> Vec<Message> {
    let mut stage = Protocols::new(Options::default());
    let mut out = Output::default();
    for calls in connections {
        let mut session = session(9092, Transport::Tcp, calls, &[]);
        session.steps.push(Step::Close(0));
        session.run_in(&mut stage, &mut out, &session.deliveries());
    }
    out.messages.into_iter().map(|message| *message).collect()
}

#[test]
fn topics_that_one_connection_names_are_known_on_others() {
    let names = |connections: &[Calls]| -> Vec<String> {
        seen(connections).iter().map(|message| message.name.to_string()).collect()
    };
    let named_first = names(&[named(1), fetched(2, None)]);
    assert_eq!(named_first, ["Metadata", "", "poll orders", ""]);
    assert_eq!(names(&[fetched(2, None), named(1)]), ["poll", "", "Metadata", ""]);
}

#[test]
fn equal_batches_are_told_apart_by_where_they_go() {
    let values = vec![b"the same".to_vec()];
    let put = |topic: &str, partitions: usize| {
        produced(1, 9, &[(topic.to_owned(), vec![values.clone(); partitions])], 0)
    };
    let taken = fetched(2, Some(batch(&values, Compression::None)));
    let seen = seen(&[named(1), put("orders", 2), put("audit", 1), taken]);
    let items = |index: usize| &seen[index].items[..];
    let ([orders, other], [audit], [taken]) = (items(2), items(4), items(7)) else {
        panic!("{seen:?}")
    };
    assert_eq!(taken, orders);
    assert!(taken != other && taken != audit);
}
