//! Thrift's binary and compact protocols, with and without frames, beside the crate `thrift` of Apache.

use std::io::Cursor;

use deeptrace_model::{Message, MessageRole, SpanStatus, Transport};
use deeptrace_protocol::Side;
use proptest::collection::vec;
use proptest::prelude::*;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol,
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TMessageIdentifier,
    TMessageType, TOutputProtocol, TStructIdentifier, TType,
};

use crate::session::Session;
use crate::told::{Calls, attribute, config, each, ours, same, session, streams, theirs};

/// Sessions of which the crate does not read all, and why.
const OTHERS: &[(&str, &str)] = &[
    ("header", "it has no THeader"),
    ("header_compact", "it has no THeader"),
    ("header_zlib", "it has no THeader"),
    ("old", "a message without a version is taken for a frame here"),
    ("old_framed", "it does not tell messages without a version from others"),
];

fn says(message: &Message) -> String {
    let method = attribute(message, "rpc.method");
    match message.role {
        // Behind a multiplexed call the service is told as well.
        MessageRole::Request => format!("call {}", method.rsplit('/').next().unwrap_or_default()),
        MessageRole::OneWay => format!("oneway {}", method.rsplit('/').next().unwrap_or_default()),
        MessageRole::Response => format!("answer {}", message.status == SpanStatus::Error),
    }
}

/// A message, of which the fields are passed over.
fn read(input: &mut dyn TInputProtocol) -> thrift::Result<String> {
    let head = input.read_message_begin()?;
    input.read_struct_begin()?;
    let mut first = None;
    loop {
        let field = input.read_field_begin()?;
        if field.field_type == TType::Stop {
            break;
        }
        first = first.or(field.id);
        input.skip(field.field_type)?;
        input.read_field_end()?;
    }
    input.read_struct_end()?;
    input.read_message_end()?;
    let method = head.name.rsplit(':').next().unwrap_or_default();
    Ok(match head.message_type {
        TMessageType::Call => format!("call {method}"),
        TMessageType::OneWay => format!("oneway {method}"),
        TMessageType::Exception => "answer true".to_owned(),
        // Declared exceptions have numbers of their own.
        TMessageType::Reply => format!("answer {}", first.is_some_and(|id| id != 0)),
    })
}

fn next(bytes: &[u8]) -> Option<(usize, Option<String>)> {
    let (front, message) = match bytes.first()? {
        0 => {
            let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
            (4, bytes.get(4..4 + len)?)
        }
        _ => (0, bytes),
    };
    let mut cursor = Cursor::new(message);
    let says = match message.first()? {
        0x82 => read(&mut TCompactInputProtocol::new(&mut cursor)),
        _ => read(&mut TBinaryInputProtocol::new(&mut cursor, true)),
    };
    let says = says.ok()?;
    let len = if front > 0 { message.len() } else { cursor.position() as usize };
    Some((front + len, Some(says)))
}

fn check(name: &str, session: &Session) {
    let [client, server] = streams(session);
    let mut told = theirs(Side::Client, &client, next);
    told.extend(theirs(Side::Server, &server, next));
    same(name, &ours(session, says), &told);
}

#[test]
fn the_corpus_is_read_alike() {
    each("thrift", OTHERS, 6, check);
}

#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    Double(f64),
    Text(String),
    List(Vec<i64>),
    Bools(Vec<bool>),
    Map(Vec<(String, i32)>),
    Struct(Vec<Value>),
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::Double),
        "[ -~]{0,40}".prop_map(Value::Text),
        vec(any::<i64>(), 0..20).prop_map(Value::List),
        vec(any::<bool>(), 0..20).prop_map(Value::Bools),
        vec(("[a-z]{0,8}", any::<i32>()), 0..5).prop_map(Value::Map),
    ];
    let value = leaf.prop_recursive(4, 24, 5, |inner| vec(inner, 0..5).prop_map(Value::Struct));
    vec(value, 0..6)
}

impl Value {
    fn kind(&self) -> TType {
        match self {
            Self::Bool(_) => TType::Bool,
            Self::I8(_) => TType::I08,
            Self::I16(_) => TType::I16,
            Self::I32(_) => TType::I32,
            Self::I64(_) => TType::I64,
            Self::Double(_) => TType::Double,
            Self::Text(_) => TType::String,
            Self::List(_) | Self::Bools(_) => TType::List,
            Self::Map(_) => TType::Map,
            Self::Struct(_) => TType::Struct,
        }
    }

    fn write(&self, out: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        match self {
            Self::Bool(value) => out.write_bool(*value),
            Self::I8(value) => out.write_i8(*value),
            Self::I16(value) => out.write_i16(*value),
            Self::I32(value) => out.write_i32(*value),
            Self::I64(value) => out.write_i64(*value),
            Self::Double(value) => out.write_double(*value),
            Self::Text(value) => out.write_string(value),
            Self::List(values) => {
                out.write_list_begin(&TListIdentifier::new(TType::I64, values.len() as i32))?;
                values.iter().try_for_each(|value| out.write_i64(*value))?;
                out.write_list_end()
            }
            Self::Bools(values) => {
                out.write_list_begin(&TListIdentifier::new(TType::Bool, values.len() as i32))?;
                values.iter().try_for_each(|value| out.write_bool(*value))?;
                out.write_list_end()
            }
            Self::Map(pairs) => {
                let head = TMapIdentifier {
                    key_type: Some(TType::String),
                    value_type: Some(TType::I32),
                    size: pairs.len() as i32,
                };
                out.write_map_begin(&head)?;
                for (key, value) in pairs {
                    out.write_string(key)?;
                    out.write_i32(*value)?;
                }
                out.write_map_end()
            }
            Self::Struct(values) => fields(out, 1, values),
        }
    }
}

/// A struct of fields with rising numbers.
fn fields(out: &mut dyn TOutputProtocol, first: i16, values: &[Value]) -> thrift::Result<()> {
    out.write_struct_begin(&TStructIdentifier::new(""))?;
    for (id, value) in (first..).zip(values) {
        out.write_field_begin(&TFieldIdentifier::new("", value.kind(), id))?;
        value.write(out)?;
        out.write_field_end()?;
    }
    out.write_field_stop()?;
    out.write_struct_end()
}

/// How messages are written.
#[derive(Clone, Copy, Debug)]
struct Style {
    is_compact: bool,
    is_framed: bool,
}

fn message(style: Style, head: &TMessageIdentifier, first: i16, values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let write = |out: &mut dyn TOutputProtocol| {
        out.write_message_begin(head)?;
        fields(out, first, values)?;
        out.write_message_end()?;
        out.flush()
    };
    match style.is_compact {
        true => write(&mut TCompactOutputProtocol::new(&mut bytes)),
        false => write(&mut TBinaryOutputProtocol::new(&mut bytes, true)),
    }
    .unwrap();
    match style.is_framed {
        true => [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat(),
        false => bytes,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_calls_and_answers_are_read_alike(
        calls in vec(("[a-z][a-zA-Z0-9_]{0,20}", values(), values(), 0u8..4), 1..5),
        is_compact: bool, is_framed: bool,
        cuts in vec(any::<u16>(), 0..16),
    ) {
        let style = Style { is_compact, is_framed };
        let mut all: Calls = Vec::new();
        for (number, (name, arguments, results, kind)) in (1..).zip(calls) {
            let head = |kind| TMessageIdentifier::new(name.clone(), kind, number);
            let asked = if kind == 3 { TMessageType::OneWay } else { TMessageType::Call };
            all.push((Side::Client, message(style, &head(asked), 1, &arguments)));
            // A result, a declared exception, one of the framework.
            let result = &results[..results.len().min(1)];
            let declared = [Value::Struct(results.clone())];
            let answer = match kind {
                0 => message(style, &head(TMessageType::Reply), 0, result),
                1 => message(style, &head(TMessageType::Reply), 1, &declared),
                2 => message(style, &head(TMessageType::Exception), 1, &results),
                _ => continue,
            };
            all.push((Side::Server, answer));
        }
        check("whole", &session(9090, Transport::Tcp, &all, &[]));
        // The first bytes of a compact call may be a frame of WebSocket, if no more is known.
        let mut cut = session(9090, Transport::Tcp, &all[..1], &[]);
        cut.steps.extend(session(9090, Transport::Tcp, &all[1..], &cuts).steps);
        check("cut", &cut);
    }
}
