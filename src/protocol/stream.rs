//! Stream mode, version 2: audio flows in, frames flow out.
//!
//! Audio and frames are binary, everything else is JSON. docs/PROTOCOL.md tells what each message means.

use bytes::Bytes;
use serde::Serialize;

use super::error::{DecodeError, DecodeErrorKind, MessageIds};
use super::layout::{Content, FieldType, Layout, Surround, Value, constant, field};
use super::limits::check_no_base64;
use crate::base::padded::PaddedBytes;

/// First byte of an audio message.
pub const TYPE_AUDIO: u8 = 0x01;
/// First byte of a frame message.
pub const TYPE_FRAME: u8 = 0x81;

/// No image: show the idle frame `avatar_frame` as it is.
pub const FLAG_IDLE: u8 = 1;
/// No image: show the picture of the frame before once more.
pub const FLAG_HELD: u8 = 2;
/// The last frame of its utterance.
pub const FLAG_LAST: u8 = 4;

/// The samples begin at an even offset, so that a browser can lay an `Int16Array` over them.
pub(super) const AUDIO: &Layout = &Layout {
    title: "v2 audio",
    fields: &[
        constant("type", FieldType::U8, TYPE_AUDIO as u32),
        constant("flags", FieldType::U8, 0),
        field("stream", FieldType::U16),
        field("epoch", FieldType::U32),
        field("first_sample", FieldType::U64),
        field("audio", FieldType::Rest(Content::Pcm)),
    ],
};

pub(super) const FRAME: &Layout = &Layout {
    title: "v2 frame",
    fields: &[
        constant("type", FieldType::U8, TYPE_FRAME as u32),
        field(
            "flags",
            FieldType::Flags(&[
                (FLAG_IDLE, "idle"),
                (FLAG_HELD, "held"),
                (FLAG_LAST, "last"),
            ]),
        ),
        field("stream", FieldType::U16),
        field("epoch", FieldType::U32),
        field("sequence", FieldType::U32),
        field("avatar_frame", FieldType::U32),
        field("sample", FieldType::U64),
        field("sample_rate", FieldType::U32),
        field("compute_us", FieldType::U32),
        field("bounds", FieldType::Bounds),
        field("image", FieldType::Rest(Content::Jpeg)),
    ],
};

/// The layout of a message of stream mode, told by its first byte.
pub(super) fn layout(message: &[u8]) -> Result<&'static Layout, DecodeErrorKind> {
    match message.first() {
        Some(&TYPE_AUDIO) => Ok(AUDIO),
        Some(&TYPE_FRAME) => Ok(FRAME),
        Some(kind) => Err(DecodeErrorKind::UnknownType {
            name: format!("{kind:#04x}"),
            understood: "audio (0x01) in binary messages".to_owned(),
        }),
        None => AUDIO.parse(message).check().map(|()| AUDIO),
    }
}

/// Samples of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioChunk {
    pub stream: u16,
    pub epoch: u32,
    /// Position of the first sample in the epoch, at the stream's own rate.
    pub first_sample: u64,
    /// PCM16 little-endian mono, an even number of bytes, borrowed from the message. May be empty.
    pub pcm: Bytes,
}

impl AudioChunk {
    /// Samples in the chunk.
    pub fn sample_count(&self) -> usize {
        self.pcm.len() / 2
    }

    /// Reads a binary message of a client.
    pub(super) fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        const STREAM: usize = AUDIO.index("stream");
        const EPOCH: usize = AUDIO.index("epoch");
        const FIRST_SAMPLE: usize = AUDIO.index("first_sample");
        const PCM: usize = AUDIO.index("audio");
        let parsed = AUDIO.parse(message);
        let stream = parsed.number(STREAM).map(|stream| stream as u16);
        let ids = MessageIds {
            stream,
            ..MessageIds::default()
        };
        layout(message)?;
        parsed
            .check()
            .and_then(|()| check_no_base64("audio", parsed.bytes(PCM)))
            .map_err(|kind| ids.error(kind))?;
        Ok(AudioChunk {
            stream: stream.unwrap_or(0),
            epoch: parsed.u32(EPOCH).unwrap_or(0),
            first_sample: parsed.number(FIRST_SAMPLE).unwrap_or(0),
            pcm: message.slice(parsed.range(PCM).unwrap_or_default()),
        })
    }

    /// Appends the message: what a client does.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let values = [
            Value::U16(self.stream),
            Value::U32(self.epoch),
            Value::U64(self.first_sample),
            Value::Bytes(&self.pcm),
        ];
        AUDIO.write(&values, out);
    }
}

/// A frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamFrame {
    pub stream: u16,
    /// [`FLAG_IDLE`], [`FLAG_HELD`], [`FLAG_LAST`].
    pub flags: u8,
    pub epoch: u32,
    /// Counts the frames of the epoch from 0, the dropped ones too.
    pub sequence: u32,
    /// The idle frame that belongs to this frame.
    pub avatar_frame: u32,
    /// The sample of the epoch that is heard while this frame is seen: `sequence · sample_rate / frame_rate`.
    pub sample: u64,
    /// The rate of `sample` in Hz: the stream's own.
    pub sample_rate_hz: u32,
    /// What computing this frame took, in microseconds; 0 without an image.
    pub compute_us: u32,
    /// Where the image belongs: x1, y1, x2, y2 in pixels of the full frame.
    pub bounds: [f32; 4],
    /// The image; empty with [`FLAG_IDLE`] and [`FLAG_HELD`].
    pub jpeg: PaddedBytes,
}

impl StreamFrame {
    /// The message, in the buffer of its image.
    pub fn encode(self) -> Bytes {
        let values = [
            Value::U8(self.flags),
            Value::U16(self.stream),
            Value::U32(self.epoch),
            Value::U32(self.sequence),
            Value::U32(self.avatar_frame),
            Value::U64(self.sample),
            Value::U32(self.sample_rate_hz),
            Value::U32(self.compute_us),
            Value::Bounds(self.bounds),
            Value::Bytes(&self.jpeg),
        ];
        let surround = Surround::of(FRAME, &values);
        self.jpeg.into_framed(surround.front(), surround.back())
    }

    /// Reads the message: what a client does.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no frame of a stream.
    pub fn decode(message: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        const BOUNDS: usize = FRAME.index("bounds");
        const IMAGE: usize = FRAME.index("image");
        let parsed = FRAME.parse(message.as_ref());
        parsed.check()?;
        let number = |index| parsed.number(index).unwrap_or(0);
        Ok(StreamFrame {
            flags: number(const { FRAME.index("flags") }) as u8,
            stream: number(const { FRAME.index("stream") }) as u16,
            epoch: number(const { FRAME.index("epoch") }) as u32,
            sequence: number(const { FRAME.index("sequence") }) as u32,
            avatar_frame: number(const { FRAME.index("avatar_frame") }) as u32,
            sample: number(const { FRAME.index("sample") }),
            sample_rate_hz: number(const { FRAME.index("sample_rate") }) as u32,
            compute_us: number(const { FRAME.index("compute_us") }) as u32,
            bounds: parsed.bounds(BOUNDS),
            jpeg: parsed.bytes(IMAGE).to_vec().into(),
        })
    }
}

/// Which picture a stream's frames carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// The predicted square alone, to be drawn at `bounds` over the idle frame.
    #[default]
    Mouth,
    /// The whole frame, composed by the server.
    Full,
}

impl ImageKind {
    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mouth => "mouth",
            Self::Full => "full",
        }
    }
}

/// A client's control message about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    pub stream: u16,
    pub body: StreamControl,
}

/// What a client asks of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamControl {
    /// `open`.
    Open(Open),
    /// `start`: the next utterance, `epoch`, begins on this frame of the idle walk. Optional.
    Start { epoch: u32, avatar_frame: u32 },
    /// `end`: no more audio comes in this epoch; its last frames are due now.
    End { epoch: u32 },
    /// `interrupt`: everything older than `epoch` is void.
    Interrupt { epoch: u32 },
    /// `pause`: the stream's clock stands still and no frame is sent.
    Pause,
    /// `resume`: after `pause`.
    Resume,
    /// `credit`: so many more frames may be sent.
    Credit { frames: u32 },
    /// `change`: another package, from the next epoch on.
    Change { model_name: String },
    /// `stats`.
    Stats,
    /// `close`.
    Close,
}

/// How a stream is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub model_name: String,
    /// Hz, from [`super::MIN_SAMPLE_RATE_HZ`] to [`super::MAX_SAMPLE_RATE_HZ`].
    pub sample_rate_hz: u32,
    pub image: ImageKind,
    /// JPEG quality, 1 to 100; `None`: the server's.
    pub quality: Option<u8>,
    /// Frames a second, 1 to 60; `None`: the package's.
    pub frame_rate: Option<u32>,
    /// Frames that may be sent before the first `credit`.
    pub credits: u32,
    /// The frame of the idle walk on which the first utterance begins.
    pub avatar_frame: u32,
    /// How long after its instant a frame is still useful, in ms; `None`: the server's choice.
    pub max_delay_ms: Option<u32>,
    /// The token of a stream to take up again.
    pub token: Option<Box<str>>,
}

/// A stream's message from the server, all but its frames.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamUpdate {
    #[serde(flatten)]
    pub body: StreamBody,
    pub stream: u16,
}

/// What the server tells about a stream. Serialised as it stands, `type` first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamBody {
    Opened(Opened),
    Interrupted(Interrupted),
    Paused,
    Resumed,
    Changed(Changed),
    Dropped(Dropped),
    StreamStats(StreamStats),
    Busy(StreamBusy),
    Closed(Closed),
}

/// The stream is open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Opened {
    pub success: bool,
    pub model_name: String,
    /// For [`Open::token`], should the connection break.
    pub token: String,
    /// Whether an earlier stream was taken up again.
    pub resumed: bool,
    /// The epoch that audio is expected in: 0, or after a resume the next one.
    pub epoch: u32,
    /// Hz.
    pub sample_rate: u32,
    /// Frames a second.
    pub frame_rate: u32,
    pub image: ImageKind,
    pub quality: u8,
    /// How much audio after a frame's own instant its picture needs.
    pub look_ahead_ms: f32,
    /// How long after its instant a frame is still sent.
    pub max_delay_ms: u32,
    /// Width and height in pixels of the images to come.
    pub image_size: [u32; 2],
    /// Width and height in pixels of the full frame.
    pub frame_size: [u32; 2],
    pub frame_count: u32,
    pub limits: StreamLimits,
}

/// The limits of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamLimits {
    /// Bytes of PCM in one audio message.
    pub max_chunk_bytes: u32,
    /// Credits that can be saved up.
    pub max_credits: u32,
    /// Frames held for want of credit before the oldest is dropped.
    pub max_held_frames: u32,
    /// Audio not yet turned into frames.
    pub max_ahead_ms: u32,
    /// The longest hole between chunks that is filled with silence.
    pub max_gap_ms: u32,
    /// How long after a broken connection the stream can be taken up again.
    pub resume_ms: u32,
    /// Streams that this server carries, all clients together.
    pub capacity: u32,
}

/// An interrupt is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interrupted {
    /// The epoch that now counts.
    pub epoch: u32,
    /// The epoch that was cut off.
    pub last_epoch: u32,
    /// The last frame of `last_epoch` that may be shown; none where none was sent.
    pub last_sequence: Option<u32>,
    /// Frames of older epochs that were given up.
    pub dropped: u32,
}

/// Another package from an epoch on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    pub success: bool,
    pub model_name: String,
    /// The first epoch with the new package.
    pub epoch: u32,
    pub look_ahead_ms: f32,
    pub image_size: [u32; 2],
    pub frame_size: [u32; 2],
    pub frame_count: u32,
    /// Frames a second.
    pub frame_rate: u32,
}

/// Why frames were not sent, or audio not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Frames that would have come after their deadline.
    Late,
    /// Frames that waited too long for credit.
    NoCredit,
    /// Frames of an epoch that was interrupted.
    Interrupted,
    /// Frames that could not be computed; an error says why.
    Failed,
    /// Audio of an epoch that is over.
    OldEpoch,
    /// Audio that was received before.
    Duplicate,
}

/// Frames were given up. `first_sequence..=last_sequence` covers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub epoch: u32,
    pub reason: DropReason,
    /// Frames, or samples for the two reasons about audio.
    pub count: u64,
    /// Of frames; the position of the first sample for the reasons about audio.
    pub first: u64,
    /// Of frames; the position of the last sample for the reasons about audio.
    pub last: u64,
}

/// Figures of one stream. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StreamStats {
    pub epoch: u32,
    /// Samples taken since the stream was opened.
    pub samples: u64,
    pub frames_sent: u64,
    /// Of these, frames without an image.
    pub idle_frames: u64,
    pub held_frames: u64,
    pub dropped_late: u64,
    pub dropped_no_credit: u64,
    pub dropped_interrupted: u64,
    pub dropped_failed: u64,
    pub duplicate_samples: u64,
    pub filled_samples: u64,
    /// Credits left.
    pub credits: u32,
    /// Frames held for want of credit.
    pub held_now: u32,
    /// How long the oldest frame that is due has waited.
    pub queue_age_ms: f64,
    pub compute_p50_ms: f64,
    pub compute_p99_ms: f64,
    /// How long after its instant (with look-ahead) the last frame was ready; negative: ahead of time.
    pub lag_ms: f64,
}

/// No room for another stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamBusy {
    pub success: bool,
    /// Always `busy`.
    pub code: &'static str,
    pub error: String,
    /// Streams that this machine carries, and those that are open.
    pub capacity: u32,
    pub active: u32,
}

/// Why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The client closed it.
    Client,
    /// Nothing came for too long.
    Timeout,
    /// The package went out of service.
    ModelUnloaded,
    /// The server is shutting down.
    ShuttingDown,
    /// Another connection took it up by its token.
    TakenOver,
    /// A fault of the server.
    Internal,
}

/// The stream is closed; its last figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Closed {
    pub reason: CloseReason,
    pub stats: StreamStats,
}
