//! FLAC, MP3 and Ogg Vorbis.

use std::io::{ErrorKind, Read};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};

use crate::audio::Sound;
use crate::base::panic::catch_panic;

use super::RecordingError;
use super::mono::Mono;

/// A compressed kind that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Flac,
    Mp3,
    OggVorbis,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Codec::Flac => "FLAC",
            Codec::Mp3 => "MP3",
            Codec::OggVorbis => "Ogg",
        }
    }
}

/// Decodes a whole file. A packet that is damaged, as the last of a file that was cut off, is left out.
pub(super) fn read<R: Read + Send + Sync>(
    reader: R,
    codec: Codec,
) -> Result<Sound, RecordingError> {
    // The decoders are not the project's own, and files are not to be trusted.
    let result = catch_panic(|| decode(reader, codec));
    let coded = |reason: String| RecordingError::Coded {
        kind: codec.name(),
        reason,
    };
    match result.map_err(coded)? {
        Ok(sound) => Ok(sound),
        Err(DecodeError::Recording(error)) => Err(error),
        Err(DecodeError::Decoder(error)) => Err(coded(error.to_string())),
    }
}

enum DecodeError {
    Decoder(Error),
    Recording(RecordingError),
}

impl From<Error> for DecodeError {
    fn from(error: Error) -> Self {
        DecodeError::Decoder(error)
    }
}

impl From<RecordingError> for DecodeError {
    fn from(error: RecordingError) -> Self {
        DecodeError::Recording(error)
    }
}

fn decode<R: Read + Send + Sync>(reader: R, codec: Codec) -> Result<Sound, DecodeError> {
    let source = Box::new(ReadOnlySource::new(reader));
    let source = MediaSourceStream::new(source, Default::default());
    let options = Default::default();
    let mut format: Box<dyn FormatReader> = match codec {
        Codec::Flac => Box::new(FlacReader::try_new(source, options)?),
        Codec::Mp3 => Box::new(MpaReader::try_new(source, options)?),
        Codec::OggVorbis => Box::new(OggReader::try_new(source, options)?),
    };
    let (track, mut decoder) = decoder(format.as_ref())?;
    let mut mono: Option<Mono> = None;
    let mut values: Vec<f32> = Vec::new();
    while let Some(packet) = next_packet(format.as_mut())? {
        if packet.track_id != track {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let (rate_hz, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        let mono = match &mut mono {
            Some(mono) => mono,
            none => none.insert(Mono::new(rate_hz)?),
        };
        if mono.rate_hz() != rate_hz {
            return Err(Error::Unsupported("its sample rate changes").into());
        }
        decoded.copy_to_vec_interleaved(&mut values);
        mono.push(&values, channels.max(1))?;
    }
    match mono {
        Some(mono) => Ok(mono.finish()),
        None => Err(RecordingError::Silent.into()),
    }
}

/// The first track that can be decoded, and what decodes it.
fn decoder(format: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), Error> {
    let none = Error::Unsupported("it has no sound that can be decoded");
    let track = format.default_track(TrackType::Audio);
    let parameters = track.and_then(|track| track.codec_params.as_ref()?.audio());
    let (Some(track), Some(parameters)) = (track, parameters) else {
        return Err(none);
    };
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
    Ok((track.id, decoder))
}

/// The next packet; `None` at the end, also where the file has been cut off.
fn next_packet(
    format: &mut dyn FormatReader,
) -> Result<Option<symphonia::core::packet::Packet>, DecodeError> {
    match format.next_packet() {
        Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        // Another stream begins behind this one: the recording is the first.
        Err(Error::ResetRequired) => Ok(None),
        Err(Error::IoError(error)) => Err(RecordingError::Io(error).into()),
        other => Ok(other?),
    }
}
