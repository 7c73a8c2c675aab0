//! Answers to control messages: JSON, whatever the connection's binary messages are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::reply::RequestId;

/// The answer to a control message, or a broadcast (then without `request_id`). JSON on every connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControlReply {
    #[serde(flatten)]
    pub body: ControlBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
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

/// Figures of the server since its start, as `get_stats`, `/stats` and the metrics tell them. Times in milliseconds.
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
    #[serde(serialize_with = "base64_field")]
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

fn base64_field<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}
