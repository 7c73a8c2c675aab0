//! The commands besides serving, run as a user runs them.

use crate::packages::{Copy, packages_folder};
use lipsyncd::frame::{JpegHeader, decode_jpeg};
use lipsyncd::model::{CheckLimits, LoadLimits, Package, check_in_child, read_npy, write_npy};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lipsyncd"))
}

/// What the command printed, or what it complained of.
pub fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program())
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// One second of a tone with a tremolo.
pub fn recording(folder: &Path, rate_hz: u32) -> PathBuf {
    let file = folder.join("recording.wav");
    let sample = |i: u32| {
        let t = i as f32 / rate_hz as f32;
        ((t * 1400.0).sin() * (0.5 + 0.5 * (t * 25.0).sin()) * 12_000.0) as i16
    };
    let samples: Vec<u8> = (0..rate_hz).flat_map(|i| sample(i).to_le_bytes()).collect();
    let size = samples.len() as u32;
    let mut data = [&b"RIFF"[..], &(size + 36).to_le_bytes(), b"WAVEfmt "].concat();
    for value in [16, 1 | 1 << 16, rate_hz, 2 * rate_hz, 2 | 16 << 16] {
        data.extend(value.to_le_bytes());
    }
    data.extend([&b"data"[..], &size.to_le_bytes(), &samples].concat());
    fs::write(&file, data).unwrap();
    file
}

#[test]
fn infer_gives_the_golden_output() {
    let out = tempfile::tempdir().unwrap();
    let limits = LoadLimits::default();
    let folder = packages_folder().join("tiny_own");
    let package = Package::load(&folder, &limits).unwrap();
    let golden = package.manifest().golden.clone().unwrap();
    let (image, output) = (out.path().join("image.npy"), out.path().join("output.npy"));
    let mut input = vec![0.0; package.manifest().geometry.input_len()];
    let crop = package.crop(golden.frame).unwrap();
    lipsyncd::frame::fill_input(&crop, &package.manifest().geometry, &mut input).unwrap();
    write_npy(&image, &[6, 32, 32], &input).unwrap();
    // The audio tensor has another shape than the network's input, but is of the same size: that is not enough.
    let audio = read_npy(&folder.join("golden.audio.npy"), &limits).unwrap();
    let (flat, shaped) = (out.path().join("flat.npy"), out.path().join("shaped.npy"));
    write_npy(&flat, &[8, 8], &audio.values).unwrap();
    write_npy(&shaped, &[1, 4, 4, 4], &audio.values).unwrap();
    let unet = folder.join("unet.onnx");
    let arguments = |audio| {
        [
            "infer",
            "--unet",
            text(&unet),
            "--image",
            text(&image),
            "--audio",
            text(audio),
            "--output",
            text(&output),
        ]
    };
    let error = run(&arguments(&flat)).unwrap_err();
    assert!(
        error.contains("has the shape [8, 8], tensor `audio` needs [1, 4, 4, 4]"),
        "{error}"
    );
    run(&arguments(&shaped)).unwrap();
    let found = read_npy(&output, &limits).unwrap();
    let expected = read_npy(&folder.join("golden.output.npy"), &limits).unwrap();
    assert_eq!(found.shape, [1, 3, 32, 32]);
    for (a, b) in found.values.iter().zip(&expected.values) {
        assert!((a - b).abs() < 0.02);
    }
}

#[test]
fn bench_prints_an_object_with_its_times() {
    let unet = packages_folder().join("tiny/unet.onnx");
    let printed = run(&[
        "bench",
        "--unet",
        text(&unet),
        "--threads",
        "2",
        "--iterations",
        "3",
        "--json",
    ])
    .unwrap();
    let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let (median, min) = (
        object["median_ms"].as_f64().unwrap(),
        object["min_ms"].as_f64().unwrap(),
    );
    assert!(min > 0.0 && min <= median, "{printed}");
    assert!(run(&["bench", "--unet", text(&unet), "--iterations", "0"]).is_err());
}

#[test]
fn features_are_those_of_the_encoder_and_mel_rows_80_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (audio, out) = (
        recording(folder.path(), 16_000),
        folder.path().join("out.npy"),
    );
    let (models, encoder) = (
        packages_folder(),
        packages_folder().join("tiny_ave/audio_encoder.onnx"),
    );
    let shape = |arguments: &[&str]| {
        let all = [
            &["features", "--audio", text(&audio), "--output", text(&out)],
            arguments,
        ]
        .concat();
        run(&all).unwrap();
        read_npy(&out, &LoadLimits::default()).unwrap()
    };
    assert_eq!(shape(&["--mel"]).shape, [81, 80]);
    // 22 rows by the family's formula, and the first and the last once more.
    let with_package = shape(&["--models", text(&models), "--model", "tiny_ave"]);
    assert_eq!(with_package.shape, [24, 8]);
    assert_eq!(shape(&["--encoder", text(&encoder)]), with_package);
    assert_eq!(with_package.values[..8], with_package.values[8..16]);
    assert_eq!(
        shape(&["--models", text(&models), "--model", "tiny"]).shape,
        [25, 10]
    );
    let error = run(&["features", "--audio", text(&audio), "--output", text(&out)]).unwrap_err();
    assert!(error.contains("--model"), "{error}");
}

#[test]
fn render_writes_every_frame_and_the_mouth_follows_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (audio, out) = (
        recording(folder.path(), 22_050),
        folder.path().join("frames"),
    );
    let models = packages_folder();
    let arguments = [
        "render",
        "--models",
        text(&models),
        "--model",
        "tiny",
        "--audio",
        text(&audio),
        "--output",
        text(&out),
    ];
    run(&arguments).unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 25);
    let frame = |k: u32| {
        decode_jpeg(
            &fs::read(out.join(format!("frame_{k:06}.jpg"))).unwrap(),
            64,
            64,
        )
        .unwrap()
    };
    // Frames 3 and 7 show the same idle frame (3, and 10 - 7), with different sound.
    assert_ne!(frame(3), frame(7));
    let error = run(&arguments).unwrap_err();
    assert!(error.contains("is not empty"), "{error}");
    let own = run(&[
        "render",
        "--models",
        text(&models),
        "--model",
        "tiny_own",
        "--audio",
        text(&audio),
        "--output",
        "nowhere",
    ]);
    assert!(own.unwrap_err().contains("has no audio encoder"));
}

#[test]
fn a_film_holds_the_same_pictures_and_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let audio = recording(folder.path(), 16_000);
    let models = packages_folder();
    let render = |output: &Path, threads: &str| {
        run(&[
            "render",
            "--models",
            text(&models),
            "--model",
            "tiny_ave",
            "--audio",
            text(&audio),
            "--output",
            text(output),
            "--threads",
            threads,
        ])
        .unwrap();
    };
    let (film, frames) = (folder.path().join("film.avi"), folder.path().join("frames"));
    render(&film, "1");
    render(&frames, "3");
    let film = fs::read(film).unwrap();
    let mut at = 0;
    for k in 0..25 {
        let jpeg = fs::read(frames.join(format!("frame_{k:06}.jpg"))).unwrap();
        let header = JpegHeader::read(&jpeg).unwrap();
        assert_eq!((header.width, header.height), (64, 64));
        let found = film[at..]
            .windows(jpeg.len())
            .position(|window| window == jpeg);
        at += found.unwrap_or_else(|| panic!("frame {k} is not in the film, in order"));
    }
    // The sound of the last frame, 640 samples.
    let sound = fs::read(&audio).unwrap();
    let last = &sound[sound.len() - 2 * 640..];
    assert!(film[at..].windows(last.len()).any(|window| window == last));
}

#[test]
fn check_tells_what_a_package_is_and_what_is_wrong_with_it() {
    let good = packages_folder().join("tiny");
    let printed = run(&["check", text(&good)]).unwrap();
    for words in [
        "tiny: good",
        "6 of 64x64 at 25 fps",
        "look-ahead 190.0 ms",
        "allowed 0.02",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let bad = Copy::of("tiny");
    bad.edit(|manifest| manifest["frame_rate"] = 24.into());
    let error = run(&["check", text(&good), text(&bad.folder)]).unwrap_err();
    assert!(
        error.contains("field `frame_rate`: is 24") && error.contains("1 of 2 packages"),
        "{error}"
    );
}

#[test]
fn a_hostile_network_costs_only_the_child_that_checks_it() {
    let network =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/networks/huge_constant.onnx");
    let copy = Copy::of("tiny");
    copy.replace("unet.onnx", &fs::read(network).unwrap());
    let error = check_in_child(program(), &copy.folder, CheckLimits::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("package tiny: the check in a separate process failed")
            && error.contains("allocate"),
        "{error}"
    );

    let good = check_in_child(
        program(),
        &packages_folder().join("tiny"),
        CheckLimits::default(),
    )
    .unwrap();
    assert!(good.starts_with("tiny: good"));
    let error = check_in_child(
        Path::new("/no/such/program"),
        &copy.folder,
        CheckLimits::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
}

#[test]
fn a_child_that_does_not_end_is_killed() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/commands/never_ends");
    let limits = CheckLimits {
        time: Duration::from_millis(300),
        ..CheckLimits::default()
    };
    let error = check_in_child(&program, Path::new("x"), limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "package x: the check in a separate process failed: it took longer than 0.3 s"
    );
}
