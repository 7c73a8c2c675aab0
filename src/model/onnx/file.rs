//! Reading a network's file, with the weights that it keeps in files beside it.

use super::OnnxError;
use super::external::with_external_data;
use crate::model::{LoadLimits, Manifest, ModelError, files};
use std::path::Path;

/// The bytes of an ONNX file, with the weights that it keeps in other files of its folder.
///
/// # Errors
/// When it (or such a file) cannot be read, is larger than `limits.package_bytes`, or a name leads out of the folder.
pub fn read_network(path: &Path, limits: &LoadLimits) -> Result<Vec<u8>, ModelError> {
    let limit = limits.package_bytes;
    let (name, folder) = (file_name(path), path.parent().unwrap_or(Path::new("")));
    let onnx = files::read_limited(path, limit)?;
    with_external_data(&name, onnx, limit, |location| {
        let refuse = |source| ModelError::Onnx {
            network: name.clone(),
            source,
        };
        let location = location.to_owned();
        let beside = folder.join(&location);
        let Ok(real) = beside.canonicalize() else {
            return Err(refuse(OnnxError::ExternalMissing { location }));
        };
        let root = path.canonicalize().unwrap_or_default();
        match root.parent() {
            Some(root) if real.starts_with(root) => files::read_limited(&beside, limit),
            _ => Err(refuse(OnnxError::ExternalOutside { location })),
        }
    })
}

/// As [`read_network`], for file `name` of a package: every file is one that the manifest states.
pub(in crate::model) fn read_package_network(
    folder: &Path,
    name: &str,
    manifest: &Manifest,
    limits: &LoadLimits,
) -> Result<Vec<u8>, ModelError> {
    let limit = limits.package_bytes;
    let onnx = files::read_checked(folder, name, &manifest.files[name], limit)?;
    let parent = Path::new(name).parent().unwrap_or(Path::new(""));
    with_external_data(name, onnx, limit, |location| {
        let beside = parent.join(location).to_string_lossy().into_owned();
        match manifest.files.get(&beside) {
            Some(checksum) => files::read_checked(folder, &beside, checksum, limit),
            None => Err(ModelError::Onnx {
                network: name.to_owned(),
                source: OnnxError::ExternalMissing {
                    location: location.to_owned(),
                },
            }),
        }
    })
}

/// The name by which messages tell a file.
pub(in crate::model) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
