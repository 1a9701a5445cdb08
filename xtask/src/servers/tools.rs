//! Tools: servers and clients that are built or fetched by the tools of their languages, each into a folder
//! of its own below `out/servers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, packages, root};

/// Installs `packages` unless `program` is in the `PATH`.
pub fn have(program: &str, packages: &[&str]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
        return Ok(());
    }
    packages::ensure(packages)
}

/// A copy of `xtask/servers/NAME`, in which a tool may build.
fn copy(name: &str) -> Result<PathBuf> {
    let to = root().join("out/servers").join(format!("build-{name}"));
    copy_folder(&root().join("xtask/servers").join(name), &to)?;
    Ok(to)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}", from.display()))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else if fs::read(&source).ok() != fs::read(&target).ok() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// The program that `xtask/servers/go` builds.
pub fn go() -> Result<PathBuf> {
    have("go", &["golang-go"])?;
    let folder = copy("go")?;
    let program = folder.join("server");
    let mut build = Command::new("go");
    build.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".").current_dir(&folder);
    child::succeed(build.env("GOTOOLCHAIN", "local"))?;
    Ok(program)
}

/// The client that `xtask/servers/c/NAME.c` is built to, with the library that `linked` names to the compiler,
/// of these Debian packages.
pub fn c(name: &str, linked: &[&str], packages: &[&str]) -> Result<Command> {
    have("gcc", &["gcc", "libc6-dev"])?;
    packages::ensure(packages)?;
    let folder = copy("c")?;
    let program = folder.join(format!("{name}{}", linked.concat().replace(['/', ':'], "_")));
    let mut build = Command::new("gcc");
    build.args(["-O1", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-pthread", "truth.c"]);
    build.arg(format!("{name}.c")).arg("-o").arg(&program).args(linked);
    child::succeed(build.current_dir(&folder))?;
    Ok(Command::new(program))
}

/// A program of `xtask/servers/node`, with its packages.
pub fn node(program: &str) -> Result<Command> {
    have("npm", &["nodejs", "npm"])?;
    let folder = copy("node")?;
    let stamp = folder.join("installed.json");
    let wanted = fs::read(folder.join("package-lock.json"))?;
    if fs::read(&stamp).ok().as_deref() != Some(&wanted) {
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--silent"]);
        child::succeed(install.current_dir(&folder))?;
        fs::write(stamp, wanted)?;
    }
    let mut command = Command::new("node");
    command.arg(folder.join(program));
    Ok(command)
}

/// For what logs by SLF4J's simple logger: only what is worth a look.
pub const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

/// `java` with the classes of `xtask/servers/java/NAME` and all that its `pom.xml` names.
pub fn java(name: &str) -> Result<Command> {
    have("java", &["default-jdk-headless"])?;
    java_of(name, None)
}

/// The same with the Java in the folder `home`, where one is given.
pub fn java_of(name: &str, home: Option<&Path>) -> Result<Command> {
    have("mvn", &["maven"])?;
    let folder = copy(&format!("java/{name}"))?;
    let classes = folder.join("src/main/java");
    if classes.exists() {
        copy_folder(&root().join("xtask/servers/java/truth"), &classes)?;
    }
    let (stamp, wanted) = (folder.join("built.txt"), sources(&folder)?);
    if fs::read(&stamp).ok().as_deref() != Some(&wanted) {
        let mut build = Command::new("mvn");
        build.args(["-q", "-B", "-ntp", "package", "dependency:copy-dependencies"]);
        build.arg("-DoutputDirectory=target/lib").current_dir(&folder);
        build.envs(home.map(|home| ("JAVA_HOME", home)));
        child::succeed(&mut build)?;
        fs::write(stamp, wanted)?;
    }
    let path = folder.join("target");
    let path = format!("{0}/classes:{0}/lib/*", path.display());
    let mut command = match home {
        Some(home) => Command::new(home.join("bin/java")),
        None => Command::new("java"),
    };
    command.args(["-cp", &path]);
    Ok(command)
}

/// What is built: the `pom.xml` and all below `src`, one after another.
fn sources(folder: &Path) -> Result<Vec<u8>> {
    let mut all = fs::read(folder.join("pom.xml"))?;
    let mut left = vec![folder.join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> =
                fs::read_dir(path)?.flatten().map(|entry| entry.path()).collect();
            inside.sort();
            left.extend(inside);
        } else if path.exists() {
            all.extend(fs::read(path)?);
        }
    }
    Ok(all)
}

/// Where the oldest installed Java of at least this version is; Debian's is installed if that will do.
pub fn java_home(version: u32) -> Result<Option<PathBuf>> {
    if version <= 17 {
        have("java", &["default-jdk-headless"])?;
    }
    let folders = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let known = folders.filter_map(|folder| {
        let release = fs::read_to_string(folder.path().join("release")).ok()?;
        let line = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
        let found: u32 = line.split(['.', '"', '-', '+']).next()?.parse().ok()?;
        let has_compiler = folder.path().join("bin/javac").exists();
        (found >= version && has_compiler).then(|| (found, folder.path()))
    });
    Ok(known.min().map(|(_, path)| path))
}

/// The first library that the `pom.xml` of `xtask/servers/java/NAME` asks for, with its version.
pub fn version(name: &str) -> Result<String> {
    let pom = fs::read_to_string(root().join("xtask/servers/java").join(name).join("pom.xml"))?;
    let wanted = pom.split("<dependency>").nth(1).context("no dependency")?;
    let field = |name: &str| {
        let (_, rest) = wanted.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(value, _)| value)
    };
    let (artifact, version) = field("artifactId").zip(field("version")).context("no version")?;
    Ok(format!("{artifact} {version}"))
}

/// The library of `xtask/servers/java/NAME` whose name begins so.
pub fn jar(name: &str, start: &str) -> Result<PathBuf> {
    let folder = root().join("out/servers").join(format!("build-java/{name}/target/lib"));
    let mut found = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    found.find(is_it).with_context(|| format!("no {start} in {}", folder.display()))
}
