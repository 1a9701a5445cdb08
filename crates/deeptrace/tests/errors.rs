//! What goes wrong at the start: each case is one clear line that says what to do, the exit code
//! that was promised, and nothing half-started. The cases are rows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// What a case finds around it.
struct World<'a> {
    folder: &'a Path,
    /// A port that another program has.
    taken: u16,
}

/// A mistake: what is typed, what is said, the exit code. `DIR` is a folder of the case, `PORT` a
/// port that is taken.
struct Case {
    name: &'static str,
    arguments: &'static str,
    prepare: fn(&World<'_>),
    said: &'static str,
    code: i32,
}

fn nothing(_: &World<'_>) {}

fn config(world: &World<'_>, text: &str) {
    fs::write(world.folder.join("deeptrace.toml"), text).unwrap();
}

const CASES: &[Case] = &[
    Case {
        name: "an unknown command",
        arguments: "rnu",
        prepare: nothing,
        said: "unrecognized subcommand 'rnu'",
        code: 2,
    },
    Case {
        name: "an unknown option",
        arguments: "traces --sevrice x",
        prepare: nothing,
        said: "unexpected argument '--sevrice'",
        code: 2,
    },
    Case {
        name: "a bad number",
        arguments: "server run --port 99999",
        prepare: nothing,
        said: "invalid value '99999' for '--port",
        code: 2,
    },
    Case {
        name: "a configuration that is not there",
        arguments: "server run --config DIR/nowhere.toml --data-dir DIR/data",
        prepare: nothing,
        said: "nowhere.toml: cannot read the configuration: No such file",
        code: 1,
    },
    Case {
        name: "an unknown key",
        arguments: "server run --config DIR/deeptrace.toml --data-dir DIR/data",
        prepare: |world| config(world, "[server]\nprot = 1\n"),
        said: "deeptrace.toml:2: unknown key `server.prot`; the nearest known one is `server.port`",
        code: 1,
    },
    Case {
        name: "a bad value",
        arguments: "config validate DIR/deeptrace.toml",
        prepare: |world| config(world, "[storage]\nspan_retention_days = 0\n"),
        said: "deeptrace.toml:2: storage.span_retention_days: give at least 1 day",
        code: 1,
    },
    Case {
        name: "a broken file",
        arguments: "config validate DIR/deeptrace.toml",
        prepare: |world| config(world, "[server\n"),
        said: "deeptrace.toml:1: ",
        code: 1,
    },
    Case {
        name: "a port in use",
        arguments: "server run --port PORT --data-dir DIR/data",
        prepare: nothing,
        said: "is in use by another program; stop it or choose another port with --port",
        code: 1,
    },
    Case {
        name: "an address that is not ours",
        arguments: "server run --port 0 --listen 192.0.2.1 --data-dir DIR/data",
        prepare: nothing,
        said: "cannot listen on 192.0.2.1:0: ",
        code: 1,
    },
    Case {
        name: "a data folder that is a file",
        arguments: "server run --port 0 --data-dir DIR/file",
        prepare: |world| fs::write(world.folder.join("file"), "").unwrap(),
        said: "cannot write to the data folder",
        code: 1,
    },
    Case {
        name: "a data folder that others share",
        arguments: "server run --port 0 --data-dir DIR/shared",
        prepare: |world| {
            let shared = world.folder.join("shared");
            fs::create_dir(&shared).unwrap();
            fs::write(shared.join("theirs"), "").unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        },
        said: "give another one with --data-dir",
        code: 1,
    },
    Case {
        name: "no store to read",
        arguments: "traces --data-dir DIR/nowhere",
        prepare: nothing,
        said: "start `deeptrace run`, or give its --data-dir",
        code: 1,
    },
    Case {
        name: "a token for a folder that no server has",
        arguments: "token create ci --role viewer --data-dir DIR/nowhere",
        prepare: nothing,
        said: "start `deeptrace run`, or give its --data-dir",
        code: 1,
    },
    Case {
        name: "users of a folder that no server has",
        arguments: "user list --data-dir DIR/nowhere",
        prepare: nothing,
        said: "start `deeptrace run`, or give its --data-dir",
        code: 1,
    },
    Case {
        name: "nobody there to ask",
        arguments: "agent status --agent http://127.0.0.1:1 --data-dir DIR",
        prepare: nothing,
        said: "nothing answers at http://127.0.0.1:1; is it running?",
        code: 1,
    },
    Case {
        name: "no id",
        arguments: "trace ../config --server http://127.0.0.1:1 --data-dir DIR",
        prepare: nothing,
        said: "'../config' for '<ID>': give a trace id of 32 or a span id of 16 hex digits",
        code: 2,
    },
    Case {
        name: "no id of a job",
        arguments: "asso job ../config --data-dir DIR",
        prepare: nothing,
        said: "give the id that `asso run` printed",
        code: 2,
    },
    Case {
        name: "no time",
        arguments: "traces --start yesterday --data-dir DIR/data",
        prepare: nothing,
        said: "`yesterday` is no time: give one like 2024-01-01T00:00:00Z or -15m",
        code: 2,
    },
    Case {
        name: "no duration",
        arguments: "traces --min-duration 5 --data-dir DIR/data",
        prepare: nothing,
        said: "`5` is no duration: give one like 250us, 100ms or 2s",
        code: 2,
    },
    Case {
        name: "no rows",
        arguments: "traces --limit 0 --data-dir DIR/data",
        prepare: nothing,
        said: "0 is not in 1..=1000",
        code: 2,
    },
    Case {
        name: "fewer than no rows",
        arguments: "traces --limit -1 --data-dir DIR/data",
        prepare: nothing,
        said: "-1 is not in 1..=1000",
        code: 2,
    },
    Case {
        name: "days that are to come",
        arguments: "cleanup --days -3 --data-dir DIR/data",
        prepare: nothing,
        said: "-3 is not in 1..=36500",
        code: 2,
    },
    Case {
        name: "no step",
        arguments: "analyze latency --step day --data-dir DIR/data",
        prepare: nothing,
        said: "[possible values: minute, hour]",
        code: 2,
    },
    Case {
        name: "nothing to erase",
        arguments: "erase --match foo --data-dir DIR/data",
        prepare: nothing,
        said: "FIELD=VALUE",
        code: 2,
    },
    Case {
        name: "no protocol",
        arguments: "protocols nope",
        prepare: nothing,
        said: "there is no such protocol; `deeptrace protocols` lists all",
        code: 2,
    },
    Case {
        name: "links to nowhere",
        arguments: "correlate --input spans.jsonl",
        prepare: nothing,
        said: "--output <LINKS>",
        code: 2,
    },
    Case {
        name: "no probability",
        arguments: "asso config --threshold 2",
        prepare: nothing,
        said: "give a probability, between 0 and 1",
        code: 2,
    },
    Case {
        name: "no address",
        arguments: "agent status --agent foo --data-dir DIR",
        prepare: nothing,
        said: "give an address such as http://127.0.0.1:7901",
        code: 2,
    },
    Case {
        name: "options that do not fit",
        arguments: "correlate --input - --eval truth.csv",
        prepare: nothing,
        said: "give --input a file",
        code: 2,
    },
    Case {
        name: "an output that cannot be written",
        arguments: "protocols --output DIR/nowhere/file",
        prepare: nothing,
        said: "give another --output",
        code: 1,
    },
];

fn run(arguments: &str, world: &World<'_>) -> Output {
    let arguments = arguments
        .replace("DIR", &world.folder.display().to_string())
        .replace("PORT", &world.taken.to_string());
    Command::new(env!("CARGO_BIN_EXE_deeptrace"))
        .args(arguments.split_whitespace())
        .current_dir(world.folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn each_failure_is_one_clear_line_and_a_promised_code() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let world = World { folder: folder.path(), taken };
        (case.prepare)(&world);
        let output = run(case.arguments, &world);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(case.said), "{}: {said}", case.name);
        assert_eq!(output.status.code(), Some(case.code), "{}: {said}", case.name);
        if case.code == 1 {
            assert_eq!(said.lines().count(), 1, "{}: {said}", case.name);
            assert!(output.stdout.is_empty(), "{}: something was started", case.name);
        }
        assert!(!folder.path().join("data/spans.db").exists(), "{}: a store was made", case.name);
        assert!(!folder.path().join("nowhere").exists(), "{}: a folder was made", case.name);
    }
}

/// `command` with `run` behind it starts nothing, leaves nothing, and says one line, which comes back.
fn refused(command: &mut Command, folder: &Path) -> String {
    let data = folder.join("data");
    let output = command
        .args(["run", "--port", "0", "--agent-port", "0", "--data-dir"])
        .arg(&data)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!data.exists());
    said
}

/// Whoever is not root is told so, in one line, and finds nothing left behind.
#[test]
fn without_rights_nothing_is_started() {
    let is_root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    if is_root.unwrap() != 0 {
        eprintln!("skipped: only root can run a command as somebody else");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The build folder may be closed to others.
    let binary = folder.path().join("deeptrace");
    fs::copy(env!("CARGO_BIN_EXE_deeptrace"), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
    let said = refused(&mut command, folder.path());
    assert!(said.contains("run as root"), "{said}");
}

/// A kernel whose type information is not to be found, as in a container without /sys.
#[test]
fn without_type_information_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs none /sys && exec \"$@\"", "sh"]);
        command
    };
    let can = hidden().arg("true").output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: only root can hide /sys from a command");
        return;
    }
    let said = refused(hidden().arg(env!("CARGO_BIN_EXE_deeptrace")), folder.path());
    assert!(said.contains("the kernel has no type information"), "{said}");
    assert!(said.contains("mount /sys"), "{said}");
}

#[test]
fn help_has_an_example_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let world = World { folder: folder.path(), taken: 0 };
    let mut open = vec![String::new()];
    while let Some(command) = open.pop() {
        let output = run(&format!("{command} --help"), &world);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}");
        let listing = help.split("Commands:\n").nth(1).unwrap_or_default();
        let commands: Vec<&str> = listing
            .lines()
            .take_while(|line| line.starts_with("  "))
            .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
            .collect();
        assert!(help.contains("Example:"), "no example: {command}\n{help}");
        open.extend(commands.iter().map(|name| format!("{command} {name}")));
    }
}
