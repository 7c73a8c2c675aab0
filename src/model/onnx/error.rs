//! Why an ONNX file is not computed.

/// What is wrong with an ONNX file, and what its owner can do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    #[error("is no ONNX file: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("is no ONNX file: it holds no graph")]
    NoGraph,
    #[error(
        "keeps its weights in `{location}`, which was not given with it: keep both files in one folder (in a package, \
         both are listed in the manifest), or export with external_data=False"
    )]
    ExternalMissing { location: String },
    #[error(
        "keeps its weights in `{location}`, which leads out of its folder: export again with both files in one folder, \
         or with external_data=False"
    )]
    ExternalOutside { location: String },
    #[error(
        "keeps tensor `{tensor}` at bytes {offset} to {end} of `{location}`, which has {bytes}: copy both files again"
    )]
    ExternalTruncated {
        tensor: String,
        location: String,
        offset: u64,
        end: u64,
        bytes: u64,
    },
    #[error("keeps more than {limit} bytes of weights in other files")]
    ExternalTooLarge { limit: u64 },
    #[error("tensor `{tensor}` {reason}")]
    BadTensor {
        tensor: String,
        reason: &'static str,
    },
    #[error(
        "holds {value} in its weights (tensor `{tensor}`): its training diverged, or the file is damaged; export an earlier \
         checkpoint"
    )]
    NotFinite { tensor: String, value: f32 },
    #[error(
        "was exported in training mode ({operator} `{node}`): call eval() before the export, or export with \
         training=TrainingMode.EVAL"
    )]
    TrainingMode { operator: String, node: String },
    #[error(
        "computes with whole numbers ({operator} `{node}`): give the f32 network, then `lipsyncd quantize` makes int8 \
         of it"
    )]
    Integers { operator: String, node: String },
    #[error(
        "holds the operator {operator} (node `{node}`), which is not known here: write it with operators of ONNX, or \
         export with opset 17"
    )]
    UnknownOperator { operator: String, node: String },
}
