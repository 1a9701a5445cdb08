//! Prints the events of this host, one a line: `dump [auto|socket-tracepoints|syscall-exit] [pid…]`.

use std::time::Duration;

use deeptrace_capture::live::{Hook, Live, Options};
use deeptrace_capture::service::Names;
use deeptrace_capture::watch::Rules;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::Pid;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let hook = arguments.next_if(|word| word.parse::<u32>().is_err()).unwrap_or_default();
    let pids = arguments.map(|pid| pid.parse().map(Pid)).collect::<Result<_, _>>()?;
    let rules = Rules { pids, containers: true, ..Rules::default() };
    let mut options = Options::new(rules, Names::new(&[], "")?);
    options.hook = match hook.as_str() {
        "socket-tracepoints" => Hook::SocketTracepoints,
        "syscall-exit" => Hook::SyscallExit,
        _ => Hook::Auto,
    };
    let mut live = Live::open(options)?;
    eprintln!("watching by {}", live.hook().as_str());
    loop {
        let progress = live.poll(&mut |event| println!("{event:?}"))?;
        if progress == Progress::Idle {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
