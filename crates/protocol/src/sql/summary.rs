//! `db.query.summary`: operations and what they act on, in the order of the text.
//!
//! Keywords are understood by where they stand: in which parenthesis, and after what. Each
//! parenthesis is a scope; `FROM` counts only in a scope that selects, so `extract(year FROM x)`
//! names no table. Names of common table expressions are not tables.

use super::token::{Token, Tokens};
use super::{Dialect, Statement};

/// OpenTelemetry: "SHOULD be limited to 255 characters".
const SUMMARY_MAX: usize = 255;
const DEPTH_MAX: usize = 32;
const NAMES_MAX: usize = 16;

/// Statements of which the first word says enough: their names vary without end, or are no tables.
const PLAIN: &[&str] = &[
    "ABORT",
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "CHECKPOINT",
    "CHECK",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "DEALLOCATE",
    "DESC",
    "DESCRIBE",
    "DETACH",
    "DISCARD",
    "DO",
    "END",
    "EXECUTE",
    "EXISTS",
    "FETCH",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "HELP",
    "KILL",
    "LISTEN",
    "LOAD",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PREPARE",
    "REASSIGN",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "SHOW",
    "START",
    "SYSTEM",
    "UNLISTEN",
    "USE",
    "VACUUM",
    "WAITFOR",
    "XA",
];

/// What `CREATE`, `ALTER`, `DROP` and `REFRESH` act on, and whether its name is told.
const KINDS: &[(&str, bool)] = &[
    ("TABLE", true),
    ("INDEX", true),
    ("VIEW", true),
    ("SEQUENCE", true),
    ("TYPE", true),
    ("SCHEMA", true),
    ("FUNCTION", true),
    ("PROCEDURE", true),
    ("TRIGGER", true),
    ("DATABASE", true),
    ("EXTENSION", false),
    ("ROLE", false),
    ("USER", false),
    ("GROUP", false),
    ("POLICY", false),
    ("RULE", false),
    ("DOMAIN", false),
    ("PUBLICATION", false),
    ("SUBSCRIPTION", false),
    ("SERVER", false),
    ("TABLESPACE", false),
    ("AGGREGATE", false),
    ("OPERATOR", false),
    ("COLLATION", false),
    ("CAST", false),
    ("SYSTEM", false),
    ("DEFAULT", false),
];

/// Summarises `sql`; leaves its text and comments to others.
pub(super) fn summarise(sql: &[u8], dialect: Dialect) -> Statement {
    let mut scan = Scan {
        tokens: Tokens::new(sql, dialect),
        dialect,
        scopes: vec![Scope::new(true)],
        deeper: 0,
        expressions: Vec::new(),
        operations: Vec::new(),
        targets: Vec::new(),
        summary: String::new(),
        since_operation: 0,
        is_call: false,
        skips: false,
    };
    scan.run();
    Statement {
        operation: only(scan.operations).unwrap_or_default(),
        target: only(scan.targets),
        is_call: scan.is_call,
        summary: scan.summary,
        ..Statement::default()
    }
}

/// The last of `names`, if all are the same.
fn only(mut names: Vec<String>) -> Option<String> {
    let last = names.pop()?;
    names.iter().all(|name| *name == last).then_some(last)
}

/// What is known inside one pair of parentheses.
#[derive(Clone, Copy, Debug, Default)]
struct Scope {
    /// Nothing came yet, or only what a statement may follow.
    is_start: bool,
    /// It is the outermost: what starts here is the statement's operation.
    is_outermost: bool,
    /// `FROM` names tables here.
    selects: bool,
    /// `USING` names tables here.
    uses: bool,
    /// In a list of tables.
    is_list: bool,
    /// A table is named next.
    is_next: bool,
    /// In the list after `WITH` …
    is_with: bool,
    /// … where a name comes next.
    is_with_name: bool,
}

impl Scope {
    fn new(is_outermost: bool) -> Self {
        Self { is_start: true, is_outermost, ..Self::default() }
    }
}

struct Scan<'a> {
    tokens: Tokens<'a>,
    dialect: Dialect,
    scopes: Vec<Scope>,
    /// Parentheses beyond [`DEPTH_MAX`].
    deeper: usize,
    /// Names of common table expressions.
    expressions: Vec<&'a [u8]>,
    /// The operation of each statement.
    operations: Vec<String>,
    targets: Vec<String>,
    summary: String,
    /// Length of `targets` when the last operation began.
    since_operation: usize,
    is_call: bool,
    /// Whether the rest of this statement says no more.
    skips: bool,
}

impl<'a> Scan<'a> {
    fn run(&mut self) {
        // The last word, for the few that change the meaning of the next.
        let mut before: &[u8] = b"";
        while let Some(token) = self.tokens.next_meant() {
            let word = match token {
                Token::Word(word) => word,
                _ => b"",
            };
            if token == Token::Sign(b';') {
                self.scopes.clear();
                self.scopes.push(Scope::new(true));
                self.deeper = 0;
                self.skips = false;
            } else if !self.skips {
                self.token(token, before);
            }
            before = match token {
                Token::Sign(b'.') => b".",
                _ => word,
            };
        }
    }

    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::new(true));
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn token(&mut self, token: Token<'a>, before: &[u8]) {
        match token {
            Token::Sign(b'(') => self.open(),
            Token::Sign(b')') if self.deeper > 0 => self.deeper -= 1,
            Token::Sign(b')') if self.scopes.len() > 1 => {
                self.scopes.pop();
            }
            Token::Sign(b',') => {
                let scope = self.scope();
                scope.is_next = scope.is_list;
                scope.is_with_name = scope.is_with;
            }
            Token::Word(word) if before != b"." => self.word(word, before),
            Token::Quoted(name) => self.name(name),
            _ => {
                let scope = self.scope();
                scope.is_start = false;
                scope.is_next = false;
            }
        }
    }

    fn open(&mut self) {
        let is_next = std::mem::take(&mut self.scope().is_next);
        if self.scopes.len() >= DEPTH_MAX {
            self.deeper += 1;
            return;
        }
        // `FROM (a JOIN b)`: the list goes on inside.
        let scope = Scope { is_list: is_next, is_next, ..Scope::new(false) };
        self.scopes.push(scope);
    }

    fn word(&mut self, word: &'a [u8], before: &[u8]) {
        let mut capitals = [0; 16];
        let Some(capitals) = capitals.get_mut(..word.len()) else { return self.name(word) };
        capitals.copy_from_slice(word);
        capitals.make_ascii_uppercase();
        let keyword = std::str::from_utf8(capitals).unwrap_or_default();
        let is_transact = self.dialect == Dialect::TransactSql;
        let scope = self.scope();
        let is_first = scope.is_start || (scope.is_with && !scope.is_with_name);
        match keyword {
            "SELECT" => self.operation("SELECT", is_first),
            "INSERT" | "REPLACE" | "MERGE" | "UPDATE" | "DELETE" if is_first => {
                self.change(keyword)
            }
            "WITH" if is_first => {
                scope.is_with = true;
                scope.is_with_name = true;
                scope.is_start = false;
            }
            "RECURSIVE" if scope.is_with_name => {}
            "EXPLAIN" if is_first => {
                self.operation("EXPLAIN", true);
                self.scope().is_start = true;
                self.scope().is_outermost = false;
            }
            "ANALYZE" | "VERBOSE" if is_first && !scope.is_outermost => {}
            "CREATE" | "ALTER" | "DROP" | "REFRESH" if is_first => self.definition(keyword),
            "EXEC" | "EXECUTE" if is_first && is_transact => self.execution(),
            "TRUNCATE" | "LOCK" | "COPY" | "CALL" | "EXEC" if is_first => {
                self.operation(keyword, true);
                self.is_call |= matches!(keyword, "CALL" | "EXEC");
                self.pass_words(&["TABLE", "ONLY"]);
                self.target();
            }
            "VALUES" | "DECLARE" if is_first => self.operation(keyword, true),
            _ if is_first && scope.is_outermost && PLAIN.contains(&keyword) => {
                self.operation(keyword, true);
                self.skips = true;
            }
            "FROM"
                if scope.selects && !scope.is_list && !before.eq_ignore_ascii_case(b"DISTINCT") =>
            {
                scope.is_list = true;
                scope.is_next = true;
            }
            "JOIN" | "STRAIGHT_JOIN" if scope.is_list => scope.is_next = true,
            "USING" if scope.uses => {
                scope.is_list = true;
                scope.is_next = true;
                scope.uses = false;
            }
            "ONLY" | "LATERAL" if scope.is_next => {}
            "WHERE" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" | "SET" | "RETURNING" | "UNION"
            | "EXCEPT" | "INTERSECT" | "PREWHERE" | "WINDOW" | "OFFSET" | "FETCH" | "FOR"
            | "WHEN" => {
                scope.is_list = false;
                scope.is_next = false;
                scope.is_start = false;
            }
            _ => self.name(word),
        }
    }

    /// `INSERT INTO t`, `UPDATE t`, `MERGE INTO t`; `DELETE` names its table after `FROM`.
    fn change(&mut self, keyword: &str) {
        self.operation(keyword, true);
        let scope = self.scope();
        scope.uses = matches!(keyword, "DELETE" | "MERGE");
        if keyword == "DELETE" {
            return;
        }
        // `UPDATE a JOIN b` (MySQL): the list ends with SET.
        scope.is_list = keyword == "UPDATE";
        self.pass_words(&["INTO", "ONLY", "OR", "IGNORE", "OVERWRITE", "TABLE", "LOW_PRIORITY"]);
        if self.dialect == Dialect::MySql {
            self.pass_words(&["DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"]);
        }
        // `INSERT INTO FUNCTION f()` (ClickHouse) names no table.
        if self.dialect == Dialect::ClickHouse
            && self.tokens.peek().is_some_and(|token| token.is_word(b"FUNCTION"))
        {
            return;
        }
        self.target();
    }

    /// `EXEC p 1`, `EXECUTE @status = p` (Transact-SQL).
    fn execution(&mut self) {
        self.operation("EXECUTE", true);
        self.is_call = true;
        if let Some(Token::Word([b'@', ..])) = self.tokens.peek() {
            self.tokens.next_meant();
            if self.tokens.peek() != Some(Token::Sign(b'=')) {
                return;
            }
            self.tokens.next_meant();
        }
        self.target();
    }

    /// `CREATE TABLE t`.
    fn definition(&mut self, verb: &str) {
        let mut ahead = self.tokens.clone();
        for _ in 0..6 {
            let Some(token @ Token::Word(_)) = ahead.next_meant() else { break };
            let Some((kind, is_told)) = KINDS.iter().find(|kind| token.is_word(kind.0.as_bytes()))
            else {
                continue;
            };
            self.tokens = ahead;
            self.operation(&format!("{verb} {kind}"), true);
            if *is_told {
                self.pass_words(&["IF", "NOT", "EXISTS", "CONCURRENTLY", "ONLY", "ON"]);
                self.target();
            }
            self.skips = !matches!(*kind, "TABLE" | "VIEW");
            return;
        }
        self.operation(verb, true);
        self.skips = true;
    }

    /// A name where it stands.
    fn name(&mut self, name: &'a [u8]) {
        let scope = self.scope();
        scope.is_start = false;
        if std::mem::take(&mut scope.is_with_name) {
            if self.expressions.len() < NAMES_MAX {
                self.expressions.push(name);
            }
        } else if std::mem::take(&mut scope.is_next) {
            let full = self.qualified(name);
            let is_function = self.tokens.peek() == Some(Token::Sign(b'('));
            let is_expression =
                self.expressions.iter().any(|other| other.eq_ignore_ascii_case(name));
            let is_own = is_expression && full.len() == name.len();
            if !is_function && !is_own {
                self.add_target(full);
            }
        }
    }

    /// What stands next, if it is a name.
    fn target(&mut self) {
        if let Some(Token::Word(name) | Token::Quoted(name)) = self.tokens.peek() {
            self.tokens.next_meant();
            let full = self.qualified(name);
            self.add_target(full);
        }
    }

    /// `name`, and what follows it after dots.
    fn qualified(&mut self, name: &[u8]) -> String {
        let mut full = String::from_utf8_lossy(name).into_owned();
        while self.tokens.peek() == Some(Token::Sign(b'.')) && full.len() < SUMMARY_MAX {
            self.tokens.next_meant();
            let Some(Token::Word(part) | Token::Quoted(part)) = self.tokens.peek() else { break };
            self.tokens.next_meant();
            full.push('.');
            full.push_str(&String::from_utf8_lossy(part));
        }
        full
    }

    fn pass_words(&mut self, words: &[&str]) {
        while let Some(token) = self.tokens.peek() {
            if !words.iter().any(|word| token.is_word(word.as_bytes())) {
                return;
            }
            self.tokens.next_meant();
        }
    }

    fn operation(&mut self, name: &str, is_first: bool) {
        let scope = self.scope();
        let is_main = scope.is_outermost && is_first;
        let selects = matches!(name, "SELECT" | "UPDATE" | "DELETE");
        *scope = Scope { is_outermost: scope.is_outermost, selects, ..Scope::default() };
        if is_main && self.operations.len() < NAMES_MAX {
            self.operations.push(name.to_owned());
        }
        self.since_operation = self.targets.len();
        self.say(name);
    }

    fn add_target(&mut self, name: String) {
        if name.is_empty() || self.targets[self.since_operation..].contains(&name) {
            return;
        }
        self.say(&name);
        if self.targets.len() < NAMES_MAX {
            self.targets.push(name);
        }
    }

    /// Adds a word to the summary, whole or not at all.
    fn say(&mut self, word: &str) {
        if self.summary.len() + 1 + word.len() > SUMMARY_MAX {
            return;
        }
        if !self.summary.is_empty() {
            self.summary.push(' ');
        }
        self.summary.push_str(word);
    }
}
