//! Commands: their names, which of their arguments may be told, and what they change.

use deeptrace_model::Attributes;

use super::element::{Element, element};
use crate::{Draft, Form};

/// Commands whose second word is part of the name.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY",
    "MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];

/// Commands whose first argument is a value rather than a key or channel.
const VALUE_FIRST: &[&str] = &["AUTH", "ECHO", "EVAL", "EVAL_RO", "HELLO", "PING", "MIGRATE"];

/// Commands that leave no doubt that this is Redis.
const KNOWN: &[&str] = &[
    "ACL",
    "APPEND",
    "AUTH",
    "BLPOP",
    "BRPOP",
    "BZPOPMIN",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "ECHO",
    "EVAL",
    "EVALSHA",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "FLUSHALL",
    "FLUSHDB",
    "GET",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HDEL",
    "HELLO",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HSCAN",
    "HSET",
    "HVALS",
    "INCR",
    "INCRBY",
    "INFO",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "LTRIM",
    "MGET",
    "MONITOR",
    "MSET",
    "MULTI",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PFADD",
    "PING",
    "PSETEX",
    "PSUBSCRIBE",
    "PTTL",
    "PUBLISH",
    "PUNSUBSCRIBE",
    "QUIT",
    "RENAME",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "SADD",
    "SCAN",
    "SCARD",
    "SCRIPT",
    "SELECT",
    "SET",
    "SETEX",
    "SETNX",
    "SISMEMBER",
    "SMEMBERS",
    "SPOP",
    "SREM",
    "SSCAN",
    "SSUBSCRIBE",
    "STRLEN",
    "SUBSCRIBE",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WATCH",
    "XACK",
    "XADD",
    "XGROUP",
    "XLEN",
    "XRANGE",
    "XREAD",
    "XREADGROUP",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZINCRBY",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREM",
    "ZSCORE",
];

/// Commands whose answer may wait for something to happen.
const BLOCKING: &[&str] = &[
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT PAUSE",
    "DEBUG SLEEP",
    "WAIT",
    "WAITAOF",
    "XREAD",
    "XREADGROUP",
];

/// Bytes of a command's or sub-command's name.
const NAME_MAX: usize = 32;

/// Bytes of a key that is told.
const KEY_MAX: usize = 128;

/// Arguments that are told, as `?`.
const ARGUMENTS_MAX: usize = 32;

/// Commands whose answers have passwords, or hashes of them, in them; also where the sub-command was cut.
const ASK_SECRETS: &[&str] =
    &["CONFIG", "CONFIG GET", "ACL", "ACL GENPASS", "ACL GETUSER", "ACL LIST"];

/// A command, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// Upper-case, with its sub-command where it has one; empty before that was read.
    pub(super) name: String,
    /// The command without its values.
    text: String,
    /// Arguments read, the name included.
    count: usize,
    /// Bytes of the message before those that are being read.
    before: usize,
    /// Where the first argument lies that must not be kept.
    secret: Option<usize>,
    database: Option<u32>,
    /// What `CLIENT REPLY` asks for.
    silence: Option<Silence>,
}

/// What is answered from here on (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Silence {
    /// Every command.
    #[default]
    None,
    /// Every command but the next.
    Skip,
    /// None, until `CLIENT REPLY ON`.
    Off,
}

impl Silence {
    fn read(word: &[u8]) -> Option<Self> {
        let words = [(&b"ON"[..], Self::None), (b"SKIP", Self::Skip), (b"OFF", Self::Off)];
        words.into_iter().find(|other| word.eq_ignore_ascii_case(other.0)).map(|other| other.1)
    }
}

/// Whether a command with a known name starts here.
pub(super) fn is_known(bytes: &[u8]) -> bool {
    let is_known = |name: &[u8]| KNOWN.iter().any(|k| name.eq_ignore_ascii_case(k.as_bytes()));
    first(bytes).is_some_and(is_known)
}

/// Whether an array of bulk strings starts here whose first could be a command.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    first(bytes).is_some_and(is_name)
}

/// The first string of an array.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let Ok(Some((Element::Open(b'*', Some(1..)), len))) = element(bytes) else { return None };
    match element(&bytes[len as usize..]) {
        Ok(Some((Element::Bulk(b'$', name), _))) => name,
        _ => None,
    }
}

fn is_name(name: &[u8]) -> bool {
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.len() <= NAME_MAX
        && name.iter().all(of_name)
}

impl Command {
    /// Words on a line.
    pub(super) fn inline(line: &[u8]) -> Option<Self> {
        let mut command = Self::default();
        let words = line.split(|byte| byte.is_ascii_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let at = word.as_ptr() as usize - line.as_ptr() as usize;
            command.argument(Some(word), at);
        }
        command.before = line.len();
        (!command.name.is_empty()).then_some(command)
    }

    /// An element of the array.
    pub(super) fn element(&mut self, element: &Element<'_>, depth: usize, at: usize) {
        if let Element::Bulk(_, text) = element
            && depth == 1
        {
            self.argument(*text, self.before + at);
        }
    }

    /// So many bytes of the message are read.
    pub(super) fn passed(&mut self, len: u64) {
        self.before = self.before.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    }

    /// The next argument, which begins at `at`; without its text if that is long.
    fn argument(&mut self, text: Option<&[u8]>, at: usize) {
        let index = self.count;
        self.count += 1;
        if index == 0 {
            if let Some(name) = text.filter(|name| is_name(name)) {
                self.name = String::from_utf8_lossy(name).to_ascii_uppercase();
                self.text.clone_from(&self.name);
            }
            return;
        }
        let sub = text.filter(|name| index == 1 && is_name(name));
        if let Some(sub) = sub.filter(|_| CONTAINERS.contains(&self.name.as_str())) {
            self.name.push(' ');
            self.name += &String::from_utf8_lossy(sub).to_ascii_uppercase();
            self.text.clone_from(&self.name);
            return;
        }
        if index == 1 && self.name == "SELECT" {
            self.database = text.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
        }
        if index == 2 && self.name == "CLIENT REPLY" {
            self.silence = text.and_then(Silence::read);
        }
        if self.secret.is_none() && self.is_secret(index) {
            self.secret = Some(at);
        }
        if index > ARGUMENTS_MAX {
            return;
        }
        let is_key = index == 1 && !VALUE_FIRST.contains(&self.name.as_str());
        let key = text
            .filter(|key| is_key && key.len() <= KEY_MAX && key.iter().all(u8::is_ascii_graphic));
        self.text.push(' ');
        self.text += &key.map_or("?".into(), String::from_utf8_lossy);
    }

    /// Whether the argument `index` and all after it must not be kept.
    fn is_secret(&self, index: usize) -> bool {
        match self.name.as_str() {
            "AUTH" => index >= 1,
            "HELLO" => index >= 2,
            "CONFIG SET" | "ACL SETUSER" | "SENTINEL SET" => index >= 3,
            "MIGRATE" => index >= 6,
            _ => false,
        }
    }

    /// How many answers it gets.
    pub(super) fn answers(&self) -> u32 {
        match self.name.as_str() {
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
            | "SUNSUBSCRIBE" => u32::try_from(self.count.saturating_sub(1)).unwrap_or(1).max(1),
            _ => 1,
        }
    }

    /// Whether the server sends items from now on.
    pub(super) fn starts_listening(&self) -> bool {
        matches!(self.name.as_str(), "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR")
    }

    /// Whether its answer may wait for something to happen.
    pub(super) fn blocks(&self) -> bool {
        BLOCKING.contains(&self.name.as_str())
    }

    /// Whether it is answered where `silence` was asked for; changes that as the command asks.
    pub(super) fn is_answered(&self, silence: &mut Silence) -> bool {
        let before = *silence;
        *silence = match self.silence {
            // The server ignores it there.
            Some(Silence::Skip) if before == Silence::Off => Silence::Off,
            Some(asked) => asked,
            None if before == Silence::Skip => Silence::None,
            None => before,
        };
        match self.silence {
            Some(asked) => asked == Silence::None,
            None => before == Silence::None,
        }
    }

    /// The database that is used from now on.
    pub(super) fn selects(&self) -> Option<u32> {
        self.database
    }

    /// What the command says, on `database`.
    pub(super) fn draft(self, database: Option<u32>) -> Draft {
        let mut attributes = Attributes::with_capacity(4);
        attributes.push(("db.system.name".into(), "redis".into()));
        attributes.push(("db.operation.name".into(), self.name.clone().into()));
        attributes.push(("db.query.text".into(), self.text.into()));
        if let Some(database) = database {
            attributes.push(("db.namespace".into(), database.to_string().into()));
        }
        let mut draft = Draft::request(self.name);
        draft.form = Form::Words;
        draft.asks_secret = ASK_SECRETS.contains(&draft.name.as_str());
        draft.attributes = attributes;
        draft.redact.extend(self.secret.map(|at| at..self.before));
        draft
    }
}
