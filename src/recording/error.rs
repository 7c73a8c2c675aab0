//! Why a recording cannot be read.

use crate::audio::AudioError;

/// What to do with a file that another program reads.
const CURE: &str = "convert it with `ffmpeg -i IN -ac 1 -ar 24000 -c:a pcm_s16le out.wav`";

/// Why a recording cannot be read. The file is at fault, except for [`RecordingError::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    #[error("it is empty: 0 bytes")]
    Empty,
    /// The file has samples of no time at all.
    #[error("it holds no sound")]
    Silent,
    /// Something else that is known.
    #[error("it is {kind}, which is not read: {CURE}")]
    Kind { kind: &'static str },
    /// Sound as base64, as some services put it into JSON.
    #[error("it is a WAV file written as base64 text: decode it with `base64 -d IN > out.wav`")]
    Base64,
    /// Text: most often what a service said in place of sound.
    #[error("it is text and no sound; it begins {start:?}")]
    Text { start: String },
    /// Nothing that is known: samples without a header, perhaps.
    #[error(
        "it is no sound file of a known kind; if it is bare 16-bit samples, give them a header with \
         `ffmpeg -f s16le -ar 24000 -ac 1 -i IN out.wav`"
    )]
    Unknown,
    #[error(transparent)]
    Wav(#[from] WavFault),
    /// A FLAC, MP3 or Ogg file that its decoder gives up.
    #[error("this {kind} file cannot be decoded ({reason}): {CURE}")]
    Coded { kind: &'static str, reason: String },
    #[error("{0}; {CURE}")]
    Rate(#[from] AudioError),
    #[error(
        "it is longer than {max_seconds} s, the most that is read at {rate_hz} Hz: cut it with `ffmpeg -i IN -t {max_seconds} \
         out.wav`"
    )]
    TooLong { rate_hz: u32, max_seconds: u64 },
}

/// What is wrong with a WAV file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavFault {
    /// The file ends, or its samples begin, before the chunk has come.
    #[error("this WAV file has no `{chunk}` chunk where one is needed: it is damaged or cut off")]
    Missing { chunk: &'static str },
    /// Of several files in one.
    #[error(
        "these are WAV files of {first_hz} Hz and of {next_hz} Hz in one: give them one by one"
    )]
    Joined { first_hz: u32, next_hz: u32 },
    #[error("this WAV file is {name} (format {tag:#06x}), which is not read: {CURE}")]
    Codec { tag: u16, name: &'static str },
    #[error(
        "this WAV file has {channels} channels of {bits} bits in {block_bytes} bytes: samples of 1 to 8 bytes are read, \
         floats of 4 or 8; {CURE}"
    )]
    Layout {
        channels: u16,
        bits: u16,
        block_bytes: u16,
    },
}
