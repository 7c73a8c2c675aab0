//! Manifests and frame indices that cannot be: each is refused by the field at fault.

use super::{Copy, packages_folder};
use serde_json::{Value, json};
use std::fs;

#[test]
fn every_field_is_checked_and_named() {
    let cases: &[(&str, Value, &str)] = &[
        ("/format", json!(2), "field `format`: is 2"),
        (
            "/name",
            json!("other"),
            "field `name`: is `other`, but the folder is named `tiny`",
        ),
        ("/title", json!("a\nb"), "field `title`"),
        ("/license", json!("x".repeat(201)), "field `license`"),
        ("/family", json!("wav2lip"), "unknown variant `wav2lip`"),
        ("/frame_rate", json!(30), "field `frame_rate`: is 30"),
        (
            "/frames/file",
            json!("../tiny/frames.bin"),
            "field `frames.file`",
        ),
        (
            "/frames/index",
            json!("/etc/passwd"),
            "field `frames.index`",
        ),
        (
            "/frames/index",
            json!("nowhere.json"),
            "no size and checksum under `files`",
        ),
        (
            "/geometry/crop_size",
            json!(41),
            "field `geometry.crop_size`: is 41",
        ),
        (
            "/geometry/inner_size",
            json!(0),
            "field `geometry.inner_size`: is 0",
        ),
        (
            "/geometry/inner_size",
            json!(u64::MAX),
            "field `geometry.inner_size`",
        ),
        ("/geometry/border", json!(9999), "field `geometry.border`"),
        (
            "/geometry/mask",
            json!([4, 4, 29, 4]),
            "field `geometry.mask`",
        ),
        (
            "/geometry/mask",
            json!([4, 4, u64::MAX, 4]),
            "field `geometry.mask`",
        ),
        (
            "/geometry/mask",
            json!([4, 4, 0, 4]),
            "field `geometry.mask`",
        ),
        (
            "/geometry/channel_order",
            json!("rgb"),
            "field `geometry.channel_order`: is `rgb`",
        ),
        (
            "/unet/audio_shape",
            json!([2, 10, 1, 1]),
            "field `unet.audio_shape`",
        ),
        (
            "/unet/audio_shape",
            json!([1, u64::MAX, 9]),
            "field `unet.audio_shape`",
        ),
        (
            "/unet/audio_shape",
            json!([1, 12, 1, 1]),
            "field `audio.encoder.width`: is 10",
        ),
        (
            "/unet/image_input",
            json!("picture"),
            "no tensor `picture`; it has `input`, `audio`",
        ),
        (
            "/unet/output",
            json!("nothing"),
            "no tensor `nothing`; it has `output`",
        ),
        (
            "/unet/file",
            json!("audio_encoder.onnx"),
            "network audio_encoder.onnx: no tensor `input`",
        ),
        ("/audio/kind", json!("features"), "field `audio.encoder`"),
        (
            "/audio/encoder",
            Value::Null,
            "field `audio.encoder`: is needed",
        ),
        (
            "/audio/encoder/mel_rows",
            json!(0),
            "field `audio.encoder.mel_rows`",
        ),
        (
            "/audio/encoder/mel_rows",
            json!(20),
            "network audio_encoder.onnx",
        ),
        (
            "/audio/encoder/mel_offset",
            json!(-4000),
            "field `audio.encoder.mel_offset`",
        ),
        ("/audio/rows", json!(3), "field `audio.rows`"),
        (
            "/audio/first_row",
            json!(i64::from(i32::MIN)),
            "field `audio.first_row`",
        ),
        ("/audio/edge_rows", json!(99), "field `audio.edge_rows`"),
        (
            "/audio/features",
            json!("golden.output.npy"),
            "field `audio.features`: golden.output.npy has the shape",
        ),
        (
            "/golden/frame",
            json!(6),
            "field `golden.frame`: is 6, but there are 6 frames",
        ),
        (
            "/golden/max_abs_error",
            json!(-1),
            "field `golden.max_abs_error`",
        ),
        (
            "/golden/mel",
            json!("golden.output.npy"),
            "field `golden.mel`",
        ),
        (
            "/files/unet.onnx/bytes",
            json!(1),
            "unet.onnx: size is 17116, the manifest states 1",
        ),
        (
            "/files/unet.onnx/sha256",
            json!("00".repeat(32)),
            "unet.onnx: SHA-256 is",
        ),
        (
            "/files/unet.onnx/sha256",
            json!("xyz"),
            "field `files.unet.onnx.sha256`",
        ),
    ];
    for (pointer, value, expected) in cases {
        let copy = Copy::of("tiny");
        let error = copy
            .edit(|m| *m.pointer_mut(pointer).expect(pointer) = value.clone())
            .error();
        assert!(error.contains(expected), "{pointer} = {value}: {error}");
        assert!(
            error.contains("manifest.json") || error.contains(".onnx"),
            "{error}"
        );
    }
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for pointer in [
        "",
        "/frames",
        "/geometry",
        "/unet",
        "/audio",
        "/audio/encoder",
        "/golden",
        "/files/unet.onnx",
    ] {
        let copy = Copy::of("tiny");
        let error = copy
            .edit(|m| m.pointer_mut(pointer).unwrap()["colour"] = json!(1))
            .error();
        assert!(
            error.contains("unknown field `colour`"),
            "{pointer}: {error}"
        );
    }
    let copy = Copy::of("tiny");
    fs::write(copy.folder.join("extra"), b"x").unwrap();
    assert!(copy.replace("extra", b"x").error().contains("files.extra"));
}

#[test]
fn the_frame_index_is_checked() {
    let size = fs::metadata(packages_folder().join("tiny/frames.bin"))
        .unwrap()
        .len();
    let cases: &[(&str, Value, &str)] = &[
        (
            "/width",
            json!(65),
            "frame 0: the picture is 64x64, not 65x64",
        ),
        ("/height", json!(1_000_000), "field `height`"),
        ("/offsets/0", json!(1), "field `offsets`"),
        ("/offsets/6", json!(size + 1), "field `offsets`"),
        ("/offsets/2", json!(0), "field `offsets[2]`"),
        ("/offsets/3", json!(u64::MAX), "field `offsets[3]`"),
        (
            "/offsets",
            json!([0, size]),
            "field `offsets`: has 2 entries, 6 frames need 7",
        ),
        ("/bounds", json!([]), "has 0 frames, 1 to 20000 are served"),
        ("/bounds/4", json!([10, 10, 90, 50]), "field `bounds[4]`"),
        ("/bounds/4", json!([30, 30, 30, 50]), "field `bounds[4]`"),
    ];
    for (pointer, value, expected) in cases {
        let copy = Copy::of("tiny");
        let error = copy
            .edit_index(|index| *index.pointer_mut(pointer).unwrap() = value.clone())
            .error();
        assert!(error.contains(expected), "{pointer} = {value}: {error}");
    }
    let copy = Copy::of("tiny");
    assert!(
        copy.replace("frames.bin", &vec![7; size as usize])
            .error()
            .contains("frame 0: is no JPEG")
    );
}
