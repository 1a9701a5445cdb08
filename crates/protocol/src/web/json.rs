//! JSON as far as it was copied: members of the outer object and of the objects in it (RFC 8259).

/// Values within values that are passed over.
const DEPTH_MAX: usize = 64;

/// A value that is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Json<'a> {
    /// As written, without quotation marks.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`, as written.
    Word(&'a [u8]),
    Object,
    Array,
}

impl<'a> Json<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Word(word) => std::str::from_utf8(word).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// A member of the outer object, or (with its name before) of an object in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Member<'a> {
    pub(super) within: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) value: Json<'a>,
}

/// Members in order, up to where the text is cut or broken. Objects are told when they begin, all
/// else when it is whole.
pub(super) fn members(text: &[u8]) -> Vec<Member<'_>> {
    let mut all = Vec::new();
    let mut scanner = Scanner { text, at: 0 };
    let _ = scanner.object(b"", 0, &mut all);
    all
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at - 1)
    }

    fn object(&mut self, within: &'a [u8], depth: usize, all: &mut Vec<Member<'a>>) -> Option<()> {
        const MEMBERS_MAX: usize = 256;
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            let is_told = depth < 2 && all.len() < MEMBERS_MAX;
            let mut tell = |value| {
                if is_told {
                    all.push(Member { within, name, value });
                }
            };
            match self.peek()? {
                b'"' => tell(Json::Text(self.string()?)),
                b'{' => {
                    tell(Json::Object);
                    if depth == 0 {
                        self.object(name, depth + 1, all)?;
                    } else {
                        self.pass()?;
                    }
                }
                b'[' => {
                    tell(Json::Array);
                    self.pass()?;
                }
                _ => tell(Json::Word(self.word()?)),
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// A number or a name; nothing where its end is not there.
    fn word(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let rest = self.text.get(start..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let len = rest.iter().position(|byte| !is_part(byte))?;
        self.at += len;
        (len > 0).then(|| &rest[..len])
    }

    /// Passes over an object or an array.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
            if depth > DEPTH_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let one = |member: &Member<'_>| {
            let value = match member.value {
                Json::Text(text) => format!("'{}'", text_of(text)),
                Json::Word(word) => text_of(word),
                other => format!("{other:?}"),
            };
            format!("{}.{}={value}", text_of(member.within), text_of(member.name))
        };
        members(text.as_bytes()).iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn members_are_told_up_to_where_the_text_is_cut() {
        let text = r#"{"a": "x\"y", "b": {"c": 1, "d": {"e": [2]}}, "f": [{"g": "}"}], "h": true}"#;
        let all = r#".a='x\"y' .b=Object b.c=1 b.d=Object .f=Array .h=true"#;
        assert_eq!(told(text), all);
        for end in 0..text.len() {
            assert!(all.starts_with(told(&text[..end]).trim_end()), "{}", &text[..end]);
        }
        for bad in ["", "[1]", "{", "{a}", "{\"a\" 1}", "nothing", "{\"a\":{\"b\":}}"] {
            assert!(told(bad).len() < 12, "{bad}: {}", told(bad));
        }
        assert_eq!(told(&"{\"a\":[".repeat(100)), ".a=Array");
    }
}
