//! `deeptrace` with one protocol more: every command of it, `run` included.

mod tally;

fn main() -> std::process::ExitCode {
    deeptrace::register_protocol_handler("tally", tally::detect, tally::parse);
    deeptrace::main()
}
