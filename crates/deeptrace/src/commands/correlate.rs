//! `deeptrace correlate`: spans from a file through any algorithm, links into a file; and how right
//! links are, where the truth is known.
//!
//! The truth is opened only once the links are written, but for `--published`.

mod published;
mod record;
mod report;
mod score;
mod source;
mod tokens;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use deeptrace_correlate::{Answer, Offline, OfflineOptions, TABLE, WITHOUT};
use serde::Serialize;

use crate::arguments::{self, BadUsage};
use crate::output::{self, Format};
use record::Features;
use report::Cost;

/// Options of the command.
#[derive(Args)]
#[command(
    after_help = "Example: deeptrace correlate --algorithm auto --input spans.jsonl.zst --output links.jsonl"
)]
pub struct Options {
    /// Who decides
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = names())]
    algorithm: String,
    /// Leave one ingredient of `auto` out, to see what it is worth
    #[arg(long, value_name = "INGREDIENT", value_parser = ingredients())]
    without: Option<String>,
    /// Spans by start, one JSON object a line; `.zst` is read as it is, `-` is standard input
    #[arg(long, value_name = "SPANS")]
    input: PathBuf,
    /// Links, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "LINKS", required_unless_present_any = ["eval", "eval_links"])]
    output: Option<PathBuf>,
    /// What may be used; without it all of it, ids that the application carries included
    #[arg(long, value_enum)]
    features: Option<Level>,
    /// Links that are less sure have no parent
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = arguments::probability)]
    min_confidence: f64,
    /// Milliseconds after which a window ends although there is room in memory
    #[arg(long, value_name = "MS")]
    window: Option<u64>,
    /// Compare with the truth, and print scores
    #[arg(long, value_name = "TRUTH")]
    eval: Option<PathBuf>,
    /// Score under the restrictions under which `fifo`, `wap5` and `traceweaver` were published: one
    /// caller, no databases, the true order of calls
    #[arg(long, requires = "eval", conflicts_with_all = ["features", "window", "without", "min_confidence"])]
    published: bool,
    /// Score the links of this file instead of making some
    #[arg(long, value_names = ["LINKS", "TRUTH"], num_args = 2, conflicts_with_all = ["eval", "output"])]
    eval_links: Option<Vec<PathBuf>>,
    /// How scores are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What of the spans may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Times, endpoints, peers, sizes
    Timing,
    /// And threads
    Thread,
    /// And what payloads say, but for ids of tracers
    Payload,
}

fn names() -> clap::builder::PossibleValuesParser {
    TABLE.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

fn ingredients() -> clap::builder::PossibleValuesParser {
    WITHOUT.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

/// Spans held at once: about twenty megabytes.
const SPANS_MAX: usize = 65_536;

/// A line of the links file.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    parent: Option<u64>,
    method: Option<&'static str>,
    confidence: f32,
    algorithm: &'a str,
}

/// Correlates, or scores.
pub fn run(options: &Options) -> Result<()> {
    if let Some([links, truth]) = options.eval_links.as_deref() {
        let scores = score::score(&options.input, links, truth, None)?;
        return report::print(&scores, None, options.format);
    }
    if let (None, Some(output)) = (&options.eval, &options.output) {
        let mut links = Links::new(options, output)?;
        correlate(options, &mut links)?;
        return links.finish();
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder for the links")?;
    let links = match &options.output {
        Some(path) if path.as_os_str() != "-" => path.clone(),
        Some(_) => return Err(misused("scores go to standard output: give --output a file")),
        None => folder.path().join("links.jsonl"),
    };
    if options.input.as_os_str() == "-" {
        return Err(misused("--eval reads the spans twice: give --input a file"));
    }
    let truth = options.eval.as_deref().unwrap_or(Path::new("-"));
    let mut written = Links::new(options, &links)?;
    let some = match options.published {
        true => {
            Some(published::correlate(&options.algorithm, &options.input, truth, &mut written)?)
        }
        false => correlate(options, &mut written).map(|()| None)?,
    };
    written.finish()?;
    let cost = Cost::until_now();
    let scores = score::score(&options.input, &links, truth, some.as_ref())?;
    report::print(&scores, Some(&cost), options.format)
}

fn misused(said: &str) -> anyhow::Error {
    BadUsage(said.to_owned()).into()
}

/// The links file that is being written.
struct Links<'a> {
    out: Box<dyn Write>,
    options: &'a Options,
}

impl<'a> Links<'a> {
    fn new(options: &'a Options, path: &Path) -> Result<Self> {
        Ok(Self { out: output::open(path)?, options })
    }

    fn write(&mut self, answer: &Answer) -> Result<()> {
        let line = Line {
            id: answer.id,
            parent: answer
                .parent
                .filter(|_| f64::from(answer.confidence) >= self.options.min_confidence),
            method: answer.method.map(|method| method.as_str()),
            confidence: answer.confidence,
            algorithm: &self.options.algorithm,
        };
        serde_json::to_writer(&mut self.out, &line).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Writes the links of the input.
fn correlate(options: &Options, links: &mut Links<'_>) -> Result<()> {
    let algorithm = match options.without.as_deref() {
        Some(_) if options.algorithm != "auto" => return Err(misused("--without is for `auto`")),
        Some(left_out) => WITHOUT.iter().find(|row| row.name == left_out),
        None => deeptrace_correlate::algorithm(&options.algorithm),
    };
    let algorithm = algorithm.context("no algorithm has this name")?;
    let window = options.window.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX / 1_000_000));
    let mut offline = Offline::new(OfflineOptions {
        algorithm,
        spans_max: SPANS_MAX,
        window: window * 1_000_000,
    });
    let features = match options.features {
        Some(Level::Timing) => Features { units: false, tokens: false, carried: false },
        Some(Level::Thread) => Features { units: true, tokens: false, carried: false },
        Some(Level::Payload) => Features { units: true, tokens: true, carried: false },
        None => Features { units: true, tokens: true, carried: true },
    };
    let mut answers = Vec::new();
    let mut write = |answers: &mut Vec<Answer>| -> Result<()> {
        answers.drain(..).try_for_each(|answer| links.write(&answer))
    };
    source::each_line(&options.input, |line| {
        let record: record::Record<'_> = serde_json::from_str(line)?;
        offline.feed(record.observation(features)?, &mut answers);
        write(&mut answers)
    })?;
    offline.finish(&mut answers);
    write(&mut answers)?;
    if offline.shed() > 0 {
        eprintln!("deeptrace: {} spans were still open when their window was full", offline.shed());
    }
    Ok(())
}
