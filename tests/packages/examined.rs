//! Packages that load and show nothing of use, or something wrong: `check` and the server say so. The situations are
//! those of docs/CASES.md.

use super::{Copy, load, packages_folder};
use lipsyncd::frame::{JpegEncoder, JpegHeader};
use lipsyncd::model::{LoadLimits, Package, Registry, examine, write_npy};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program as a user would.
fn lipsyncd(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_lipsyncd");
    Command::new(program).args(arguments).output().unwrap()
}

fn check(folder: &Path) -> (bool, String) {
    let output = lipsyncd(&["check", folder.to_str().unwrap()]);
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

/// A copy of `tiny_own` whose frame 1 is another JPEG.
fn with_frame(change: impl FnOnce(&[u8]) -> Vec<u8>) -> Copy {
    let copy = Copy::of("tiny_own");
    let all = fs::read(copy.folder.join("frames.bin")).unwrap();
    let index = fs::read(copy.folder.join("frames.json")).unwrap();
    let mut index: Value = serde_json::from_slice(&index).unwrap();
    let offset = |at: usize| index["offsets"][at].as_u64().unwrap() as usize;
    let (start, end) = (offset(1), offset(2));
    let frame = change(&all[start..end]);
    copy.replace("frames.bin", &[&all[..start], &frame, &all[end..]].concat());
    for at in 2..index["offsets"].as_array().unwrap().len() {
        let moved = index["offsets"][at].as_u64().unwrap() as usize - (end - start) + frame.len();
        index["offsets"][at] = json!(moved);
    }
    copy.edit_index(|whole| *whole = index);
    copy
}

/// `jpeg` with a segment behind its first marker.
fn with_segment(jpeg: &[u8], marker: u8, segment: &[u8]) -> Vec<u8> {
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, marker], &length, segment, &jpeg[2..]].concat()
}

#[test]
fn good_packages_are_looked_at_and_told() {
    for name in ["tiny", "tiny_ave", "tiny_own"] {
        let seen = examine(&load(name)).unwrap();
        assert!(
            seen.passes >= 2 && seen.range[0] >= 0.0 && seen.range[1] <= 1.0,
            "{name}: {seen:?}"
        );
        let (is_good, words) = check(&packages_folder().join(name));
        assert!(is_good, "{words}");
        for line in [": good", "all decoded", "  values      ", "  time        "] {
            assert!(words.contains(line), "{line} in {words}");
        }
    }
}

/// media/07: the training diverged.
#[test]
fn a_network_of_nan_is_refused_by_check() {
    for (value, words) in [(f32::NAN, "holds NaN"), (f32::INFINITY, "holds inf")] {
        let copy = Copy::of("tiny_own");
        let onnx = fs::read(copy.folder.join("unet.onnx")).unwrap();
        copy.replace("unet.onnx", &with_weights(&onnx, value));
        copy.forget_golden();
        let (is_good, said) = check(&copy.folder);
        assert!(
            !is_good && said.contains("unet.onnx") && said.contains(words),
            "{said}"
        );
    }
}

/// The file's raw f32 weights, the last tensor's made `value`.
fn with_weights(onnx: &[u8], value: f32) -> Vec<u8> {
    use prost::Message;
    let mut model = tract_onnx::pb::ModelProto::decode(onnx).unwrap();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        if tensor.data_type == 1 && tensor.raw_data.len() > 64 {
            tensor.raw_data[..4].copy_from_slice(&value.to_le_bytes());
        }
    }
    model.encode_to_vec()
}

/// media/11: what torch exports today keeps its weights beside the network.
#[test]
fn weights_beside_the_network_are_part_of_the_package() {
    use prost::Message;
    let copy = Copy::of("tiny_own");
    let onnx = fs::read(copy.folder.join("unet.onnx")).unwrap();
    let mut model = tract_onnx::pb::ModelProto::decode(&onnx[..]).unwrap();
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    let weights = std::mem::take(&mut tensor.raw_data);
    tensor.data_location = Some(1);
    tensor.external_data = vec![tract_onnx::pb::StringStringEntryProto {
        key: "location".to_owned(),
        value: "unet.onnx.data".to_owned(),
    }];
    copy.replace("unet.onnx", &model.encode_to_vec());
    let error = copy.error();
    assert!(error.contains("`unet.onnx.data`"), "{error}");
    copy.replace("unet.onnx.data", &weights);
    let package = Package::load(&copy.folder, &LoadLimits::default()).unwrap();
    assert!(package.check_golden().unwrap().is_some());
    let error = copy.replace("other.data", &weights).error();
    assert!(error.contains("field `files.other.data`"), "{error}");
}

/// media/30: a copy that broke off.
#[test]
fn a_frame_that_is_cut_off_is_refused_and_named() {
    type Cut = fn(&[u8]) -> Vec<u8>;
    let cuts: [Cut; 3] = [
        |jpeg| jpeg[..jpeg.len() * 2 / 3].to_vec(),
        |jpeg| jpeg[..jpeg.len() - 2].to_vec(),
        |jpeg| jpeg[..100].to_vec(),
    ];
    for (case, cut) in cuts.into_iter().enumerate() {
        let (is_good, words) = check(&with_frame(cut).folder);
        assert!(
            !is_good && words.contains("frame 1: "),
            "cut {case}: {words}"
        );
    }
}

/// media/33 on the server's side: frames of another kind.
#[test]
fn frames_that_are_no_jpegs_are_named() {
    for (bytes, words) in [
        (&b"\x89PNG\r\n\x1a\n"[..], "is a PNG"),
        (b"GIF89a", "is a GIF"),
        (b"oh", "is no JPEG"),
    ] {
        let error = with_frame(|_| bytes.to_vec()).error();
        assert!(
            error.contains("frame 1: ") && error.contains(words),
            "{error}"
        );
    }
}

/// media/28: pictures of a telephone.
#[test]
fn a_frame_that_lies_on_its_side_is_refused() {
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let error = with_frame(|jpeg| with_segment(jpeg, 0xE1, exif)).error();
    assert!(
        error.contains("frame 1: ") && error.contains("EXIF orientation 6"),
        "{error}"
    );
}

/// media/31: an infrared camera's frames.
#[test]
fn grey_frames_are_served_as_three_equal_colours() {
    let copy = with_frame(grey);
    let package = Package::load(&copy.folder, &LoadLimits::default()).unwrap();
    let image = package.frame_image(1).unwrap();
    assert!(
        image
            .data
            .chunks_exact(3)
            .all(|pixel| pixel == [pixel[0]; 3])
    );
    assert_eq!(image.pixel(20, 20), [130; 3]);
    package.crop(1).unwrap();
}

/// A grey JPEG of the same size, of one level: quantisation tables of ones and a Huffman code for "no change".
fn grey(jpeg: &[u8]) -> Vec<u8> {
    let header = JpegHeader::read(jpeg).unwrap();
    let (width, height) = (header.width as u16, header.height as u16);
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    out.extend([1; 64]);
    out.extend([0xFF, 0xC0, 0, 11, 8]);
    out.extend(height.to_be_bytes());
    out.extend(width.to_be_bytes());
    out.extend([1, 1, 0x11, 0]);
    // DC codes: 0 is `0`, 5 bits are `10`. AC: the end of a block is `0`.
    out.extend([
        0xFF, 0xC4, 0, 21, 0x00, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
    ]);
    out.extend([
        0xFF, 0xC4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x00, 0, 63, 0]);
    let blocks = usize::from(width).div_ceil(8) * usize::from(height).div_ceil(8);
    // The first block: 16 in 5 bits (16 / 8 above 128), then every block repeats it.
    let mut bits: Vec<u8> = vec![1, 0, 1, 0, 0, 0, 0, 0];
    bits.extend(std::iter::repeat_n(0, (blocks - 1) * 2));
    bits.resize(bits.len().next_multiple_of(8), 1);
    for byte in bits.chunks(8) {
        out.push(byte.iter().fold(0, |byte, bit| byte << 1 | bit));
    }
    out.extend([0xFF, 0xD9]);
    out
}

/// media/13: the shape in the manifest is not the file's.
#[test]
fn a_shape_that_the_network_does_not_declare_is_refused_with_the_cure() {
    let copy = Copy::of("tiny_own");
    let shape = copy.manifest()["unet"]["audio_shape"].clone();
    copy.edit(|manifest| {
        let sides = manifest["unet"]["audio_shape"].as_array_mut().unwrap();
        sides.insert(1, json!(1));
    });
    let error = copy.error();
    let declared = shape.to_string();
    assert!(
        error.contains(&declared) && error.contains("the package says"),
        "{error}"
    );
    assert!(
        error.contains(&format!(
            "--audio-shape {}",
            declared.trim_matches(['[', ']'])
        )),
        "{error}"
    );
}

/// media/22: the features of wenet are 20 a second.
#[test]
fn wenet_is_refused_while_25_frames_a_second_are_served() {
    let copy = Copy::of("tiny_own");
    copy.edit(|manifest| manifest["unet"]["audio_shape"] = json!([1, 128, 16, 32]));
    let error = copy.error();
    assert!(
        error.contains("wenet") && error.contains("20 a second"),
        "{error}"
    );
}

#[test]
fn features_that_are_not_finite_are_refused_by_row() {
    let copy = Copy::of("tiny_own");
    let package = load("tiny_own");
    let (rows, width) = (package.own_rows() as usize, package.manifest().audio.width);
    let mut values = vec![0.0; rows * width];
    values[width + 1] = f32::NAN;
    let file = copy.folder.join("features.npy");
    write_npy(&file, &[rows, width], &values).unwrap();
    let error = copy
        .replace("features.npy", &fs::read(&file).unwrap())
        .error();
    assert!(error.contains("features.npy: row 1 holds NaN"), "{error}");
}

/// media/34: one limit in all places, and the flag that raises it.
#[test]
fn all_files_together_are_limited_and_the_flag_is_named() {
    let folder = packages_folder().join("tiny_own");
    let files = Copy::of("tiny_own").manifest()["files"].clone();
    let total: u64 = files
        .as_object()
        .unwrap()
        .values()
        .map(|file| file["bytes"].as_u64().unwrap())
        .sum();
    let limits = |package_bytes| LoadLimits {
        package_bytes,
        ..LoadLimits::default()
    };
    Package::load(&folder, &limits(total)).unwrap();
    let error = Package::load(&folder, &limits(total - 1))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("{total} bytes")) && error.contains("--max-package-bytes"),
        "{error}"
    );
}

/// net/21: caches and package managers keep files elsewhere and link to them.
#[cfg(unix)]
#[test]
fn a_file_that_leads_out_of_the_package_is_named_with_the_cure() {
    let copy = Copy::of("tiny_own");
    let elsewhere = tempfile::tempdir().unwrap();
    let (file, target) = (copy.folder.join("unet.onnx"), elsewhere.path().join("blob"));
    fs::rename(&file, &target).unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    let error = copy.error();
    assert!(
        error.contains("unet.onnx") && error.contains("cp -L"),
        "{error}"
    );
    fs::remove_file(&target).unwrap();
    let error = copy.error();
    assert!(
        error.contains("unet.onnx: is a link to") && error.ends_with("which is not there"),
        "{error}"
    );
}

/// net/21: a link whose target is gone is no empty folder.
#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_named() {
    let models = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/nowhere/face", models.path().join("face")).unwrap();
    let folders = Registry::folders(models.path()).unwrap();
    assert_eq!(folders, [models.path().join("face")]);
    let error = Package::load(&folders[0], &LoadLimits::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is a link to /nowhere/face, which is not there"),
        "{error}"
    );
}

/// What one decoder reads as RGB, another as YCbCr; and what hardly any decoder reads.
#[test]
fn frames_that_decoders_read_differently_are_refused() {
    let adobe = b"Adobe\0\x64\0\0\0\0\0";
    let error = with_frame(|jpeg| with_segment(jpeg, 0xEE, adobe)).error();
    assert!(error.contains("frame 1: the JPEG stores RGB"), "{error}");
    let error = with_frame(|jpeg| {
        let mut arithmetic = jpeg.to_vec();
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]);
        arithmetic[frame.unwrap() + 1] = 0xC9;
        arithmetic
    })
    .error();
    assert!(error.contains("frame 1: the JPEG is compressed"), "{error}");
}

#[test]
fn frames_of_another_size_are_refused() {
    let error = with_frame(|_| {
        let mut out = Vec::new();
        JpegEncoder::new(90)
            .encode_bgr(&[9; 32 * 32 * 3], 32, 32, &mut out)
            .unwrap();
        out
    })
    .error();
    assert!(error.contains("frame 1: the picture is 32x32"), "{error}");
}
