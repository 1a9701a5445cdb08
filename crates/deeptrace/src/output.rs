//! What commands print, and where: `--format` and `--output`, alike everywhere.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// `--format` and `--output`.
#[derive(Args, Clone, Debug)]
pub struct Output {
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Prints `value` as JSON, or as `text` writes it.
    pub fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<()> {
        let mut out = open(&self.output)?;
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Text => text(&mut out, value)?,
        }
        out.flush()?;
        Ok(())
    }

    /// Whether colours help: text for a terminal, and nobody said `NO_COLOR` (no-color.org).
    pub fn has_colours(&self) -> bool {
        self.format == Format::Text
            && self.output.as_os_str() == "-"
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none()
    }
}

/// A file to write, or standard output for `-`.
pub fn open(path: &std::path::Path) -> Result<Box<dyn Write>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::BufWriter::new(io::stdout().lock())));
    }
    let file = File::create(path)
        .with_context(|| format!("cannot write {}; give another --output", path.display()))?;
    Ok(Box::new(io::BufWriter::new(file)))
}

/// Whether the reader of what we print has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Rows in columns, each as wide as its widest cell.
pub fn table(out: &mut dyn Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&mut head.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// A duration for people: three digits and a unit.
pub fn duration(ns: u64) -> String {
    let value = ns as f64;
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns}ns"),
        1_000..1_000_000 => (value / 1e3, "us"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{unit}")
}

/// Text of an application for a terminal: control characters could move its cursor.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let cases = [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00us"),
            (12_340, "12.3us"),
            (123_400_000, "123ms"),
            (1_234_000_000, "1.23s"),
            (98_000_000_000, "98.0s"),
        ];
        for (ns, expected) in cases {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut out = Vec::new();
        let rows =
            [vec!["1".to_owned(), "größer".to_owned()], vec!["22".to_owned(), String::new()]];
        table(&mut out, &["A", "B"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A   B\n1   größer\n22\n");
    }
}
