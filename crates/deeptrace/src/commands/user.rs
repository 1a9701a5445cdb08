//! `deeptrace user add|remove|list`.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_server::access::user::{self, Made, NewUser, User};
use deeptrace_server::access::{PASSWORD_BYTES, Role, Services, Users};
use serde_json::{Value, json};

use crate::client::Method;
use crate::keeper::Keeper;
use crate::output::{Output, table};
use crate::{Common, arguments, audited};

/// What can be done with users.
#[derive(Subcommand)]
pub enum Command {
    /// Add a user; their password is made and shown once
    #[command(after_help = "Example: deeptrace user add anna --role analyst")]
    Add(Add),
    /// Remove a user; their sessions end
    #[command(after_help = "Example: deeptrace user remove anna")]
    Remove {
        /// Who
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Users, by name
    #[command(after_help = "Example: deeptrace user list --format json")]
    List {
        #[command(flatten)]
        target: Target,
    },
}

/// Options of `user add`.
#[derive(Args)]
pub struct Add {
    /// Under which they log in
    name: String,
    /// What they may do: viewer, analyst, operator or admin
    #[arg(long)]
    role: Role,
    /// They see spans of this service only; several times for several
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
    /// Take the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    /// Give a user who is there this password, role and services
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    target: Target,
}

/// Who is asked, and how the answer is printed.
#[derive(Args)]
pub struct Target {
    /// Ask the server at this address instead of opening the data folder
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    pub server: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Add(options) => add(options, common),
        Command::Remove { name, target } => {
            match Keeper::new(target.server.as_deref(), common)? {
                Keeper::Server(client) => {
                    user::check_name(&name)?;
                    let _: Value = client.delete(&format!("/users/{name}"))?;
                }
                Keeper::Folder(store) => {
                    user::remove(&*store, &name)?;
                    audited::note(common, &format!("user remove {name}"));
                }
            }
            let print = |out: &mut dyn Write, _: &Value| writeln!(out, "{name}: removed");
            target.output.print(&json!({"name": name}), print)
        }
        Command::List { target } => list(&target, common),
    }
}

fn add(options: Add, common: &Common) -> Result<()> {
    let Add { name, role, service, password_stdin, replace, target } = options;
    let password = if password_stdin { Some(password_from_stdin()?) } else { None };
    let services = Services::new(service);
    let made: Made = match Keeper::new(target.server.as_deref(), common)? {
        Keeper::Server(client) => {
            let body = json!({
                "name": name, "role": role, "services": services, "password": password,
                "replace": replace,
            });
            client.send(Method::Post, "/users", &body)?
        }
        Keeper::Folder(store) => {
            let action = format!("user add {name} --role {role}");
            let made = user::add(&*store, NewUser { name, role, services, password, replace })?;
            audited::note(common, &action);
            made
        }
    };
    target.output.print(&made, |out, made| {
        let User { name, role, services, .. } = &made.user;
        writeln!(out, "{name}: {role} of {services}")?;
        match &made.password {
            Some(password) => writeln!(out, "password, shown this once: {password}"),
            None => Ok(()),
        }
    })
}

/// One line, without what ends it.
fn password_from_stdin() -> Result<String> {
    let most = *PASSWORD_BYTES.end() as u64 + 2;
    let mut text = String::new();
    let read = std::io::stdin().take(most).read_to_string(&mut text);
    read.context("cannot read the password from standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Rows of one page of a server.
const PAGE: usize = 1_000;

fn list(target: &Target, common: &Common) -> Result<()> {
    let mut users: Vec<User> = Vec::new();
    let keeper = Keeper::new(target.server.as_deref(), common)?;
    loop {
        let after = users.last().map(|user| user.name.clone());
        let page = match &keeper {
            Keeper::Server(client) => {
                let mut query = vec![("limit", PAGE.to_string())];
                query.extend(after.map(|after| ("cursor", after)));
                client.get::<Users>("/users", &query)?.users
            }
            Keeper::Folder(store) => user::list(&**store, after.as_deref(), PAGE)?,
        };
        let is_last = page.len() < PAGE;
        users.extend(page);
        if is_last {
            break;
        }
    }
    target.output.print(&users, |out, users| {
        let rows = users.iter().map(|user| {
            let since = format_time(WallTime(user.created_unix_nano));
            vec![user.name.clone(), user.role.to_string(), user.services.to_string(), since]
        });
        table(out, &["NAME", "ROLE", "SERVICES", "SINCE"], &rows.collect::<Vec<_>>())
    })
}
