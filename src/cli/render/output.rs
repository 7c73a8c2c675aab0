//! Where rendered frames go: a folder, an AVI file, or the program ffmpeg.

use crate::audio::Sound;
use crate::render::{AviFormat, AviWriter};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// The program that encodes other films than AVI, looked for in PATH.
const FFMPEG: &str = "ffmpeg";
/// Films that ffmpeg writes with the encoders that it chooses for the ending.
const FFMPEG_ENDINGS: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];
/// The longest ending that a folder's name is not taken to have.
const LONGEST_ENDING: usize = 5;

/// Why frames cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error(
        "{}: a film is written as .avi, or by ffmpeg as .mp4, .m4v, .mov, .mkv or .webm, and numbered JPEGs into a folder; if \
         this is to be a folder, end its name with /", output.display()
    )]
    Ending { output: PathBuf },
    #[error(
        "{}: this film is encoded by the program ffmpeg, which is not installed; install it (apt install ffmpeg), or name a \
         film that ends in .avi", output.display()
    )]
    NoFfmpeg { output: PathBuf },
    #[error("{}: ffmpeg has failed ({status}); its words are above", output.display())]
    Ffmpeg { output: PathBuf, status: ExitStatus },
    #[error("{}: is not empty; name a new folder, or one without files", output.display())]
    NotEmpty { output: PathBuf },
    #[error("{}", file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// What the user has asked for, and that it can be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Folder(PathBuf),
    Avi(PathBuf),
    Ffmpeg(PathBuf),
}

impl Target {
    /// Reads the name, and looks whether the folder is empty or ffmpeg is there. Writes nothing.
    pub(super) fn of(output: &Path) -> Result<Target, OutputError> {
        let name = output.to_owned();
        let ending = output
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        let is_folder = output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
        match ending.as_deref() {
            Some("avi") if !is_folder => Ok(Target::Avi(name)),
            Some(ending) if FFMPEG_ENDINGS.contains(&ending) && !is_folder => {
                match is_installed(FFMPEG) {
                    true => Ok(Target::Ffmpeg(name)),
                    false => Err(OutputError::NoFfmpeg { output: name }),
                }
            }
            Some(ending) if looks_like_an_ending(ending) && !is_folder => {
                Err(OutputError::Ending { output: name })
            }
            // Frames of an earlier, longer recording would stay behind these.
            _ if fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) => {
                Err(OutputError::NotEmpty { output: name })
            }
            _ => Ok(Target::Folder(name)),
        }
    }
}

/// Letters with a digit or two, as of `gif`, and not the number of `take-1.5`.
fn looks_like_an_ending(ending: &str) -> bool {
    ending.len() <= LONGEST_ENDING
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && ending.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("-version").stdin(Stdio::null());
    let status = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok()
}

/// What is being written.
pub(super) struct Output<'a> {
    path: PathBuf,
    sound: &'a Sound,
    written: u32,
    sink: Sink,
}

enum Sink {
    Folder,
    /// Each frame is one write: there is no buffer whose rest could be lost.
    Avi(AviWriter<File>),
    Ffmpeg {
        child: Child,
        film: AviWriter<ChildStdin>,
    },
}

impl<'a> Output<'a> {
    pub(super) fn create(
        target: Target,
        format: AviFormat,
        sound: &'a Sound,
    ) -> Result<Output<'a>, OutputError> {
        let (path, sink) = match target {
            Target::Folder(path) => {
                let made = fs::create_dir_all(&path);
                (path, made.map(|()| Sink::Folder))
            }
            Target::Avi(path) => {
                let film = File::create(&path).and_then(|file| AviWriter::new(file, format));
                (path, film.map(Sink::Avi))
            }
            Target::Ffmpeg(path) => {
                let sink = ffmpeg(&path, format)?;
                (path, Ok(sink))
            }
        };
        match sink {
            Ok(sink) => Ok(Output {
                path,
                sound,
                written: 0,
                sink,
            }),
            Err(source) => Err(OutputError::Write { file: path, source }),
        }
    }

    pub(super) fn write(&mut self, jpeg: &[u8]) -> Result<(), OutputError> {
        let (frame, mut file) = (self.written, self.path.clone());
        let result = match &mut self.sink {
            Sink::Folder => {
                file.push(format!("frame_{frame:06}.jpg"));
                fs::write(&file, jpeg)
            }
            Sink::Avi(film) => film.write_frame(jpeg, self.sound.of_frame(frame)),
            Sink::Ffmpeg { film, .. } => film.write_frame(jpeg, self.sound.of_frame(frame)),
        };
        result.map_err(|source| OutputError::Write { file, source })?;
        self.written += 1;
        Ok(())
    }

    /// Makes what has been written whole, and says how many frames that are.
    pub(super) fn finish(self) -> Result<u64, OutputError> {
        let Output {
            path,
            written,
            sink,
            ..
        } = self;
        let result = match sink {
            Sink::Folder => Ok(u64::from(written)),
            Sink::Avi(film) => film.finish().and_then(|(mut file, frames)| {
                // Part of a frame may lie behind the index.
                let end = io::Seek::stream_position(&mut file)?;
                file.set_len(end)?;
                Ok(frames)
            }),
            Sink::Ffmpeg { child, film } => {
                drop(film);
                return end_ffmpeg(child, &path).map(|()| u64::from(written));
            }
        };
        result.map_err(|source| OutputError::Write { file: path, source })
    }
}

/// Starts ffmpeg, which reads an AVI file from a pipe: it needs no index.
fn ffmpeg(path: &Path, format: AviFormat) -> Result<Sink, OutputError> {
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    let failed = |source| OutputError::Write {
        file: path.to_owned(),
        source,
    };
    let mut child = Command::new(FFMPEG)
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(["-f", "avi", "-i", "pipe:0"])
        // Players want this format of pixels, and it wants even sides.
        .args(["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"])
        .args(["-pix_fmt", "yuv420p"])
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C is for this process, which then ends the film.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take().ok_or(ErrorKind::BrokenPipe.into());
    match stdin.and_then(|stdin| AviWriter::new(stdin, format)) {
        Ok(film) => Ok(Sink::Ffmpeg { child, film }),
        // It has ended at once: it says why.
        Err(source) => Err(end_ffmpeg(child, path).err().unwrap_or(failed(source))),
    }
}

/// Waits until ffmpeg, whose input has ended, has ended the film.
fn end_ffmpeg(mut child: Child, path: &Path) -> Result<(), OutputError> {
    let output = path.to_owned();
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(OutputError::Ffmpeg { output, status }),
        Err(source) => Err(OutputError::Write {
            file: output,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_a_file_is_no_folder() {
        for name in ["film.gif", "film.mp3", "a/b.JPG", "film.avi2"] {
            let error = Target::of(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains(".avi") && error.contains(".mp4"), "{error}");
        }
        for name in [
            "frames",
            "take-1.5",
            "film.gif/",
            "/no/such.d/frames",
            ".frames",
            "a.b-c",
        ] {
            let target = Target::of(Path::new(name)).unwrap();
            assert_eq!(target, Target::Folder(name.into()));
        }
        let avi = Target::of(Path::new("Film.AVI")).unwrap();
        assert_eq!(avi, Target::Avi("Film.AVI".into()));
    }
}
