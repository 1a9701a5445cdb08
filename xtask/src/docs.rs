//! `./x docs`: the pages that are made of tables in the code. A test holds the committed ones to them.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use deeptrace_protocol::TABLE;

use crate::{child, root};

const PROTOCOLS: &str = "docs/protocols.md";

/// Writes the pages, or compares them.
pub fn docs(check: bool) -> Result<()> {
    let path = root().join(PROTOCOLS);
    let made = protocols();
    if !check {
        fs::write(&path, made).with_context(|| format!("failed to write {PROTOCOLS}"))?;
        return access();
    }
    if fs::read_to_string(&path).unwrap_or_default() != made {
        bail!("{PROTOCOLS} is not what the table says: run './x docs' and commit it");
    }
    Ok(())
}

/// The table of `docs/access.md` is written by the test that holds it to the server's routes, so that
/// this program need not be built with the server.
fn access() -> Result<()> {
    let test =
        ["test", "-q", "-p", "deeptrace-server", "--test", "access", "the_page_about_access"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    child::succeed(Command::new(cargo).args(test).env("UPDATE_EXPECT", "1").current_dir(root()))
}

const INTRODUCTION: &str = "\
# Protocols

What DeepTrace understands, made from the table in `crates/protocol` by `./x docs`. `deeptrace
protocols` prints the same; `deeptrace protocols NAME` all that is said of one. Tests hold each row to
the recorded sessions in `corpus/protocol`: how answers are paired, whether errors and trace context
are seen, on which sockets.

Everywhere: calls are put in order by their sequence before they are parsed; bodies are passed over by
their announced length; after a loss, or an attach in the middle of a connection, an answer is given to
a request only where it is known which. What was sent before the attach is absent and named in the
span's `unknown`. Trace context is W3C `traceparent` and B3.

*Paired by*: which request an answer belongs to. *To TLS by*: how a connection may change to TLS in its
middle; its hand-shake is then told as `tls`. A protocol that is not here can be
[added](add-a-protocol.md).
";

fn protocols() -> String {
    let mut page = String::from(INTRODUCTION);
    page += "\n| name | what | over | paired by | trace context | to TLS by |\n|---|---|---|---|---|---|\n";
    for row in TABLE {
        let support = row.support;
        let over = row.over().join(", ");
        let cells = [row.title, &over, support.pairing.as_str(), support.context, support.tls];
        let _ = writeln!(page, "| `{}` | {} |", row.name, cells.join(" | "));
    }
    page += "\n## Errors and limits\n";
    for row in TABLE {
        let _ = write!(page, "\n### {}\n\nErrors: {}.\n", row.name, row.support.errors);
        if !row.support.limits.is_empty() {
            page.push('\n');
        }
        for limit in row.support.limits {
            let _ = writeln!(page, "- {limit}");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_pages_are_what_the_tables_say() {
        docs(true).unwrap();
    }
}
