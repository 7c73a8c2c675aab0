//! The log: lines on standard error, which systemd's journal and a terminal both take.
//!
//! A thread of its own writes them, because writing may block for ever: on a pipe that nobody reads, on a full disk that
//! is a network's. Whoever logs puts a line into a bounded queue, and where that is full the line is lost and counted.

use std::io::{self, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flume::{Receiver, Sender, TrySendError};
use log::LevelFilter;
use simplelog::{ConfigBuilder, LevelPadding, ThreadLogMode, WriteLogger};

use crate::base::poll::{Interest, is_retry, wait};

/// Lines that wait for standard error. A terminal or the journal takes thousands a second.
const MAX_QUEUED_LINES: usize = 1024;

/// Bytes of one line; the rest of a longer one is cut.
const MAX_LINE_BYTES: usize = 4096;

/// How long the end of the process waits for the last lines to be taken.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A logger was set before.
    #[error("the log was started before")]
    Started,
    /// The system gives no thread to write it.
    #[error("there is no thread to write the log: {0}")]
    Thread(#[source] io::Error),
}

/// The log of this process while it lives. Dropping it waits for the lines that were queued, for a moment.
pub struct Log {
    queue: LineQueue,
    writer: Option<JoinHandle<()>>,
}

/// Starts the log of this process, panics included.
///
/// # Errors
/// [`LogError`]
pub fn start_log(level: LevelFilter) -> Result<Log, LogError> {
    let (log, lines) = start_writer(io::stderr()).map_err(LogError::Thread)?;
    let mut config = ConfigBuilder::new();
    config
        .set_thread_mode(ThreadLogMode::Names)
        .set_thread_level(LevelFilter::Error)
        .set_level_padding(LevelPadding::Right)
        .set_target_level(LevelFilter::Debug)
        .set_location_level(LevelFilter::Off)
        // They trace every frame and every operator.
        .add_filter_ignore_str("tungstenite")
        .add_filter_ignore_str("tract");
    // The journal adds its own time.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        config.set_time_level(LevelFilter::Off);
    }
    WriteLogger::init(level, config.build(), lines).map_err(|_| LogError::Started)?;
    // The standard hook writes to standard error itself, and a worker must not wait for that. It does not go through the
    // logger, which may be what has panicked.
    let queue = log.queue.clone();
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let text = panic.to_string().replace('\n', " ");
        queue.push(format!("[ERROR] ({name}) {text}\n").into_bytes());
    }));
    Ok(log)
}

fn start_writer(output: impl Output) -> io::Result<(Log, Lines)> {
    let (sender, receiver) = flume::bounded(MAX_QUEUED_LINES);
    let queue = LineQueue {
        sender,
        lost: Arc::default(),
    };
    let lost = queue.lost.clone();
    let writer = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(output, &receiver, &lost))?;
    let lines = Lines {
        queue: queue.clone(),
        line: Vec::new(),
    };
    let writer = Some(writer);
    Ok((Log { queue, writer }, lines))
}

impl Drop for Log {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        // No room for it: the writer is blocked, and so are the lines before.
        let _ = self.queue.sender.send_deadline(Entry::End, deadline);
        if let Some(writer) = self.writer.take() {
            while !writer.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            if writer.is_finished() {
                let _ = writer.join();
            }
        }
    }
}

enum Entry {
    Line(Vec<u8>),
    /// Nothing more comes.
    End,
}

/// Where lines wait for the writer.
#[derive(Clone)]
struct LineQueue {
    sender: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

impl LineQueue {
    /// Queues a whole line, or loses it. Never waits.
    fn push(&self, line: Vec<u8>) {
        match self.sender.try_send(Entry::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The logger's end: puts whole lines into the queue.
struct Lines {
    queue: LineQueue,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                let mut line = std::mem::take(&mut self.line);
                line.push(b'\n');
                self.queue.push(line);
            } else if self.line.len() < MAX_LINE_BYTES {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What lines are written to. Tests have a pipe.
trait Output: Write + std::os::fd::AsFd + Send + 'static {}
impl<W: Write + std::os::fd::AsFd + Send + 'static> Output for W {}

/// The writer's thread. A line that cannot be written is lost, and the next is tried all the same: the reader of a pipe
/// comes back, and a disk has room again.
fn write_lines(mut output: impl Output, entries: &Receiver<Entry>, lost: &AtomicU64) {
    while let Ok(Entry::Line(line)) = entries.recv() {
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            count => {
                let notice = format!(
                    "[WARN] {count} lines of the log were lost: standard error did not take them\n"
                );
                if write_line(&mut output, notice.as_bytes()).is_err() {
                    lost.fetch_add(count, Ordering::Relaxed);
                }
            }
        }
        if write_line(&mut output, &line).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes everything, waiting as long as it takes, also where standard error was made non-blocking by whoever shares it.
fn write_line(output: &mut impl Output, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match output.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => line = &line[count..],
            Err(error) if is_retry(&error) => {
                wait([Interest::new(output, false, true)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_full_pipe_loses_lines_and_tells_how_many_when_it_is_read_again() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (log, mut lines) = start_writer(pipe).unwrap();
        let began = Instant::now();
        // More than the queue and the pipe (64 KiB) hold.
        let count = MAX_QUEUED_LINES + 2 * 65_536 / 100;
        for number in 0..count {
            writeln!(lines, "{number:0100}").unwrap();
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "logging has waited"
        );
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        while !log.queue.sender.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        writeln!(lines, "after").unwrap();
        drop((log, lines));
        let text = reading.join().unwrap();
        assert!(text.ends_with("after\n"), "{text}");
        let (told, kept): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.contains("were lost"));
        let lost = told.iter().map(|line| line.split(' ').nth(1).unwrap());
        let lost: usize = lost.map(|count| count.parse::<usize>().unwrap()).sum();
        assert!(lost > 0, "{told:?}");
        // All numbered lines and the last one.
        assert_eq!(kept.len() + lost, count + 1);
    }

    #[test]
    fn a_closed_pipe_harms_nobody() {
        let (reader, pipe) = io::pipe().unwrap();
        let (log, mut lines) = start_writer(pipe).unwrap();
        drop(reader);
        for number in 0..10 * MAX_QUEUED_LINES {
            writeln!(lines, "{number}").unwrap();
        }
        drop(log);
    }

    #[test]
    fn the_end_waits_for_the_queue_but_not_for_a_reader_who_never_comes() {
        let (_reader, pipe) = io::pipe().unwrap();
        let (log, mut lines) = start_writer(pipe).unwrap();
        for _ in 0..MAX_QUEUED_LINES + 1000 {
            writeln!(lines, "{:0100}", 0).unwrap();
        }
        let began = Instant::now();
        drop(log);
        assert!(began.elapsed() < FLUSH_LIMIT + Duration::from_secs(5));
    }
}
