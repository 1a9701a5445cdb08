//! Commands (`BaseCommand` of `PulsarApi.proto`): who sends them and what they mean.

use crate::Side;

pub(super) const CONNECT: u8 = 2;
pub(super) const CONNECTED: u8 = 3;
pub(super) const SUBSCRIBE: u8 = 4;
pub(super) const PRODUCER: u8 = 5;
pub(super) const PRODUCER_SUCCESS: u8 = 17;

/// What a command means; numbers are those of fields, zero where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Asks {
        id: u64,
        topic: u64,
    },
    Answers {
        id: u64,
        error: u64,
        message: u64,
    },
    Sends,
    Receipt,
    Refusal,
    Delivers,
    Acknowledges,
    /// A request of the client, and news from the server.
    Closes,
    /// It is passed over.
    Other,
}

#[derive(Debug)]
pub(super) struct Command {
    /// Its type, and the number of its field.
    pub(super) number: u8,
    /// Name of the operation.
    pub(super) name: &'static str,
    /// Who sends it, unless both do.
    sender: Option<Side>,
    pub(super) meaning: Meaning,
}

const fn asks(number: u8, name: &'static str, id: u64, topic: u64) -> Command {
    Command { number, name, sender: Some(Side::Client), meaning: Meaning::Asks { id, topic } }
}

const fn answers(number: u8, id: u64, error: u64, message: u64) -> Command {
    let meaning = Meaning::Answers { id, error, message };
    Command { number, name: "", sender: Some(Side::Server), meaning }
}

const fn of(number: u8, name: &'static str, sender: Side, meaning: Meaning) -> Command {
    Command { number, name, sender: Some(sender), meaning }
}

const fn both(number: u8, name: &'static str, meaning: Meaning) -> Command {
    Command { number, name, sender: None, meaning }
}

const COMMANDS: &[Command] = &[
    of(CONNECT, "", Side::Client, Meaning::Other),
    of(CONNECTED, "", Side::Server, Meaning::Other),
    asks(SUBSCRIBE, "subscribe", 5, 1),
    asks(PRODUCER, "create_producer", 3, 1),
    of(6, "send", Side::Client, Meaning::Sends),
    of(7, "", Side::Server, Meaning::Receipt),
    of(8, "", Side::Server, Meaning::Refusal),
    of(9, "deliver", Side::Server, Meaning::Delivers),
    of(10, "ack", Side::Client, Meaning::Acknowledges),
    of(11, "", Side::Client, Meaning::Other),
    asks(12, "unsubscribe", 2, 0),
    answers(13, 1, 0, 0),
    answers(14, 1, 2, 3),
    both(15, "close_producer", Meaning::Closes),
    both(16, "close_consumer", Meaning::Closes),
    answers(PRODUCER_SUCCESS, 1, 0, 0),
    both(18, "", Meaning::Other),
    both(19, "", Meaning::Other),
    of(20, "", Side::Client, Meaning::Other),
    asks(21, "partitioned_metadata", 2, 1),
    answers(22, 2, 4, 5),
    asks(23, "lookup", 2, 1),
    answers(24, 4, 6, 7),
    asks(25, "consumer_stats", 1, 0),
    answers(26, 1, 2, 3),
    of(27, "", Side::Server, Meaning::Other),
    asks(28, "seek", 2, 0),
    asks(29, "get_last_message_id", 2, 0),
    answers(30, 2, 0, 0),
    of(31, "", Side::Server, Meaning::Other),
    asks(32, "get_topics_of_namespace", 1, 0),
    answers(33, 1, 0, 0),
    asks(34, "get_schema", 1, 2),
    answers(35, 1, 2, 3),
    of(36, "", Side::Server, Meaning::Other),
    of(37, "", Side::Client, Meaning::Other),
    answers(38, 6, 4, 5),
    asks(39, "get_or_create_schema", 1, 2),
    answers(40, 1, 2, 3),
    asks(50, "new_transaction", 1, 0),
    answers(51, 1, 4, 5),
    asks(52, "add_partition_to_transaction", 1, 0),
    answers(53, 1, 4, 5),
    asks(54, "add_subscription_to_transaction", 1, 0),
    answers(55, 1, 4, 5),
    asks(56, "end_transaction", 1, 0),
    answers(57, 1, 4, 5),
    asks(58, "end_transaction_on_partition", 1, 0),
    answers(59, 1, 4, 5),
    asks(60, "end_transaction_on_subscription", 1, 0),
    answers(61, 1, 4, 5),
    asks(62, "connect_coordinator", 1, 0),
    answers(63, 1, 2, 3),
    asks(64, "watch_topic_list", 1, 0),
    answers(65, 1, 0, 0),
    of(66, "", Side::Server, Meaning::Other),
    of(67, "", Side::Client, Meaning::Other),
    of(68, "", Side::Server, Meaning::Other),
];

impl Command {
    /// The command of this number, if `from` may send it.
    pub(super) fn find(number: u64, from: Side) -> Option<&'static Self> {
        let found = COMMANDS.iter().find(|command| u64::from(command.number) == number)?;
        found.sender.is_none_or(|sender| sender == from).then_some(found)
    }

    /// `messaging.operation.type`.
    pub(super) fn kind(&self) -> &'static str {
        match self.meaning {
            Meaning::Sends => "send",
            Meaning::Delivers => "receive",
            Meaning::Acknowledges => "settle",
            _ => "",
        }
    }
}
