//! SQL: what a statement does to what (OpenTelemetry's `db.query.summary`), its text without
//! literals, and the trace context in its comments.
//!
//! An own tokenizer, not a parser library: hundreds of thousands of statements pass each second,
//! and most long ones are cut by the copy limit, on which a grammar fails. A token is looked at
//! for what it opens; what is not understood is passed over.

mod sanitise;
mod summary;
mod token;

use std::cmp::Ordering;
use std::ops::Range;

use deeptrace_model::{Attributes, Text, TraceContext, Value};

use crate::{Draft, TraceHeaders};
use token::{Token, Tokens};

/// Bytes of a statement that are looked at; what follows is not summarised.
pub(crate) const STATEMENT_MAX: usize = 8 * 1024;

/// Places of values that are remembered of a statement; from there on all is one.
const VALUES_MAX: usize = 64;

/// The end of what goes on to the end of a message; more can be added to it.
pub(crate) const REST: usize = usize::MAX / 2;

/// Adds to a request what all of its connection have in common. `namespace` may be missing because the
/// connection `has_none`, or because it was told before the agent came.
pub(crate) fn add_common(
    draft: &mut Draft,
    system: &'static str,
    namespace: Option<&str>,
    has_none: bool,
) {
    let mut common = vec![("db.system.name".into(), Value::from(system))];
    match namespace {
        Some(name) => common.push(("db.namespace".into(), Value::from(name.to_owned()))),
        None if has_none => {}
        None => draft.unknown.push("db.namespace"),
    }
    draft.attributes.prepend(common);
    if draft.name.is_empty() {
        // OpenTelemetry's last resort for the name of a database span.
        draft.name = Text::new_static(system);
    }
}

/// Whose quoting a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The standard's, with dollar quotes.
    #[default]
    PostgreSql,
    /// Backslashes escape, `"…"` is a literal, `#` begins a comment. Bias: that is so unless the
    /// session has `ANSI_QUOTES`; names in such quotes are then left out with the literals.
    MySql,
    /// Backslashes escape, `#` begins a comment.
    ClickHouse,
    /// Names in brackets; `#` and `@` begin names.
    TransactSql,
}

impl Dialect {
    /// Whether a backslash in a literal escapes what follows.
    fn has_escapes(self) -> bool {
        matches!(self, Self::MySql | Self::ClickHouse)
    }

    fn has_hash_comments(self) -> bool {
        matches!(self, Self::MySql | Self::ClickHouse)
    }

    /// Whether `$tag$` quotes.
    fn has_dollar_quotes(self) -> bool {
        matches!(self, Self::PostgreSql | Self::ClickHouse)
    }
}

/// What a text of one or several statements says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statement {
    /// `SELECT orders`, at most 255 bytes; empty where nothing was understood. Keywords are in
    /// capitals whatever the application wrote, so that one operation has one name.
    pub(crate) summary: String,
    /// `SELECT`; empty where the statements differ or none was understood.
    pub(crate) operation: String,
    /// The only table, collection or procedure, as written without quotes.
    pub(crate) target: Option<String>,
    /// Whether `target` is a stored procedure.
    pub(crate) is_call: bool,
    /// The text: literals are `?`, comments are left out, at most 2 KiB.
    pub(crate) text: String,
    /// From a comment `/*traceparent='00-…'*/` (sqlcommenter).
    pub(crate) trace_context: Option<TraceContext>,
    /// Where values lie in the text that was given, with its comments: all that `text` leaves out.
    pub(crate) values: Vec<Range<usize>>,
}

impl Statement {
    /// Looks at the first [`STATEMENT_MAX`] bytes of a text, which may end anywhere.
    pub(crate) fn new(sql: &[u8]) -> Self {
        Self::of(sql, Dialect::PostgreSql)
    }

    /// The same for a text in `dialect`.
    pub(crate) fn of(sql: &[u8], dialect: Dialect) -> Self {
        let is_long = sql.len() > STATEMENT_MAX;
        let sql = &sql[..sql.len().min(STATEMENT_MAX)];
        let mut statement = summary::summarise(sql, dialect);
        statement.text = sanitise::sanitise(sql, dialect);
        for (token, range) in Tokens::new(sql, dialect) {
            match token {
                Token::Comment(text) => {
                    statement.trace_context = statement.trace_context.or_else(|| traceparent(text));
                    statement.value(range);
                }
                Token::Text | Token::Number => statement.value(range),
                _ => {}
            }
        }
        if is_long {
            statement.values.push(STATEMENT_MAX..REST);
        }
        statement
    }

    fn value(&mut self, range: Range<usize>) {
        match self.values.len().cmp(&VALUES_MAX) {
            Ordering::Less => self.values.push(range),
            Ordering::Equal => self.values.push(range.start..REST),
            Ordering::Greater => {}
        }
    }

    /// Where values lie in a message in which the text begins at `at`.
    pub(crate) fn places(&self, at: usize) -> impl Iterator<Item = Range<usize>> {
        self.values
            .iter()
            .map(move |range| at.saturating_add(range.start)..at.saturating_add(range.end))
    }

    /// Adds `db.operation.name`, `db.collection.name` (or `db.stored_procedure.name`),
    /// `db.query.summary` and `db.query.text`.
    pub(crate) fn describe(&self, attributes: &mut Attributes) {
        let mut add = |key: &'static str, text: &str| {
            if !text.is_empty() {
                attributes.push((key.into(), Value::from(text.to_owned())));
            }
        };
        add("db.operation.name", &self.operation);
        let target = if self.is_call { "db.stored_procedure.name" } else { "db.collection.name" };
        add(target, self.target.as_deref().unwrap_or_default());
        add("db.query.summary", &self.summary);
        add("db.query.text", &self.text);
    }
}

/// `traceparent='00-…'` in a comment (sqlcommenter's serialisation: values are quoted and escaped as
/// in a URL, of which this value needs nothing).
fn traceparent(comment: &[u8]) -> Option<TraceContext> {
    const KEY: &[u8] = b"traceparent=";
    let at = comment.windows(KEY.len()).position(|window| window == KEY)?;
    let value = &comment[at + KEY.len()..];
    let value = value.strip_prefix(b"'").unwrap_or(value);
    let end = value.iter().position(|byte| !(byte.is_ascii_hexdigit() || *byte == b'-'));
    let mut headers = TraceHeaders::default();
    headers.header(b"traceparent", &value[..end.unwrap_or(value.len())]);
    headers.context()
}

#[cfg(test)]
mod tests {
    use deeptrace_model::TraceId;

    use super::*;

    /// Statement, summary, operation, target.
    const SUMMARIES: &[(&str, &str, &str, &str)] = &[
        ("SELECT * FROM orders WHERE id = 1", "SELECT orders", "SELECT", "orders"),
        ("select 1", "SELECT", "SELECT", ""),
        ("  /* c */ select a from \"My Table\" t", "SELECT My Table", "SELECT", "My Table"),
        ("SELECT * FROM public.orders o", "SELECT public.orders", "SELECT", "public.orders"),
        ("SELECT * FROM \"a\".\"b\"", "SELECT a.b", "SELECT", "a.b"),
        ("SELECT * FROM a JOIN b ON a.x = b.x LEFT JOIN c USING (y)", "SELECT a b c", "SELECT", ""),
        ("SELECT * FROM a, b AS bb, a", "SELECT a b", "SELECT", ""),
        ("SELECT * FROM (SELECT * FROM inner_t) s", "SELECT SELECT inner_t", "SELECT", "inner_t"),
        ("SELECT * FROM (a JOIN b ON true)", "SELECT a b", "SELECT", ""),
        ("SELECT * FROM ONLY a, LATERAL f(a.x)", "SELECT a", "SELECT", "a"),
        ("SELECT extract(year FROM ts), x IS DISTINCT FROM y FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT * FROM generate_series(1, 10) g", "SELECT", "SELECT", ""),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", "SELECT t SELECT u", "SELECT", ""),
        ("SELECT a FROM t UNION ALL SELECT a FROM u", "SELECT t SELECT u", "SELECT", ""),
        ("SELECT * FROM t ORDER BY a, b FOR UPDATE", "SELECT t", "SELECT", "t"),
        ("INSERT INTO orders (a, b) VALUES ($1, $2)", "INSERT orders", "INSERT", "orders"),
        ("INSERT INTO a SELECT * FROM b", "INSERT a SELECT b", "INSERT", ""),
        (
            "INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 2, y = 3",
            "INSERT a",
            "INSERT",
            "a",
        ),
        ("UPDATE orders SET a = 1, b = 2 WHERE c", "UPDATE orders", "UPDATE", "orders"),
        ("UPDATE a SET x = b.y FROM b WHERE a.i = b.i", "UPDATE a b", "UPDATE", ""),
        ("DELETE FROM orders WHERE id = 1", "DELETE orders", "DELETE", "orders"),
        ("DELETE FROM a USING b WHERE a.x = b.x", "DELETE a b", "DELETE", ""),
        (
            "MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN UPDATE SET x = 1",
            "MERGE t s",
            "MERGE",
            "",
        ),
        (
            "WITH RECURSIVE x (n) AS (SELECT a FROM t), y AS MATERIALIZED (SELECT 1) \
             SELECT * FROM x JOIN u ON true",
            "SELECT t SELECT SELECT u",
            "SELECT",
            "",
        ),
        ("WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d", "DELETE a SELECT", "SELECT", "a"),
        ("WITH s AS (SELECT 1) UPDATE t SET x = 1", "SELECT UPDATE t", "UPDATE", "t"),
        ("CALL do_it(1, 2)", "CALL do_it", "CALL", "do_it"),
        ("CREATE TABLE IF NOT EXISTS t (id int)", "CREATE TABLE t", "CREATE TABLE", "t"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i", "CREATE INDEX", "i"),
        ("CREATE TABLE a AS SELECT * FROM b", "CREATE TABLE a SELECT b", "CREATE TABLE", ""),
        ("DROP TABLE IF EXISTS t CASCADE", "DROP TABLE t", "DROP TABLE", "t"),
        ("ALTER TABLE ONLY t ADD COLUMN x int", "ALTER TABLE t", "ALTER TABLE", "t"),
        ("ALTER ROLE joe PASSWORD 'x'", "ALTER ROLE", "ALTER ROLE", ""),
        ("TRUNCATE TABLE t", "TRUNCATE t", "TRUNCATE", "t"),
        ("COPY t (a, b) FROM STDIN", "COPY t", "COPY", "t"),
        ("COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t", "COPY", "t"),
        ("BEGIN", "BEGIN", "BEGIN", ""),
        ("SET search_path = a, b", "SET", "SET", ""),
        ("SHOW server_version", "SHOW", "SHOW", ""),
        ("SAVEPOINT sp_123", "SAVEPOINT", "SAVEPOINT", ""),
        ("GRANT SELECT ON t TO joe", "GRANT", "GRANT", ""),
        ("EXPLAIN (ANALYZE) UPDATE t SET x = 1", "EXPLAIN UPDATE t", "EXPLAIN", "t"),
        ("BEGIN; INSERT INTO t VALUES (';'); COMMIT", "BEGIN INSERT t COMMIT", "", "t"),
        ("SELECT 'it''s -- FROM x' FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT E'\\' FROM x' FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT $$ FROM x $$, $a$ $$ FROM y $a$ FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT /* /* FROM x */ FROM y */ 1 FROM t -- FROM z", "SELECT t", "SELECT", "t"),
        ("SELECT t.from, t.join FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT * FROM orders WHERE name = 'cut he", "SELECT orders", "SELECT", "orders"),
        ("SELECT * FR", "SELECT", "SELECT", ""),
        ("", "", "", ""),
        (")))(((,;;.. FROM", "", "", ""),
        ("gibberish words", "", "", ""),
    ];

    #[test]
    fn statements_are_summarised() {
        for (sql, summary, operation, target) in SUMMARIES {
            let statement = Statement::new(sql.as_bytes());
            assert_eq!(statement.summary, *summary, "summary of {sql}");
            assert_eq!(statement.operation, *operation, "operation of {sql}");
            assert_eq!(statement.target.as_deref().unwrap_or(""), *target, "target of {sql}");
        }
    }

    #[test]
    fn any_prefix_is_taken() {
        for (sql, ..) in SUMMARIES {
            for end in 0..sql.len() {
                Statement::new(&sql.as_bytes()[..end]);
            }
        }
    }

    #[test]
    fn trace_context_comes_from_a_comment() {
        let sql = b"SELECT 1 /*action='a',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";
        let context = Statement::new(sql).trace_context.expect("a traceparent is there");
        assert_eq!({ context.trace }, TraceId(0x5bd6_6ef5_0953_69c7_b0d1_f8f4_bd33_716a));
        assert_eq!(context.parent, 0xc532_cb40_98ac_3dd2);
        let zeros = b"/*traceparent='00-00000000000000000000000000000000-c532cb4098ac3dd2-01'*/";
        assert_eq!(Statement::new(zeros).trace_context, None);
        let quoted =
            b"SELECT 'traceparent=00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'";
        assert_eq!(Statement::new(quoted).trace_context, None, "a literal is no comment");
    }

    #[test]
    fn all_values_are_found() {
        use Dialect::{ClickHouse, MySql, PostgreSql, TransactSql};
        for (sql, dialect) in [
            ("CREATE ROLE x LOGIN PASSWORD 'secret'", PostgreSql),
            (
                "SELECT $$secret$$, $t$ $$secret $t$, E'a\\'secret', 'it''s secret' FROM t",
                PostgreSql,
            ),
            ("SELECT 1 /* secret */ FROM t -- secret", PostgreSql),
            ("SELECT 'secret", PostgreSql),
            ("SELECT a FROM t # secret", MySql),
            ("CREATE USER u IDENTIFIED BY 'secret'", MySql),
            ("SELECT 'a\\'secret', \"secret\" FROM t", MySql),
            ("CREATE USER u IDENTIFIED WITH plaintext_password BY 'secret'", ClickHouse),
            ("CREATE LOGIN u WITH PASSWORD = N'secret'", TransactSql),
        ] {
            let mut left = sql.as_bytes().to_vec();
            let values = Statement::of(&left, dialect).values;
            deeptrace_redact::overwrite(&mut left, &values);
            let left = String::from_utf8(left).expect("values end where characters do");
            assert!(!left.contains("secret") && left.contains("**"), "{sql}: {left}");
        }
        let long = format!("SELECT {}", "1, ".repeat(VALUES_MAX + 9));
        let values = Statement::new(long.as_bytes()).values;
        assert_eq!(values.last().map(|place| place.end), Some(REST));
        assert_eq!(values.len(), VALUES_MAX + 1);
    }

    /// Statement, dialect, summary, operation, target.
    const DIALECTS: &[(&str, Dialect, &str, &str, &str)] = &[
        ("SELECT * FROM `a b`.`c` # FROM d", Dialect::MySql, "SELECT a b.c", "SELECT", "a b.c"),
        (r"SELECT 'a\' FROM x' FROM t", Dialect::MySql, "SELECT t", "SELECT", "t"),
        ("SELECT \"FROM x\" FROM t", Dialect::MySql, "SELECT t", "SELECT", "t"),
        (
            "INSERT IGNORE INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 2",
            Dialect::MySql,
            "INSERT t",
            "INSERT",
            "t",
        ),
        ("REPLACE INTO t VALUES (1)", Dialect::MySql, "REPLACE t", "REPLACE", "t"),
        ("SELECT 1 FROM t PREWHERE a, b", Dialect::ClickHouse, "SELECT t", "SELECT", "t"),
        ("INSERT INTO FUNCTION f(1) VALUES", Dialect::ClickHouse, "INSERT", "INSERT", ""),
        (
            "SELECT TOP 1 a FROM [My]]s].[t]",
            Dialect::TransactSql,
            "SELECT My]]s.t",
            "SELECT",
            "My]]s.t",
        ),
        ("SELECT * FROM #tmp", Dialect::TransactSql, "SELECT #tmp", "SELECT", "#tmp"),
        ("EXEC @rc = dbo.p 1, 'x'", Dialect::TransactSql, "EXECUTE dbo.p", "EXECUTE", "dbo.p"),
        ("EXECUTE (@sql)", Dialect::TransactSql, "EXECUTE", "EXECUTE", ""),
    ];

    #[test]
    fn dialects_are_summarised() {
        for (sql, dialect, summary, operation, target) in DIALECTS {
            let statement = Statement::of(sql.as_bytes(), *dialect);
            assert_eq!(statement.summary, *summary, "summary of {sql}");
            assert_eq!(statement.operation, *operation, "operation of {sql}");
            assert_eq!(statement.target.as_deref().unwrap_or(""), *target, "target of {sql}");
        }
    }
}
