//! `oidc`: single sign-on at a real provider (`oidc-provider`, certified by the OpenID Foundation), in a
//! real browser: who gets in as what, keys that the provider changes, and a provider that is away.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::program::Program;
use crate::child::{Kept, free_ports, succeed};
use crate::servers::tools;
use crate::{api, build, packages, root};

const PASSWORD: &str = "correct horse battery";
/// What must be in no log and no answer.
const SECRET: &str = "the secret of the client";

/// Does it.
pub fn oidc() -> Result<()> {
    packages::ensure(packages::BROWSER)?;
    let binary = build::binary()?;
    let folder = root().join("out/test-oidc");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let [port, provider_port] = free_ports()?.map(|port| port.to_string());
    let page = format!("http://127.0.0.1:{port}");
    let mut start = tools::node("oidc_provider.mjs")?;
    let mut provider = Program::run(start.arg(&provider_port).arg(format!("{page}/")))?;
    fs::write(folder.join("deeptrace.toml"), config(&provider_port))?;
    let mut server = serve(&binary, &folder, &port)?;
    add_user(&binary, &folder)?;

    super::npm(&["ci", "--no-audit", "--no-fund", "--silent"])?;
    let mut browse = Command::new("node");
    browse.args(["tests/oidc.mjs", &page]).arg(root().join("out/pictures"));
    let mut browser = Program::run(browse.current_dir(root().join("ui")))?;
    browser.say("in otto operator")?;
    browser.say("in anna viewer")?;
    browser.say("out eve gives a role here")?;
    provider.say("rotate")?;
    browser.say("in otto operator")?;
    provider.stop()?;
    // What was known of it is believed for a minute.
    server.stop(Duration::from_secs(10))?;
    let mut server = serve(&binary, &folder, &port)?;
    browser.say(&format!("away paul {}", PASSWORD.replace(' ', "-")))?;
    browser.say("end")?;
    browser.stop()?;
    audited(&folder, &port)?;
    server.stop(Duration::from_secs(10))?;
    let log = fs::read_to_string(folder.join("server.log"))?;
    ensure!(!log.contains(SECRET), "the log has the secret of the client");
    ensure!(log.contains("the provider cannot be used"), "the log does not say that it was away");
    Ok(())
}

fn config(provider_port: &str) -> String {
    format!(
        "[server.auth]\nrequired = true\n\
         [server.otlp]\ngrpc_port = 0\nhttp_port = 0\n\
         [server.oidc]\nissuer = \"http://127.0.0.1:{provider_port}\"\nclient_id = \"deeptrace\"\n\
         client_secret = \"{SECRET}\"\nroles_claim = \"groups\"\nlabel = \"Example ID\"\n\
         [server.oidc.roles]\notto = \"operator\"\nanna = \"viewer\"\n"
    )
}

fn add_user(binary: &Path, folder: &Path) -> Result<()> {
    let password = folder.join("password");
    fs::write(&password, PASSWORD.replace(' ', "-"))?;
    let mut add = Command::new(binary);
    add.args(["user", "add", "paul", "--role", "viewer", "--password-stdin", "--data-dir", "data"]);
    succeed(
        add.args(["--config", "deeptrace.toml"])
            .current_dir(folder)
            .stdin(fs::File::open(password)?),
    )
}

fn serve(binary: &Path, folder: &Path, port: &str) -> Result<Kept> {
    let mut server = Command::new(binary);
    server.args([
        "server",
        "run",
        "--config",
        "deeptrace.toml",
        "--data-dir",
        "data",
        "--port",
        port,
    ]);
    let mut log = fs::OpenOptions::new();
    let log = log.create(true).append(true).open(folder.join("server.log"))?;
    server.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut kept = Kept::start("deeptrace server", &mut server)?;
    let begun = Instant::now();
    while let Err(error) = api::get(port, "/health") {
        kept.alive()?;
        ensure!(begun.elapsed() < Duration::from_secs(60), "{error:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(kept)
}

/// The log has who came, also who was not let in.
fn audited(folder: &Path, port: &str) -> Result<()> {
    let token = fs::read_to_string(folder.join("data/token")).context("the token is not there")?;
    let lines = ureq::get(format!("http://127.0.0.1:{port}/audit?limit=1000"))
        .header("Authorization", format!("Bearer {}", token.trim()))
        .call()?
        .body_mut()
        .read_to_string()?;
    for expected in ["\"oidc:otto\"", "\"subject\":\"anna\"", "\"subject\":\"eve\""] {
        ensure!(lines.contains(expected), "the audit log has no {expected}");
    }
    ensure!(!lines.contains(SECRET), "the audit log has the secret of the client");
    Ok(())
}
