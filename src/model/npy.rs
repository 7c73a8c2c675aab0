//! Tensors in NumPy's .npy files.

use super::{LoadLimits, ModelError, files};
use ndarray::{ArrayViewD, IxDyn};
use ndarray_npy::{ViewNpyError, ViewNpyExt, WriteNpyExt};
use std::path::Path;

/// A tensor read from a file: its shape, and its values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct NpyTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Reads a .npy file of f32, f64 or u8 values. Those of u8 are pictures and are scaled by 1/255.
///
/// # Errors
/// When the file cannot be read, is larger than `limits.tensor_bytes`, or is no such tensor.
pub fn read_npy(file: &Path, limits: &LoadLimits) -> Result<NpyTensor, ModelError> {
    parse_npy(&files::read_limited(file, limits.tensor_bytes)?, file)
}

/// As [`read_npy`], from bytes; `file` is for messages. Nothing is allocated by a shape that the bytes do not fill.
pub fn parse_npy(bytes: &[u8], file: &Path) -> Result<NpyTensor, ModelError> {
    if let Some(tensor) = view(bytes, file, |value: f32| value)? {
        return Ok(tensor);
    }
    if let Some(tensor) = view(bytes, file, |value: u8| f32::from(value) / 255.0)? {
        return Ok(tensor);
    }
    if let Some(tensor) = view(bytes, file, |value: f64| value as f32)? {
        return Ok(tensor);
    }
    let reason = "holds values of a type other than f32, f64 and u8".into();
    Err(ModelError::Malformed {
        file: file.to_owned(),
        reason,
    })
}

/// `None`: the values are of another type.
fn view<T>(
    bytes: &[u8],
    file: &Path,
    to_f32: impl Fn(T) -> f32,
) -> Result<Option<NpyTensor>, ModelError>
where
    T: ndarray_npy::ViewElement + Copy,
{
    match ArrayViewD::<T>::view_npy(bytes) {
        Ok(array) => Ok(Some(NpyTensor {
            shape: array.shape().to_vec(),
            values: array.iter().map(|value| to_f32(*value)).collect(),
        })),
        Err(ViewNpyError::WrongDescriptor(_)) => Ok(None),
        Err(error) => {
            let reason = format!("is not a readable .npy file: {error}");
            Err(ModelError::Malformed {
                file: file.to_owned(),
                reason,
            })
        }
    }
}

/// Writes values of the given shape (row-major) as a .npy file of f32.
///
/// # Errors
/// When the file cannot be written, or the shape does not hold as many values.
pub fn write_npy(file: &Path, shape: &[usize], values: &[f32]) -> Result<(), ModelError> {
    let malformed = |reason: String| ModelError::Malformed {
        file: file.to_owned(),
        reason,
    };
    let array = ArrayViewD::from_shape(IxDyn(shape), values).map_err(|_| {
        malformed(format!(
            "a tensor of shape {shape:?} does not hold {} values",
            values.len()
        ))
    })?;
    let opened = std::fs::File::create(file).map_err(|source| ModelError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    array
        .write_npy(std::io::BufWriter::new(opened))
        .map_err(|error| malformed(format!("cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_the_way_to_disk_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.npy");
        let values: Vec<f32> = (0..24).map(|i| i as f32 * 0.25).collect();
        write_npy(&file, &[2, 3, 4], &values).unwrap();
        let back = read_npy(&file, &LoadLimits::default()).unwrap();
        assert_eq!(
            back,
            NpyTensor {
                shape: vec![2, 3, 4],
                values
            }
        );
        assert!(write_npy(&file, &[5], &[0.0]).is_err());
    }

    #[test]
    fn bytes_are_scaled() {
        let mut bytes = Vec::new();
        ndarray::arr1(&[0u8, 51, 255])
            .write_npy(&mut bytes)
            .unwrap();
        assert_eq!(
            parse_npy(&bytes, Path::new("x")).unwrap().values,
            [0.0, 0.2, 1.0]
        );
    }

    #[test]
    fn rubbish_cut_files_and_false_shapes_are_errors() {
        let mut bytes = Vec::new();
        ndarray::arr1(&[1.0f32; 9]).write_npy(&mut bytes).unwrap();
        for end in 0..bytes.len() {
            assert!(
                parse_npy(&bytes[..end], Path::new("x")).is_err(),
                "cut at {end}"
            );
        }
        let text = bytes.windows(2).position(|pair| pair == b"9,").unwrap();
        bytes.splice(text..text + 1, *b"9999999999");
        bytes.drain(text + 12..text + 21);
        assert!(parse_npy(&bytes, Path::new("x")).is_err());
        let mut integers = Vec::new();
        ndarray::arr1(&[1i32; 9]).write_npy(&mut integers).unwrap();
        assert!(
            parse_npy(&integers, Path::new("x"))
                .unwrap_err()
                .to_string()
                .contains("other than f32")
        );
    }
}
