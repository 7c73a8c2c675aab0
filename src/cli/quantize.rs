//! `lipsyncd quantize`: a package, or a bare network, in bytes.

use super::CliError;
use super::bench::fill_input;
use super::offline::{RECORDING, progress_bar, read_file, speak};
use super::print::say;
use crate::model::{Calibration, Calibrator, LoadLimits, Network, NetworkState, Package, read_npy};
use crate::render::SpeechFeatures;
use std::path::{Path, PathBuf};

/// Frames that show how good the result is, and that calibration does not see.
const HELD_OUT: u32 = 32;

/// Quantise a package's U-Net to int8: calibrate on its own frames and speech, and tell how much is lost
#[derive(Debug, clap::Args)]
pub struct Quantize {
    /// Package to quantise
    #[arg(long, value_name = "NAME", required_unless_present = "unet")]
    model: Option<String>,
    /// Folder of packages
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Recording to calibrate with [default: the package's own features]
    #[arg(long, value_name = RECORDING, conflicts_with = "unet")]
    audio: Option<PathBuf>,
    /// Frames to calibrate with
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frames: u32,
    /// A bare network instead of a package: any ONNX file of fixed shapes
    #[arg(long, value_name = "FILE.onnx", conflicts_with = "model")]
    unet: Option<PathBuf>,
    /// An input of the bare network, any number of times; noise between 0 and 1 where none is given
    #[arg(long, value_name = "NAME=FILE.npy", requires = "unet")]
    tensor: Vec<String>,
    /// Where to write: the new package's folder, or the bare network's calibration for `bench --int8`
    #[arg(long, value_name = "DIR|FILE.json")]
    output: PathBuf,
}

impl Quantize {
    pub fn run(self) -> Result<(), CliError> {
        match (&self.unet, &self.model) {
            (Some(unet), _) => self.network(unet),
            (None, Some(model)) => self.package(model),
            (None, None) => Err("name a package with --model, or a network with --unet".into()),
        }
    }

    fn package(&self, model: &str) -> Result<(), CliError> {
        let limits = LoadLimits::default();
        let package = Package::load(&self.models.join(model), &limits)?;
        let calibrator = package.calibrator(&limits)?;
        let speech = Speech::read(&package, self.audio.as_deref())?;
        // Frames from beginning to end of what there is to say, some of which calibration does not see.
        let last = u64::from(speech.frames().max(package.frame_count()));
        let (wanted, held) = (u64::from(self.frames + HELD_OUT), u64::from(HELD_OUT));
        let all = wanted.min(last);
        let is_held = |at: &u64| (at + 1) * held / wanted > at * held / wanted;
        let (held_out, calibrated): (Vec<u64>, Vec<u64>) = (0..all).partition(is_held);
        let frame = |at: u64| (at * last / all) as u32;
        let calibrated: Vec<u32> = calibrated.into_iter().map(frame).collect();
        let held_out: Vec<u32> = held_out.into_iter().map(frame).collect();
        let bar = progress_bar((calibrated.len() + 2 * held_out.len()) as u64, "frames");
        let mut state = calibrator.network().new_state()?;
        for frame in &calibrated {
            speech.predict(*frame, &mut state)?;
            bar.inc(1);
        }
        let calibration = finished(&calibrator)?;
        let quantised = package.quantised_unet(&calibration, &limits)?;
        let mut quick = quantised.new_state()?;
        let output = package.unet_tensors().output;
        let mut loss = Loss::default();
        let mut floats = package.unet().new_state()?;
        for frame in &held_out {
            speech.predict(*frame, &mut floats)?;
            bar.inc(1);
            speech.predict(*frame, &mut quick)?;
            bar.inc(1);
            loss.add(floats.output(output), quick.output(output));
        }
        bar.finish_and_clear();
        let golden = package.golden_output(&quantised)?;
        package.write_quantised(&calibration, golden.as_deref(), &self.output)?;
        say!("{}: {}", self.output.display(), loss.in_words())?;
        // What was written is read back whole.
        Package::load(&self.output, &limits)?.check_golden()?;
        Ok(())
    }

    fn network(&self, file: &Path) -> Result<(), CliError> {
        let limits = LoadLimits::default();
        let onnx = crate::model::read_network(file, &limits)?;
        let name = file.display().to_string();
        let calibrator = Calibrator::new(&name, &onnx, &[], &limits)?;
        let mut floats = calibrator.network().new_state()?;
        self.fill(&mut floats, &limits)?;
        floats.execute()?;
        let calibration = finished(&calibrator)?;
        let network = Network::quantised(&name, &onnx, &[], &calibration, &limits)?;
        let mut quick = network.new_state()?;
        self.fill(&mut quick, &limits)?;
        quick.execute()?;
        let mut loss = Loss::default();
        loss.add(floats.output(0), quick.output(0));
        std::fs::write(&self.output, calibration.to_json())
            .map_err(|error| format!("{}: cannot be written: {error}", self.output.display()))?;
        say!("{}: {}", self.output.display(), loss.in_words())?;
        Ok(())
    }

    fn fill(&self, state: &mut NetworkState, limits: &LoadLimits) -> Result<(), CliError> {
        let network = state.network().clone();
        for input in 0..network.inputs().len() {
            fill_input(state.input_mut(input));
        }
        for given in &self.tensor {
            let Some((name, file)) = given.split_once('=') else {
                return Err(format!("--tensor {given}: must be NAME=FILE.npy").into());
            };
            let tensor = read_npy(file.as_ref(), limits)?;
            let input = state.input_mut(network.input_index(name)?);
            if tensor.values.len() != input.len() {
                let (found, needed) = (tensor.values.len(), input.len());
                return Err(format!("{file}: has {found} values, `{name}` needs {needed}").into());
            }
            input.copy_from_slice(&tensor.values);
        }
        Ok(())
    }
}

fn finished(calibrator: &Calibrator) -> Result<Calibration, CliError> {
    let calibration = calibrator.calibration();
    match calibration.is_empty() {
        true => Err("the network has no operator that can be quantised".into()),
        false => Ok(calibration),
    }
}

/// What a package is to say.
struct Speech<'a> {
    package: &'a Package,
    /// Of a recording; without, the package's own.
    features: Option<SpeechFeatures>,
}

impl<'a> Speech<'a> {
    fn read(package: &'a Package, audio: Option<&Path>) -> Result<Speech<'a>, CliError> {
        let Some(file) = audio else {
            return match package.own_features(0) {
                Some(_) => Ok(Speech {
                    package,
                    features: None,
                }),
                None => Err(format!(
                    "package {} has no features of its own: give it a recording with --audio",
                    package.name()
                )
                .into()),
            };
        };
        let cure = "leave --audio away, and its own features are used";
        let features = speak(package, &read_file(file)?, cure)?;
        Ok(Speech {
            package,
            features: Some(features),
        })
    }

    fn frames(&self) -> u32 {
        match &self.features {
            Some(features) => features.frames(),
            None => self.package.own_rows(),
        }
    }

    /// Runs the U-Net, in whichever precision, for a frame of the speech and the idle frame under it.
    fn predict(&self, frame: u32, state: &mut NetworkState) -> Result<(), CliError> {
        let audio = &self.package.manifest().audio;
        let mut window = vec![0.0; audio.rows * audio.width];
        match (&self.features, self.package.own_features(frame)) {
            (Some(features), _) => features.window(frame % features.frames().max(1), &mut window),
            (None, Some(own)) => window.copy_from_slice(own),
            (None, None) => {}
        }
        let idle = self.package.idle_frame(frame);
        self.package.fill(state, idle, &window)?;
        Ok(state.execute()?)
    }
}

/// How far one network's outputs are from another's.
#[derive(Default)]
struct Loss {
    frames: u32,
    /// Mean of squares: of all frames together, and of the worst.
    squares: f64,
    worst: f64,
}

impl Loss {
    fn add(&mut self, exact: &[f32], found: &[f32]) {
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        let mean = exact.iter().zip(found).map(square).sum::<f64>() / exact.len() as f64;
        self.frames += 1;
        self.squares += mean;
        self.worst = self.worst.max(mean);
    }

    fn in_words(&self) -> String {
        if self.frames == 0 {
            return "no frame was left to compare with f32".into();
        }
        // Values of a picture lie between 0 and 1.
        let decibel = |mean: f64| -10.0 * mean.max(f64::MIN_POSITIVE).log10();
        format!(
            "PSNR against f32 {:.1} dB over {} frame(s) held out, {:.1} dB for the worst of them",
            decibel(self.squares / f64::from(self.frames)),
            self.frames,
            decibel(self.worst)
        )
    }
}
