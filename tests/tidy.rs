//! The promises of ARCHITECTURE.md: who may name what, how long a file may be, and that the documents
//! say what the code does.

use std::fs;
use std::path::{Path, PathBuf};

use lipsyncd::base::limits::LIMITS;

/// Longest source file, in lines.
const MAX_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of `src`: path relative to it, text.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    let src = root().join("src");
    walk(&src, &mut files);
    let name = |path: &Path| {
        path.strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Whether a source file holds unit tests only.
fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The lines of code: no comments, no text behind the unit tests' heading.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether a line names a crate or module as a path: `name::` not preceded by more of a word.
fn names(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn each_of_these_crates_is_named_in_one_room() {
    for (name, rooms) in [
        ("tungstenite", &["transport/"][..]),
        ("tract_onnx", &["model/"]),
        ("tract_core", &["model/"]),
        ("mozjpeg", &["frame/"]),
        ("zune_jpeg", &["frame/"]),
        ("rayon", &["engine/", "model/fuse/"]),
        ("httparse", &["transport/"]),
        ("prost", &["protocol/"]),
        ("realfft", &["audio/"]),
        ("sd_notify", &["cli/"]),
        ("ctrlc", &["cli/"]),
        ("signal_hook", &["cli/"]),
        ("simplelog", &["observe/"]),
        ("hdrhistogram", &["observe/"]),
        ("clap", &["cli/", "main.rs", "base/limits.rs"]),
    ] {
        for (file, text) in sources() {
            if is_test(&file) || rooms.iter().any(|room| file.starts_with(room)) {
                continue;
            }
            if let Some(line) = code(&text).find(|line| names(line, name)) {
                panic!("src/{file} names {name}, which belongs to {rooms:?}: {line}");
            }
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    // Each room and the rooms that it may use.
    for (room, allowed) in [
        ("base/", &[][..]),
        ("protocol/", &[]),
        ("audio/", &[]),
        ("kernels/", &[]),
        ("frame/", &["base"]),
        ("stream/", &["protocol", "audio", "base"]),
        ("model/", &["audio", "base", "frame", "kernels"]),
        ("render/", &["audio", "frame", "model"]),
        ("observe/", &["base"]),
        ("config/", &["base", "protocol"]),
        (
            "engine/",
            &["audio", "base", "config", "frame", "model", "observe"],
        ),
        ("transport/", &["base"]),
        (
            "session/",
            &[
                "audio",
                "base",
                "config",
                "engine",
                "model",
                "observe",
                "protocol",
                "stream",
                "transport",
            ],
        ),
        (
            "server/",
            &[
                "base",
                "config",
                "engine",
                "model",
                "observe",
                "protocol",
                "session",
                "transport",
            ],
        ),
    ] {
        let own = room.trim_end_matches('/').trim_end_matches(".rs");
        for (file, text) in sources()
            .iter()
            .filter(|(file, _)| file.starts_with(room) && !is_test(file))
        {
            for line in code(text) {
                for (at, found) in line.match_indices("crate::") {
                    let rest = &line[at + found.len()..];
                    let end = rest
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(rest.len());
                    let used = &rest[..end];
                    assert!(
                        used.is_empty() || used == own || allowed.contains(&used),
                        "src/{file} uses {used}, and {room} may use {allowed:?}: {line}"
                    );
                }
            }
        }
    }
}

#[test]
fn protocol_and_audio_are_pure() {
    for (file, text) in sources() {
        if is_test(&file) {
            continue;
        }
        if !["protocol/", "audio/", "stream/", "kernels/"]
            .iter()
            .any(|room| file.starts_with(room))
        {
            continue;
        }
        for line in code(&text) {
            for impure in [
                "std::fs",
                "std::net",
                "std::thread",
                "Instant::now",
                "SystemTime",
                "log::",
                "println!",
            ] {
                if file == "kernels/isa.rs" && impure == "Instant::now" {
                    continue; // It measures the core's peak, for `bench`.
                }
                let found = match impure {
                    "log::" => names(line, "log"),
                    _ => line.contains(impure),
                };
                assert!(!found, "src/{file} is to be pure: {line}");
            }
        }
    }
}

#[test]
fn unsafe_is_for_kernels() {
    for (file, text) in sources() {
        if file.starts_with("kernels/") {
            continue;
        }
        let unsafe_line = code(&text).find(|line| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe")
        });
        assert_eq!(unsafe_line, None, "src/{file}");
    }
}

#[test]
fn files_are_of_a_size_that_can_be_read() {
    let mut files = sources();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push((
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
    for (file, text) in files {
        if is_test(&file) {
            continue;
        }
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{file} has {lines} lines");
    }
}

#[test]
fn every_limit_is_in_the_document() {
    let file = root().join("docs/CONFIGURATION.md");
    let document = fs::read_to_string(&file).unwrap();
    let rows: Vec<String> = LIMITS
        .iter()
        .map(|limit| {
            format!(
                "| `--{}` | {} | {} | {} – {} | {} |",
                limit.name.replace('_', "-"),
                limit.default,
                limit.unit,
                limit.min,
                limit.max,
                limit.reason
            )
        })
        .collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !document.contains(*row)).collect();
    assert!(
        missing.is_empty(),
        "docs/CONFIGURATION.md lacks these rows:\n{}",
        rows.join("\n")
    );
    let documented = document
        .lines()
        .filter(|line| {
            line.starts_with("| `--max-") || line.contains("-ms` |") || line.contains("-bytes` |")
        })
        .count();
    assert!(
        documented <= LIMITS.len(),
        "docs/CONFIGURATION.md has rows of limits that are gone"
    );
}

#[test]
fn systemd_waits_longer_than_a_stop_takes() {
    let unit = fs::read_to_string(root().join("systemd/lipsyncd.service")).unwrap();
    let seconds = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .expect("a limit");
    let given = std::time::Duration::from_secs(seconds.parse().unwrap());
    let needed = lipsyncd::base::limits::Limits::default().stop_budget();
    assert!(given > needed, "{given:?} is not above {needed:?}");
}
