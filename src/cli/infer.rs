//! `lipsyncd infer`: one forward pass on given tensors.

use super::CliError;
use super::print::say;
use crate::model::{LoadLimits, Network, NpyTensor, TensorSpec, read_npy, write_npy};
use std::path::{Path, PathBuf};

/// Run a network once on tensors from .npy files, to compare its output with another engine's
#[derive(Debug, clap::Args)]
pub struct Infer {
    /// The network: an ONNX file with an image input and an audio input, of fixed shapes
    #[arg(long, value_name = "FILE.onnx")]
    unet: PathBuf,
    /// Image input [1,6,S,S], or [6,S,S]; values of u8 are scaled by 1/255
    #[arg(long, value_name = "FILE.npy")]
    image: PathBuf,
    /// Audio input, with or without the leading 1 of its shape
    #[arg(long, value_name = "FILE.npy")]
    audio: PathBuf,
    /// Where to write the output, [1,3,S,S] f32
    #[arg(long, value_name = "FILE.npy")]
    output: PathBuf,
    /// Compare the output with this tensor and print the largest difference
    #[arg(long, value_name = "FILE.npy")]
    golden: Option<PathBuf>,
}

impl Infer {
    pub fn run(self) -> Result<(), CliError> {
        let limits = LoadLimits::default();
        let network = Network::load(&self.unet, &limits)?;
        for note in network.notes() {
            say!("note: {} {note}", network.name())?;
        }
        let (image, audio) = image_and_audio(&network)?;
        let mut state = network.new_state()?;
        for (index, file) in [(image, &self.image), (audio, &self.audio)] {
            let tensor = fitting(read_npy(file, &limits)?, &network.inputs()[index], file)?;
            state.input_mut(index).copy_from_slice(&tensor.values);
        }
        state.execute()?;
        let spec = &network.outputs()[0];
        write_npy(&self.output, &spec.shape, state.output(0))?;
        say!("{}: {} {:?}", self.output.display(), spec.name, spec.shape)?;
        if let Some(file) = &self.golden {
            let golden = fitting(read_npy(file, &limits)?, spec, file)?;
            let difference = |(a, b): (&f32, &f32)| {
                if (a - b).is_nan() {
                    f32::INFINITY
                } else {
                    (a - b).abs()
                }
            };
            let worst = state
                .output(0)
                .iter()
                .zip(&golden.values)
                .map(difference)
                .fold(0.0, f32::max);
            say!("largest difference from {}: {worst:.6}", file.display())?;
        }
        Ok(())
    }
}

/// Positions of the image input (four sides, 6 channels) and of the other one.
fn image_and_audio(network: &Network) -> Result<(usize, usize), CliError> {
    let is_image = |spec: &TensorSpec| matches!(spec.shape[..], [1, 6, h, w] if h == w);
    let image = network
        .inputs()
        .iter()
        .position(|spec| spec.name == "input" || is_image(spec));
    match (network.inputs().len(), image) {
        (2, Some(image)) => Ok((image, 1 - image)),
        _ => {
            let inputs: Vec<String> = network
                .inputs()
                .iter()
                .map(|spec| format!("`{}` {:?}", spec.name, spec.shape))
                .collect();
            let name = network.name();
            Err(format!(
                "{name} is no U-Net with one image [1,6,S,S] and one audio input; it takes {}",
                inputs.join(", ")
            )
            .into())
        }
    }
}

/// The tensor, if it has the shape that is needed (leading sides of 1 may be missing).
fn fitting(tensor: NpyTensor, spec: &TensorSpec, file: &Path) -> Result<NpyTensor, CliError> {
    let without_ones = |shape: &[usize]| {
        shape
            .iter()
            .copied()
            .skip_while(|&side| side == 1)
            .collect::<Vec<_>>()
    };
    if without_ones(&tensor.shape) == without_ones(&spec.shape) {
        return Ok(tensor);
    }
    let (found, wanted, name) = (&tensor.shape, &spec.shape, &spec.name);
    Err(format!(
        "{}: has the shape {found:?}, tensor `{name}` needs {wanted:?}",
        file.display()
    )
    .into())
}
