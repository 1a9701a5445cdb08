//! Command: the first line of a request in the text and meta protocols.

/// Keys, as the server bounds them.
const KEY_MAX: usize = 250;
/// Values above are not believed (`-I` allows up to 1 GiB).
pub(super) const VALUE_MAX: u64 = 1 << 30;

/// Whether and when a command is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Always,
    Never,
    /// On a hit or an error.
    Perhaps,
}

pub(super) struct Command<'a> {
    pub(super) verb: &'static str,
    pub(super) keys: u32,
    /// Bytes after the line, with their line end.
    pub(super) data: u64,
    pub(super) answer: Answer,
    /// The words that are told.
    pub(super) text: &'a [u8],
}

impl<'a> Command<'a> {
    /// Reads a line without its end; strictly, since it also recognises.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let mut words = words(line);
        let first = words.next()?;
        let (verb, shape) = COMMANDS.iter().find(|command| command.0.as_bytes() == first)?;
        let (verb, shape) = (*verb, *shape);
        let mut command =
            Self { verb, keys: 0, data: 0, answer: Answer::Always, text: line.trim_ascii_end() };
        let is_noreply = line.ends_with(b" noreply");
        match shape {
            Shape::Keys(before) => {
                words.by_ref().take(before).try_for_each(is_number)?;
                for key in words {
                    is_key(key)?;
                    command.keys = command.keys.saturating_add(1);
                }
                (command.keys > 0).then_some(())?;
            }
            Shape::Data(at) => {
                let key = words.next().filter(|key| is_key(key).is_some())?;
                words.by_ref().take(at - 1).try_for_each(is_number)?;
                let len = number(words.next()?).filter(|len| *len <= VALUE_MAX)?;
                command.keys = 1;
                command.data = len + 2;
                command.text = &line[..first.len() + 1 + key.len()];
                if verb == "ms" {
                    command.answer = quiet(words)?;
                } else {
                    let most = if verb == "cas" { 2 } else { 1 };
                    (words.count() <= most).then_some(())?;
                }
            }
            Shape::Key(least, most) => {
                is_key(words.next()?)?;
                command.keys = 1;
                (least..=most).contains(&words.count()).then_some(())?;
            }
            Shape::Words(most) => (words.count() <= most).then_some(())?,
            Shape::Meta => {
                is_key(words.next()?)?;
                command.keys = 1;
                command.answer = quiet(words)?;
            }
        }
        // `quit` and `shutdown` close; `noreply` says so.
        let is_meta = matches!(shape, Shape::Meta) || verb == "ms";
        if (is_noreply && !is_meta) || matches!(verb, "quit" | "shutdown") {
            command.answer = Answer::Never;
        }
        Some(command)
    }
}

/// What follows the word of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// So many words, then keys.
    Keys(usize),
    /// A key, and a block of data whose length is this word (from 0).
    Data(usize),
    /// A key and between so many other words.
    Key(usize, usize),
    /// Between no and so many words.
    Words(usize),
    /// A key and flags of one letter each.
    Meta,
}

const COMMANDS: &[(&str, Shape)] = &[
    ("get", Shape::Keys(0)),
    ("gets", Shape::Keys(0)),
    ("gat", Shape::Keys(1)),
    ("gats", Shape::Keys(1)),
    ("set", Shape::Data(3)),
    ("add", Shape::Data(3)),
    ("replace", Shape::Data(3)),
    ("append", Shape::Data(3)),
    ("prepend", Shape::Data(3)),
    ("cas", Shape::Data(3)),
    ("delete", Shape::Key(0, 2)),
    ("incr", Shape::Key(1, 2)),
    ("decr", Shape::Key(1, 2)),
    ("touch", Shape::Key(1, 2)),
    ("mg", Shape::Meta),
    ("ms", Shape::Data(1)),
    ("md", Shape::Meta),
    ("ma", Shape::Meta),
    ("me", Shape::Meta),
    ("mn", Shape::Words(0)),
    ("stats", Shape::Words(4)),
    ("flush_all", Shape::Words(2)),
    ("version", Shape::Words(0)),
    ("verbosity", Shape::Words(2)),
    ("quit", Shape::Words(0)),
    ("cache_memlimit", Shape::Words(2)),
    ("slabs", Shape::Words(4)),
    ("lru", Shape::Words(4)),
    ("lru_crawler", Shape::Words(4)),
    ("watch", Shape::Words(16)),
    ("shutdown", Shape::Words(1)),
];

/// Whether a line may be a command, if not one that is known.
pub(super) fn is_unknown(line: &[u8]) -> bool {
    let word = words(line).next().unwrap_or_default();
    line.len() <= 1024
        && word.len() <= 32
        && word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_')
        && line.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// Words between blanks.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn is_key(key: &[u8]) -> Option<()> {
    let is_clean = key.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    (is_clean && key.len() <= KEY_MAX).then_some(())
}

/// Meta flags: a letter, perhaps with a value; `q` is for quiet.
fn quiet<'a>(flags: impl Iterator<Item = &'a [u8]>) -> Option<Answer> {
    let mut answer = Answer::Always;
    for flag in flags {
        flag.first().filter(|letter| letter.is_ascii_alphabetic())?;
        if flag == b"q" {
            answer = Answer::Perhaps;
        }
    }
    Some(answer)
}

/// A decimal number.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A number, perhaps negative.
fn is_number(word: &[u8]) -> Option<()> {
    number(word.strip_prefix(b"-").unwrap_or(word)).map(|_| ())
}
