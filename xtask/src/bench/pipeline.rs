//! `./x bench pipeline`: a recording and a packet capture of the same real traffic, made in the same
//! moment, through `deeptrace replay`; the capture through tshark as well; and a recording ten times
//! as long, to see whether memory stays.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::load::{redis_command, wrk_command};
use super::observer::watching;
use super::server::{self, NGINX, REDIS};
use super::table::{Aim, Table};
use super::{Bench, usage};
use crate::child::Kept;

/// Bytes kept of a packet: as much as deeptrace keeps of a message by default.
const SNAPLEN: &str = "512";
/// Requests for redis-benchmark that it does not get through: it is ended.
const ENDLESS: u64 = 1_000_000_000;
/// How much longer the long recording is.
const TENFOLD: u32 = 10;
/// Memory that grows by less than this share over ten times the input counts as flat.
const FLAT: f64 = 1.25;
const PATIENCE: Duration = Duration::from_secs(900);

/// What a replay says of itself, and the CPU seconds that the kernel says it took.
#[derive(Debug, PartialEq)]
struct Replayed {
    events: f64,
    spans: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let folder = &bench.folder;
    let (recording, capture) = (folder.join("traffic.rec"), folder.join("traffic.pcapng"));
    let dropped = record(bench, bench.seconds, &recording, Some(&capture))?;
    let short = replay(bench, &recording)?;
    let rate = short.events / short.cpu_seconds;
    table.figure("recording", short.events, "events", Aim::None);
    table.figure("recording: spans", short.spans, "", Aim::None);
    table.figure("recording: events a CPU second", rate, "", Aim::AtLeast(300_000.0));
    beside_tshark(bench, &capture, table)?;
    table.note(format!("packets that the capture dropped: {dropped}"));

    let long = folder.join("long.rec");
    record(bench, bench.seconds * TENFOLD, &long, None)?;
    let long = replay(bench, &long)?;
    let growth = long.events / short.events;
    table.figure("recording ten times as long", long.events, "events", Aim::None);
    let rate = long.events / long.cpu_seconds;
    table.figure("ten times as long: events a CPU second", rate, "", Aim::AtLeast(300_000.0));
    table.figure("peak memory, recording", short.peak_mib, "MiB", Aim::None);
    let what = format!("peak memory, {growth:.1} times the events");
    table.figure(what, long.peak_mib, "MiB", Aim::AtMost(short.peak_mib * FLAT));
    table.note(format!(
        "the long recording is of the same load for {} s instead of {} s",
        bench.seconds * TENFOLD,
        bench.seconds
    ));
    // Gigabytes that nobody asked to keep.
    fs::remove_dir_all(folder).context("failed to remove the recordings")
}

fn beside_tshark(bench: &Bench, capture: &Path, table: &mut Table) -> Result<()> {
    let ours = replay(bench, capture)?;
    let lines = bench.folder.join("tshark.out");
    let mut pairs = vec!["-T", "fields"];
    for field in FIELDS {
        pairs.extend(["-e", field]);
    }
    let theirs = tshark(capture, &pairs, &lines)?;
    let packets = fs::read_to_string(&lines)?.lines().count() as f64;
    let everything = tshark(capture, &["-T", "json"], Path::new("/dev/null"))?;
    let mut rate = |what: &str, seconds: f64| {
        let what = format!("capture: packets a CPU second{what}");
        table.figure(what, packets / seconds, "", Aim::None);
    };
    rate("", ours.cpu_seconds);
    rate(", tshark -T fields", theirs);
    rate(", tshark -T json", everything);
    let ratio = theirs / ours.cpu_seconds;
    table.figure("capture: times tshark -T fields", ratio, "", Aim::AtLeast(50.0));
    let ratio = everything / ours.cpu_seconds;
    table.figure("capture: times tshark -T json", ratio, "", Aim::None);
    table.figure("capture: spans", ours.spans, "", Aim::None);
    Ok(())
}

/// What tshark is to name of each packet: enough for a line of what was asked, answered and how long
/// it took.
const FIELDS: &[&str] = &[
    "frame.number",
    "frame.time_epoch",
    "tcp.stream",
    "http.request.method",
    "http.request.uri",
    "http.response.code",
    "http.request_in",
    "http.time",
    "resp.bulk_string.value",
];

/// Dissects `capture` in full; returns CPU seconds.
fn tshark(capture: &Path, form: &[&str], to: &Path) -> Result<f64> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture);
    for (port, protocol) in [(NGINX, "http"), (REDIS, "resp")] {
        command.args(["-d", &format!("tcp.port=={port},{protocol}")]);
    }
    command.args(form).stdout(File::create(to)?).stderr(Stdio::null());
    usage::cpu_of("tshark", &mut command, PATIENCE)
}

/// Records `seconds` of nginx and redis under load, both sides; with `capture`, the packets as well.
/// Returns what the packet capture says it dropped.
fn record(bench: &Bench, seconds: u32, to: &Path, capture: Option<&Path>) -> Result<String> {
    let _nginx = server::nginx(&bench.folder, None)?;
    let _redis = server::redis(&bench.folder, None)?;
    let written = bench.folder.join("record.toml");
    fs::write(&written, watching(&["nginx", "wrk", "redis-server", "redis-benchmark"]))?;
    let mut record = Command::new(&bench.binary);
    record.arg("record").arg("--config").arg(&written).arg("--output").arg(to);
    // One second for everybody to start, and one more so that the load ends first.
    record.args(["--duration", &format!("{}s", seconds + 2)]).stderr(Stdio::null());
    let mut record = Kept::start("deeptrace record", &mut record)?;
    let mut packets = capture.map(|capture| dumpcap(bench, seconds + 2, capture)).transpose()?;
    std::thread::sleep(Duration::from_secs(1));
    {
        let mut wrk = wrk_command(None, seconds);
        let mut redis = redis_command(None, 1, ENDLESS);
        let mut wrk = Kept::start("wrk", wrk.stdout(Stdio::null()))?;
        let _redis =
            Kept::start("redis-benchmark", redis.stdout(Stdio::null()).stderr(Stdio::null()))?;
        wrk.wait()?;
    }
    record.wait()?;
    let Some((packets, said)) = &mut packets else { return Ok(String::new()) };
    packets.wait()?;
    let said = fs::read_to_string(said)?;
    let line = said.lines().find(|line| line.contains("received/dropped"));
    Ok(line.and_then(dropped).unwrap_or_else(|| "unknown".to_owned()))
}

/// Reads `Packets received/dropped on interface 'Loopback: lo': 433558/0 (pcap:0/dumpcap:0…`.
fn dropped(line: &str) -> Option<String> {
    let (received, rest) = line.split_once("': ")?.1.split_once('/')?;
    Some(format!("{} of {received}", rest.split(' ').next()?))
}

fn dumpcap(bench: &Bench, seconds: u32, capture: &Path) -> Result<(Kept, PathBuf)> {
    let said = bench.folder.join("dumpcap.log");
    let mut command = Command::new("dumpcap");
    command.args(["-q", "-i", "lo", "-s", SNAPLEN, "-B", "256"]);
    command.args(["-f", &format!("tcp port {NGINX} or tcp port {REDIS}")]);
    command.args(["-a", &format!("duration:{seconds}")]).arg("-w").arg(capture);
    command.stdout(Stdio::null()).stderr(File::create(&said)?);
    Ok((Kept::start("dumpcap", &mut command)?, said))
}

/// `deeptrace replay FILE --format counts`.
fn replay(bench: &Bench, file: &Path) -> Result<Replayed> {
    let said = bench.folder.join("replay.out");
    let mut command = Command::new(&bench.binary);
    command.arg("replay").arg(file).args(["--format", "counts"]).stdout(File::create(&said)?);
    let cpu_seconds = usage::cpu_of("deeptrace replay", &mut command, PATIENCE)?;
    let said = fs::read_to_string(said)?;
    eprintln!("x: {}: {}", file.display(), said.trim());
    counts(&said, cpu_seconds)
}

/// Reads `8 events, 4 spans, 2 links, 0.1 CPU seconds, 80 events per CPU second, 9.5 MiB peak`.
fn counts(said: &str, cpu_seconds: f64) -> Result<Replayed> {
    let of = |unit: &str| {
        let part = said.trim().split(", ").find_map(|part| part.strip_suffix(unit));
        part.and_then(|number| number.trim().parse::<f64>().ok())
    };
    match (of(" events"), of(" spans"), of(" MiB peak")) {
        (Some(events), Some(spans), Some(peak_mib)) => {
            Ok(Replayed { events, spans, cpu_seconds, peak_mib })
        }
        _ => bail!("deeptrace replay printed something else than expected: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dumpcap_prints_is_read() {
        let said =
            "Packets received/dropped on interface 'Loopback: lo': 433558/7 (pcap:0) (100.0%)";
        assert_eq!(dropped(said).unwrap(), "7 of 433558");
        assert_eq!(dropped("Packets captured: 7"), None);
    }

    #[test]
    fn what_replay_prints_is_read() {
        let said = "8 events, 4 spans, 2 links, 0.100 CPU seconds, 80 events per CPU second, \
                    9.5 MiB peak\n";
        let expected = Replayed { events: 8.0, spans: 4.0, cpu_seconds: 0.2, peak_mib: 9.5 };
        assert_eq!(counts(said, 0.2).unwrap(), expected);
        assert!(counts("", 0.2).is_err());
    }
}
