//! `deeptrace token create|revoke|list`.

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_server::access::token::{self, ApiToken, Created, NewToken};
use deeptrace_server::access::{Role, Services, Tokens};
use serde_json::{Value, json};

use super::user::Target;
use crate::client::Method;
use crate::keeper::Keeper;
use crate::output::table;
use crate::{Common, arguments, audited};

/// What can be done with tokens.
#[derive(Subcommand)]
pub enum Command {
    /// Make a token; it is shown once
    #[command(after_help = "Example: deeptrace token create host-17 --role agent")]
    Create(Create),
    /// Revoke a token
    #[command(after_help = "Example: deeptrace token revoke 41d4c5b2a0f37e19")]
    Revoke {
        /// Its id, as in `token list`
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Tokens, by id
    #[command(after_help = "Example: deeptrace token list --format json")]
    List {
        #[command(flatten)]
        target: Target,
    },
}

/// Options of `token create`.
#[derive(Args)]
pub struct Create {
    /// What it is for
    name: String,
    /// What its bearer may do: viewer, analyst, operator, admin or agent
    #[arg(long)]
    role: Role,
    /// Its bearer sees spans of this service only; several times for several
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
    /// How long it is valid, e.g. 30d [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    expires_in: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Create(options) => create(options, common),
        Command::Revoke { id, target } => {
            match Keeper::new(target.server.as_deref(), common)? {
                Keeper::Server(client) => {
                    token::check_id(&id)?;
                    let _: Value = client.delete(&format!("/tokens/{id}"))?;
                }
                Keeper::Folder(store) => {
                    token::revoke(&*store, &id)?;
                    audited::note(common, &format!("token revoke {id}"));
                }
            }
            let print = |out: &mut dyn Write, _: &Value| writeln!(out, "{id}: revoked");
            target.output.print(&json!({"id": id}), print)
        }
        Command::List { target } => list(&target, common),
    }
}

fn create(options: Create, common: &Common) -> Result<()> {
    let Create { name, role, service, expires_in, target } = options;
    let services = Services::new(service);
    let created: Created = match Keeper::new(target.server.as_deref(), common)? {
        Keeper::Server(client) => {
            let body = json!({
                "name": name, "role": role, "services": services, "expires_in": expires_in,
            });
            client.send(Method::Post, "/tokens", &body)?
        }
        Keeper::Folder(store) => {
            let action = format!("token create {name} --role {role}");
            let created = token::create(&*store, NewToken { name, role, services, expires_in })?;
            audited::note(common, &action);
            created
        }
    };
    target.output.print(&created, |out, created| {
        let ApiToken { id, name, role, services, .. } = &created.about;
        writeln!(out, "{id}: {name}, {role} of {services}, {}", until(&created.about))?;
        writeln!(out, "token, shown this once: {}", created.token)
    })
}

fn until(token: &ApiToken) -> String {
    match token.expires_unix_nano {
        Some(end) => format!("until {}", format_time(WallTime(end))),
        None => "until it is revoked".to_owned(),
    }
}

/// Rows of one page of a server.
const PAGE: usize = 1_000;

fn list(target: &Target, common: &Common) -> Result<()> {
    let mut tokens: Vec<ApiToken> = Vec::new();
    let keeper = Keeper::new(target.server.as_deref(), common)?;
    loop {
        let after = tokens.last().map(|token| token.id.clone());
        let page = match &keeper {
            Keeper::Server(client) => {
                let mut query = vec![("limit", PAGE.to_string())];
                query.extend(after.map(|after| ("cursor", after)));
                client.get::<Tokens>("/tokens", &query)?.tokens
            }
            Keeper::Folder(store) => token::list(&**store, after.as_deref(), PAGE)?,
        };
        let is_last = page.len() < PAGE;
        tokens.extend(page);
        if is_last {
            break;
        }
    }
    target.output.print(&tokens, |out, tokens| {
        let rows = tokens.iter().map(|token| {
            let ApiToken { id, name, role, services, .. } = token;
            let since = format_time(WallTime(token.created_unix_nano));
            let end = token
                .expires_unix_nano
                .map_or("never".to_owned(), |end| format_time(WallTime(end)));
            vec![id.clone(), name.clone(), role.to_string(), services.to_string(), since, end]
        });
        let head = ["ID", "NAME", "ROLE", "SERVICES", "SINCE", "EXPIRES"];
        table(out, &head, &rows.collect::<Vec<_>>())
    })
}
