//! What clients ask and what the server answers, the same for every protocol.

use bytes::Bytes;
use serde::Serialize;
use std::fmt;

use super::error::{Code, ProtocolError};
use super::stream::{AudioChunk, StreamFrame, StreamRequest, StreamUpdate};

/// The lowest sample rate taken, in Hz.
pub const MIN_SAMPLE_RATE_HZ: u32 = 8_000;
/// The highest sample rate taken, in Hz.
pub const MAX_SAMPLE_RATE_HZ: u32 = 48_000;
/// The sample rate of audio where nobody said otherwise, in Hz.
pub const DEFAULT_SAMPLE_RATE_HZ: u32 = 24_000;

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
    /// The package's name, as the client wrote it: any text up to the limit, to be looked up, never a path.
    pub model_name: String,
    /// The frame wanted; may run past the package's frame count (the server walks to and fro).
    pub frame_id: u32,
    /// PCM16 little-endian mono, an even number of bytes; `None`: the package's own audio.
    /// Borrowed from the message where the protocol allows.
    pub audio: Option<Bytes>,
    /// The rate of `audio` in Hz, from [`MIN_SAMPLE_RATE_HZ`] to [`MAX_SAMPLE_RATE_HZ`];
    /// `None`: the session's rate.
    pub sample_rate_hz: Option<u32>,
    /// The client's own id for this request, to be echoed.
    pub request_id: Option<Box<str>>,
}

/// A request for several frames of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRequest {
    /// As in [`InferenceRequest`].
    pub model_name: String,
    /// At least one, at most [`super::Limits::max_batch_frames`].
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

/// The id that a reply carries: the client's own, or the server's count of this connection's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    Client(Box<str>),
    Serial(u64),
}

impl RequestId {
    /// The client's id where it gave one, else the server's.
    pub fn new(client: Option<Box<str>>, serial: u64) -> Self {
        client.map_or(RequestId::Serial(serial), RequestId::Client)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Client(id) => f.write_str(id),
            RequestId::Serial(id) => write!(f, "{id}"),
        }
    }
}

/// Any answer of the server; [`Reply::encode`] writes it in the protocol of the request that it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Frame(FrameReply),
    Batch(BatchReply),
    Error(ErrorReply),
    Control(ControlReply),
    /// A stream's frame (v2, binary).
    StreamFrame(StreamFrame),
    /// A stream's control message (v2, JSON).
    Stream(StreamUpdate),
}

/// One frame, computed.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameReply {
    pub request_id: RequestId,
    /// The package's name.
    pub model_name: std::sync::Arc<str>,
    /// As the client sent it.
    pub frame_id: u32,
    /// The idle frame that the image belongs to: `frame_id` walked to and fro over the package's frames.
    pub avatar_frame: u32,
    /// Where the image belongs: x1, y1, x2, y2 in pixels of the full frame.
    pub bounds: [f32; 4],
    /// Width and height of the image in pixels.
    pub image_size: (u32, u32),
    /// The image as JPEG.
    pub jpeg: Bytes,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
    /// Whether the package's own audio was used.
    pub own_audio: bool,
}

/// The frames of a batch in the order asked for, each a frame or its own error.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchReply {
    pub request_id: RequestId,
    pub model_name: std::sync::Arc<str>,
    pub frames: Vec<Result<FrameReply, ErrorReply>>,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub code: Code,
    /// What was wrong and what to do next, for a person.
    pub text: String,
    /// The request's frame, where it could be read.
    pub frame_id: Option<u32>,
    /// `None` where the client gave none that could be read and the server counted none.
    pub request_id: Option<RequestId>,
    /// The stream, for errors of v2.
    pub stream: Option<u16>,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
}

impl ErrorReply {
    /// An error that is not yet tied to a request.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        ErrorReply {
            code,
            text: text.into(),
            frame_id: None,
            request_id: None,
            stream: None,
            processing_us: 0,
        }
    }
}

impl From<ProtocolError> for ErrorReply {
    fn from(error: ProtocolError) -> Self {
        ErrorReply {
            frame_id: error.frame_id,
            request_id: error.request_id.clone().map(RequestId::Client),
            stream: error.stream,
            ..ErrorReply::new(error.code(), error.to_string())
        }
    }
}

/// The answer to a control message, or a broadcast (then without `request_id`).
#[derive(Debug, Clone, PartialEq)]
pub struct ControlReply {
    pub request_id: Option<RequestId>,
    pub body: ControlBody,
}

/// What a control message is answered with. Serialised as it stands, `type` first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlBody {
    Stats(Box<StatsSnapshot>),
    ProtocolInfo(ProtocolInfo),
    Configured(Configured),
    ModelList(ModelList),
    Metadata(Metadata),
    VideoFrame(VideoFrame),
    ModelLoaded(ModelLoaded),
    ModelUnloaded(ModelUnloaded),
}

/// Figures of the server since its start, filled by the observe room. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StatsSnapshot {
    pub version: String,
    pub uptime_s: f64,
    /// Requests for frames, each frame of a batch counted: answered or failed.
    pub total_requests: u64,
    pub binary_requests: u64,
    pub json_requests: u64,
    pub protobuf_requests: u64,
    /// Share of binary among all, 0 to 100.
    pub binary_percentage: f64,
    /// From arrival to reply.
    pub average_time_ms: f64,
    pub p50_time_ms: f64,
    pub p99_time_ms: f64,
    /// Share of the computing alone.
    pub compute_p50_ms: f64,
    pub compute_p99_ms: f64,
    pub connected_clients: u64,
    pub total_connections: u64,
    pub refused_connections: u64,
    /// Jobs that wait for a worker now, and how many may.
    pub queue_depth: u64,
    pub queue_capacity: u64,
    /// Requests refused because the queue or the client's share of it was full.
    pub busy_replies: u64,
    pub error_replies: u64,
    /// Jobs not computed because their connection was gone.
    pub abandoned_jobs: u64,
    /// Audio encoder rows found again in the cache, and rows computed.
    pub row_cache_hits: u64,
    pub row_cache_misses: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub workers: u64,
    pub models: Vec<String>,
    pub streams: StreamTotals,
}

/// Figures of all streams (v2) since the server's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StreamTotals {
    pub open: u64,
    pub opened: u64,
    pub refused: u64,
    pub resumed: u64,
    /// How many streams this machine carries, as measured at start.
    pub capacity: u64,
    pub frames_sent: u64,
    /// Of these, frames without an image.
    pub idle_frames: u64,
    pub held_frames: u64,
    pub dropped_late: u64,
    pub dropped_no_credit: u64,
    pub dropped_interrupted: u64,
    pub queue_age_ms: f64,
    pub compute_p50_ms: f64,
    pub compute_p99_ms: f64,
    /// How long after its instant and the look-ahead the last frame of the stream that is furthest behind was ready;
    /// negative: all are ahead of time.
    pub lag_ms: f64,
}

/// How binary messages are sent on this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProtocolInfo {
    pub binary_supported: bool,
    /// Always `1.0`: the version of the binary layout, timed or not.
    pub binary_protocol_version: String,
    pub message: String,
    /// The protocol of this connection's binary messages: `binary`, `protobuf` or `stream`.
    pub protocol: String,
    /// The subprotocols that are switched on.
    pub subprotocols: Vec<String>,
    /// The words of `--protocols` that are on.
    pub protocols: Vec<String>,
}

/// The session's settings after `configure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Configured {
    pub success: bool,
    /// Hz.
    pub sample_rate: u32,
}

/// The packages that are served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelList {
    pub models: Vec<ModelSummary>,
    pub count: usize,
}

/// One package in a [`ModelList`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSummary {
    pub name: String,
    pub title: String,
    pub description: String,
    pub family: String,
    pub loaded: bool,
    pub frame_count: u32,
    pub frame_rate: u32,
}

/// What a client must know of a package to show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metadata {
    pub success: bool,
    pub model_name: String,
    pub title: String,
    pub description: String,
    pub family: String,
    pub license: String,
    pub frame_count: u32,
    /// Frames a second.
    pub frame_rate: u32,
    /// Width and height of the full frame in pixels.
    pub frame_size: [u32; 2],
    /// Width and height of the predicted image in pixels.
    pub image_size: [u32; 2],
    /// Per frame: x1, y1, x2, y2 of the predicted image in pixels of the full frame.
    pub bounds: Vec<[f32; 4]>,
    /// How much audio after a frame's own instant its picture needs.
    pub look_ahead_ms: f32,
    /// Whether requests may bring audio; false: the package has only its own.
    pub accepts_audio: bool,
    /// Hz, of audio whose rate is not said.
    pub default_sample_rate: u32,
}

/// An idle frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoFrame {
    pub success: bool,
    pub model_name: String,
    /// As the client sent it.
    pub frame_id: u32,
    pub avatar_frame: u32,
    /// Width and height in pixels.
    pub frame_size: [u32; 2],
    pub bounds: [f32; 4],
    /// JPEG; base64 on the wire.
    #[serde(serialize_with = "super::json::base64_field")]
    pub frame_data: Bytes,
}

/// A package was loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelLoaded {
    pub success: bool,
    pub model_name: String,
    pub initialization_time_ms: f64,
}

/// A package was taken out of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelUnloaded {
    pub success: bool,
    pub model_name: String,
}
