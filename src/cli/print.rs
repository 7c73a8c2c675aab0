//! Standard output and standard error, either of which may be a pipe that nobody reads any more.

use std::error::Error;
use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use super::CliError;

/// Status of a program that SIGPIPE has ended, as shells tell it: 128 and the signal's number.
const CLOSED_PIPE_STATUS: u8 = 128 + 13;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
pub(super) struct PrintError(#[from] std::io::Error);

/// Prints a line, as `println!` does, which would panic where `head` has closed the pipe: a [`PrintError`] ends the
/// command, see [`report`].
macro_rules! say {
    ($($words:tt)*) => {
        $crate::cli::print::print_line(format_args!($($words)*))
    };
}
pub(super) use say;

/// See [`say`].
pub(super) fn print_line(words: std::fmt::Arguments<'_>) -> Result<(), PrintError> {
    Ok(writeln!(std::io::stdout(), "{words}")?)
}

/// Prints what is wrong, where it can be; nothing more could be done.
pub(super) fn print_error(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "lipsyncd: {text}");
}

/// Tells why a command has failed, with its causes, and with which status to exit. A pipe that its reader has closed is
/// no failure worth a word.
pub fn report(error: &CliError) -> ExitCode {
    if let Some(PrintError(error)) = error.downcast_ref()
        && error.kind() == ErrorKind::BrokenPipe
    {
        return CLOSED_PIPE_STATUS.into();
    }
    print_error(in_words(error.as_ref()));
    ExitCode::FAILURE
}

/// The error and its causes, but for those that its own words tell.
fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{told}")]
        struct Outer {
            told: &'static str,
            source: std::io::Error,
        }
        let source = || std::io::Error::other("disk on fire");
        let (told, source_) = ("film.avi", source());
        let error = Outer {
            told,
            source: source_,
        };
        assert_eq!(in_words(&error), "film.avi: disk on fire");
        let (told, source) = ("disk on fire: film.avi", source());
        assert_eq!(in_words(&Outer { told, source }), told);
    }
}
