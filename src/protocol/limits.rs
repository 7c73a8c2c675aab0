//! How large the parts of a message may be, and the checks of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::error::DecodeErrorKind;
use crate::base::sample_rate::{MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ};

/// Fewer bytes are not judged as samples or as base64.
pub(super) const MIN_JUDGED_BYTES: usize = 64;

/// How large the parts of a message may be. The whole message is limited by the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a package's name.
    pub max_model_name_bytes: usize,
    /// Bytes of PCM that one frame's request may bring.
    pub max_audio_bytes: usize,
    /// Frames of one batch.
    pub max_batch_frames: usize,
    /// Bytes of a client's own request id, or of a resume token.
    pub max_request_id_bytes: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits {
            max_model_name_bytes: 128,
            max_audio_bytes: 960_000, // 10 s at 48 kHz: a window is 0.64 s
            max_batch_frames: 64,
            max_request_id_bytes: 128,
        }
    }
}

impl MessageLimits {
    /// A name of a package that is neither empty nor too long.
    pub(super) fn check_name(
        &self,
        field: &'static str,
        name: impl AsRef<[u8]>,
    ) -> Result<(), DecodeErrorKind> {
        let bytes = name.as_ref().len();
        if bytes == 0 {
            return Err(DecodeErrorKind::Missing { field });
        }
        at_most(self.max_model_name_bytes, field, bytes, "bytes")
    }

    /// A client's own id, or a token, that is short enough.
    pub(super) fn check_id(&self, field: &'static str, id: &str) -> Result<(), DecodeErrorKind> {
        at_most(self.max_request_id_bytes, field, id.len(), "bytes")
    }

    /// A batch that is neither empty nor too large.
    pub(super) fn check_batch(
        &self,
        field: &'static str,
        frames: usize,
    ) -> Result<(), DecodeErrorKind> {
        if frames == 0 {
            return Err(DecodeErrorKind::Missing { field });
        }
        at_most(self.max_batch_frames, field, frames, "frames")
    }

    /// Audio of a request as the engine wants it: `None` where there is none, else whole samples.
    pub(super) fn checked_audio(
        &self,
        field: &'static str,
        audio: Bytes,
    ) -> Result<Option<Bytes>, DecodeErrorKind> {
        at_most(self.max_audio_bytes, field, audio.len(), "bytes of audio")?;
        if !audio.len().is_multiple_of(2) {
            let bytes = audio.len();
            return Err(DecodeErrorKind::OddPcm { field, bytes });
        }
        check_no_base64(field, &audio)?;
        Ok((!audio.is_empty()).then_some(audio))
    }

    /// Audio as JSON and protobuf carry it: PCM16 in base64.
    pub(super) fn audio_from_base64(
        &self,
        field: &'static str,
        text: &str,
    ) -> Result<Option<Bytes>, DecodeErrorKind> {
        let audio = STANDARD.decode(text).map_err(|error| {
            let reason = match text {
                _ if text.starts_with("data:") => {
                    "it is a data: URL; send what follows the comma".to_owned()
                }
                _ if text.contains(['-', '_']) => {
                    format!("{error}; it may be in the URL-safe alphabet, which is not used here")
                }
                _ if text.contains(['\n', '\r', ' ']) => {
                    format!("{error}; send it without spaces and line ends")
                }
                _ => error.to_string(),
            };
            DecodeErrorKind::Base64 { field, reason }
        })?;
        self.checked_audio(field, audio.into())
    }
}

fn at_most(
    limit: usize,
    field: &'static str,
    value: usize,
    unit: &'static str,
) -> Result<(), DecodeErrorKind> {
    if value > limit {
        return Err(DecodeErrorKind::TooLarge {
            field,
            value,
            limit,
            unit,
        });
    }
    Ok(())
}

/// A sample rate of a client, or the error that tells the range.
pub(super) fn check_sample_rate(rate: i64) -> Result<u32, DecodeErrorKind> {
    let (min, max) = (MIN_SAMPLE_RATE_HZ.into(), MAX_SAMPLE_RATE_HZ.into());
    match u32::try_from(rate) {
        Ok(hz) if (MIN_SAMPLE_RATE_HZ..=MAX_SAMPLE_RATE_HZ).contains(&hz) => Ok(hz),
        _ => Err(DecodeErrorKind::Range {
            field: "sample_rate",
            value: rate,
            min,
            max,
        }),
    }
}

/// Whether bytes are base64 of something long, and nothing else. Samples are not: the first bytes tell.
pub(super) fn is_base64_text(bytes: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    bytes.len() >= MIN_JUDGED_BYTES && bytes.iter().all(is_base64)
}

/// Samples that are bytes, not text.
pub(super) fn check_no_base64(field: &'static str, bytes: &[u8]) -> Result<(), DecodeErrorKind> {
    match is_base64_text(bytes) {
        true => Err(DecodeErrorKind::Base64Samples { field }),
        false => Ok(()),
    }
}
