//! What clients ask, the same for every protocol.

use bytes::Bytes;

use super::model_name::ModelName;
use super::stream::{AudioChunk, StreamRequest};

/// Any message of a client, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// One frame wanted.
    Inference(InferenceRequest),
    /// Several frames wanted, answered together.
    Batch(BatchRequest),
    /// Something other than frames.
    Control(ControlRequest),
    /// A stream's control message (v2).
    Stream(StreamRequest),
    /// A stream's audio (v2).
    Audio(AudioChunk),
}

/// A request for one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceRequest {
    /// The package's name, as the client wrote it.
    pub model_name: ModelName,
    /// The frame wanted; may run past the package's frame count (the server walks to and fro).
    pub frame_id: u32,
    /// PCM16 little-endian mono, an even number of bytes; `None`: the package's own audio.
    /// Borrowed from the message where the protocol allows.
    pub audio: Option<Bytes>,
    /// The rate of `audio` in Hz, from [`super::MIN_SAMPLE_RATE_HZ`] to [`super::MAX_SAMPLE_RATE_HZ`];
    /// `None`: the session's rate.
    pub sample_rate_hz: Option<u32>,
    /// The client's own id for this request, to be echoed.
    pub request_id: Option<Box<str>>,
}

/// A request for several frames of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRequest {
    /// As in [`InferenceRequest`].
    pub model_name: ModelName,
    /// At least one, at most [`super::MessageLimits::max_batch_frames`].
    pub frames: Vec<BatchFrame>,
    /// As in [`InferenceRequest`], for the audio of every frame.
    pub sample_rate_hz: Option<u32>,
    /// As in [`InferenceRequest`].
    pub request_id: Option<Box<str>>,
}

/// One frame of a [`BatchRequest`]; its fields as in [`InferenceRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFrame {
    pub frame_id: u32,
    pub audio: Option<Bytes>,
}

/// A control message: always JSON, understood on every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRequest {
    /// What is wanted.
    pub control: Control,
    /// The client's own id for this request, to be echoed.
    pub request_id: Option<Box<str>>,
}

/// What a control message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// `get_stats`: the figures now; `subscribe` switches this client's broadcast on or off.
    Stats { subscribe: Option<bool> },
    /// `switch_to_binary`: how binary messages are sent on this connection.
    SwitchToBinary,
    /// `configure`: sets the session's sample rate in Hz.
    Configure { sample_rate_hz: u32 },
    /// `list_models`.
    ListModels,
    /// `get_metadata`.
    Metadata { model_name: String },
    /// `get_video_frame`: an idle frame of the package.
    VideoFrame { model_name: String, frame_id: u32 },
    /// `load_model`, for administrators.
    LoadModel { model_name: String },
    /// `unload_model`, for administrators.
    UnloadModel { model_name: String },
}
