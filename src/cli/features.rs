//! `lipsyncd features`: a recording's mel rows or encoder features, for comparison with other tools.

use super::CliError;
use super::offline::{progress_bar, read_recording};
use crate::audio::{BANDS, FrontEndSpec, RATE_HZ, Resampler, Wav, mel_rows};
use crate::model::{LoadLimits, Network, Package, write_npy};
use crate::render::SpeechFeatures;
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
    /// Recording: 8 to 48 kHz, any number of channels
    #[arg(long, value_name = "FILE.wav")]
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
        let wav = read_recording(&self.audio)?;
        let (shape, values) = if self.mel {
            mel(&wav)?
        } else {
            self.features(&wav)?
        };
        write_npy(&self.output, &shape, &values)?;
        println!("{}: {shape:?}", self.output.display());
        Ok(())
    }

    fn features(&self, wav: &Wav) -> Result<(Vec<usize>, Vec<f32>), CliError> {
        let limits = LoadLimits::default();
        let package = self
            .model
            .as_ref()
            .map(|name| Package::load(&self.models.join(name), &limits))
            .transpose()?;
        let loaded = self
            .encoder
            .as_ref()
            .map(|file| Network::load(file, &limits))
            .transpose()?;
        let (spec, encoder) = match (&package, &loaded) {
            (Some(package), _) => match (package.front_end(), package.encoder()) {
                (Some(spec), Some(encoder)) => (spec, encoder),
                _ => {
                    return Err(format!(
                        "package {} has no audio encoder, only features of its own",
                        package.name()
                    )
                    .into());
                }
            },
            (None, Some(encoder)) => (ave(encoder)?, encoder),
            (None, None) => return Err("give --model NAME, --encoder FILE.onnx, or --mel".into()),
        };
        let bar = progress_bar(0, "encoder rows");
        let features = SpeechFeatures::compute(spec, encoder, wav, |rows| bar.set_position(rows))?;
        bar.finish_and_clear();
        Ok(features.sequence())
    }
}

fn mel(wav: &Wav) -> Result<(Vec<usize>, Vec<f32>), CliError> {
    let samples: Vec<f32> = wav
        .samples
        .iter()
        .map(|sample| f32::from(*sample) / 32_768.0)
        .collect();
    let mut resampler = Resampler::new(wav.rate_hz)?;
    let mut resampled =
        Vec::with_capacity(samples.len() * RATE_HZ as usize / wav.rate_hz as usize + 1);
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
