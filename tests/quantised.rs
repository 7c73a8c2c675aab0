//! Packages in int8: made by the command, served like any other, and refused with words where they are damaged.

use crate::commands::{run, text};
use crate::packages::{Copy, packages_folder};
use crate::support::{app, config, next, websocket};
use crate::v1::{binary_reply, binary_request};
use lipsyncd::frame::decode_jpeg;
use lipsyncd::model::{LoadLimits, Package};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tungstenite::Message;

/// The small package `tiny` in int8, made once for all tests.
fn quantised() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, folder) = MADE.get_or_init(|| {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("small");
        let models = packages_folder();
        let arguments = [
            "quantize",
            "--model",
            "tiny",
            "--models",
            text(&models),
            "--output",
        ];
        let said = run(&[&arguments[..], &[text(&folder)]].concat()).unwrap();
        assert!(said.contains("PSNR against f32"), "{said}");
        (outer, folder)
    });
    folder
}

fn load(folder: &Path) -> Package {
    Package::load(folder, &LoadLimits::default()).unwrap()
}

/// The U-Net's output for an idle frame and the package's own features.
fn prediction(package: &Package, frame: u32) -> Vec<f32> {
    let mut state = package.unet().new_state().unwrap();
    let audio = package.own_features(frame).unwrap();
    package.predict(&mut state, frame, audio).unwrap();
    state.output(package.unet_tensors().output).to_vec()
}

fn psnr(exact: &[f32], found: &[f32]) -> f32 {
    let squares: f32 = exact.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum();
    -10.0 * (squares / exact.len() as f32).log10()
}

#[test]
fn a_quantised_package_predicts_nearly_the_same() {
    let (floats, bytes) = (load(&packages_folder().join("tiny")), load(quantised()));
    assert!(bytes.unet().report().int8.is_some() && floats.unet().report().int8.is_none());
    for frame in 0..floats.frame_count() {
        let (exact, found) = (prediction(&floats, frame), prediction(&bytes, frame));
        let psnr = psnr(&exact, &found);
        // Networks with trained weights lose far less (docs/BENCHMARKS.md); this one's were drawn by lot.
        assert!(psnr.is_finite() && psnr > 30.0, "frame {frame}: {psnr} dB");
    }
    assert!(bytes.check_golden().unwrap().is_some());
}

#[test]
fn every_instruction_set_passes_the_check_or_computes_in_floats() {
    let check = |simd: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lipsyncd"))
            .args(["check", text(quantised())])
            .env("LIPSYNCD_SIMD", simd)
            .output()
            .unwrap();
        assert!(output.status.success(), "{simd}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (simd, int8) in lipsyncd::model::instruction_sets() {
        let Some(int8) = int8 else { continue };
        let said = check(simd);
        let int8 = format!("int8, {int8} kernels");
        // The golden output is that of int8, so it is met closely.
        assert!(
            said.contains(&int8) && said.contains("differs by 0.00"),
            "{said}"
        );
    }
    for (simd, why) in [("off", "leaves it to tract"), ("portable", "without SIMD")] {
        let said = check(simd);
        assert!(
            said.contains("f32 here, though it is quantised") && said.contains(why),
            "{said}"
        );
        assert!(said.contains("golden output is of int8"), "{said}");
    }
}

#[test]
fn a_quantised_package_is_served() {
    let mut config = config();
    config.models_dir = quantised().parent().unwrap().to_owned();
    let app = app(&config);
    let mut client = websocket(app.address(), "");
    client
        .send(Message::Binary(binary_request("small", 2, &[]).into()))
        .unwrap();
    let reply = next(&mut client).into_data();
    let (success, frame, jpeg, _) = binary_reply(&reply, false);
    assert!(success && frame == 2, "{}", String::from_utf8_lossy(&jpeg));
    decode_jpeg(&jpeg, 32, 32).unwrap();
    app.stop();
}

/// A copy of the quantised package whose calibration is changed.
fn damaged(change: impl FnOnce(&mut Value)) -> String {
    let copy = Copy::of("tiny");
    let calibration = fs::read(quantised().join("unet.calibration.json")).unwrap();
    let mut value = serde_json::from_slice(&calibration).unwrap();
    change(&mut value);
    copy.replace("unet.calibration.json", value.to_string().as_bytes())
        .edit(|manifest| manifest["unet"]["calibration"] = json!("unet.calibration.json"));
    match Package::load(&copy.folder, &LoadLimits::default()) {
        Ok(_) => panic!("was not refused: {value}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_damaged_calibration_is_refused_by_file_and_field() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (|c| c["format"] = json!(2), "field `format`: is 2"),
        (|c| c["more"] = json!(1), "unknown field `more`"),
        (
            |c| c["network_sha256"] = json!("0".repeat(64)),
            "field `network_sha256`: is not that of unet.onnx",
        ),
        (
            |c| c["network_sha256"] = json!("xyz"),
            "field `network_sha256`: must be 64 digits",
        ),
        (|c| c["operators"] = json!([]), "has 0 `operators`"),
        (
            |c| c["operators"][1]["name"] = json!("other"),
            "`operators[1]` of the calibration is `other`",
        ),
        (
            |c| c["operators"][0]["least"] = json!([0.0, 0.0]),
            "field `operators[0].most`: has 1 values",
        ),
        (
            |c| c["operators"][0]["most"] = json!([-9e9]),
            "field `operators[0].least`: ",
        ),
        (
            |c| c["operators"][0]["most"] = json!([1e300]),
            "unet.calibration.json",
        ),
        (|c| *c = json!({"operators": 7}), "unet.calibration.json"),
    ];
    for (change, words) in cases {
        let error = damaged(change);
        assert!(error.contains(words), "{error} lacks {words}");
    }
    // A length that is claimed and not there allocates nothing.
    let text = b"{\"format\":1,\"network_sha256\":\"\",\"operators\":[[[[[[[";
    let error = lipsyncd::model::Calibration::parse(text, Path::new("c.json")).unwrap_err();
    assert!(error.to_string().starts_with("c.json: "), "{error}");
    let missing = Copy::of("tiny");
    missing.edit(|manifest| manifest["unet"]["calibration"] = json!("nowhere.json"));
    let error = Package::load(&missing.folder, &LoadLimits::default()).unwrap_err();
    assert!(
        error.to_string().contains("field `unet.calibration`"),
        "{error}"
    );
}

#[test]
fn extreme_spans_are_served_without_a_panic() {
    for (least, most) in [(0.0, 0.0), (-3e38, 3e38), (1e-40, 2e-40), (-1e-30, 5.0)] {
        let copy = Copy::of("tiny");
        let calibration = fs::read(quantised().join("unet.calibration.json")).unwrap();
        let mut value: Value = serde_json::from_slice(&calibration).unwrap();
        for operator in value["operators"].as_array_mut().unwrap() {
            let channels = operator["most"].as_array().unwrap().len();
            operator["least"] = json!(vec![least; channels]);
            operator["most"] = json!(vec![most; channels]);
        }
        copy.replace("unet.calibration.json", value.to_string().as_bytes())
            .edit(|manifest| manifest["unet"]["calibration"] = json!("unet.calibration.json"));
        assert_eq!(prediction(&load(&copy.folder), 0).len(), 3 * 32 * 32);
    }
}

#[test]
fn the_command_says_what_it_cannot_do() {
    let out = tempfile::tempdir().unwrap();
    let models = quantised().parent().unwrap();
    let to = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let again = [
        "quantize",
        "--model",
        "small",
        "--models",
        text(models),
        "--output",
    ];
    let error = run(&[&again[..], &[&to("again")]].concat()).unwrap_err();
    assert!(
        error.contains("field `unet.calibration`: is there"),
        "{error}"
    );
    let own = packages_folder();
    let full = out.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("file"), "x").unwrap();
    let tiny = [
        "quantize",
        "--model",
        "tiny",
        "--models",
        text(&own),
        "--output",
    ];
    for (folder, words) in [
        (to("full"), "is not empty"),
        (to("no name"), "cannot be a package's"),
    ] {
        let error = run(&[&tiny[..], &[&folder]].concat()).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_bare_network_is_quantised_and_measured() {
    let out = tempfile::tempdir().unwrap();
    let unet = packages_folder().join("tiny/unet.onnx");
    let calibration = out.path().join("calibration.json");
    let said = run(&[
        "quantize",
        "--unet",
        text(&unet),
        "--output",
        text(&calibration),
    ])
    .unwrap();
    assert!(said.contains("over 1 frame"), "{said}");
    let bench = ["bench", "--iterations", "2", "--json", "--unet"];
    let said = run(&[&bench[..], &[text(&unet), "--int8", text(&calibration)]].concat()).unwrap();
    let object: Value = serde_json::from_str(&said).unwrap();
    assert!(
        object["int8"].is_string() && object["min_ms"].as_f64().unwrap() > 0.0,
        "{object}"
    );
    let other = packages_folder().join("tiny_ave/unet.onnx");
    let error =
        run(&[&bench[..], &[text(&other), "--int8", text(&calibration)]].concat()).unwrap_err();
    assert!(error.contains("network_sha256"), "{error}");
}
