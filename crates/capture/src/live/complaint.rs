//! Complaint: what libbpf and the kernel's verifier say while programs are loaded, boiled down to
//! the line that matters.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::PrintLevel;

/// The line that matters of the last load; libbpf prints through a function without context.
static REASON: Mutex<Option<String>> = Mutex::new(None);

/// Longest line that is kept.
const LINE_MAX: usize = 240;

/// Listens from now on, forgetting what was heard before.
pub(super) fn listen() {
    *REASON.lock().unwrap_or_else(PoisonError::into_inner) = None;
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, text| {
        let mut reason = REASON.lock().unwrap_or_else(PoisonError::into_inner);
        // The first complaint is the cause, the others follow from it.
        if reason.is_none() {
            *reason = boil_down(&text);
        }
    })));
}

/// What was heard, and silence from now on.
pub(super) fn reason() -> Option<String> {
    libbpf_rs::set_print(None);
    REASON.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The verifier tells every step and gives its reason last; other messages are one line.
fn boil_down(text: &str) -> Option<String> {
    let says_why = |line: &&str| {
        let frame = ["libbpf: prog", "processed ", "-- ", ";"];
        let is_step = line.bytes().next().is_none_or(|first| first.is_ascii_digit());
        !is_step && !frame.iter().any(|start| line.starts_with(start))
    };
    let line = text.lines().map(str::trim).rfind(says_why)?;
    Some(line.trim_start_matches("libbpf: ").chars().take(LINE_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_the_verifiers_log() {
        let log = "libbpf: prog 'deeptrace_send': -- BEGIN PROG LOAD LOG --\n\
                   0: R1=ctx() R10=fp0\n\
                   ; int x = 1; @ deeptrace.bpf.c:5\n\
                   1: (b7) r2 = 1\n\
                   R2 invalid mem access 'scalar'\n\
                   processed 2 insns (limit 1000000)\n\
                   -- END PROG LOAD LOG --\n";
        assert_eq!(boil_down(log).as_deref(), Some("R2 invalid mem access 'scalar'"));
        let plain = "libbpf: failed to find valid kernel BTF\n";
        assert_eq!(boil_down(plain).as_deref(), Some("failed to find valid kernel BTF"));
        assert_eq!(boil_down("libbpf: prog 'x': failed to load: -22\n"), None);
        assert_eq!(boil_down(""), None);
    }
}
