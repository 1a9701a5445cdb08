//! `deeptrace asso …`: who infers where nothing was observed, and stored spans correlated again.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use deeptrace_correlate::TABLE;
use deeptrace_server::again::{self, Done, Plan};
use deeptrace_server::jobs::{Job, State};
use deeptrace_server::{answers, clock, correlation};
use deeptrace_store::{Mode, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

use super::config::{Shown, Target, print_applied};
use crate::client::{Client, Method};
use crate::output::{Output, table};
use crate::{Common, arguments, audited};

/// What can be done with correlation.
#[derive(Subcommand)]
pub enum Command {
    /// The algorithms and which is in effect; with a name, that one from now on
    #[command(after_help = "Example: deeptrace asso algo traceweaver")]
    Algo {
        /// The algorithm that is to be in effect
        #[arg(value_parser = names())]
        name: Option<String>,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
    /// How links are inferred and used; with options, changed from now on
    #[command(after_help = "Example: deeptrace asso config --window 2000 --threshold 0.9")]
    Config {
        /// Milliseconds of a process's past that are looked at together
        #[arg(long, value_name = "MS")]
        window: Option<u64>,
        /// Probability below which a link is not used in traces
        #[arg(long, value_name = "P", value_parser = arguments::probability)]
        threshold: Option<f64>,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
    /// Correlate stored spans again; what was observed stays
    #[command(after_help = "Example: deeptrace asso run --start -1h --end now --algo auto")]
    Run(RunOptions),
    /// How a run on a server is
    #[command(
        after_help = "Example: deeptrace asso job 18630a6c44e8b2f1 --server http://127.0.0.1:7901"
    )]
    Job {
        /// Its id
        #[arg(value_parser = arguments::job)]
        id: String,
        /// Have it end
        #[arg(long)]
        cancel: bool,
        /// The server [default: the one that has the data folder]
        #[arg(long, value_name = "URL", value_parser = arguments::url)]
        server: Option<String>,
        #[command(flatten)]
        output: Output,
    },
}

/// Options of `asso run`.
#[derive(Args)]
pub struct RunOptions {
    /// Calls that started at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    start: String,
    /// Calls that started at this time or earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    end: String,
    /// Who answers [default: the algorithm in effect]
    #[arg(long, value_name = "NAME", value_parser = names())]
    algo: Option<String>,
    /// Have it done by the server at this address [default: whoever has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    /// Do not wait for the server
    #[arg(long, requires = "server")]
    detach: bool,
    #[command(flatten)]
    output: Output,
}

/// How often a server is asked how far it is.
const ASKED: Duration = Duration::from_millis(500);

fn names() -> clap::builder::PossibleValuesParser {
    TABLE.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Algo { name: Some(name), target, output } => {
            change(&target, common, &output, &json!({"default_algorithm": name}))
        }
        Command::Algo { name: None, target, output } => list(&current(&target, common)?, &output),
        Command::Config { window: None, threshold: None, target, output } => {
            let current = current(&target, common)?;
            output.print(&current, |out, current| {
                let row = |name: &str, value: String| vec![name.to_owned(), value];
                let rows = [
                    row("algorithm", current.algorithm.clone()),
                    row("window", format!("{} ms", current.window_ms)),
                    row("threshold", current.threshold.to_string()),
                    row("of", current.of.clone()),
                ];
                table(out, &["NAME", "VALUE"], &rows)
            })
        }
        Command::Config { window, threshold, target, output } => {
            let mut changes = json!({});
            if let Some(window) = window {
                changes["window_size"] = window.into();
            }
            if let Some(threshold) = threshold {
                changes["similarity_threshold"] = threshold.into();
            }
            change(&target, common, &output, &changes)
        }
        Command::Run(options) => again(&options, common),
        Command::Job { id, cancel, server, output } => {
            let client = Client::of_server(server.as_deref(), common)?;
            let path = format!("/correlation/jobs/{id}");
            let job: Job = if cancel { client.delete(&path)? } else { client.get(&path, &[])? };
            output.print(&job, print_job)
        }
    }
}

/// What is in effect, and where.
#[derive(Serialize)]
struct Current {
    algorithm: String,
    window_ms: u64,
    threshold: f64,
    /// The running process that was asked, or the configuration.
    of: String,
}

/// Of the process that was named or found; where none runs, what one would start with.
fn current(target: &Target, common: &Common) -> Result<Current> {
    let asked = |url: &str| -> Result<(Shown, String)> {
        Ok((Client::new(url, common)?.get("/config", &[])?, url.to_owned()))
    };
    let (shown, of) = match target.url() {
        Some(url) => asked(url)?,
        None => match asked(&target.url_or_found(common)) {
            Ok(found) => found,
            Err(_) => {
                let loaded = common.load()?;
                (Shown::of(&loaded), "the configuration; nothing runs here".to_owned())
            }
        },
    };
    let value = |key: &str| {
        let key = format!("correlation.{key}");
        let row = shown.config.iter().find(|row| row.key == key);
        row.map(|row| row.value.clone()).with_context(|| format!("{of} does not know {key}"))
    };
    Ok(Current {
        algorithm: value("default_algorithm")?.as_str().unwrap_or_default().to_owned(),
        window_ms: value("window_size")?.as_u64().unwrap_or_default(),
        threshold: value("similarity_threshold")?.as_f64().unwrap_or_default(),
        of,
    })
}

fn list(current: &Current, output: &Output) -> Result<()> {
    let row = deeptrace_correlate::algorithm(&current.algorithm)
        .with_context(|| format!("`{}` is of another version", current.algorithm))?;
    output.print(&correlation::list(row), |out, list| {
        let cells = list.algorithms.iter().map(|it| {
            let mark = if it.is_current { "*" } else { "" };
            vec![mark.to_owned(), it.name.clone(), it.title.clone()]
        });
        table(out, &["", "NAME", "WHAT IT DOES"], &cells.collect::<Vec<_>>())?;
        writeln!(out, "* in effect: {}", current.of)
    })
}

fn change(target: &Target, common: &Common, output: &Output, changes: &Value) -> Result<()> {
    let body = json!({"correlation": changes});
    print_applied(output, &target.client(common)?.send(Method::Put, "/config", &body)?)
}

fn again(options: &RunOptions, common: &Common) -> Result<()> {
    match &options.server {
        Some(url) => by_server(&Client::new(url, common)?, options),
        None => in_folder(options, common),
    }
}

fn by_server(client: &Client, options: &RunOptions) -> Result<()> {
    let wanted = correlation::Wanted {
        start: options.start.clone(),
        end: options.end.clone(),
        algorithm: options.algo.clone(),
    };
    let body = serde_json::to_value(wanted)?;
    let mut job: Job = client.send(Method::Post, "/correlation/run", &body)?;
    if !options.detach {
        while job.state == State::Running {
            std::thread::sleep(ASKED);
            job = client.get(&format!("/correlation/jobs/{}", job.id), &[])?;
            progress(&job.done)?;
        }
        end_progress()?;
    }
    options.output.print(&job, print_job)?;
    match job.state {
        State::Failed => bail!("the job has failed: {}", job.error.unwrap_or_default()),
        State::Cancelled => bail!("somebody has cancelled the job"),
        State::Running | State::Done => Ok(()),
    }
}

/// Without a server, on the data folder itself.
fn in_folder(options: &RunOptions, common: &Common) -> Result<()> {
    let loaded = common.load()?;
    let sentence = |error: deeptrace_http::ApiError| anyhow::anyhow!(error.message);
    let window = answers::window(&options.start, &options.end, clock::now()).map_err(sentence)?;
    let algorithm = match &options.algo {
        Some(name) => correlation::named(name).map_err(sentence)?,
        None => loaded.agent.correlation.algorithm,
    };
    let store = match loaded.server.open_store(&common.data_dir, Mode::Write) {
        Err(error @ StoreError::InUse { .. }) => {
            return by_server(&Client::of_holder(error, common)?, options);
        }
        opened => opened.context("cannot open the store")?,
    };
    audited::note_command(common, "begun");
    let mut told = Ok(());
    let mut watch = |done: &Done| {
        told = progress(done);
        if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let done = again::correlate(&*store, Plan { window, algorithm }, &mut watch)?;
    told?;
    end_progress()?;
    options.output.print(&done, |out, done| print_done(out, done))
}

fn print_job(out: &mut dyn Write, job: &Job) -> io::Result<()> {
    let state = match job.state {
        State::Running => format!("{:.0} %", job.done.progress * 100.0),
        State::Done => "done".to_owned(),
        State::Failed => format!("failed: {}", job.error.as_deref().unwrap_or("no reason given")),
        State::Cancelled => "cancelled".to_owned(),
    };
    writeln!(out, "job {}: {state} ({})", job.id, job.algorithm)?;
    print_done(out, &job.done)
}

fn print_done(out: &mut dyn Write, done: &Done) -> io::Result<()> {
    writeln!(
        out,
        "{} spans, {} calls: {} observed",
        done.span_count, done.call_count, done.observed_count
    )?;
    writeln!(
        out,
        "{} links written, {} as they were, {} without an answer",
        done.link_count, done.unchanged_count, done.unanswered_count
    )?;
    if done.tried_count > 0 {
        let share = done.right_count as f64 * 100.0 / done.tried_count as f64;
        writeln!(
            out,
            "right on {share:.1} % of {} observed calls that were asked",
            done.tried_count
        )?;
    }
    if done.left_out_count > 0 {
        writeln!(
            out,
            "{} milliseconds held more spans than are read at once; some were left out",
            done.left_out_count
        )?;
    }
    Ok(())
}

/// On a terminal only, and not among what is printed.
fn progress(done: &Done) -> io::Result<()> {
    let mut err = io::stderr();
    if !err.is_terminal() {
        return Ok(());
    }
    write!(err, "\r{:.0} %, {} links", done.progress * 100.0, done.link_count)
}

fn end_progress() -> io::Result<()> {
    let mut err = io::stderr();
    if err.is_terminal() { writeln!(err) } else { Ok(()) }
}
