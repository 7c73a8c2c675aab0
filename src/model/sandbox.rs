//! Checking a package in a process of its own.
//!
//! The inference engine, fed a crafted network, may panic, allocate without bound, or abort the process where no
//! `catch_unwind` helps. So a package that nobody vouches for is loaded and run once by a child, `lipsyncd check`, which
//! limits its own memory and time first; only then may the server load it.

use super::{LoadLimits, ModelError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, set_parent_process_death_signal,
    setrlimit,
};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a check in a child process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// Address space of the child, bytes. 4 GiB: the largest network allowed, its packed copy and its activations.
    pub memory_bytes: u64,
    /// Time by the clock, and as much of the processor's.
    pub time: Duration,
    /// The limits that the package is loaded with: those of the server that will serve it.
    pub load: LoadLimits,
}

impl Default for CheckLimits {
    fn default() -> CheckLimits {
        CheckLimits {
            memory_bytes: 4 << 30,
            time: Duration::from_secs(120),
            load: LoadLimits::default(),
        }
    }
}

/// Most bytes kept of what a child says: the first of its report, the last of its complaints.
const OUTPUT_BYTES: usize = 16 << 10;
/// How often a parent looks whether its child has ended, on kernels without pidfds (before Linux 5.3).
const POLL: Duration = Duration::from_millis(20);

/// Checks the package in `folder` in a child process: `program` is the lipsyncd binary. Blocks until the child has
/// ended, at most `limits.time`. Returns what the check printed.
///
/// # Errors
/// [`ModelError::CheckFailed`] with the child's own words, or with how it ended.
pub fn check_in_child(
    program: &Path,
    folder: &Path,
    limits: CheckLimits,
) -> Result<String, ModelError> {
    check_in_child_until(program, folder, limits, None)
}

/// As [`check_in_child`]; once `cancel` is readable the child is killed.
///
/// # Errors
/// As [`check_in_child`].
pub fn check_in_child_until(
    program: &Path,
    folder: &Path,
    limits: CheckLimits,
    cancel: Option<BorrowedFd<'_>>,
) -> Result<String, ModelError> {
    let failed = |reason: String| {
        let package = folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned();
        ModelError::CheckFailed { package, reason }
    };
    let mut command = Command::new(program);
    command
        .args(["check", "--child"])
        .args(flags(limits))
        .arg("--")
        .arg(folder);
    let mut running = Running::start(&mut command)
        .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
    let end = running.wait(limits.time, cancel);
    match end.map_err(|error| failed(error.to_string()))? {
        End::Cancelled => Err(failed(
            "it was given up, because the server is shutting down".to_owned(),
        )),
        End::TimeUp => Err(failed(format!(
            "it took longer than {} s",
            limits.time.as_secs_f32()
        ))),
        End::Exited(status) if status.success() => Ok(running.stdout.text()),
        End::Exited(status) => Err(failed(reason(status, &running.stderr.text()))),
    }
}

/// The child's limits as its command line.
fn flags(limits: CheckLimits) -> [String; 8] {
    let CheckLimits {
        memory_bytes,
        time,
        load,
    } = limits;
    [
        "--memory-mib".to_owned(),
        (memory_bytes >> 20).to_string(),
        "--seconds".to_owned(),
        time.as_secs().max(1).to_string(),
        "--max-package-bytes".to_owned(),
        load.package_bytes.to_string(),
        "--max-frames".to_owned(),
        load.frames.to_string(),
    ]
}

/// Limits this process's memory and processor time for good, and lets it end with its parent. For the child, before it
/// touches the package.
///
/// # Errors
/// Those of the system.
pub fn confine_this_process(limits: CheckLimits) -> io::Result<()> {
    // A parent that was killed cannot end its child. Where the system has no such signal, the limit of time ends it.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let at_most = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(Resource::As, at_most(limits.memory_bytes))?;
    setrlimit(Resource::Cpu, at_most(limits.time.as_secs().max(1)))?;
    // A crash is expected here: it must not fill the disk.
    setrlimit(Resource::Core, at_most(0))?;
    Ok(())
}

/// How the wait for a child ended.
enum End {
    Exited(ExitStatus),
    TimeUp,
    Cancelled,
}

/// A child; killed and reaped at the latest when this is dropped.
struct Running {
    child: Child,
    /// Readable once the child has ended; `None` where the kernel has no pidfds.
    pidfd: Option<OwnedFd>,
    stdout: Output,
    stderr: Output,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Running> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pidfd = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let stdout = Output::new(child.stdout.take().map(OwnedFd::from), false);
        let stderr = Output::new(child.stderr.take().map(OwnedFd::from), true);
        let running = Running {
            child,
            pidfd,
            stdout,
            stderr,
        };
        // From here on an error drops `running`, which ends the child.
        for output in [&running.stdout, &running.stderr] {
            if let Some(pipe) = &output.pipe {
                rustix::io::ioctl_fionbio(pipe, true)?;
            }
        }
        Ok(running)
    }

    /// Waits until the child has ended, reading what it says, so that it never waits for its reader.
    fn wait(&mut self, time: Duration, cancel: Option<BorrowedFd<'_>>) -> io::Result<End> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimeUp);
            }
            let limit = match self.pidfd {
                Some(_) => left,
                None => left.min(POLL),
            };
            if self.poll(cancel, limit)? {
                return Ok(End::Cancelled);
            }
            self.stdout.read()?;
            self.stderr.read()?;
            if let Some(status) = self.child.try_wait()? {
                // What it said last may have come after the reads above.
                self.stdout.read()?;
                self.stderr.read()?;
                return Ok(End::Exited(status));
            }
        }
    }

    /// Sleeps until something happens; `true` when it is `cancel`.
    fn poll(&self, cancel: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<bool> {
        let child = self.pidfd.as_ref().map(AsFd::as_fd);
        let pipes =
            [&self.stdout, &self.stderr].map(|output| output.pipe.as_ref().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = [cancel, child]
            .into_iter()
            .chain(pipes)
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let limit = Timespec {
            tv_sec: limit.as_secs().min(1 << 30) as i64,
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(cancel.is_some() && !fds[0].revents().is_empty())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without effect on one that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the child's output pipes, of which so much is kept.
struct Output {
    /// `None` once the child's side is closed.
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
    /// Whether the last bytes are kept, and not the first.
    keeps_last: bool,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, keeps_last: bool) -> Output {
        Output {
            pipe: pipe.map(std::fs::File::from),
            kept: Vec::new(),
            keeps_last,
        }
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) if self.keeps_last => {
                    self.kept.extend_from_slice(&buffer[..read]);
                    let surplus = self.kept.len().saturating_sub(OUTPUT_BYTES);
                    self.kept.drain(..surplus);
                }
                Ok(read) => {
                    let room = OUTPUT_BYTES.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buffer[..read.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

fn reason(status: ExitStatus, complained: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    let last = complained
        .trim()
        .lines()
        .last()
        .unwrap_or("")
        .trim_start_matches("lipsyncd: ");
    match status.signal() {
        Some(signal) if last.is_empty() => format!("the process was ended by signal {signal}"),
        Some(signal) => format!("the process was ended by signal {signal}: {last}"),
        None if last.is_empty() => format!("the process ended with {status}"),
        None => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that does `script` whatever it is asked.
    fn program(script: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, path)
    }

    fn run(script: &str, cancel: Option<BorrowedFd<'_>>) -> Result<String, String> {
        let (_folder, program) = program(script);
        let limits = CheckLimits {
            time: Duration::from_secs(60),
            ..CheckLimits::default()
        };
        check_in_child_until(&program, Path::new("x"), limits, cancel)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_child_gets_the_limits_of_the_server() {
        let said = run("echo \"$@\"", None).unwrap();
        assert_eq!(
            said,
            "check --child --memory-mib 4096 --seconds 60 --max-package-bytes 536870912 \
             --max-frames 20000 -- x\n"
        );
    }

    #[test]
    fn a_shutdown_ends_a_child_that_would_run_for_a_minute() {
        let (reader, writer) = std::io::pipe().unwrap();
        let started = Instant::now();
        let error = std::thread::scope(|scope| {
            let check = scope.spawn(|| run("exec sleep 60", Some(reader.as_fd())));
            std::thread::sleep(Duration::from_millis(50));
            drop(writer);
            check.join().unwrap().unwrap_err()
        });
        assert!(error.contains("shutting down"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    /// More than a pipe holds, on both, and then an error: nothing blocks, and the last line is told.
    #[test]
    fn a_child_that_says_much_is_read_to_its_end() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of some forty characters or more'; \
                      echo 'another line of some forty characters' >&2; i=$((i+1)); done; exit 3";
        let error = run(script, None).unwrap_err();
        assert!(
            error.ends_with(": another line of some forty characters"),
            "{error}"
        );
    }

    /// A grandchild that keeps the pipes open does not keep the check from ending with its child.
    #[test]
    fn pipes_that_others_hold_do_not_delay_the_end() {
        let started = Instant::now();
        assert_eq!(run("sleep 20 & echo done", None), Ok("done\n".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
