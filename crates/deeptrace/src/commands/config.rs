//! `deeptrace config show|validate|update|reload`.

use std::path::PathBuf;

use crate::config::{Loaded, Loader, Row, validate};
use crate::layers::Layers;
use anyhow::Result;
use clap::{Args, Subcommand};
use deeptrace_http::Applied;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, Method};
use crate::output::{Output, table};
use crate::{Common, arguments};

/// What can be done with the configuration.
#[derive(Subcommand)]
pub enum Command {
    /// Every key with its value, where that came from, and when a change takes effect
    #[command(after_help = "Example: deeptrace config show --format json")]
    Show {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
    /// Whether a file is right
    #[command(after_help = "Example: deeptrace config validate /etc/deeptrace/deeptrace.toml")]
    Validate {
        /// The file [default: the one that would be used]
        file: Option<PathBuf>,
    },
    /// Change a key of a running process, until its next start or reload
    #[command(
        after_help = "Example: deeptrace config update --key correlation.similarity_threshold --value 0.9"
    )]
    Update {
        /// Dotted key, as in `config show`
        #[arg(long)]
        key: String,
        /// Its value, as in the file
        #[arg(long)]
        value: String,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
    /// Have a running process read its file again
    #[command(after_help = "Example: deeptrace config reload")]
    Reload {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
}

/// The running process that is asked.
#[derive(Args)]
pub struct Target {
    /// Ask the server at this address [default: the one that has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url, conflicts_with = "agent")]
    server: Option<String>,
    /// Ask the agent at this address [default: the one of this host, if no server has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    agent: Option<String>,
}

impl Target {
    /// Its address, where somebody says.
    pub fn url(&self) -> Option<&str> {
        self.agent.as_deref().or(self.server.as_deref())
    }

    /// Where nobody says: the server that has the data folder, else the agent of this host.
    pub fn url_or_found(&self, common: &Common) -> String {
        let given = self.url().map(str::to_owned);
        given.or_else(|| common.served_at()).unwrap_or_else(|| super::agent::DEFAULT_URL.to_owned())
    }

    /// Asks it.
    pub fn client(&self, common: &Common) -> Result<Client> {
        Client::new(&self.url_or_found(common), common)
    }
}

/// The answer of `GET /config`.
#[derive(Serialize, Deserialize)]
pub struct Shown {
    /// The file it came from, if any.
    file: Option<PathBuf>,
    /// Each key with its value.
    pub config: Vec<Row>,
}

impl Shown {
    /// What a process would start with.
    pub fn of(loaded: &Loaded) -> Self {
        Self { config: loaded.rows(), file: loaded.file.clone() }
    }
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Show { target, output } => show(&target, &output, common),
        Command::Validate { file } => check(file, common),
        Command::Update { key, value, target, output } => {
            let known = serde_json::to_value(crate::config::Written::default())?;
            let value = Layers::new(known, &[]).value_of_text(&key, &value);
            let nested = key.rsplit('.').fold(value, |value, part| json!({part: value}));
            let client = target.client(common)?;
            print_applied(&output, &client.send(Method::Put, "/config", &nested)?)
        }
        Command::Reload { target, output } => {
            let client = target.client(common)?;
            print_applied(&output, &client.send(Method::Post, "/config/reload", &Value::Null)?)
        }
    }
}

fn show(target: &Target, output: &Output, common: &Common) -> Result<()> {
    let shown = match target.url() {
        Some(_) => target.client(common)?.get("/config", &[])?,
        None => Shown::of(&common.load()?),
    };
    output.print(&shown, |out, shown| {
        let cells = shown.config.iter().map(|row| {
            vec![
                row.key.clone(),
                row.value.to_string(),
                row.takes_effect.clone(),
                row.source.clone(),
            ]
        });
        table(out, &["KEY", "VALUE", "EFFECT", "SOURCE"], &cells.collect::<Vec<_>>())
    })
}

fn check(file: Option<PathBuf>, common: &Common) -> Result<()> {
    let loaded = match file.or_else(|| common.config.clone()) {
        Some(file) => validate(&file)?,
        None => Loader::default().load(None)?,
    };
    for note in loaded.notes() {
        println!("{note}");
    }
    match &loaded.file {
        Some(file) => println!("{}: ok", file.display()),
        None => println!("no configuration file: the defaults are in effect"),
    }
    Ok(())
}

/// What a change did.
pub fn print_applied(output: &Output, applied: &Applied) -> Result<()> {
    output.print(applied, |out, applied| {
        for key in &applied.applied {
            writeln!(out, "{key}: in effect")?;
        }
        for key in &applied.needs_restart {
            writeln!(out, "{key}: takes effect after a restart")?;
        }
        for note in &applied.notes {
            writeln!(out, "{note}")?;
        }
        match applied.applied.is_empty() && applied.needs_restart.is_empty() {
            true => writeln!(out, "nothing has changed"),
            false => Ok(()),
        }
    })
}
