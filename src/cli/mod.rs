//! The command line: serving, which is the default, and the commands besides.

mod bench;
mod check;
mod features;
mod infer;
mod inspect;
mod offline;
mod print;
mod quantize;
mod render;
mod serve;
mod signals;

use clap::{Parser, Subcommand};

pub use bench::Bench;
pub use check::Check;
pub use features::Features;
pub use infer::Infer;
pub use inspect::Inspect;
pub use print::report;
pub use quantize::Quantize;
pub use render::Render;
pub use serve::Serve;

/// Why a command failed, in words for the person who gave it.
pub type CliError = Box<dyn std::error::Error + Send + Sync>;

/// A real-time lip-sync server: speech goes in, a talking face comes out
///
/// Without a command it serves: `lipsyncd --port 8765`, then open http://localhost:8765/.
#[derive(Debug, Parser)]
#[command(name = "lipsyncd", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the packages of the models folder (the default)
    Serve(Box<Serve>),
    Render(Render),
    Features(Features),
    Infer(Infer),
    Bench(Bench),
    Quantize(Quantize),
    Inspect(Inspect),
    Check(Check),
}

impl Cli {
    /// Runs what was asked for.
    ///
    /// # Errors
    /// [`CliError`] says what was wrong and what to do.
    pub fn run(self) -> Result<(), CliError> {
        match self.command {
            None => self.serve.run(),
            Some(Command::Serve(serve)) => serve.run(),
            Some(Command::Infer(infer)) => infer.run(),
            Some(Command::Bench(bench)) => bench.run(),
            Some(Command::Quantize(quantize)) => quantize.run(),
            Some(Command::Inspect(inspect)) => inspect.run(),
            Some(Command::Render(render)) => render.run(),
            Some(Command::Features(features)) => features.run(),
            Some(Command::Check(check)) => check.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_no_command() {
        for line in [
            &["lipsyncd", "--port", "1"][..],
            &["lipsyncd", "serve", "--port", "1"],
        ] {
            Cli::try_parse_from(line).unwrap();
        }
        assert!(Cli::try_parse_from(["lipsyncd", "--max-queue"]).is_err());
        assert!(Cli::try_parse_from(["lipsyncd", "--no-such-limit", "1"]).is_err());
    }
}
