//! A command that opens the data folder itself leaves a line for the audit log there; the server takes
//! it in. Who may read the folder but not write to it is told that nothing was noted.

use clap::CommandFactory;
use deeptrace_server::audit::{self, Draft};
use deeptrace_server::clock;

use crate::Common;
use crate::cli::Cli;

/// Notes this command, with the names of its options and without their values; `result` says how far it is.
pub(crate) fn note_command(common: &Common, result: &str) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_option = |word: &&String| word.starts_with("--");
    // Not the first word without a dash: that may be the value of an option before it.
    let known = Cli::command();
    let command = words.iter().find(|word| known.find_subcommand(word).is_some());
    let command = command.map_or("", String::as_str);
    let names = words.iter().filter(is_option).map(|word| word.split('=').next().unwrap_or(word));
    let names = names.map(|name| name.trim_start_matches('-')).collect();
    keep(common, command, names, result);
}

/// Notes that `action` was done.
pub(crate) fn note(common: &Common, action: &str) {
    keep(common, action, Vec::new(), "ok");
}

fn keep(common: &Common, action: &str, given: Vec<&str>, result: &str) {
    let user =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let draft = Draft {
        time_unix_nano: clock::now().0,
        who: format!("command:{}", user.unwrap_or_else(|| "unknown".to_owned())),
        action: format!("deeptrace {action}"),
        from: String::new(),
        result: result.to_owned(),
        details: given.into_iter().map(|name| (name.to_owned(), String::new())).collect(),
    };
    if let Err(error) = audit::note(&common.data_dir, draft) {
        eprintln!("deeptrace: this was not noted in the audit log: {error}");
    }
}
