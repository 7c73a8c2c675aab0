//! Packages as a user has them on disk: those that load, and those that are refused, with words that help.

use lipsyncd::frame::{BgrImage, Composer, JpegEncoder, decode_jpeg};
use lipsyncd::model::{LoadLimits, ModelError, Network, Package, Registry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

mod examined;
mod manifest;

/// The project's own small packages, made by tools/golden/make_packages.py.
pub fn packages_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages")
}

fn load(name: &str) -> Package {
    Package::load(&packages_folder().join(name), &LoadLimits::default()).unwrap()
}

/// A copy of a package that a test may damage.
pub struct Copy {
    _outer: tempfile::TempDir,
    pub folder: PathBuf,
}

impl Copy {
    pub fn of(name: &str) -> Copy {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join(name);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(packages_folder().join(name)).unwrap() {
            let file = entry.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        Copy {
            _outer: outer,
            folder,
        }
    }

    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> &Copy {
        let file = self.folder.join("manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(file, serde_json::to_vec(&manifest).unwrap()).unwrap();
        self
    }

    /// Replaces a file and states its new size and checksum.
    pub fn replace(&self, name: &str, content: &[u8]) -> &Copy {
        fs::write(self.folder.join(name), content).unwrap();
        let sha256: String = Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.edit(|m| m["files"][name] = json!({"bytes": content.len(), "sha256": sha256}))
    }

    fn edit_index(&self, change: impl FnOnce(&mut Value)) -> &Copy {
        let mut index =
            serde_json::from_slice(&fs::read(self.folder.join("frames.json")).unwrap()).unwrap();
        change(&mut index);
        self.replace("frames.json", &serde_json::to_vec(&index).unwrap())
    }

    pub fn manifest(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.join("manifest.json")).unwrap()).unwrap()
    }

    /// Takes the golden output out, where a test changes what networks compute.
    pub fn forget_golden(&self) -> &Copy {
        self.edit(|manifest| {
            drop(manifest.as_object_mut().unwrap().remove("golden"));
            let files = manifest["files"].as_object_mut().unwrap();
            files.retain(|name, _| !name.starts_with("golden."));
        })
    }

    fn error(&self) -> String {
        match Package::load(&self.folder, &LoadLimits::default()) {
            Ok(_) => panic!("the package was not refused"),
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn all_three_families_load_and_give_their_golden_output() {
    for name in ["tiny", "tiny_ave", "tiny_own"] {
        let error = load(name)
            .check_golden()
            .unwrap()
            .expect("has a golden frame");
        assert!(error < 0.02, "{name}: {error}");
    }
}

/// Caches are keyed by it: what was computed for a package is never found by the one that replaces it.
#[test]
fn a_package_that_is_loaded_again_is_another() {
    let (first, second) = (load("tiny"), load("tiny"));
    assert_ne!(first.serial(), second.serial());
}

/// The packages that the project ships: they must compute what they computed where they were made.
#[test]
fn shipped_packages_give_their_golden_output() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let folders = Registry::folders(&models).unwrap();
    assert!(
        !folders.is_empty(),
        "there is nothing to serve in {}",
        models.display()
    );
    for folder in folders {
        let package = Package::load(&folder, &LoadLimits::default()).unwrap();
        let name = package.name();
        assert!(
            package.check_golden().unwrap().is_some(),
            "{name} has no golden output"
        );
        assert!(
            package.own_features(0).is_some(),
            "{name} has no audio of its own"
        );
        package.crop(package.frame_count() - 1).unwrap();
    }
}

/// docs/PACKAGES.md names every field that the small packages use.
#[test]
fn the_document_names_every_field() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PACKAGES.md");
    let document = fs::read_to_string(document).unwrap();
    for name in ["tiny", "tiny_ave", "tiny_own"] {
        let manifest = fs::read(packages_folder().join(name).join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let mut fields = Vec::new();
        for (key, value) in manifest.as_object().unwrap() {
            fields.push(key.clone());
            if matches!(
                key.as_str(),
                "frames" | "geometry" | "unet" | "audio" | "golden"
            ) {
                fields.extend(value.as_object().unwrap().keys().cloned());
            }
        }
        for field in fields {
            let named = [
                format!("`{field}`"),
                format!(".{field}`"),
                format!("`{field}."),
            ];
            assert!(
                named.iter().any(|text| document.contains(text)),
                "PACKAGES.md is silent on {field}"
            );
        }
    }
}

#[test]
fn a_network_gives_the_same_alone_and_in_a_batch() {
    let package = load("tiny_ave");
    let single = package.encoder().unwrap();
    let onnx = fs::read(package.folder().join("audio_encoder.onnx")).unwrap();
    let shape: (&str, &[usize]) = ("mel", &[16, 1, 80, 16]);
    let window = Network::from_onnx("batch", &onnx, &[shape], &LoadLimits::default()).unwrap();
    assert_eq!(window.inputs()[0].shape, [16, 1, 80, 16]);
    let mel: Vec<f32> = (0..16 * 80 * 16)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 15.0)
        .collect();
    let mut all = vec![0.0; 16 * 8];
    window
        .new_state()
        .unwrap()
        .run(&[&mel], &mut [&mut all])
        .unwrap();
    let mut state = single.new_state().unwrap();
    for (mel, expected) in mel.chunks_exact(80 * 16).zip(all.chunks_exact(8)) {
        let mut row = [0.0; 8];
        state.run(&[mel], &mut [&mut row]).unwrap();
        for (a, b) in row.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}

#[test]
fn own_features_are_windows_with_zeros_at_the_ends() {
    let package = load("tiny_own");
    let features = lipsyncd::model::read_npy(
        &package.folder().join("features.npy"),
        &LoadLimits::default(),
    )
    .unwrap();
    let row = |k: i64| match usize::try_from(k) {
        Ok(k) if k < 12 => features.values[k * 8..(k + 1) * 8].to_vec(),
        _ => vec![0.0; 8],
    };
    for frame_id in [0u32, 3, 6, 11, 12, 1_000_003, u32::MAX] {
        let frame = i64::from(frame_id % 12);
        let expected: Vec<f32> = (frame - 4..frame + 4).flat_map(row).collect();
        assert_eq!(
            package.own_features(frame_id).unwrap(),
            expected,
            "frame {frame_id}"
        );
    }
    assert!(load("tiny_ave").own_features(0).is_none());
}

#[test]
fn a_prediction_is_a_picture_that_fits_its_frame() {
    let package = load("tiny");
    let mut state = package.unet().new_state().unwrap();
    package
        .predict(&mut state, 2, package.own_features(2).unwrap())
        .unwrap();
    let output = state.output(package.unet_tensors().output);
    assert!(output.iter().all(|v| (0.0..=1.0).contains(v)));
    let mut jpeg = Vec::new();
    JpegEncoder::new(90)
        .encode_bgr_planes(output, 32, 32, &mut jpeg)
        .unwrap();
    decode_jpeg(&jpeg, 32, 32).unwrap();

    let idle = package.frame_image(2).unwrap();
    let mut full: BgrImage = idle.clone();
    let feather = package.manifest().geometry.feather_px();
    Composer::new()
        .compose(&mut full, output, 32, package.bounds(2), feather)
        .unwrap();
    assert_ne!(full, idle);
    assert_eq!((full.width, full.height), package.frame_size());
    let error = package.predict(&mut state, 2, &[0.0; 3]).unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::WrongLength {
                expected: 10,
                found: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn damaged_networks_are_refused() {
    let copy = Copy::of("tiny");
    let onnx = fs::read(copy.folder.join("unet.onnx")).unwrap();
    assert!(
        copy.replace("unet.onnx", b"rubbish")
            .error()
            .contains("network unet.onnx")
    );
    assert!(
        copy.replace("unet.onnx", &onnx[..onnx.len() / 2])
            .error()
            .contains("network unet.onnx")
    );
    let other = fs::read(packages_folder().join("tiny_own/unet.onnx")).unwrap();
    assert!(
        copy.replace("unet.onnx", &other)
            .error()
            .contains("network unet.onnx")
    );
}

#[test]
fn a_missed_golden_output_is_told() {
    let copy = Copy::of("tiny");
    let mut golden = fs::read(copy.folder.join("golden.output.npy")).unwrap();
    let last = golden.len() - 4;
    golden[last..].copy_from_slice(&0.0f32.to_le_bytes());
    golden[last - 4..last].copy_from_slice(&1.0f32.to_le_bytes());
    copy.replace("golden.output.npy", &golden);
    let package = Package::load(&copy.folder, &LoadLimits::default()).unwrap();
    let error = package.check_golden().unwrap_err().to_string();
    assert!(error.contains("golden output is missed by"), "{error}");
}

#[test]
fn limits_hold_before_anything_is_read() {
    let folder = packages_folder().join("tiny");
    let limits = [
        LoadLimits {
            package_bytes: 1000,
            ..LoadLimits::default()
        },
        LoadLimits {
            json_bytes: 100,
            ..LoadLimits::default()
        },
        LoadLimits {
            tensor_bytes: 100,
            ..LoadLimits::default()
        },
    ];
    for limits in limits {
        let error = Package::load(&folder, &limits).unwrap_err();
        assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
    }
    let few = LoadLimits {
        frames: 5,
        ..LoadLimits::default()
    };
    assert!(
        Package::load(&folder, &few)
            .unwrap_err()
            .to_string()
            .contains("has 6 frames, 1 to 5 are served; --max-frames raises it")
    );
    let small = LoadLimits {
        tensor_values: 100,
        ..LoadLimits::default()
    };
    assert!(
        Package::load(&folder, &small)
            .unwrap_err()
            .to_string()
            .contains("100 values")
    );
}

#[test]
fn a_registry_serves_several_and_names_what_it_has() {
    let registry = Registry::new(LoadLimits::default());
    assert_eq!(
        registry.find("tiny").unwrap_err().to_string(),
        "no model named `tiny`: none is loaded"
    );
    for folder in Registry::folders(&packages_folder()).unwrap() {
        registry.load(&folder).unwrap();
    }
    assert_eq!(registry.names(), ["tiny", "tiny_ave", "tiny_own"]);
    let held = registry.find("tiny").unwrap();
    assert_eq!(
        registry.find("TINY").unwrap_err().to_string(),
        "no model named `TINY`; loaded: `tiny`, `tiny_ave`, `tiny_own`"
    );
    registry.unload("tiny").unwrap();
    assert!(registry.find("tiny").is_err() && registry.unload("tiny").is_err());
    // A job that still holds the package goes on.
    held.crop(0).unwrap();
    assert_eq!(registry.crops().statistics().crops, 1);
    drop(held);
    assert_eq!(registry.crops().statistics().crops, 0);
}

#[test]
fn crops_are_kept_within_the_budget() {
    let crop_bytes = 32 * 32 * 3;
    let limits = LoadLimits {
        crop_cache_bytes: 2 * crop_bytes,
        ..LoadLimits::default()
    };
    let registry = Registry::new(limits);
    let package = registry.load(&packages_folder().join("tiny")).unwrap();
    let first = package.crop(0).unwrap();
    for frame in 0..package.frame_count() {
        package.crop(frame).unwrap();
    }
    let statistics = registry.crops().statistics();
    assert_eq!((statistics.crops, statistics.bytes), (2, 2 * crop_bytes));
    assert_eq!(package.crop(0).unwrap(), first);
    assert_eq!(package.memory().frames_bytes, 11005);
}
