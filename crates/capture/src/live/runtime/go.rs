//! Go: the goroutine that runs on a thread, which goroutine makes which ready, and which makes which.
//!
//! The thread keeps its g eight bytes below the thread pointer (`runtime/sys_linux_amd64.s`). Offsets
//! are those of `runtime/runtime2.go` by version; what a goroutine waited for is named by the program's own
//! table `runtime.waitReasonStrings`.

use deeptrace_model::HandOverKind;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::image::{Image, Symbol, Target};
use super::{Evidence, Probe, Row, Runtime, places};

pub(super) const ROW: Row = Row { find, migrates: true };

/// `dt_runtime` of `bpf/event.h`.
const DT_GO: u32 = 2;
const SLOT: i64 = -8;
/// An emulated instruction of `ready`; a return of `newproc1` is stepped and dearer, but rare.
const HIT_US: u64 = 2;
/// Minor version of Go 1, and the places of `m`, `goid`, `waitreason` in g and of `curg` in m.
const VERSIONS: &[(u32, u64, u64, u64, u64)] = &[(26, 48, 152, 176, 184)];
/// Names of reasons that are looked at; a runtime has about fifty.
const REASONS_MAX: u64 = 64;
/// `cmp 0x10(%r14),%rsp`: how a function begins that looks whether its stack must grow.
const STACK_CHECK: [u8; 4] = [0x49, 0x3b, 0x66, 0x10];

fn find(target: &Target) -> Option<Result<Runtime, String>> {
    let image = target.program()?;
    let names =
        ["runtime.ready", "runtime.newproc1", "runtime.waitReasonStrings", "runtime.buildVersion"];
    match image.symbols(names) {
        Ok([Some(ready), Some(newproc), Some(reasons), Some(version)]) => {
            Some(read(target, &image, [&ready, &newproc, &reasons, &version]))
        }
        _ if image.has_section(".go.buildinfo") => {
            Some(Err("a program of Go that is stripped of its symbols".to_owned()))
        }
        _ => None,
    }
}

fn read(target: &Target, image: &Image<'_>, symbols: [&Symbol; 4]) -> Result<Runtime, String> {
    let [ready, newproc, reasons, version] = symbols;
    let version = text(target, version.address)?;
    let minor = version.strip_prefix("go1.").map(|rest| rest.split('.').next().unwrap_or_default());
    let minor = minor.and_then(|digits| digits.parse::<u32>().ok());
    let known = VERSIONS.iter().find(|known| Some(known.0) == minor);
    let Some((_, m, goid, reason, curg)) = known else {
        return Err(format!("offsets of {version} are not known"));
    };
    let probe = |program, offset| Probe {
        program,
        evidence: Evidence::Tasks,
        path: image.path(),
        offset,
        at_return: false,
    };
    // The jump after the check is emulated by the kernel; the comparison would be stepped, ten times dearer.
    let after = if ready.code.starts_with(&STACK_CHECK) { STACK_CHECK.len() as u64 } else { 0 };
    let mut probes = vec![probe("deeptrace_go_ready", ready.offset + after)];
    let returns = returns(&newproc.code);
    probes.extend(returns.map(|at| probe("deeptrace_go_born", newproc.offset + at)));
    Ok(Runtime {
        name: version,
        kind: DT_GO,
        slot: SLOT,
        at: places([*m, *goid, *curg, *reason]),
        evidence: Some(Evidence::Tasks),
        probes,
        hit_us: HIT_US,
        reasons: (0..REASONS_MAX)
            .map_while(|number| text(target, reasons.address.wrapping_add(16 * number)).ok())
            .map(|name| meaning(&name))
            .collect(),
        ..Runtime::default()
    })
}

/// A Go string at `address`: pointer and length.
fn text(target: &Target, address: u64) -> Result<String, String> {
    let word = |at| target.word(at).map_err(|error| error.to_string());
    target.text(word(address)?, word(address.wrapping_add(8))?).map_err(|error| error.to_string())
}

/// What it means that a goroutine is made ready that waited for this.
fn meaning(reason: &str) -> Option<HandOverKind> {
    match reason.trim_end_matches(" (durable)") {
        // Whoever waits to send is rid of it: the data goes to the one that makes it ready.
        "chan send" => Some(HandOverKind::Taken),
        "chan receive" | "select" | "sync.WaitGroup.Wait" | "sync.Cond.Wait" => {
            Some(HandOverKind::Ready)
        }
        // Locks, timers, the network, the collector: no work changes hands.
        _ => None,
    }
}

/// Where a function returns, from its beginning. Return probes are no choice: stacks of Go move.
fn returns(code: &[u8]) -> impl Iterator<Item = u64> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
        .filter(|instruction| instruction.mnemonic() == Mnemonic::Ret)
        .map(|instruction| instruction.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_found_and_not_their_bytes_in_other_instructions() {
        // mov $0xc3,%eax; ret; push %rbp; ret
        let code = [0xb8, 0xc3, 0, 0, 0, 0xc3, 0x55, 0xc3];
        assert_eq!(returns(&code).collect::<Vec<_>>(), [5, 7]);
    }

    #[test]
    fn only_hand_overs_mean_something() {
        assert_eq!(meaning("chan send"), Some(HandOverKind::Taken));
        assert_eq!(meaning("select (durable)"), Some(HandOverKind::Ready));
        assert_eq!(meaning("sync.Mutex.Lock"), None);
        assert_eq!(meaning(""), None);
    }
}
