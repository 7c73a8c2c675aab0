//! From a package to the same package in bytes.

use super::files::sha256_hex;
use super::onnx::read_package_network;
use super::{
    Calibration, Calibrator, Checksum, LoadLimits, ModelError, Network, Package, is_model_name,
    write_npy,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The name that a calibration gets in a package.
const CALIBRATION: &str = "unet.calibration.json";

impl Package {
    /// The U-Net in floats, to be watched.
    ///
    /// # Errors
    /// As [`Calibrator::new`], and when the package is quantised already.
    pub fn calibrator(&self, limits: &LoadLimits) -> Result<Calibrator, ModelError> {
        if self.manifest().unet.calibration.is_some() {
            return Err(ModelError::BadField {
                file: self.folder().join("manifest.json"),
                field: "unet.calibration".into(),
                reason: "is there: the package is quantised already".into(),
            });
        }
        self.with_unet(limits, |name, onnx, shapes| {
            Calibrator::new(name, onnx, shapes, limits)
        })
    }

    /// The U-Net in bytes.
    ///
    /// # Errors
    /// As [`Network::quantised`].
    pub fn quantised_unet(
        &self,
        calibration: &Calibration,
        limits: &LoadLimits,
    ) -> Result<Network, ModelError> {
        self.with_unet(limits, |name, onnx, shapes| {
            Network::quantised(name, onnx, shapes, calibration, limits)
        })
    }

    fn with_unet<T>(
        &self,
        limits: &LoadLimits,
        load: impl FnOnce(&str, &[u8], &[(&str, &[usize])]) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let manifest = self.manifest();
        let name = &manifest.unet.file;
        let onnx = read_package_network(self.folder(), name, manifest, limits)?;
        let shapes = manifest.unet.shapes(manifest.geometry.inner_size);
        let shapes = [0, 1].map(|input: usize| (shapes[input].0, &shapes[input].1[..]));
        load(name, &onnx, &shapes)
    }

    /// Writes the package with `calibration` into `folder`, which is made (its parent exists) and gives the new package
    /// its name. `golden` is the golden frame as the new network computes it, if there is one.
    ///
    /// # Errors
    /// When the name cannot be a package's, the folder exists and is not empty, or a file cannot be copied or written.
    pub fn write_quantised(
        &self,
        calibration: &Calibration,
        golden: Option<&[f32]>,
        folder: &Path,
    ) -> Result<(), ModelError> {
        let refuse = |reason: String| ModelError::Malformed {
            file: folder.to_owned(),
            reason,
        };
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !is_model_name(&name) {
            return Err(refuse("its name cannot be a package's".into()));
        }
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(refuse("is not empty; name a new folder".into()));
        }
        let failed = |error: std::io::Error| refuse(format!("cannot be written: {error}"));
        let old = self.folder().join("manifest.json");
        let text = fs::read(&old).map_err(|source| ModelError::Unreadable {
            file: old.clone(),
            source,
        })?;
        let mut manifest: Value =
            serde_json::from_slice(&text).map_err(|error| ModelError::Malformed {
                file: old.clone(),
                reason: error.to_string(),
            })?;
        manifest["name"] = json!(name);
        manifest["unet"]["calibration"] = json!(CALIBRATION);
        fs::create_dir_all(folder).map_err(failed)?;
        for file in self.manifest().files.keys() {
            let to = folder.join(file);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::copy(self.folder().join(file), to).map_err(failed)?;
        }
        let mut write = |file: &str, content: &[u8]| {
            manifest["files"][file] = json!(Checksum {
                bytes: content.len() as u64,
                sha256: sha256_hex(content),
            });
            fs::write(folder.join(file), content).map_err(failed)
        };
        write(CALIBRATION, calibration.to_json().as_bytes())?;
        if let (Some(values), Some(golden)) = (golden, &self.manifest().golden) {
            let side = self.manifest().geometry.inner_size;
            let file = folder.join(&golden.output);
            write_npy(&file, &[1, 3, side, side], values)?;
            write(&golden.output, &fs::read(&file).map_err(failed)?)?;
        }
        let text = serde_json::to_string_pretty(&manifest).expect("JSON can be written");
        fs::write(folder.join("manifest.json"), text + "\n").map_err(failed)
    }
}
