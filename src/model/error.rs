//! What can be wrong with a package or a network.

use crate::frame::FrameError;
use std::fmt;
use std::path::PathBuf;

/// Why a package or a network cannot be used. Nothing of it is a client's fault, but for [`ModelError::Unknown`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read.
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    /// A file is larger than the limit of its kind.
    TooLarge {
        file: PathBuf,
        bytes: u64,
        limit: u64,
    },
    /// A file's size or SHA-256 is not what the manifest states.
    Changed {
        file: PathBuf,
        what: &'static str,
        stated: String,
        found: String,
    },
    /// A file is not of the format that it should be.
    Malformed { file: PathBuf, reason: String },
    /// A field of the manifest (or of the frame index) has a value that cannot be.
    BadField {
        file: PathBuf,
        field: String,
        reason: String,
    },
    /// The inference engine refuses the network; its words.
    Network { network: String, reason: String },
    /// The network's file cannot be used as it is; the words say what to do.
    Onnx {
        network: String,
        source: super::OnnxError,
    },
    /// A network's tensor has another shape than is needed.
    Shape {
        network: String,
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    /// A network has no tensor of that name; the names it has.
    NoTensor {
        network: String,
        tensor: String,
        known: Vec<String>,
    },
    /// A network's input or output was given with a wrong number of values.
    WrongLength {
        network: String,
        tensor: String,
        expected: usize,
        found: usize,
    },
    /// A picture of the package cannot be decoded or cut.
    Frame { frame: u32, source: FrameError },
    /// The golden output differs by more than the manifest allows.
    NotGolden {
        package: String,
        error: f32,
        allowed: f32,
    },
    /// No package of that name is loaded.
    Unknown { name: String, loaded: Vec<String> },
    /// The check in a child process did not pass.
    CheckFailed { package: String, reason: String },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Unreadable { file, source } => {
                write!(f, "{}: cannot be read: {source}", file.display())
            }
            ModelError::TooLarge { file, bytes, limit } => {
                write!(
                    f,
                    "{}: is {bytes} bytes, the limit is {limit}",
                    file.display()
                )
            }
            ModelError::Changed {
                file,
                what,
                stated,
                found,
            } => {
                write!(
                    f,
                    "{}: {what} is {found}, the manifest states {stated}; copy the package again",
                    file.display()
                )
            }
            ModelError::Malformed { file, reason } => write!(f, "{}: {reason}", file.display()),
            ModelError::BadField {
                file,
                field,
                reason,
            } => {
                write!(f, "{}: field `{field}`: {reason}", file.display())
            }
            ModelError::Network { network, reason } => write!(f, "network {network}: {reason}"),
            ModelError::Onnx { network, source } => write!(f, "network {network}: {source}"),
            ModelError::Shape {
                network,
                tensor,
                expected,
                found,
            } => {
                write!(
                    f,
                    "network {network}: tensor `{tensor}` has the shape {found:?}, {expected:?} is needed"
                )
            }
            ModelError::NoTensor {
                network,
                tensor,
                known,
            } => {
                write!(
                    f,
                    "network {network}: no tensor `{tensor}`; it has {}",
                    list(known)
                )
            }
            ModelError::WrongLength {
                network,
                tensor,
                expected,
                found,
            } => {
                write!(
                    f,
                    "network {network}: tensor `{tensor}` takes {expected} values, {found} were given"
                )
            }
            ModelError::Frame { frame, source } => write!(f, "frame {frame}: {source}"),
            ModelError::NotGolden {
                package,
                error,
                allowed,
            } => write!(
                f,
                "package {package}: the golden output is missed by {error} (allowed is {allowed}); \
                 the networks do not compute here what they computed where the package was made"
            ),
            ModelError::Unknown { name, loaded } if loaded.is_empty() => {
                write!(f, "no model named `{name}`: none is loaded")
            }
            ModelError::Unknown { name, loaded } => {
                write!(f, "no model named `{name}`; loaded: {}", list(loaded))
            }
            ModelError::CheckFailed { package, reason } => {
                write!(
                    f,
                    "package {package}: the check in a separate process failed: {reason}"
                )
            }
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ModelError::Unreadable { source, .. } => Some(source),
            ModelError::Frame { source, .. } => Some(source),
            ModelError::Onnx { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
