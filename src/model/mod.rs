//! Packages and networks: a folder on disk in, a face that can be computed out.
//!
//! The only room that names tract ([`network`] and the graph rewrites in `fuse`). A package is read once, checked
//! whole, and then shared between all workers; what a worker changes is its own [`NetworkState`].

mod calibration;
mod crops;
mod engine_errors;
mod error;
mod examine;
mod expect;
mod files;
mod fuse;
mod limits;
mod load;
mod manifest;
mod network;
mod npy;
mod onnx;
mod package;
mod quantised;
mod registry;
mod sandbox;
mod states;
mod tensor_spec;

pub use calibration::{Calibration, Calibrator};
pub use crops::{CropCache, CropCacheStatistics};
pub use error::ModelError;
pub use examine::{Examination, examine};
pub use files::Checksum;
pub use fuse::{FuseReport, instruction_sets};
pub use limits::LoadLimits;
pub use manifest::{
    AudioKind, AudioSpec, EncoderSpec, Family, Golden, GoldenInput, Manifest, UnetSpec,
    is_model_name,
};
pub use network::{Network, NetworkState};
pub use npy::{NpyTensor, parse_npy, read_npy, write_npy};
pub use onnx::{Declared, DeclaredTensor, Note, OnnxError, declared_inputs, read_network};
pub use package::{Package, PackageMemory, UnetTensors};
pub use registry::Registry;
pub use sandbox::{CheckLimits, check_in_child, check_in_child_until, confine_this_process};
pub use states::KeptFrames;
pub use tensor_spec::TensorSpec;
