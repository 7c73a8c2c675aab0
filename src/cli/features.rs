//! `lipsyncd features`: a recording's mel rows or encoder features, for comparison with other tools.

use super::CliError;
use super::offline::{RECORDING, encode, read_file, speak};
use super::print::say;
use crate::audio::{AudioError, BANDS, FrontEndSpec, RATE_HZ, Resampler, Sound, mel_rows};
use crate::model::{LoadLimits, Network, Package, write_npy};
use std::path::PathBuf;

/// Write the mel rows or the features of a recording to a .npy file
#[derive(Debug, clap::Args)]
#[group(id = "source", required = true, multiple = true)]
pub struct Features {
    /// Package whose encoder and windows are used
    #[arg(long, value_name = "NAME", group = "source")]
    model: Option<String>,
    /// Folder of packages
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Encoder of the SyncTalk_2D `ave` family: mel [1,1,80,W] to an embedding
    #[arg(
        long,
        value_name = "FILE.onnx",
        group = "source",
        conflicts_with = "model"
    )]
    encoder: Option<PathBuf>,
    /// Recording: WAV of any kind, FLAC, MP3 or Ogg Vorbis; 1 to 384 kHz, any number of channels
    #[arg(long, value_name = RECORDING)]
    audio: PathBuf,
    /// Where to write [rows, width] f32
    #[arg(long, value_name = "FILE.npy")]
    output: PathBuf,
    /// Write the mel rows [rows, 80] (80 a second) instead of the encoder's output
    #[arg(long, group = "source")]
    mel: bool,
}

impl Features {
    pub fn run(self) -> Result<(), CliError> {
        let sound = read_file(&self.audio)?;
        let (shape, values) = if self.mel {
            mel(&sound)?
        } else {
            self.features(&sound)?
        };
        write_npy(&self.output, &shape, &values)?;
        Ok(say!("{}: {shape:?}", self.output.display())?)
    }

    fn features(&self, sound: &Sound) -> Result<(Vec<usize>, Vec<f32>), CliError> {
        let limits = LoadLimits::default();
        let features = match (&self.model, &self.encoder) {
            (Some(name), _) => {
                let package = Package::load(&self.models.join(name), &limits)?;
                speak(&package, sound, "it has only features of its own")?
            }
            (None, Some(file)) => {
                let encoder = Network::load(file, &limits)?;
                encode(ave(&encoder)?, &encoder, sound)?
            }
            (None, None) => return Err("give --model NAME, --encoder FILE.onnx, or --mel".into()),
        };
        Ok(features.sequence())
    }
}

fn mel(sound: &Sound) -> Result<(Vec<usize>, Vec<f32>), AudioError> {
    let samples: Vec<f32> = sound
        .samples
        .iter()
        .map(|sample| f32::from(*sample) / 32_768.0)
        .collect();
    let mut resampler = Resampler::new(sound.rate_hz)?;
    let count = samples.len() as u64 * u64::from(RATE_HZ) / u64::from(sound.rate_hz);
    let mut resampled = Vec::with_capacity(count as usize + 1);
    resampler.process(&samples, &mut resampled);
    resampler.finish(&mut resampled);
    let rows = mel_rows(&resampled);
    Ok((vec![rows.len(), BANDS], rows.concat()))
}

/// The family's front end, as wide as this encoder.
fn ave(encoder: &Network) -> Result<FrontEndSpec, CliError> {
    let inputs: Vec<&[usize]> = encoder
        .inputs()
        .iter()
        .map(|spec| spec.shape.as_slice())
        .collect();
    match inputs[..] {
        [&[1, 1, BANDS, mel_rows]] => Ok(FrontEndSpec {
            mel_rows,
            width: encoder.outputs()[0].values(),
            ..FrontEndSpec::AVE
        }),
        _ => Err(format!(
            "{} is no audio encoder: its inputs are {inputs:?}, one [1, 1, 80, W] is needed",
            encoder.name()
        )
        .into()),
    }
}
