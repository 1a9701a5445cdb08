//! `containers`: processes in cgroups that are named as Docker names its containers', beside one of the
//! host; what their spans say, and `monitor_containers`, changed while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::json;

use super::Skipped;
use super::program::Program;
use super::watcher::{LIMITS, Watcher, told};
use super::witness::{Witness, named};
use crate::{build, root};

/// Where the servers listen: in containers with the names of Docker's two drivers, in one that has
/// cgroups of its own, and on the host.
const SCOPE: &str = "127.0.0.1:19220";
const FOLDER: &str = "127.0.0.1:19221";
const INNER: &str = "127.0.0.1:19222";
const HOST: &str = "127.0.0.1:19223";
/// A process that comes into a container later, as with `docker exec`.
const ENTERED: &str = "127.0.0.1:19224";

/// Does it.
pub fn containers() -> Result<()> {
    let binary = build::binary()?;
    let folder = root().join("out/test-containers");
    fs::create_dir_all(&folder)?;
    let web = named(&folder, "dt-web")?;
    let ids = [1, 2, 3].map(|n| format!("{n:064x}").replace('0', "d"));
    let groups = Groups::make()?;
    let rooms = [
        (SCOPE, format!("docker-{}.scope", ids[0]), &ids[0]),
        (FOLDER, format!("docker/{}", ids[1]), &ids[1]),
        (INNER, format!("docker/{}/init", ids[2]), &ids[2]),
    ];
    let mut servers = vec![Program::start(&[], &web, &["serve", HOST])?];
    for (address, group, _) in &rooms {
        servers.push(Program::start(&groups.enter(group)?, &web, &["serve", address])?);
    }
    let client = Program::client(&[])?;
    let config = |containers: bool, include: &str| {
        format!("{LIMITS}[agents.trace]\nmonitor_containers = {containers}\n{include}")
    };
    let ours = "include_processes = [\"dt-web\"]\n";
    let watcher = Watcher::start(&binary, &folder, &config(true, ours))?;
    let mut witness = Witness::new(watcher, client);

    let all = [(SCOPE, true), (FOLDER, true), (INNER, true), (HOST, true)];
    let spans = witness.expect("containers are watched", &all)?;
    let expected = ids.iter().map(String::as_str).chain([""]);
    for (span, id) in spans.iter().zip(expected) {
        let (found, service) = (told(span, "container.id"), told(span, "service"));
        println!("  {} in container {found:?}", service);
        if found != id {
            bail!("a span of container {id:?} says {found:?}: {span}");
        }
    }

    let off = ["config", "update", "--key", "agents.trace.monitor_containers", "--value", "false"];
    witness.watcher.command(&off)?;
    let host = [(SCOPE, false), (FOLDER, false), (INNER, false), (HOST, true)];
    witness.expect("containers are not watched", &host)?;
    let verdict = witness.verdict(servers[1].pid())?;
    if verdict != ("in a container".to_owned(), false) {
        bail!("a process in a container is {verdict:?}");
    }
    servers.push(Program::start(&groups.enter(&rooms[0].1)?, &web, &["serve", ENTERED])?);
    witness.expect("one more came into a container", &[(ENTERED, false), (HOST, true)])?;
    let pid = servers[1].pid().to_string();
    witness.watcher.command(&["agent", "add-process", "--pid", &pid])?;
    witness.expect("one was added by hand", &[(SCOPE, true), (FOLDER, false), (HOST, true)])?;

    let on = json!({"agents": {"trace": {"monitor_containers": true}}});
    witness.watcher.put_config(&on)?;
    let all = [(SCOPE, true), (FOLDER, true), (INNER, true), (ENTERED, true), (HOST, true)];
    witness.expect("containers are watched again", &all)?;

    // Without a list of names: everything on this host but what is in containers.
    witness.watcher.reconfigure(&config(false, ""))?;
    let pid = servers[2].pid();
    let left_out = ("in a container".to_owned(), false);
    witness.watcher.until("the file was read again", |_| Ok(witness.verdict(pid)? == left_out))?;
    witness
        .expect("everything but containers", &[(FOLDER, false), (ENTERED, false), (HOST, true)])?;
    witness.watcher.stop()?;
    for server in servers {
        server.stop()?;
    }
    Ok(())
}

/// Cgroups of this test, removed with it.
struct Groups {
    top: PathBuf,
}

impl Groups {
    /// Below the unified hierarchy of this host.
    fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let unified = mounts.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (folder, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(folder))
        });
        let unified = unified.ok_or_else(|| Skipped::because("cgroup v2 is not mounted"))?;
        let top = unified.join(format!("deeptrace-test-{}", std::process::id()));
        fs::create_dir(&top).map_err(|error| {
            Skipped::because(&format!("cannot make {}: {error}", top.display()))
        })?;
        Ok(Self { top })
    }

    /// What starts a program in the group `name`, which is made.
    fn enter(&self, name: &str) -> Result<Vec<String>> {
        let folder = self.top.join(name);
        fs::create_dir_all(&folder)?;
        let procs = folder.join("cgroup.procs").to_string_lossy().into_owned();
        Ok(["sh", "-ec", "echo $$ >\"$0\"; exec \"$@\"", &procs].map(str::to_owned).to_vec())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.top) {
            eprintln!("x: failed to remove {}: {error}", self.top.display());
        }
    }
}

/// Removes a group with those below it.
fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(folder)
}
