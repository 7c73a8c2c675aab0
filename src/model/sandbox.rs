//! Checking a package in a process of its own.
//!
//! The inference engine, fed a crafted network, may panic, allocate without bound, or abort the process where no
//! `catch_unwind` helps. So a package that nobody vouches for is loaded and run once by a child, `lipsyncd check`, which
//! limits its own memory and time first; only then may the server load it.

use super::{LoadLimits, ModelError};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::Read;
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
    /// What the package is loaded with: the limits of the server that will serve it.
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

/// Most bytes kept of what a child says.
const OUTPUT_BYTES: u64 = 16 << 10;
/// How often a waiting parent looks whether its child has ended.
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
    let failed = |reason: String| {
        let package = folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned();
        ModelError::CheckFailed { package, reason }
    };
    let flags = [
        ("--memory-mib", limits.memory_bytes >> 20),
        ("--seconds", limits.time.as_secs().max(1)),
        ("--max-package-bytes", limits.load.package_bytes),
        ("--max-frames", limits.load.frames as u64),
    ];
    let mut command = Command::new(program);
    command.args(["check", "--child"]);
    for (flag, value) in flags {
        command.args([flag, &value.to_string()]);
    }
    let mut child = command
        .arg("--")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
    let (said, complained) = (child.stdout.take(), child.stderr.take());
    let (status, said, complained) = std::thread::scope(|scope| {
        let said = scope.spawn(|| said.map(collect).unwrap_or_default());
        let complained = scope.spawn(|| complained.map(collect).unwrap_or_default());
        let status = wait(&mut child, limits.time);
        (
            status,
            said.join().unwrap_or_default(),
            complained.join().unwrap_or_default(),
        )
    });
    match status.map_err(|error| failed(error.to_string()))? {
        None => Err(failed(format!(
            "it took longer than {} s",
            limits.time.as_secs_f32()
        ))),
        Some(status) if status.success() => Ok(said),
        Some(status) => Err(failed(reason(status, &complained))),
    }
}

/// Limits this process's memory and processor time for good. For the child, before it touches the package.
///
/// # Errors
/// Those of the system.
pub fn confine_this_process(limits: CheckLimits) -> std::io::Result<()> {
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

/// `None`: the time was up, and the child was killed. It has ended and was reaped whatever is returned.
fn wait(child: &mut Child, time: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let outcome = loop {
        match child.try_wait() {
            Ok(None) if started.elapsed() < time => std::thread::sleep(POLL),
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) => break Ok(None),
            Err(error) => break Err(error),
        }
    };
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    child.wait()?;
    outcome
}

/// Reads to the end, so that the child never waits for its reader, and keeps the first bytes.
fn collect(mut pipe: impl Read) -> String {
    let mut kept = Vec::new();
    let read = pipe.by_ref().take(OUTPUT_BYTES).read_to_end(&mut kept);
    if read.is_ok() {
        // What is left is of no interest, and neither is an error while it is thrown away.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    String::from_utf8_lossy(&kept).into_owned()
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
