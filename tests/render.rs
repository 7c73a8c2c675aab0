//! Films and recordings of the commands, and what becomes of output that nobody reads, run as a user runs them.

use crate::commands::{recording, run, text};
use crate::packages::packages_folder;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lipsyncd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipsyncd"));
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

/// `render` of the smallest package, where programs are looked for in `programs`.
fn render(audio: &Path, output: &Path, programs: &Path) -> Command {
    let mut command = lipsyncd();
    command
        .args(["render", "--model", "tiny", "--models"])
        .arg(packages_folder())
        .arg("--audio")
        .arg(audio)
        .arg("--output")
        .arg(output)
        .env("PATH", programs);
    command
}

fn complaint(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// How many times a film holds a chunk's name.
fn count(film: &[u8], id: &[u8; 4]) -> usize {
    film.windows(4).filter(|window| window == id).count()
}

/// A program `ffmpeg` that is a script.
fn ffmpeg(folder: &Path, script: &str) {
    let file = folder.join("ffmpeg");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `render --output film.mp4` made a folder of that name.
#[test]
fn a_film_of_another_kind_than_avi_is_ffmpegs_or_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let audio = recording(folder.path(), 16_000);
    let programs = folder.path().join("bin");
    fs::create_dir(&programs).unwrap();
    let film = folder.path().join("film.mp4");
    let words = complaint(render(&audio, &film, &programs).output().unwrap());
    assert!(words.contains("ffmpeg, which is not installed") && words.contains(".avi"));
    let gif = folder.path().join("film.gif");
    let words = complaint(render(&audio, &gif, &programs).output().unwrap());
    assert!(
        words.contains(".avi") && words.contains("end its name with /"),
        "{words}"
    );
    assert!(!film.exists() && !gif.exists());

    // What it is given is a film in AVI, and it is to write to the last argument.
    ffmpeg(
        &programs,
        "PATH=/usr/bin:/bin\n[ \"$1\" = -version ] && exit 0\nfor last; do :; done\ncat > \"${last#file:}\"",
    );
    let done = render(&audio, &film, &programs).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let piped = fs::read(&film).unwrap();
    assert_eq!(
        (count(&piped, b"00dc"), count(&piped, b"idx1")),
        (25 + 1, 0)
    );

    ffmpeg(&programs, "[ \"$1\" = -version ] && exit 0\nexit 3");
    let words = complaint(render(&audio, &film, &programs).output().unwrap());
    assert!(
        words.contains("ffmpeg has failed (exit status: 3)"),
        "{words}"
    );
}

#[test]
fn ctrl_c_ends_a_film_that_can_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let mut sound = fs::read(recording(folder.path(), 16_000)).unwrap();
    let second = sound[44..].to_vec();
    // Two minutes; the size in the header is not true, and the file is read to its end.
    sound[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    (1..120).for_each(|_| sound.extend_from_slice(&second));
    let (audio, film) = (
        folder.path().join("long.wav"),
        folder.path().join("film.avi"),
    );
    fs::write(&audio, sound).unwrap();
    let mut command = render(&audio, &film, folder.path());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while fs::metadata(&film).map_or(0, |film| film.len()) < 100_000 {
        assert!(started.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let words = complaint(child.wait_with_output().unwrap());
    let (_, told) = words.split_once("film.avi holds ").expect(&words);
    let frames: usize = told.split(' ').next().unwrap().parse().unwrap();
    assert!(
        told.ends_with("of 3000 frames\n") && frames < 3_000,
        "{words}"
    );
    let film = fs::read(&film).unwrap();
    // In the pictures' chunks, their two indexes, and the header's.
    assert_eq!(count(&film, b"00dc"), 2 * frames + 2);
    assert_eq!(count(&film, b"idx1"), 1);
}

/// `lipsyncd check MODELS/* | head -1` ended with a panic.
#[test]
fn a_pipe_that_nobody_reads_ends_every_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let audio = recording(folder.path(), 16_000);
    let mel = folder.path().join("mel.npy");
    let (tiny, frames) = (packages_folder().join("tiny"), folder.path().join("frames"));
    let unet = tiny.join("unet.onnx");
    let message = folder.path().join("message");
    fs::write(&message, r#"{"type":"list_models"}"#).unwrap();
    let mut film = render(&audio, &frames, folder.path());
    let mut commands = vec![
        vec!["check", text(&tiny), text(&tiny)],
        vec!["bench", "--unet", text(&unet), "--iterations", "1"],
        vec!["inspect", text(&message)],
        vec![
            "features",
            "--mel",
            "--audio",
            text(&audio),
            "--output",
            text(&mel),
        ],
        vec!["--help"],
        vec!["--version"],
    ];
    let of = |arguments: Vec<&str>| {
        let mut command = lipsyncd();
        command.args(arguments);
        command
    };
    let mut commands: Vec<Command> = commands.drain(..).map(of).collect();
    commands.push(std::mem::replace(&mut film, lipsyncd()));
    for mut command in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let done = done.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&done.stderr);
        // As of a program that SIGPIPE has ended.
        assert!(
            matches!(done.status.code(), Some(0 | 141)),
            "{command:?}: {words}"
        );
        assert_eq!(words, "", "{command:?}");
    }
    // Nor does it matter that what is wrong cannot be told.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = of(vec!["check", "/no/such/package"]);
    let status = command.stdout(Stdio::null()).stderr(writer).status();
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn recordings_of_every_kind_have_the_features_of_their_sound() {
    let folder = tempfile::tempdir().unwrap();
    let plain = fs::read(recording(folder.path(), 16_000)).unwrap();
    let features = |name: &str, sound: &[u8]| {
        let (audio, out) = (folder.path().join(name), folder.path().join("mel.npy"));
        fs::write(&audio, sound).unwrap();
        run(&[
            "features",
            "--mel",
            "--audio",
            text(&audio),
            "--output",
            text(&out),
        ])?;
        Ok::<_, String>(fs::read(out).unwrap())
    };
    let expected = features("plain.wav", &plain).unwrap();
    for size in [0u32, u32::MAX, 0x7fff_ffff, 2_000_000_000] {
        let mut sound = plain.clone();
        sound[40..44].copy_from_slice(&size.to_le_bytes());
        assert_eq!(features("service.wav", &sound).unwrap(), expected);
    }
    let words = features("error.wav", br#"{"error":"quota"}"#).unwrap_err();
    assert!(
        words.contains("error.wav: it is text and no sound"),
        "{words}"
    );
    let mut fast = plain.clone();
    fast[24..28].copy_from_slice(&96_000u32.to_le_bytes());
    assert!(features("studio.wav", &fast).is_ok());
}
