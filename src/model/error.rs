//! What can be wrong with a package or a network.

use super::onnx::OnnxError;
use crate::frame::FrameError;
use std::path::PathBuf;

/// Why a package or a network cannot be used. Nothing of it is a client's fault, but for [`ModelError::Unknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    /// A link that leads nowhere stands where a package should.
    #[error("{}: is a link to {}, which is not there", .link.display(), .target.display())]
    DanglingLink { link: PathBuf, target: PathBuf },
    /// A file of the package is a link that leads out of the package's folder.
    #[error(
        "{}: is a link that leads out of the package's folder, to {}: copy the file itself into the package (cp -L)",
        .file.display(), .target.display()
    )]
    LeadsOut { file: PathBuf, target: PathBuf },
    /// A file, or all of a package's files together, are larger than the limit of their kind.
    #[error("{}: {bytes} bytes are more than the limit of {limit}{}", .file.display(), raised_by(*.flag))]
    TooLarge {
        file: PathBuf,
        bytes: u64,
        limit: u64,
        /// The flag that raises it, where there is one.
        flag: Option<&'static str>,
    },
    /// A package has more frames than are served.
    #[error("{}: has {frames} frames, 1 to {limit} are served; --max-frames raises it", .file.display())]
    TooManyFrames {
        file: PathBuf,
        frames: usize,
        limit: usize,
    },
    /// A file's size or SHA-256 is not what the manifest states.
    #[error("{}: {what} is {found}, the manifest states {stated}; copy the package again", .file.display())]
    Changed {
        file: PathBuf,
        what: &'static str,
        stated: String,
        found: String,
    },
    /// The manifest is not the one that was checked.
    #[error("{}: changed while the package was being loaded; load it again", .file.display())]
    ManifestChanged { file: PathBuf },
    /// A file is not of the format that it should be.
    #[error("{}: {reason}", .file.display())]
    Malformed { file: PathBuf, reason: String },
    /// A field of the manifest (or of the frame index) has a value that cannot be.
    #[error("{}: field `{field}`: {reason}", .file.display())]
    BadField {
        file: PathBuf,
        field: String,
        reason: String,
    },
    /// A row of the package's own features holds NaN or infinity.
    #[error("{}: row {row} holds {value}: compute the features anew", .file.display())]
    BadFeatures {
        file: PathBuf,
        row: usize,
        value: f32,
    },
    /// The inference engine refuses the network; its words.
    #[error("network {network}: {reason}")]
    Network { network: String, reason: String },
    /// The file is no network that can be computed.
    #[error("network {network}: {source}")]
    Onnx { network: String, source: OnnxError },
    /// The network runs, and gives NaN or infinity.
    #[error(
        "network {network}: gives {value} (channel {channel} of `{tensor}`, frame {frame}): its training diverged, or its \
         weights are damaged; export an earlier checkpoint"
    )]
    NotFinite {
        network: String,
        tensor: String,
        channel: usize,
        frame: u32,
        value: f32,
    },
    /// The network runs, and gives another range than pictures have.
    #[error(
        "network {network}: gives values from {low} to {high} for frame {frame}, a picture lies in 0 to 1: is the sigmoid \
         missing from the export?"
    )]
    OutOfRange {
        network: String,
        frame: u32,
        low: f32,
        high: f32,
    },
    /// The network runs, and gives one colour.
    #[error(
        "network {network}: gives one colour ({value}) for every frame: it was not trained, or its weights are damaged"
    )]
    Constant { network: String, value: f32 },
    /// The file declares another shape than the package states.
    #[error(
        "network {network}: its `{tensor}` is {}, the package says {}: {cure}",
        declared_sides(.declared), sides(.stated)
    )]
    Declared {
        network: String,
        tensor: String,
        /// As the file has it; `None` where it leaves a side open.
        declared: Vec<Option<usize>>,
        stated: Vec<usize>,
        cure: String,
    },
    /// A network's tensor has another shape than is needed.
    #[error("network {network}: tensor `{tensor}` has the shape {found:?}, {expected:?} is needed")]
    Shape {
        network: String,
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    /// A network has no tensor of that name; the names it has.
    #[error("network {network}: no tensor `{tensor}`; it has {}", list(.known))]
    NoTensor {
        network: String,
        tensor: String,
        known: Vec<String>,
    },
    /// A network's input or output was given with a wrong number of values.
    #[error("network {network}: tensor `{tensor}` takes {expected} values, {found} were given")]
    WrongLength {
        network: String,
        tensor: String,
        expected: usize,
        found: usize,
    },
    /// A picture of the package cannot be decoded or cut.
    #[error("frame {frame}: {source}")]
    Frame { frame: u32, source: FrameError },
    /// The golden output differs by more than the manifest allows.
    #[error(
        "package {package}: the golden output is missed by {error} (allowed is {allowed}); the networks do not compute here \
         what they computed where the package was made"
    )]
    NotGolden {
        package: String,
        error: f32,
        allowed: f32,
    },
    /// No package of that name is loaded.
    #[error("no model named `{name}`{}", or_loaded(.loaded))]
    Unknown { name: String, loaded: Vec<String> },
    /// The check in a child process did not pass.
    #[error("package {package}: the check in a separate process failed: {reason}")]
    CheckFailed { package: String, reason: String },
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn or_loaded(names: &[String]) -> String {
    match names {
        [] => ": none is loaded".to_owned(),
        names => format!("; loaded: {}", list(names)),
    }
}

fn raised_by(flag: Option<&str>) -> String {
    flag.map(|flag| format!("; {flag} raises it"))
        .unwrap_or_default()
}

/// `[1,16,32,32]`.
fn sides(sides: &[usize]) -> String {
    let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
    format!("[{}]", sides.join(","))
}

fn declared_sides(declared: &[Option<usize>]) -> String {
    let side = |side: &Option<usize>| side.map_or("?".to_owned(), |side| side.to_string());
    let sides: Vec<String> = declared.iter().map(side).collect();
    format!("[{}]", sides.join(","))
}
