//! The promises of ARCHITECTURE.md: who may name what, which way dependencies point, how long files and functions may
//! be, and that the documents say what the code does.
//!
//! The sources are parsed (`source.rs`), so neither formatting nor a `#[cfg(test)]` in the middle of a file hides code.

mod graph;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lipsyncd::base::limits::{LIMITS, LimitSpec, Limits};

use graph::Graph;
use source::{SourceFile, parse, product, root, rust_files};

/// Longest file and longest function, in lines.
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 80;

/// Crates and the only rooms that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("tungstenite", &["transport/"]),
    ("httparse", &["transport/"]),
    ("tract_onnx", &["model/"]),
    ("tract_core", &["model/"]),
    ("mozjpeg", &["frame/"]),
    ("zune_jpeg", &["frame/"]),
    ("rayon", &["engine/", "model/fuse/"]),
    ("prost", &["protocol/", "model/onnx/"]),
    ("realfft", &["audio/"]),
    ("symphonia", &["recording/"]),
    ("sd_notify", &["cli/"]),
    ("ctrlc", &["cli/"]),
    ("signal_hook", &["cli/"]),
    ("simplelog", &["observe/"]),
    ("hdrhistogram", &["observe/"]),
    ("clap", &["cli/", "main.rs", "base/limits.rs"]),
];

/// Each room and the rooms that it may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("protocol", &["base"]),
    ("audio", &["base"]),
    ("kernels", &[]),
    ("frame", &["base"]),
    ("recording", &["audio", "base"]),
    ("stream", &["audio", "base", "protocol"]),
    ("model", &["audio", "base", "frame", "kernels"]),
    ("render", &["audio", "base", "frame", "model"]),
    ("observe", &["base"]),
    ("config", &["base", "protocol"]),
    (
        "engine",
        &["audio", "base", "config", "frame", "model", "observe"],
    ),
    ("transport", &["base"]),
    (
        "session",
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
        "server",
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
];

/// The networks' kernels and their compiler, which stand twice, for f32 and for int8, until they are one core generic
/// over the element: circles inside of them, and these long inner loops, are known.
const NUMERIC_CORE: &[&str] = &["kernels/", "model/fuse/"];
const LONG_LOOPS: &[(&str, &str)] = &[
    ("kernels/dense.rs", "tile"),
    ("kernels/int8/dense.rs", "tile"),
    ("model/fuse/bytes.rs", "byte_step"),
];
/// A network, its states and its calibration are made of each other.
const NETWORK: &[&str] = &[
    "model/calibration.rs",
    "model/network.rs",
    "model/states.rs",
];

/// Rooms whose code is a function of its arguments: no clock, file, socket, thread or log.
const PURE: &[&str] = &["protocol", "audio", "stream", "kernels"];

fn room(file: &SourceFile) -> &str {
    file.module.first().map_or("", String::as_str)
}

#[test]
fn each_of_these_crates_is_named_in_one_room() {
    for file in product() {
        for (name, rooms) in CRATES {
            if rooms.iter().any(|room| file.path.starts_with(room)) {
                continue;
            }
            if let Some(path) = file.paths.iter().find(|path| path.segments[0] == *name) {
                panic!(
                    "src/{}:{} names {name}, which belongs to {rooms:?}",
                    file.path, path.line
                );
            }
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let files = product();
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    for file in files
        .iter()
        .filter(|file| !file.module.is_empty() && room(file) != "cli")
    {
        let own = room(file);
        let allowed = rooms
            .get(own)
            .unwrap_or_else(|| panic!("the room {own} of src/{} is in no table", file.path));
        for path in &file.paths {
            let Some(full) = graph::absolute(&files, file, &path.segments) else {
                continue;
            };
            let Some(used) = full.first().filter(|used| *used != own) else {
                continue;
            };
            let is_room = rooms.contains_key(used.as_str()) || used == "cli";
            assert!(
                !is_room || allowed.contains(&used.as_str()),
                "src/{}:{} uses {used}; {own} may use {allowed:?}",
                file.path,
                path.line
            );
        }
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut circles = Graph::new(&product()).circles();
    circles.retain(|circle| {
        let is_in = |places: &[&str]| {
            let mut files = circle.lines().map(str::trim_start);
            files.all(|file| places.iter().any(|place| file.starts_with(place)))
        };
        !is_in(NUMERIC_CORE) && !is_in(NETWORK)
    });
    assert!(
        circles.is_empty(),
        "{} circles:\n{}",
        circles.len(),
        circles.join("\n\n")
    );
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    for file in product() {
        // `kernels/isa.rs` measures the core's peak, for `bench`.
        if !PURE.contains(&room(&file)) || file.path == "kernels/isa.rs" {
            continue;
        }
        for path in &file.paths {
            let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            let is_impure = matches!(
                segments[..],
                ["std", "fs" | "net" | "thread" | "process" | "env", ..]
                    | ["log", ..]
                    | ["println!" | "eprintln!" | "print!" | "eprint!" | "dbg!"]
            ) || segments.ends_with(&["Instant", "now"])
                || segments.ends_with(&["SystemTime", "now"]);
            assert!(
                !is_impure,
                "src/{}:{} is to be pure: {}",
                file.path,
                path.line,
                segments.join("::")
            );
        }
    }
}

#[test]
fn unsafe_is_for_kernels() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(
        text.contains("#![deny(unsafe_code)]"),
        "src/lib.rs denies unsafe code"
    );
    for file in product() {
        let is_allowed_to = file.path == "lib.rs" || room(&file) == "kernels";
        assert!(
            !file.allows_unsafe || is_allowed_to,
            "src/{} allows unsafe code",
            file.path
        );
    }
}

#[test]
fn files_and_functions_are_of_a_size_that_can_be_read() {
    let mut faults = Vec::new();
    for file in product() {
        for (name, lines) in file.functions.iter().filter(|(name, lines)| {
            *lines > MAX_FUNCTION_LINES && !LONG_LOOPS.contains(&(&*file.path, &**name))
        }) {
            faults.push(format!("src/{}: fn {name} has {lines} lines", file.path));
        }
    }
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MAX_FILE_LINES {
                faults.push(format!(
                    "{} has {lines} lines",
                    path.strip_prefix(root()).unwrap().display()
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} are too long:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn every_limit_is_in_the_document() {
    let document = fs::read_to_string(root().join("docs/CONFIGURATION.md")).unwrap();
    let row = |limit: &LimitSpec| {
        let flag = limit.name.replace('_', "-");
        format!(
            "| `--{flag}` | {} | {} | {} – {} | {} |",
            limit.default, limit.unit, limit.min, limit.max, limit.reason
        )
    };
    let rows: Vec<String> = LIMITS.iter().map(row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !document.contains(*row)).collect();
    assert!(
        missing.is_empty(),
        "docs/CONFIGURATION.md lacks {missing:#?}"
    );
    let is_limit = |line: &&str| {
        line.starts_with("| `--max-") || line.contains("-ms` |") || line.contains("-bytes` |")
    };
    let documented = document.lines().filter(is_limit).count();
    assert!(
        documented <= LIMITS.len(),
        "docs/CONFIGURATION.md has rows of limits that are gone"
    );
}

#[test]
fn systemd_waits_longer_than_a_stop_takes() {
    let unit = fs::read_to_string(root().join("systemd/lipsyncd.service")).unwrap();
    let mut lines = unit.lines();
    let seconds = lines.find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let given = Duration::from_secs(seconds.expect("a limit").parse().unwrap());
    let needed = Limits::default().stop_budget();
    assert!(given > needed, "{given:?} is not above {needed:?}");
}

/// docs/CASES.md promises a test for each situation: `file` `test` in its last column.
#[test]
fn every_test_that_the_cases_name_exists() {
    let document = fs::read_to_string(root().join("docs/CASES.md")).unwrap();
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("` `"));
    let mut named = 0;
    for row in rows {
        let column = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        for pair in column.split(", ") {
            let (file, test) = pair.trim().trim_matches('`').split_once("` `").expect(row);
            let text =
                fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file}: {row}"));
            let is_defined = ["fn ", "def ", "function "]
                .iter()
                .any(|word| text.contains(&format!("{word}{test}(")));
            assert!(is_defined, "{file} has no test {test}");
            named += 1;
        }
    }
    assert!(named >= 55, "{named} tests are named");
}

/// The checks themselves: what they must see.
mod checks {
    use super::*;

    fn segments(file: &SourceFile) -> Vec<String> {
        file.paths
            .iter()
            .map(|path| path.segments.join("::"))
            .collect()
    }

    #[test]
    fn code_behind_unit_tests_is_read_and_unit_tests_are_not() {
        let text = "#[cfg(test)] mod a { use tract_onnx::x; }\nuse crate::{engine, model::Package};\n\
                    fn f() { log::info!(\"{}\", crate::cli::NAME); }\n#[cfg(all(test, unix))] fn g() { mozjpeg::y() }";
        let file = parse("stream/mod.rs", text);
        let found = segments(&file);
        for wanted in [
            "crate::engine",
            "crate::model::Package",
            "log::info",
            "crate::cli::NAME",
        ] {
            assert!(
                found.iter().any(|path| path == wanted),
                "{wanted} in {found:?}"
            );
        }
        assert!(
            !found
                .iter()
                .any(|path| path.contains("tract_onnx") || path.contains("mozjpeg")),
            "{found:?}"
        );
    }

    #[test]
    fn a_circle_is_found_through_a_re_export() {
        let files = [
            parse("engine/mod.rs", "mod a; mod b; pub use a::A;"),
            parse("engine/a.rs", "use super::b::B; pub struct A(B);"),
            parse(
                "engine/b.rs",
                "use crate::engine::A; pub struct B(Option<Box<A>>);",
            ),
        ];
        let circles = Graph::new(&files).circles();
        assert_eq!(circles.len(), 1, "{circles:?}");
        assert!(
            circles[0].contains("engine/a.rs -> engine/b.rs"),
            "{circles:?}"
        );
    }

    #[test]
    fn handing_on_a_name_is_no_use_of_it() {
        let files = [
            parse("engine/mod.rs", "mod a; pub use a::A; pub struct Base;"),
            parse("engine/a.rs", "use super::Base; pub struct A(Base);"),
        ];
        assert!(Graph::new(&files).circles().is_empty());
    }
}
