//! Networks in the forms that users were reported to bring: they compute what onnxruntime computes, or say what to do.
//! The files are made by tools/golden/networks.py.

use lipsyncd::model::{LoadLimits, ModelError, Network, Note, read_npy};
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/networks")
        .join(name)
}

fn load(name: &str) -> Result<Network, ModelError> {
    Network::load(&file(name), &LoadLimits::default())
}

/// Numbers between 0 and 1 that change from place to place, as the script's.
fn ramp(values: &mut [f32]) {
    for (at, value) in values.iter_mut().enumerate() {
        *value = ((at as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
    }
}

fn compute(network: &Network) -> Vec<f32> {
    let mut state = network.new_state().unwrap();
    for index in 0..network.inputs().len() {
        ramp(state.input_mut(index));
    }
    state.execute().unwrap();
    state.output(0).to_vec()
}

/// Runs a network, and compares its output with the recorded one.
#[track_caller]
fn expect(name: &str, tolerance: f32) -> Network {
    let network = load(&format!("{name}.onnx")).unwrap();
    let recorded = file(&format!("{name}.output.npy"));
    let recorded = read_npy(&recorded, &LoadLimits::default()).unwrap();
    let found = compute(&network);
    assert_eq!(found.len(), recorded.values.len());
    let differences = found
        .iter()
        .zip(&recorded.values)
        .map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0.0, |worst: f32, difference| {
        // A NaN is the worst of all.
        if difference <= worst {
            worst
        } else {
            difference
        }
    });
    assert!(worst <= tolerance, "{name} differs by {worst}");
    network
}

/// The words with which a network is refused: one line, and short.
#[track_caller]
fn refused(name: &str) -> String {
    let words = load(name).unwrap_err().to_string();
    assert!(
        words.starts_with("network ") && words.len() < 400,
        "{words}"
    );
    assert!(!words.contains('\n'), "{words}");
    words
}

#[test]
fn a_sigmoid_in_the_middle_leaves_the_padding_zero() {
    let network = expect("sigmoid_then_padded_conv", 1e-3);
    let steps = &network.report().steps;
    assert!(
        steps.iter().any(|(_, kind, _)| *kind == "logistic"),
        "the kernels compute it"
    );
}

#[test]
fn an_upsampling_by_one_and_a_half_of_an_odd_side_goes_by_the_files_scale() {
    let network = expect("bilinear_by_1_5", 1e-3);
    assert!(network.report().left.is_empty(), "the kernels compute it");
}

#[test]
fn a_vector_beside_an_image_and_a_1x1_convolution_run() {
    let network = expect("vector_beside_image", 1e-3);
    assert!(
        network.report().left.is_empty(),
        "{:?}",
        network.report().left
    );
}

#[test]
fn half_precision_networks_are_computed_in_f32() {
    for (name, tolerance) in [
        ("group_norm_f16", 0.01),
        ("group_norm_f16_inputs", 0.01),
        // Weights of eight bits.
        ("group_norm_bf16", 0.03),
    ] {
        let network = expect(name, tolerance);
        assert_eq!(network.notes(), [Note::Half], "{name}");
    }
    assert!(expect("vector_beside_image", 1e-3).notes().is_empty());
}

#[test]
fn networks_quantised_in_pairs_are_computed_in_f32_as_they_clip() {
    for name in ["int8_pairs", "int8_pairs_per_channel"] {
        // What onnxruntime computes is rounded to eight bits after every operator.
        let network = expect(name, 0.1);
        assert_eq!(network.notes(), [Note::Pairs], "{name}");
    }
}

#[test]
fn networks_of_whole_numbers_name_the_f32_network_and_the_command() {
    let words = refused("int8_operators.onnx");
    assert!(words.contains("lipsyncd quantize"), "{words}");
}

#[test]
fn batch_norms_in_training_form_ask_for_eval() {
    let words = refused("training_form.onnx");
    assert!(
        words.contains("training mode (BatchNormalization `/BatchNormalization_"),
        "{words}"
    );
    assert!(words.contains("call eval() before the export"), "{words}");
}

#[test]
fn upsample_and_resize_of_old_operator_sets_run() {
    expect("upsample_of_opset_9", 1e-3);
    expect("resize_of_opset_10", 1e-3);
}

#[test]
fn an_unknown_operator_is_named_with_its_node() {
    let words = refused("unknown_operator.onnx");
    assert!(
        words.contains("operator FusedTriton (node `/FusedTriton_3`)"),
        "{words}"
    );
}

/// tract computes it wrongly; a wrong picture would come without a word.
#[test]
fn a_cubic_resize_to_one_pixel_is_refused_in_a_sentence() {
    let words = refused("cubic_to_one_pixel.onnx");
    assert!(
        words.contains("by cubics") && words.contains("Resize"),
        "{words}"
    );
}

#[test]
fn weights_in_a_file_beside_the_network_are_read() {
    let beside = load("external/unet.onnx").unwrap();
    let inside = load("vector_beside_image.onnx").unwrap();
    assert_eq!(compute(&beside), compute(&inside));
}

#[test]
fn missing_or_foreign_files_of_weights_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LoadLimits::default();
    let network = folder.path().join("unet.onnx");
    std::fs::copy(file("external/unet.onnx"), &network).unwrap();
    let words = |limits: &LoadLimits| Network::load(&network, limits).unwrap_err().to_string();
    let missing = words(&limits);
    assert!(
        missing.contains("`unet.onnx.data`") && missing.contains("external_data=False"),
        "{missing}"
    );
    let data = folder.path().join("unet.onnx.data");
    std::fs::write(&data, b"too short").unwrap();
    let short = words(&limits);
    assert!(
        short.contains("of `unet.onnx.data`, which has 9"),
        "{short}"
    );
    let small = LoadLimits {
        package_bytes: 2000,
        ..LoadLimits::default()
    };
    std::fs::copy(file("external/unet.onnx.data"), &data).unwrap();
    assert!(
        words(&small).contains("the limit of 2000"),
        "{}",
        words(&small)
    );
    // A link out of the folder, and a path out of it.
    std::fs::remove_file(&data).unwrap();
    std::os::unix::fs::symlink(file("external/unet.onnx.data"), &data).unwrap();
    assert!(
        words(&limits).contains("leads out of its folder"),
        "{}",
        words(&limits)
    );
    let onnx = std::fs::read(&network).unwrap();
    let place = onnx
        .windows(14)
        .position(|bytes| bytes == b"unet.onnx.data")
        .unwrap();
    let mut outside = onnx.clone();
    outside[place..place + 14].copy_from_slice(b"../etc/passwd0");
    std::fs::write(&network, outside).unwrap();
    assert!(
        words(&limits).contains("leads out of its folder"),
        "{}",
        words(&limits)
    );
}

#[test]
fn infer_says_how_a_network_is_computed_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let network = load("int8_pairs.onnx").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipsyncd"));
    command
        .arg("infer")
        .arg("--unet")
        .arg(file("int8_pairs.onnx"));
    for (index, option) in ["--image", "--audio"].into_iter().enumerate() {
        let spec = &network.inputs()[index];
        let mut values = vec![0.0; spec.values()];
        ramp(&mut values);
        let tensor = folder.path().join(format!("{index}.npy"));
        lipsyncd::model::write_npy(&tensor, &spec.shape, &values).unwrap();
        command.arg(option).arg(tensor);
    }
    let output = command
        .arg("--output")
        .arg(folder.path().join("out.npy"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.contains("note: int8_pairs.onnx is quantised"),
        "{said}"
    );
}
