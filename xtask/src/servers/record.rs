//! `./x record PROTOCOL`: the corpus, recorded anew from real servers and clients. The client is pointed at a
//! relay that writes down what it passes on, so that every byte is there and nothing of the product has
//! decided what to keep.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::client::Client;
use super::session::{Session, Side};
use super::setting::Setting;
use super::{Server, TABLE, prepare, tools};
use crate::{child, packages, root};

/// Which protocol.
#[derive(clap::Args)]
pub struct Options {
    /// A name of `deeptrace protocols`
    protocol: String,
    /// Only from this one of `./x servers`
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Calls of a kind on each connection
    #[arg(long, default_value_t = 2)]
    calls: u32,
    /// Connections of the client
    #[arg(long, default_value_t = 1)]
    connections: u32,
}

/// Records the sessions of every server that speaks the protocol, and what is expected of them.
pub fn record(options: &Options) -> Result<()> {
    let is_meant = |server: &&Server| {
        let is_named = options.server.as_ref().is_none_or(|name| server.name == name);
        // What is encrypted is recorded by its plain sibling.
        server.protocol == options.protocol && server.tls.is_none() && is_named
    };
    let servers: Vec<&Server> = TABLE.iter().filter(is_meant).collect();
    if servers.is_empty() {
        let mut names: Vec<&str> = TABLE.iter().map(|server| server.protocol).collect();
        names.dedup();
        bail!("no such server here speaks {:?}; there are {}", options.protocol, names.join(", "));
    }
    let folder = root().join("corpus/protocol").join(&options.protocol);
    fs::create_dir_all(&folder)?;
    for server in servers {
        let sessions = one(server, options)?;
        let prefix = format!("live_{}_", server.name.replace('-', "_"));
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        let about = format!("# {}, and its client in xtask/servers.", versions(server)?);
        let mut number = 0;
        for session in sessions.iter().filter(|session| !session.is_empty()) {
            number += 1;
            let path: PathBuf = folder.join(format!("{prefix}{number}.stream"));
            fs::write(&path, format!("{about}\n{}", session.text(0)))?;
            println!("{}", path.display());
        }
    }
    let test = ["test", "-q", "-p", "deeptrace-protocol", "--test", "table", "sessions_give"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    child::succeed(command.args(test).current_dir(root()).env("UPDATE_EXPECT", "1"))?;
    println!("read what was expected of them as a reviewer would: git diff corpus");
    Ok(())
}

/// What a server is made of, with versions.
fn versions(server: &Server) -> Result<String> {
    let all = server.packages.iter().map(|name| packages::version(name));
    let mut all: Vec<String> = all.collect();
    if let Some(name) = server.maven {
        all.push(tools::version(name)?);
    }
    Ok(if all.is_empty() { server.name.to_owned() } else { all.join(", ") })
}

fn one(server: &Server, options: &Options) -> Result<Vec<Session>> {
    let setting = prepare(server)?;
    let kept = (server.start)(&setting)?;
    setting.serves().with_context(|| format!("see {}", setting.log().display()))?;
    let sessions = Sessions::default();
    let ports = [setting.port, setting.other].map(|port| relay(port, &sessions));
    let [port, other] = ports;
    let behind = Setting { port: port?, other: other?, folder: setting.folder.clone() };
    let mut command = (server.client)(&setting)?;
    command.args(["--calls", &options.calls.to_string()]);
    command.args(["--connections", &options.connections.to_string()]);
    let mut client = Client::start(command, &behind)?;
    client.go()?;
    client.stop()?;
    // What the ends of the connections say.
    std::thread::sleep(Duration::from_millis(500));
    kept.into_iter().try_for_each(|mut kept| kept.stop(super::setting::PATIENCE))?;
    let all = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(all.iter().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect())
}

type Shared = Arc<Mutex<Session>>;
type Sessions = Arc<Mutex<Vec<Shared>>>;

/// A port that passes on to `to` what it is sent, streams and datagrams, and writes it down.
fn relay(to: u16, sessions: &Sessions) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let datagrams = UdpSocket::bind(("127.0.0.1", port))?;
    let of_datagrams = added(sessions, Session::datagrams());
    std::thread::spawn(move || pass_datagrams(&datagrams, to, &of_datagrams));
    let sessions = Arc::clone(sessions);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let session = added(&sessions, Session::stream());
            let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone())
            else {
                continue;
            };
            let there = Arc::clone(&session);
            std::thread::spawn(move || pass(from_client, server, Side::Client, &there));
            std::thread::spawn(move || pass(from_server, client, Side::Server, &session));
        }
    });
    Ok(port)
}

fn added(sessions: &Sessions, session: Session) -> Shared {
    let session = Arc::new(Mutex::new(session));
    sessions.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&session));
    session
}

/// One direction of a connection, until it ends.
fn pass(mut from: TcpStream, mut to: TcpStream, side: Side, session: &Shared) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = from.read(&mut buffer).unwrap_or(0);
        let mut written = session.lock().unwrap_or_else(PoisonError::into_inner);
        written.add(side, &buffer[..len]);
        // It is passed on before anybody may answer it.
        if len == 0 || to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// Datagrams of one client at a time: the answers go to who asked last.
fn pass_datagrams(clients: &UdpSocket, to: u16, session: &Shared) {
    let Ok(server) = UdpSocket::bind("127.0.0.1:0") else { return };
    if server.connect(("127.0.0.1", to)).is_err() {
        return;
    }
    let Ok(waits) = server.try_clone() else { return };
    let Ok(answers) = clients.try_clone() else { return };
    let asker = Arc::new(Mutex::new(None));
    let (last, there) = (Arc::clone(&asker), Arc::clone(session));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len) = waits.recv(&mut buffer) {
            there.lock().unwrap_or_else(PoisonError::into_inner).add(Side::Server, &buffer[..len]);
            if let Some(asker) = *last.lock().unwrap_or_else(PoisonError::into_inner) {
                answers.send_to(&buffer[..len], asker).ok();
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((len, from)) = clients.recv_from(&mut buffer) {
        *asker.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        session.lock().unwrap_or_else(PoisonError::into_inner).add(Side::Client, &buffer[..len]);
        server.send(&buffer[..len]).ok();
    }
}
