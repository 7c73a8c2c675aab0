//! `lipsyncd inspect`: takes recorded messages apart.

use super::CliError;
use super::print::PrintError;
use crate::protocol::Protocol;
use crate::protocol::inspect::{Direction, Entry, Report, inspect, inspect_text, inspect_unknown};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The largest recording that is read, in bytes: minutes of video.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Decode recorded messages field by field, with offsets, and say where they are wrong
///
/// FILE is the bytes of one message, or a recording as the page exports it: one JSON object a line.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// The file to read; standard input where it is - or missing
    file: Option<PathBuf>,
    /// What the bytes are, where FILE is one message [default: what they fit best]
    #[arg(long, value_enum)]
    protocol: Option<Layout>,
    /// The message was sent by the server, where FILE is one message and --protocol is given
    #[arg(long, requires = "protocol")]
    received: bool,
}

/// The layouts of binary messages.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Layout {
    V1,
    V1Timed,
    Protobuf,
    V2,
}

impl Layout {
    fn protocol(self) -> Protocol {
        match self {
            Layout::V1 => Protocol::Binary,
            Layout::V1Timed => Protocol::BinaryTimed,
            Layout::Protobuf => Protocol::Protobuf,
            Layout::V2 => Protocol::Stream,
        }
    }
}

/// Why there is nothing to tell, or what was found wrong.
#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error("cannot read {}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("the input is larger than {MAX_FILE_BYTES} bytes; cut the recording")]
    TooLarge,
    #[error("the message is wrong: {0}")]
    Message(String),
    #[error("{wrong} of {messages} messages are wrong")]
    Recording { wrong: usize, messages: usize },
}

impl Inspect {
    pub fn run(self) -> Result<(), CliError> {
        let data = read(self.file.as_deref())?;
        let found = self.write(data, &mut io::stdout().lock());
        Ok(found.map_err(PrintError::from)??)
    }

    /// Writes what there is to tell and returns what is wrong.
    fn write(&self, data: Vec<u8>, out: &mut impl Write) -> io::Result<Result<(), InspectError>> {
        match recording(&data) {
            Some(text) if self.protocol.is_none() => inspect_recording(text, out),
            _ => {
                let report = self.inspect_message(data);
                write!(out, "{report}")?;
                let error = report.error.map(|error| error.to_string());
                Ok(error.map_or(Ok(()), |error| Err(InspectError::Message(error))))
            }
        }
    }

    fn inspect_message(&self, data: Vec<u8>) -> Report {
        let direction = if self.received {
            Direction::Received
        } else {
            Direction::Sent
        };
        if let Some(layout) = self.protocol {
            return inspect(layout.protocol(), direction, data.into());
        }
        match std::str::from_utf8(&data) {
            Ok(text) if text.trim_start().starts_with('{') => {
                inspect_text(Protocol::Stream, Direction::Sent, text)
            }
            _ => inspect_unknown(&data.into()),
        }
    }
}

/// The text, where the data is a recording: its first line is an entry or means to be one.
fn recording(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    (first.starts_with('{') && first.contains("\"direction\"")).then_some(text)
}

fn inspect_recording(text: &str, out: &mut impl Write) -> io::Result<Result<(), InspectError>> {
    let (mut messages, mut wrong) = (0, 0);
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        messages += 1;
        let number = index + 1;
        match Entry::parse(line) {
            Ok(entry) => {
                let report = entry.report();
                let direction = match entry.direction {
                    Direction::Sent => "sent",
                    Direction::Received => "received",
                };
                write!(
                    out,
                    "line {number}, {:.1} ms, {direction}: {report}",
                    entry.t_ms
                )?;
                wrong += usize::from(report.error.is_some());
            }
            Err(error) => {
                writeln!(out, "line {number}: WRONG: {error}")?;
                wrong += 1;
            }
        }
    }
    writeln!(out, "{messages} messages, {wrong} wrong")?;
    Ok(match wrong {
        0 => Ok(()),
        wrong => Err(InspectError::Recording { wrong, messages }),
    })
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, InspectError> {
    let mut data = Vec::new();
    let mut take = |source: &mut dyn Read| source.take(MAX_FILE_BYTES + 1).read_to_end(&mut data);
    match file {
        Some(path) if path != Path::new("-") => std::fs::File::open(path)
            .and_then(|mut file| take(&mut file))
            .map_err(|source| InspectError::Unreadable {
                file: path.to_owned(),
                source,
            })?,
        _ => take(&mut io::stdin()).map_err(InspectError::Input)?,
    };
    match data.len() as u64 > MAX_FILE_BYTES {
        true => Err(InspectError::TooLarge),
        false => Ok(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: &[u8]) -> (String, bool) {
        let inspect = Inspect {
            file: None,
            protocol: None,
            received: false,
        };
        let mut out = Vec::new();
        let result = inspect.write(data.to_vec(), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), result.is_ok())
    }

    #[test]
    fn one_message_is_guessed() {
        let (text, good) = told(b"\x04\0\0\0face\x07\0\0\0\0\0\0\0");
        assert!(good && text.starts_with("v1 request, 16 bytes"), "{text}");
        let (text, good) = told(br#"{"type":"list_models"}"#);
        assert!(good && text.starts_with("JSON list_models"), "{text}");
    }

    #[test]
    fn a_recording_is_told_line_by_line() {
        let line = |data: &str| {
            format!(
                r#"{{"t_ms":1,"direction":"sent","protocol":"","kind":"binary","data":"{data}"}}"#
            )
        };
        let (text, good) = told(format!("{}\n\n", line("BAAAAGZhY2UHAAAAAAAAAA==")).as_bytes());
        assert!(
            good && text.contains("line 1, 1.0 ms, sent: v1 request"),
            "{text}"
        );
        let (text, good) = told(format!("{}\n{}\n", line("AAA="), line("?")).as_bytes());
        assert!(!good && text.contains("2 messages, 2 wrong"), "{text}");
        assert!(text.contains("line 2: WRONG: data is not base64"), "{text}");
    }
}
