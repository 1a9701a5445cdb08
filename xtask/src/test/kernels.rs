//! `kernels`: Debian's kernels in an emulator, each with the hooks that it has. Inside: `doctor`, a
//! recording of real HTTP exchanges over loopback, and its replay, told over the serial line. Correctness
//! only: time means nothing there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Skipped;
use super::watcher::told;
use crate::child::{self, Kept};
use crate::{build, packages, root};

/// What the kernel starts first. Results are told between `== NAME` and `== exit CODE`.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /www
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
ip link set lo up
say() { echo "== $1"; shift; "$@" 2>&1; echo "== exit $?"; }
# The kernel's type information lies in a file system that is not mounted yet.
say blind deeptrace run --data-dir /tmp/blind
mount -t sysfs none /sys
say doctor deeptrace doctor --data-dir /tmp/data
for n in 1 2 3 4 5; do echo "answer $n" >/www/hello-$n; done
httpd -p 127.0.0.1:80 -h /www
for hook in syscall-exit socket-tracepoints; do
    export DEEPTRACE_AGENTS__CAPTURE__HOOK=$hook
    deeptrace record --output /tmp/$hook.rec >/tmp/$hook.log 2>&1 &
    recorder=$!
    while kill -0 $recorder 2>/dev/null && ! grep -q recording /tmp/$hook.log; do sleep 0.1; done
    sleep 2
    for n in 1 2 3 4 5; do wget -q -O /dev/null http://127.0.0.1/hello-$n || echo "wget failed"; done
    sleep 1
    kill -INT $recorder 2>/dev/null
    say recorded-$hook sh -c "wait; cat /tmp/$hook.log"
    wait $recorder
    [ -e /tmp/$hook.rec ] && say $hook deeptrace replay --format json /tmp/$hook.rec
done
echo "== end"
poweroff -f
"#;

/// Exchanges that [`INIT`] makes on each hook.
const EXCHANGES: usize = 5;
/// A boot takes 4–13 s; the verifier has to be emulated as well.
const PATIENCE: Duration = Duration::from_secs(300);

/// Does it.
pub fn kernels() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::KERNELS)?;
    let folder = root().join("out/kernels");
    fs::create_dir_all(&folder)?;
    let initrd = initrd(&folder, &binary)?;
    let images = images(&folder)?;
    if images.is_empty() {
        return Err(Skipped::because("apt has no linux-image-*cloud-amd64"));
    }
    let mut failed = Vec::new();
    for image in images {
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let begun = Instant::now();
        let result = boot(&image, &initrd, &log).and_then(|told| check(&told));
        println!("{name}: {} s", begun.elapsed().as_secs());
        if let Err(error) = result {
            failed.push(format!("{name}: {error:#}; see {}", log.display()));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// Kernels of this Debian, fetched and unpacked, not installed: those behind its `cloud` packages.
fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = output(Command::new("apt-cache").args([
        "search",
        "--names-only",
        r"^linux-image-([0-9.]+-)?cloud-amd64$",
    ]))?;
    let mut images = Vec::new();
    for package in all.lines().filter_map(|line| line.split_whitespace().next()) {
        let depends = output(Command::new("apt-cache").args(["depends", package]))?;
        let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        for name in names.filter(|name| name.starts_with("linux-image-")) {
            let unpacked = folder.join(name);
            if !unpacked.join("boot").exists() {
                child::succeed(
                    Command::new("apt-get").args(["-qq", "download", name]).current_dir(folder),
                )?;
                let file = newest(folder, &format!("{name}_"))?;
                child::succeed(Command::new("dpkg").arg("-x").arg(&file).arg(&unpacked))?;
                fs::remove_file(file)?;
            }
            images.push(newest(&unpacked.join("boot"), "vmlinuz-")?);
        }
    }
    images.sort();
    images.dedup();
    Ok(images)
}

fn newest(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let named =
        |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = entries.filter(|path| named(path).starts_with(prefix)).max();
    found.with_context(|| format!("no {prefix} in {}", folder.display()))
}

/// A file system with busybox, deeptrace and the libraries that it needs.
fn initrd(folder: &Path, binary: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    fs::remove_dir_all(&tree).ok();
    fs::create_dir_all(tree.join("bin"))?;
    fs::copy("/usr/bin/busybox", tree.join("bin/busybox"))?;
    let stripped = tree.join("bin/deeptrace");
    child::succeed(Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    for library in output(Command::new("ldd").arg(binary))?.split_whitespace() {
        if let Some(path) = library.strip_prefix('/') {
            let to = tree.join(path);
            fs::create_dir_all(to.parent().unwrap_or(&tree))?;
            fs::copy(library, to)?;
        }
    }
    fs::write(tree.join("init"), INIT)?;
    child::succeed(Command::new("chmod").arg("755").arg(tree.join("init")))?;
    let packed = folder.join("initrd");
    let mut pack = Command::new("sh");
    pack.args(["-ec", "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >\"$0\""]);
    child::succeed(pack.arg(&packed).current_dir(&tree))?;
    Ok(packed)
}

/// The results, by name, with their exit codes.
type Told = Vec<(String, String, i32)>;

/// Boots a kernel, which ends by itself, and reads what it told.
fn boot(image: &Path, initrd: &Path, log: &Path) -> Result<Told> {
    fs::remove_file(log).ok();
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg,thread=single", "-smp", "1", "-m", "768", "-nodefaults"]);
    command.args(["-display", "none", "-no-reboot", "-kernel"]).arg(image);
    command.arg("-initrd").arg(initrd);
    command.args(["-append", "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init"]);
    command.args(["-serial", &format!("file:{}", log.display())]);
    let mut emulator = Kept::start("qemu", command.stdin(Stdio::null()))?;
    let begun = Instant::now();
    while emulator.alive().is_ok() {
        if begun.elapsed() > PATIENCE {
            bail!("not through after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let bytes = fs::read(log)?;
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    if !text.contains("== end") {
        bail!("it ended early");
    }
    let mut told = Told::new();
    for part in text.split("== ") {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        match (head.strip_prefix("exit "), told.last_mut()) {
            (Some(code), Some(last)) => last.2 = code.trim().parse().unwrap_or(-1),
            _ => told.push((head.trim().to_owned(), body.to_owned(), -1)),
        }
    }
    Ok(told)
}

/// What each kernel must have told.
fn check(told: &Told) -> Result<()> {
    let part = |name: &str| {
        let found = told.iter().find(|(known, _, _)| known == name);
        found.map(|(_, text, code)| (text.trim(), *code)).with_context(|| format!("no part {name}"))
    };
    let (blind, code) = part("blind")?;
    if code != 1 || blind.lines().count() != 1 || !blind.contains("no type information") {
        bail!("without type information: exit code {code}, {blind:?}");
    }
    println!("  without BTF: {blind}");
    let (doctor, code) = part("doctor")?;
    if code != 0 {
        bail!("doctor: exit code {code}:\n{doctor}");
    }
    let has_tracepoints = doctor.contains("sock_send_length");
    let (said, _) = part("recorded-socket-tracepoints")?;
    let hooks = if has_tracepoints {
        vec!["syscall-exit", "socket-tracepoints"]
    } else if said.lines().count() == 1 && said.contains("no socket tracepoints") {
        println!("  {said}");
        vec!["syscall-exit"]
    } else {
        bail!("a hook that is not there: {said:?}");
    };
    for hook in hooks {
        let (said, _) = part(&format!("recorded-{hook}"))?;
        let (lines, code) = part(hook).with_context(|| said.to_owned())?;
        if code != 0 {
            bail!("{hook}: exit code {code}: {lines}");
        }
        let joined = joined(lines).with_context(|| format!("{hook}:\n{lines}"))?;
        println!("  {hook}: {joined} of {EXCHANGES} exchanges joined");
        if joined != EXCHANGES {
            bail!("{hook}: {joined} of {EXCHANGES} exchanges joined:\n{lines}");
        }
    }
    Ok(())
}

/// How many exchanges are a client's span and a server's, joined by their connection.
fn joined(lines: &str) -> Result<usize> {
    let spans: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("no span JSON")?;
    let of = |kind: &str, path: &str| {
        let found = spans
            .iter()
            .filter(|span| told(span, "kind") == kind && told(span, "url.path") == path)
            .collect::<Vec<_>>();
        match found.as_slice() {
            [span] => Some((*span).clone()),
            _ => None,
        }
    };
    let is_joined = |path: String| {
        of("client", &path).zip(of("server", &path)).is_some_and(|(client, server)| {
            told(&server, "parent_span_id") == told(&client, "span_id")
                && server["link"]["method"] == "connection"
                && server["attributes"]["http.response.status_code"] == 200
        })
    };
    Ok((1..=EXCHANGES).filter(|n| is_joined(format!("/hello-{n}"))).count())
}

fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let out = command.output().with_context(|| format!("failed to start {shown}"))?;
    if !out.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}
