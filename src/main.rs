//! The `lipsyncd` binary: parses its arguments, runs, exits.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match lipsyncd::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => lipsyncd::cli::report(&error),
    }
}
