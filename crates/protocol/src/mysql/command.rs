//! Commands: their names, the lengths they may have, and what answers them ("Command Phase").

use std::ops::RangeInclusive;

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing comes.
    None,
    /// One packet.
    One,
    /// `OK`, `ERR`, or result sets.
    Results,
    /// Number of the statement, and definitions of its parameters and columns.
    Prepared,
    /// Packets up to `EOF`.
    Rows,
    /// Whatever authenticates, up to `OK` or `ERR`.
    Login,
    /// Packets without end.
    Endless,
}

/// One command.
pub(super) struct Command {
    pub(super) code: u8,
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    /// Lengths with the code.
    lengths: RangeInclusive<usize>,
}

// Codes that are looked at.
pub(super) const INIT_DB: u8 = 0x02;
pub(super) const QUERY: u8 = 0x03;
pub(super) const PING: u8 = 0x0e;
pub(super) const CHANGE_USER: u8 = 0x11;
pub(super) const PREPARE: u8 = 0x16;
pub(super) const EXECUTE: u8 = 0x17;
pub(super) const CLOSE: u8 = 0x19;
pub(super) const FETCH: u8 = 0x1c;
pub(super) const RESET_CONNECTION: u8 = 0x1f;
pub(super) const BULK_EXECUTE: u8 = 0xfa;

/// Database names have at most 64 characters.
const NAME_MAX: usize = 1 + 64 * 4;
const ANY: usize = usize::MAX;

/// By code.
const COMMANDS: &[Command] = &[
    command(0x00, "COM_SLEEP", Answer::One, 1..=1),
    command(0x01, "COM_QUIT", Answer::None, 1..=1),
    command(INIT_DB, "COM_INIT_DB", Answer::One, 2..=NAME_MAX),
    command(QUERY, "COM_QUERY", Answer::Results, 2..=ANY),
    command(0x04, "COM_FIELD_LIST", Answer::Rows, 2..=2 * NAME_MAX),
    command(0x05, "COM_CREATE_DB", Answer::One, 2..=NAME_MAX),
    command(0x06, "COM_DROP_DB", Answer::One, 2..=NAME_MAX),
    command(0x07, "COM_REFRESH", Answer::One, 2..=2),
    command(0x08, "COM_SHUTDOWN", Answer::One, 1..=2),
    command(0x09, "COM_STATISTICS", Answer::One, 1..=1),
    command(0x0a, "COM_PROCESS_INFO", Answer::Results, 1..=1),
    command(0x0b, "COM_CONNECT", Answer::One, 1..=1),
    command(0x0c, "COM_PROCESS_KILL", Answer::One, 5..=5),
    command(0x0d, "COM_DEBUG", Answer::One, 1..=1),
    command(PING, "COM_PING", Answer::One, 1..=1),
    command(0x0f, "COM_TIME", Answer::One, 1..=1),
    command(0x10, "COM_DELAYED_INSERT", Answer::One, 1..=1),
    command(CHANGE_USER, "COM_CHANGE_USER", Answer::Login, 4..=65_536),
    command(0x12, "COM_BINLOG_DUMP", Answer::Endless, 11..=1024),
    command(0x13, "COM_TABLE_DUMP", Answer::Endless, 3..=2 * NAME_MAX),
    command(0x14, "COM_CONNECT_OUT", Answer::One, 1..=1),
    command(0x15, "COM_REGISTER_SLAVE", Answer::One, 18..=1024),
    command(PREPARE, "COM_STMT_PREPARE", Answer::Prepared, 2..=ANY),
    command(EXECUTE, "COM_STMT_EXECUTE", Answer::Results, 10..=ANY),
    command(0x18, "COM_STMT_SEND_LONG_DATA", Answer::None, 7..=ANY),
    command(CLOSE, "COM_STMT_CLOSE", Answer::None, 5..=5),
    command(0x1a, "COM_STMT_RESET", Answer::One, 5..=5),
    command(0x1b, "COM_SET_OPTION", Answer::One, 3..=3),
    command(FETCH, "COM_STMT_FETCH", Answer::Rows, 9..=9),
    command(0x1d, "COM_DAEMON", Answer::One, 1..=1),
    command(0x1e, "COM_BINLOG_DUMP_GTID", Answer::Endless, 11..=65_536),
    command(RESET_CONNECTION, "COM_RESET_CONNECTION", Answer::One, 1..=1),
    command(0x20, "COM_CLONE", Answer::Endless, 1..=1024),
    command(0x21, "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM", Answer::Endless, 1..=1024),
    command(BULK_EXECUTE, "COM_STMT_BULK_EXECUTE", Answer::Results, 7..=ANY),
];

const fn command(
    code: u8,
    name: &'static str,
    answer: Answer,
    lengths: RangeInclusive<usize>,
) -> Command {
    Command { code, name, answer, lengths }
}

/// The command of a packet of `len` bytes that begins with `code`.
pub(super) fn find(code: u8, len: usize) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.code == code && command.lengths.contains(&len))
}
