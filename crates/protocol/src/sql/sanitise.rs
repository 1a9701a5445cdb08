//! The text of a statement without its literals (OpenTelemetry, "Sanitization of `db.query.text`").
//!
//! Literals become `?`, parameters (`$1`) stay, lists of literals after `IN` become one `?`,
//! comments are left out and white space is one blank. That holds for parameterised statements
//! too: a literal in one of them may as well be somebody's.

use super::Dialect;
use super::token::{Token, Tokens};

/// Bytes of a text that are kept.
const TEXT_MAX: usize = 2048;

/// Where in `IN (?, ?)` we are.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Outside,
    In,
    Open,
    Literal,
    Comma,
}

/// The text of `sql` without its literals.
pub(super) fn sanitise(sql: &[u8], dialect: Dialect) -> String {
    let mut text: Vec<u8> = Vec::with_capacity(sql.len().min(TEXT_MAX));
    let mut list = List::Outside;
    let mut is_spaced = false;
    for (token, range) in Tokens::new(sql, dialect) {
        if matches!(token, Token::Space | Token::Comment(_)) {
            is_spaced = !text.is_empty();
            continue;
        }
        let is_literal = matches!(token, Token::Text | Token::Number);
        let (next, is_swallowed) = match (list, token) {
            (List::Comma, _) if is_literal => (List::Literal, true),
            (List::Literal, Token::Sign(b',')) => (List::Comma, true),
            (List::Open, _) if is_literal => (List::Literal, false),
            (List::In, Token::Sign(b'(')) => (List::Open, false),
            (_, token) if token.is_word(b"IN") => (List::In, false),
            _ => (List::Outside, false),
        };
        if list == List::Comma && !is_swallowed {
            text.extend_from_slice(b", ");
            is_spaced = false;
        }
        list = next;
        if is_swallowed {
            is_spaced = false;
            continue;
        }
        if std::mem::take(&mut is_spaced) {
            text.push(b' ');
        }
        text.extend_from_slice(if is_literal { b"?" } else { &sql[range] });
        if text.len() > TEXT_MAX {
            break;
        }
    }
    cut(&text, TEXT_MAX)
}

/// The first `max` bytes as text, without half a character at the end.
fn cut(bytes: &[u8], max: usize) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned();
    while bytes.len() >= max && text.ends_with(char::REPLACEMENT_CHARACTER) {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_left_out() {
        for (sql, expected) in [
            (
                "SELECT * FROM t WHERE a = 'x''y' AND b=-1.5e-3",
                "SELECT * FROM t WHERE a = ? AND b=-?",
            ),
            ("select  a\n from t -- note\n where b = $1", "select a from t where b = $1"),
            ("a IN (1, 2,3) AND b IN ('x')", "a IN (?) AND b IN (?)"),
            ("a IN (1, $2)", "a IN (?, $2)"),
            (
                "INSERT INTO t1 VALUES (1, 'a'), (2, E'\\'b')",
                "INSERT INTO t1 VALUES (?, ?), (?, ?)",
            ),
            ("SELECT $$secret$$, \"Col 1\", x::int8, B'01'", "SELECT ?, \"Col 1\", x::int8, ?"),
            ("SELECT 'cut secr", "SELECT ?"),
            ("/*traceparent='00-1'*/ SELECT 1", "SELECT ?"),
        ] {
            assert_eq!(sanitise(sql.as_bytes(), Dialect::PostgreSql), expected);
        }
    }

    #[test]
    fn literals_of_other_dialects_are_left_out() {
        for (dialect, sql, expected) in [
            (Dialect::MySql, r"SELECT 'it\'s', b FROM t", "SELECT ?, b FROM t"),
            (Dialect::MySql, r#"a = "x\"y" AND `b`=1 # 'c"#, "a = ? AND `b`=?"),
            (Dialect::MySql, "a = /* /* */ 1", "a = ?"),
            (Dialect::MySql, "a$b = _binary 'x' AND c = ?", "a$b = _binary ? AND c = ?"),
            (Dialect::ClickHouse, r"SELECT 'a\'b', $$x$$ FROM `t` # x", "SELECT ?, ? FROM `t`"),
            (Dialect::TransactSql, "[a'b] = N'x' AND c = @p1", "[a'b] = ? AND c = @p1"),
            (Dialect::TransactSql, r"a = 'x\' AND b = 'y'", "a = ? AND b = ?"),
        ] {
            assert_eq!(sanitise(sql.as_bytes(), dialect), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let sql = format!("SELECT {}", "ä".repeat(3000));
        let text = sanitise(sql.as_bytes(), Dialect::PostgreSql);
        assert_eq!(text.len(), TEXT_MAX - 1);
        assert!(text.ends_with('ä'));
    }
}
