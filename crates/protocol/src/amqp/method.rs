//! Methods of AMQP 0-9-1 (`amqp0-9-1.xml`, and RabbitMQ's extensions): who sends them, what they ask
//! for, and their arguments as far as they are told.

use crate::Side;

/// Class and method.
pub(super) type Id = (u16, u16);

/// What a method is in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks; answered unless its no-wait bit is set.
    Request,
    /// Answers this method.
    Answer(Id),
    /// Carries a message, which follows in a content header and bodies, and asks for nothing.
    Content,
    /// Carries a message, and answers this method.
    ContentAnswer(Id),
    /// Says what became of a message.
    Settle,
    /// Ends a channel or the connection, perhaps with an error.
    Close,
    /// Handshake and noise.
    Noise,
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Short,
    /// Up to eight bits, of which this one says that no answer is wanted.
    Bits(u8),
    Queue,
    Exchange,
    RoutingKey,
    ConsumerTag,
    VirtualHost,
    DeliveryTag,
    /// A reply code, and the text that follows it.
    Reply,
    /// A short string that is not told.
    Text,
}

pub(super) struct Method {
    pub(super) id: Id,
    pub(super) name: &'static str,
    /// `None`: both sides.
    pub(super) from: Option<Side>,
    pub(super) kind: Kind,
    pub(super) fields: &'static [Field],
}

impl Method {
    /// The method with this id, if `from` may send it.
    pub(super) fn find(id: Id, from: Side) -> Option<&'static Self> {
        METHODS
            .iter()
            .find(|method| method.id == id && method.from.is_none_or(|sender| sender == from))
    }

    /// Whether its bytes must not be kept.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.id, START_OK | UPDATE_SECRET)
    }
}

pub(super) const START_OK: Id = (10, 11);
pub(super) const UPDATE_SECRET: Id = (10, 70);
pub(super) const CHANNEL_CLASS: u16 = 20;
pub(super) const PUBLISH: Id = (60, 40);
pub(super) const RETURN: Id = (60, 50);
pub(super) const DELIVER: Id = (60, 60);
pub(super) const GET: Id = (60, 70);
pub(super) const CONSUME: Id = (60, 20);
pub(super) const ACK: Id = (60, 80);

use Field::{
    Bits, ConsumerTag, DeliveryTag, Exchange, Queue, Reply, RoutingKey, Short, Text, VirtualHost,
};
use Kind::{Answer, Close, Content, ContentAnswer, Noise, Request, Settle};

const fn client(id: Id, name: &'static str, kind: Kind, fields: &'static [Field]) -> Method {
    Method { id, name, from: Some(Side::Client), kind, fields }
}

const fn server(id: Id, name: &'static str, kind: Kind, fields: &'static [Field]) -> Method {
    Method { id, name, from: Some(Side::Server), kind, fields }
}

const fn both(id: Id, name: &'static str, kind: Kind, fields: &'static [Field]) -> Method {
    Method { id, name, from: None, kind, fields }
}

const METHODS: &[Method] = &[
    server((10, 10), "connection.start", Noise, &[]),
    // The credentials; answered by `tune`, perhaps after `secure`.
    client((10, 11), "connection.start", Request, &[]),
    server((10, 20), "connection.secure", Noise, &[]),
    client((10, 21), "connection.secure-ok", Noise, &[]),
    server((10, 30), "connection.tune", Answer((10, 11)), &[]),
    client((10, 31), "connection.tune-ok", Noise, &[]),
    client((10, 40), "connection.open", Request, &[VirtualHost]),
    server((10, 41), "connection.open-ok", Answer((10, 40)), &[]),
    both((10, 50), "connection.close", Close, &[Reply, Short, Short]),
    both((10, 51), "connection.close-ok", Noise, &[]),
    server((10, 60), "connection.blocked", Noise, &[]),
    server((10, 61), "connection.unblocked", Noise, &[]),
    client((10, 70), "connection.update-secret", Request, &[]),
    server((10, 71), "connection.update-secret-ok", Answer((10, 70)), &[]),
    client((20, 10), "channel.open", Noise, &[]),
    server((20, 11), "channel.open-ok", Noise, &[]),
    both((20, 20), "channel.flow", Noise, &[]),
    both((20, 21), "channel.flow-ok", Noise, &[]),
    both((20, 40), "channel.close", Close, &[Reply, Short, Short]),
    both((20, 41), "channel.close-ok", Noise, &[]),
    client((40, 10), "exchange.declare", Request, &[Short, Exchange, Text, Bits(4)]),
    server((40, 11), "exchange.declare-ok", Answer((40, 10)), &[]),
    client((40, 20), "exchange.delete", Request, &[Short, Exchange, Bits(1)]),
    server((40, 21), "exchange.delete-ok", Answer((40, 20)), &[]),
    client((40, 30), "exchange.bind", Request, &[Short, Exchange, Text, RoutingKey, Bits(0)]),
    server((40, 31), "exchange.bind-ok", Answer((40, 30)), &[]),
    client((40, 40), "exchange.unbind", Request, &[Short, Exchange, Text, RoutingKey, Bits(0)]),
    server((40, 51), "exchange.unbind-ok", Answer((40, 40)), &[]),
    client((50, 10), "queue.declare", Request, &[Short, Queue, Bits(4)]),
    server((50, 11), "queue.declare-ok", Answer((50, 10)), &[Queue]),
    client((50, 20), "queue.bind", Request, &[Short, Queue, Text, RoutingKey, Bits(0)]),
    server((50, 21), "queue.bind-ok", Answer((50, 20)), &[]),
    client((50, 30), "queue.purge", Request, &[Short, Queue, Bits(0)]),
    server((50, 31), "queue.purge-ok", Answer((50, 30)), &[]),
    client((50, 40), "queue.delete", Request, &[Short, Queue, Bits(2)]),
    server((50, 41), "queue.delete-ok", Answer((50, 40)), &[]),
    client((50, 50), "queue.unbind", Request, &[Short, Queue, Text, RoutingKey]),
    server((50, 51), "queue.unbind-ok", Answer((50, 50)), &[]),
    client((60, 10), "basic.qos", Request, &[]),
    server((60, 11), "basic.qos-ok", Answer((60, 10)), &[]),
    client((60, 20), "basic.consume", Request, &[Short, Queue, ConsumerTag, Bits(3)]),
    server((60, 21), "basic.consume-ok", Answer((60, 20)), &[ConsumerTag]),
    client((60, 30), "basic.cancel", Request, &[ConsumerTag, Bits(0)]),
    server((60, 31), "basic.cancel-ok", Answer((60, 30)), &[ConsumerTag]),
    // The queue of a consumer is gone (RabbitMQ).
    server((60, 30), "basic.cancel", Noise, &[]),
    client((60, 31), "basic.cancel-ok", Noise, &[]),
    client((60, 40), "publish", Content, &[Short, Exchange, RoutingKey]),
    server((60, 50), "return", Content, &[Reply, Exchange, RoutingKey]),
    server(
        (60, 60),
        "deliver",
        Content,
        &[ConsumerTag, DeliveryTag, Bits(8), Exchange, RoutingKey],
    ),
    client((60, 70), "get", Request, &[Short, Queue]),
    server(
        (60, 71),
        "get-ok",
        ContentAnswer((60, 70)),
        &[DeliveryTag, Bits(8), Exchange, RoutingKey],
    ),
    server((60, 72), "get-empty", Answer((60, 70)), &[]),
    both((60, 80), "ack", Settle, &[DeliveryTag, Bits(8)]),
    client((60, 90), "reject", Settle, &[DeliveryTag, Bits(8)]),
    client((60, 100), "basic.recover-async", Noise, &[]),
    client((60, 110), "basic.recover", Request, &[]),
    server((60, 111), "basic.recover-ok", Answer((60, 110)), &[]),
    both((60, 120), "nack", Settle, &[DeliveryTag, Bits(8)]),
    client((85, 10), "confirm.select", Request, &[Bits(0)]),
    server((85, 11), "confirm.select-ok", Answer((85, 10)), &[]),
    client((90, 10), "tx.select", Request, &[]),
    server((90, 11), "tx.select-ok", Answer((90, 10)), &[]),
    client((90, 20), "tx.commit", Request, &[]),
    server((90, 21), "tx.commit-ok", Answer((90, 20)), &[]),
    client((90, 30), "tx.rollback", Request, &[]),
    server((90, 31), "tx.rollback-ok", Answer((90, 30)), &[]),
];

/// What a method's arguments say.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments<'a> {
    pub(super) is_no_wait: bool,
    pub(super) queue: &'a [u8],
    pub(super) exchange: &'a [u8],
    pub(super) routing_key: &'a [u8],
    pub(super) consumer_tag: &'a [u8],
    pub(super) virtual_host: &'a [u8],
    pub(super) delivery_tag: Option<u64>,
    /// Code and text of a return or close.
    pub(super) reply: Option<(u16, &'a [u8])>,
    /// Numbers after the reply: the method that a close complains of.
    pub(super) shorts: [u16; 2],
}

impl<'a> Arguments<'a> {
    /// Reads the arguments that are told; `None` where bytes are missing.
    pub(super) fn read(fields: &[Field], mut bytes: &'a [u8]) -> Option<Self> {
        let mut seen = Self::default();
        for field in fields {
            match field {
                Short => {
                    let number = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
                    seen.shorts = [seen.shorts[1], number];
                }
                DeliveryTag => {
                    let tag = take(&mut bytes, 8)?.try_into().ok()?;
                    seen.delivery_tag = Some(u64::from_be_bytes(tag));
                }
                Bits(bit) => {
                    let bits = take(&mut bytes, 1)?[0];
                    seen.is_no_wait = *bit < 8 && bits & (1 << bit) != 0;
                }
                Queue => seen.queue = short_string(&mut bytes)?,
                Exchange => seen.exchange = short_string(&mut bytes)?,
                RoutingKey => seen.routing_key = short_string(&mut bytes)?,
                ConsumerTag => seen.consumer_tag = short_string(&mut bytes)?,
                VirtualHost => seen.virtual_host = short_string(&mut bytes)?,
                Text => drop(short_string(&mut bytes)?),
                Reply => {
                    let code = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
                    seen.reply = Some((code, short_string(&mut bytes)?));
                }
            }
        }
        Some(seen)
    }
}

/// The first bytes, which are taken away.
pub(super) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(front)
}

/// A length in one byte, and so many bytes.
pub(super) fn short_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take(bytes, 1)?[0];
    take(bytes, usize::from(len))
}

/// Names of reply codes (`amqp0-9-1.xml`, constants).
pub(super) fn reply_name(code: u16) -> &'static str {
    match code {
        311 => "CONTENT_TOO_LARGE",
        312 => "NO_ROUTE",
        313 => "NO_CONSUMERS",
        320 => "CONNECTION_FORCED",
        402 => "INVALID_PATH",
        403 => "ACCESS_REFUSED",
        404 => "NOT_FOUND",
        405 => "RESOURCE_LOCKED",
        406 => "PRECONDITION_FAILED",
        501 => "FRAME_ERROR",
        502 => "SYNTAX_ERROR",
        503 => "COMMAND_INVALID",
        504 => "CHANNEL_ERROR",
        505 => "UNEXPECTED_FRAME",
        506 => "RESOURCE_ERROR",
        530 => "NOT_ALLOWED",
        540 => "NOT_IMPLEMENTED",
        541 => "INTERNAL_ERROR",
        _ => "OTHER",
    }
}
