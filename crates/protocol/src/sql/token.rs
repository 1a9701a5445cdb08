//! Tokens of SQL text, which may end anywhere (PostgreSQL manual §4.1, with MySQL's backticks; what
//! [`Dialect`]s do differently: MySQL manual §11.1, §11.7; ClickHouse, "Syntax"; Transact-SQL,
//! "Database identifiers", "Constants").

use std::ops::Range;

use super::Dialect;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Quoted(&'a [u8]),
    /// A text literal of any kind.
    Text,
    /// A numeric literal.
    Number,
    /// `$1`.
    Parameter,
    /// Any other byte.
    Sign(u8),
    /// A comment, with its marks.
    Comment(&'a [u8]),
    /// White space.
    Space,
}

impl Token<'_> {
    /// Whether it is this keyword, given in capitals.
    pub(super) fn is_word(&self, keyword: &[u8]) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Tokens of a text with their places. Cheap to clone, for looking ahead.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl<'a> Tokens<'a> {
    /// All tokens of `sql`.
    pub(super) fn new(sql: &'a [u8], dialect: Dialect) -> Self {
        Self { sql, at: 0, dialect }
    }

    /// The next token that means something.
    pub(super) fn next_meant(&mut self) -> Option<Token<'a>> {
        self.map(|(token, _)| token).find(|t| !matches!(t, Token::Space | Token::Comment(_)))
    }

    /// The same, without taking it.
    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.clone().next_meant()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = &self.sql[self.at..];
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
    }

    /// Behind the closing `quote`, which doubled stands for itself, or at the end of the text.
    fn skip_quoted(&mut self, quote: u8, has_escapes: bool) {
        self.at += 1;
        while self.at < self.sql.len() {
            let byte = self.byte(0);
            if byte == quote && self.byte(1) != quote {
                self.at += 1;
                return;
            }
            let is_pair = byte == quote || (has_escapes && byte == b'\\');
            self.at += if is_pair { 2 } else { 1 };
        }
        self.at = self.sql.len();
    }

    /// Behind `*/`; comments nest, but not MySQL's.
    fn skip_comment(&mut self) {
        let mut depth = 0u32;
        while self.at < self.sql.len() {
            match (self.byte(0), self.byte(1)) {
                (b'/', b'*') if depth == 0 || self.dialect != Dialect::MySql => depth += 1,
                (b'*', b'/') => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at = (self.at + 2).min(self.sql.len());
            if depth == 0 {
                return;
            }
        }
    }

    /// `$1`, or `$tag$ … $tag$`, or a lone `$`.
    fn dollar(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        if self.byte(0).is_ascii_digit() {
            self.skip_while(|byte| byte.is_ascii_digit());
            return Token::Parameter;
        }
        self.skip_while(is_word_byte_but_dollar);
        if self.byte(0) != b'$' {
            self.at = start + 1;
            return Token::Sign(b'$');
        }
        self.at += 1;
        let tag = &self.sql[start..self.at];
        let rest = &self.sql[self.at..];
        let close = rest.windows(tag.len()).position(|window| window == tag);
        self.at += close.map_or(rest.len(), |close| close + tag.len());
        Token::Text
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        self.skip_while(|byte| is_word_byte_but_dollar(byte) || byte == b'$');
        let word = &self.sql[start..self.at];
        match (word, self.byte(0), self.byte(1)) {
            // E'…', B'…', X'…', N'…', U&'…'.
            ([b'e' | b'E'], b'\'', _) => self.skip_quoted(b'\'', true),
            ([b'b' | b'B' | b'x' | b'X' | b'n' | b'N'], b'\'', _) => {
                self.skip_quoted(b'\'', self.dialect.has_escapes());
            }
            ([b'u' | b'U'], b'&', b'\'') => {
                self.at += 1;
                self.skip_quoted(b'\'', false);
            }
            _ => return Token::Word(word),
        }
        Token::Text
    }

    /// `[name]` of Transact-SQL, in which `]]` stands for a bracket.
    fn bracketed(&mut self) -> Token<'a> {
        let start = self.at;
        self.skip_quoted(b']', false);
        let inner = &self.sql[start + 1..self.at];
        Token::Quoted(inner.strip_suffix(b"]").unwrap_or(inner))
    }

    fn number(&mut self) -> Token<'a> {
        while is_word_byte_but_dollar(self.byte(0)) || self.byte(0) == b'.' {
            let is_exponent = matches!(self.byte(0), b'e' | b'E');
            self.at += 1;
            if is_exponent && matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
        }
        Token::Number
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let token = match *self.sql.get(start)? {
            byte if byte.is_ascii_whitespace() => {
                self.skip_while(|byte| byte.is_ascii_whitespace());
                Token::Space
            }
            b'-' if self.byte(1) == b'-' => {
                self.skip_while(|byte| byte != b'\n');
                Token::Comment(&self.sql[start..self.at])
            }
            b'/' if self.byte(1) == b'*' => {
                self.skip_comment();
                Token::Comment(&self.sql[start..self.at])
            }
            b'#' if self.dialect.has_hash_comments() => {
                self.skip_while(|byte| byte != b'\n');
                Token::Comment(&self.sql[start..self.at])
            }
            b'[' if self.dialect == Dialect::TransactSql => self.bracketed(),
            // Names of temporary tables and of parameters.
            b'#' | b'@' if self.dialect == Dialect::TransactSql => {
                self.skip_while(|byte| is_word_byte_but_dollar(byte) || b"#@$".contains(&byte));
                Token::Word(&self.sql[start..self.at])
            }
            b'\'' => {
                self.skip_quoted(b'\'', self.dialect.has_escapes());
                Token::Text
            }
            b'"' if self.dialect == Dialect::MySql => {
                self.skip_quoted(b'"', true);
                Token::Text
            }
            quote @ (b'"' | b'`') => {
                self.skip_quoted(quote, false);
                let inner = &self.sql[start + 1..self.at];
                Token::Quoted(inner.strip_suffix(&[quote]).unwrap_or(inner))
            }
            b'$' if self.dialect.has_dollar_quotes() => self.dollar(),
            byte if byte.is_ascii_digit() => self.number(),
            b'.' if self.byte(1).is_ascii_digit() => self.number(),
            byte if is_word_byte_but_dollar(byte) => self.word(),
            byte => {
                self.at += 1;
                Token::Sign(byte)
            }
        };
        Some((token, start..self.at))
    }
}

fn is_word_byte_but_dollar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
