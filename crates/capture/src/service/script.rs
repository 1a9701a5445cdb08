//! Script: what an interpreter runs, told from its arguments.

use super::{Found, base, java, launcher};
use crate::process::Facts;

/// A program that runs others' programs.
pub(super) struct Interpreter {
    /// Its name without version: `python` also stands for `python3.11`.
    name: &'static str,
    /// Options that take the next argument.
    values: &'static [&'static str],
    /// Options that bring the program themselves (`-c TEXT`), so that no script follows.
    inline: &'static [&'static str],
    /// Finds the name in the arguments that follow the interpreter's own.
    find: fn(&Interpreter, &Facts) -> Found,
}

/// The interpreters. A new one is a row.
const TABLE: &[Interpreter] = &[
    row("python", &["-W", "-X", "--check-hash-based-pycs"], &["-c", "-"], python),
    row("pypy", &["-W", "-X"], &["-c", "-"], python),
    row("node", NODE, &["-e", "-p", "--eval", "--print", "-"], plain),
    row("nodejs", NODE, &["-e", "-p", "--eval", "--print", "-"], plain),
    row("bun", &["-r", "--preload"], &["-e", "--eval"], after_run),
    row("deno", &[], &["eval", "repl"], after_run),
    row("ruby", &["-r", "-I", "-C", "-E"], &["-e", "-"], plain),
    row("php", &["-c", "-d", "-z"], &["-r", "-B", "-R"], php),
    row("perl", &[], &["-e", "-E", "-"], plain),
    row("bash", &["-o", "-O", "+o", "+O", "--rcfile", "--init-file"], &["-c", "-s"], plain),
    row("sh", &["-o", "+o"], &["-c", "-s"], plain),
    row("dash", &["-o", "+o"], &["-c", "-s"], plain),
    row("zsh", &["-o", "+o"], &["-c", "-s"], plain),
    row("lua", &["-l"], &["-e", "-"], plain),
    row("dotnet", &["--roll-forward", "--fx-version", "--additionalprobingpath"], &[], after_run),
    row("java", java::VALUES, &[], |_, facts| java::find(facts)),
    row("beam.smp", &[], &[], |_, facts| erlang(facts)),
];

const NODE: &[&str] =
    &["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"];

const fn row(
    name: &'static str,
    values: &'static [&'static str],
    inline: &'static [&'static str],
    find: fn(&Interpreter, &Facts) -> Found,
) -> Interpreter {
    Interpreter { name, values, inline, find }
}

/// The name that the script gives; nothing for programs that are no interpreter.
pub(super) fn find(facts: &Facts) -> Found {
    let Some(interpreter) = interpreter(facts) else { return Found::Nothing };
    match launcher::title(facts) {
        Found::Nothing => (interpreter.find)(interpreter, facts),
        titled => titled,
    }
}

/// The interpreter that the executable is, else what it was started as.
pub(super) fn interpreter(facts: &Facts) -> Option<&'static Interpreter> {
    let executable = base(&facts.executable);
    let name = match executable {
        "" => facts.arguments.first().map_or(facts.comm.as_str(), |first| base(first)),
        name => name,
    };
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    TABLE.iter().find(|interpreter| interpreter.name == name)
}

impl Interpreter {
    /// The arguments from the script's path on, past the interpreter's own options; empty where
    /// there is no script.
    pub(super) fn script<'a>(&self, arguments: &'a [String]) -> &'a [String] {
        let mut rest = arguments.get(1..).unwrap_or_default();
        while let [option, tail @ ..] = rest {
            if self.inline.contains(&option.as_str()) {
                return &[];
            }
            if !option.starts_with(['-', '+']) {
                return rest;
            }
            rest = match tail {
                [_, beyond @ ..] if self.values.contains(&option.as_str()) => beyond,
                _ => tail,
            };
        }
        &[]
    }
}

/// A script's path and nothing special.
fn plain(interpreter: &Interpreter, facts: &Facts) -> Found {
    match interpreter.script(&facts.arguments) {
        [script, rest @ ..] => launcher::find(script, rest, &facts.folder)
            .unwrap_or_else(|| of_path(script, &facts.folder)),
        [] => Found::Nothing,
    }
}

/// `python -m MODULE`, or a script.
fn python(interpreter: &Interpreter, facts: &Facts) -> Found {
    // Options before `-m` were already skipped by `script` if the module was taken for a script.
    let arguments = &facts.arguments;
    let at = arguments.iter().position(|arg| arg == "-m");
    let script = interpreter.script(arguments);
    let is_module = at.is_some_and(|at| arguments.len() - at == script.len() + 1);
    match script {
        [module, rest @ ..] if is_module => launcher::find(module, rest, &facts.folder)
            .unwrap_or_else(|| of_module(module, &facts.folder)),
        _ => plain(interpreter, facts),
    }
}

/// `deno run`, `bun run`, `dotnet exec`: a word that may stand before the script.
fn after_run(interpreter: &Interpreter, facts: &Facts) -> Found {
    let script = interpreter.script(&facts.arguments);
    let script = match script {
        [word, rest @ ..] if matches!(word.as_str(), "run" | "exec" | "serve") => {
            rest.iter().find(|arg| !arg.starts_with('-'))
        }
        _ => script.first(),
    };
    script.map_or(Found::Nothing, |script| of_path(script, &facts.folder))
}

/// `php -S ADDRESS` serves a folder; `-f` names the script.
fn php(interpreter: &Interpreter, facts: &Facts) -> Found {
    let arguments = &facts.arguments;
    let after = |option: &str| {
        arguments.iter().position(|arg| arg == option).and_then(|at| arguments.get(at + 1))
    };
    if let Some(script) = after("-f") {
        return of_path(script, &facts.folder);
    }
    if after("-S").is_some() {
        return of_folder(after("-t").map_or("", String::as_str), &facts.folder);
    }
    plain(interpreter, facts)
}

/// `beam.smp … -sname rabbit@host …`: the node's name is the service's.
fn erlang(facts: &Facts) -> Found {
    let mut arguments = facts.arguments.iter();
    let _ = arguments.find(|arg| matches!(arg.as_str(), "-sname" | "-name"));
    let node = arguments.next().and_then(|node| node.split('@').next());
    node.map_or(Found::Nothing, Found::named)
}

/// Scripts so many projects have that their folder says more.
const GENERIC_SCRIPTS: &[&str] = &[
    "__init__",
    "__main__",
    "app",
    "application",
    "artisan",
    "asgi",
    "bootstrap",
    "cli",
    "console",
    "docker-entrypoint",
    "entrypoint",
    "index",
    "init",
    "launch",
    "launcher",
    "main",
    "mainkt",
    "manage",
    "program",
    "rackup",
    "rails",
    "run",
    "runserver",
    "server",
    "service",
    "start",
    "www",
    "wsgi",
];

/// Folders that say as little.
const GENERIC_FOLDERS: &[&str] = &[
    "",
    "app",
    "apps",
    "application",
    "backend",
    "bin",
    "build",
    "classes",
    "cmd",
    "code",
    "current",
    "debug",
    "deploy",
    "dist",
    "dist-packages",
    "home",
    "html",
    "lib",
    "lib64",
    "libexec",
    "libs",
    "local",
    "main",
    "mnt",
    "node_modules",
    "opt",
    "out",
    "public",
    "release",
    "releases",
    "root",
    "run",
    "sbin",
    "scripts",
    "server",
    "share",
    "site-packages",
    "source",
    "src",
    "srv",
    "target",
    "tmp",
    "usr",
    "var",
    "versions",
    "work",
    "workdir",
    "workspace",
    "www",
];

/// Whether a word names a script in so many projects that it tells none apart.
pub(super) fn is_generic(word: &str) -> bool {
    GENERIC_SCRIPTS.contains(&word.to_ascii_lowercase().as_str())
}

/// `path/cart.py` → `cart`; `path/cart/main.py` → `cart`; `cart/node_modules/.bin/next` → `cart`.
pub(super) fn of_path(path: &str, folder: &str) -> Found {
    if path.starts_with("/dev/") || path.starts_with("/proc/") {
        // A script that came through a pipe: `bash <(…)`.
        return Found::Nothing;
    }
    let file = base(path);
    let stem = stem(file);
    if let Some(at) = path.find("/node_modules/") {
        // A package's own script: the project that holds it, else (installed for all) the package.
        let package = path.rsplit("/node_modules/").next().unwrap_or_default();
        let package = package.trim_start_matches(".bin/").split('/').next().unwrap_or_default();
        return match of_folder(&path[..at], folder) {
            Found::Nothing => Found::named(package),
            project => project,
        };
    }
    if !is_generic(stem) {
        return if stem.is_empty() { Found::Nothing } else { Found::named(stem) };
    }
    let parent = path.strip_suffix(file).unwrap_or_default();
    match of_folder(parent, folder) {
        Found::Nothing if stem == "__main__" => Found::Nothing,
        Found::Nothing => Found::Bare(stem.to_owned()),
        named => named,
    }
}

/// The innermost part of a folder's path (below `folder` if relative) that is a name of its own.
pub(super) fn of_folder(path: &str, folder: &str) -> Found {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { folder };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // The folder right below /home is a person.
    let is_person = |at: usize| at == 1 && parts[0] == "home";
    let is_version = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let named = parts.iter().enumerate().rev().find(|(at, part)| {
        let word = part.to_ascii_lowercase();
        !GENERIC_FOLDERS.contains(&word.as_str()) && !is_person(*at) && !is_version(part)
    });
    named.map_or(Found::Nothing, |(_, part)| Found::named(*part))
}

/// `shop.cart` stays, `shop.cart.main` → `shop.cart`, `main` → the folder.
pub(super) fn of_module(module: &str, folder: &str) -> Found {
    if module == "http.server" {
        // The standard library's own: its package says less.
        return Found::named(module);
    }
    let mut name = module;
    while let Some((rest, last)) = name.rsplit_once('.') {
        if !is_generic(last) {
            break;
        }
        name = rest;
    }
    if !is_generic(name) && !GENERIC_FOLDERS.contains(&name) {
        return Found::named(name);
    }
    match of_folder("", folder) {
        Found::Nothing => Found::Bare(name.to_owned()),
        named => named,
    }
}

/// A file's name without the endings of scripts and assemblies.
fn stem(file: &str) -> &str {
    const ENDINGS: &[&str] = &[
        ".py", ".pyc", ".pyz", ".pex", ".js", ".mjs", ".cjs", ".ts", ".mts", ".rb", ".ru", ".php",
        ".phar", ".pl", ".psgi", ".sh", ".bash", ".lua", ".dll", ".jar", ".war", ".java",
    ];
    ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file)
}
