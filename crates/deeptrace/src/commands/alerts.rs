//! `deeptrace alerts`: what fires, and whether the receivers take a message.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use deeptrace_server::alerts::routes::{TestAnswer, try_out};
use deeptrace_server::clock;
use serde_json::json;

use crate::client::{Client, Method};
use crate::output::{Output, table};
use crate::{Common, arguments};

/// What can be done with alerts.
#[derive(Subcommand)]
pub enum Command {
    /// Send a test message to the webhooks of the configuration
    #[command(after_help = "Example: deeptrace alerts test --webhook ops")]
    Test(TestOptions),
}

/// Options of `alerts test`.
#[derive(Args)]
pub struct TestOptions {
    /// Only to this one
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Let the server at this address send it, with its configuration
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Does it; fails if a receiver did not take it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    let Command::Test(options) = command;
    let answer: TestAnswer = match &options.server {
        Some(url) => {
            let body = json!({"webhook": options.webhook});
            Client::new(url, common)?.send(Method::Post, "/alerts/test", &body)?
        }
        None => {
            let loaded = common.load()?;
            try_out(&loaded.alerts, options.webhook.as_deref(), clock::now())
                .map_err(|error| anyhow::anyhow!(error.message))?
        }
    };
    options.output.print(&answer, |out, answer| {
        let cells = answer.outcomes.iter().map(|outcome| {
            vec![
                outcome.webhook.clone(),
                if outcome.delivered { "delivered" } else { "failed" }.to_owned(),
                outcome.error.clone().unwrap_or_default(),
            ]
        });
        table(out, &["WEBHOOK", "RESULT", "WHY"], &cells.collect::<Vec<_>>())
    })?;
    let failed = answer.outcomes.iter().filter(|outcome| !outcome.delivered).count();
    if failed > 0 {
        bail!("{failed} of {} webhooks did not take the message", answer.outcomes.len());
    }
    Ok(())
}
