//! Looks at what a package's networks compute: a network that loads and runs may still show nothing of use.

use super::{ModelError, NetworkState, Package};
use std::time::{Duration, Instant};

/// Idle frames that are computed, spread over all of them.
const FRAMES: u32 = 4;
/// How far a value may lie outside 0..1: rounding, not another range.
const RANGE_TOLERANCE: f32 = 1e-3;
/// A picture that differs less from one colour, or less between sounds, is the same to 8 bits.
const VISIBLE: f32 = 1.0 / 255.0;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Examination {
    /// Forward passes that were looked at.
    pub passes: u32,
    /// Least and largest value of the pictures.
    pub range: [f32; 2],
    /// Whether other sound gives another picture.
    pub hears: bool,
    /// The shortest pass on one core.
    pub pass: Duration,
}

/// Computes a few frames with the package's own features, with silence and with noise, and looks at the values.
///
/// # Errors
/// [`ModelError::NotFinite`], [`ModelError::OutOfRange`] and [`ModelError::Constant`]; others when a frame or a network fails.
pub fn examine(package: &Package) -> Result<Examination, ModelError> {
    let mut state = package.unet().new_state()?;
    let mut seen = Examination {
        passes: 0,
        range: [f32::INFINITY, f32::NEG_INFINITY],
        hears: false,
        pass: Duration::MAX,
    };
    let count = package.frame_count();
    let mut widest = 0.0f32;
    for step in 0..FRAMES.min(count) {
        let frame = step * (count - 1) / (FRAMES.min(count) - 1).max(1);
        let mut first: Option<Vec<f32>> = None;
        for audio in sounds(package, frame)? {
            let started = Instant::now();
            package.predict(&mut state, frame, &audio)?;
            seen.pass = seen.pass.min(started.elapsed());
            seen.passes += 1;
            let output = state.output(package.unet_tensors().output);
            let [low, high] = look(package, frame, output)?;
            widest = widest.max(high - low);
            seen.range = [seen.range[0].min(low), seen.range[1].max(high)];
            match &first {
                None => first = Some(output.to_vec()),
                Some(first) => seen.hears |= differ(first, output),
            }
        }
    }
    if widest < VISIBLE {
        return Err(ModelError::Constant {
            network: package.unet().name().to_owned(),
            value: seen.range[0],
        });
    }
    Ok(seen)
}

/// The audio inputs that a frame is computed with: its own, if there are any, and two that no two mouths share.
fn sounds(package: &Package, frame: u32) -> Result<Vec<Vec<f32>>, ModelError> {
    let values = package.unet().inputs()[package.unet_tensors().audio_input].values();
    let mut sounds: Vec<Vec<f32>> = package
        .own_features(frame)
        .map(<[f32]>::to_vec)
        .into_iter()
        .collect();
    match package.encoder() {
        Some(encoder) => {
            let mut state = encoder.new_state()?;
            // Mel rows lie in -4..4: the floor of silence, and speech-like change.
            for mel in [
                |_: usize| -4.0,
                |at: usize| ((at * 37 % 101) as f32 / 101.0 - 0.5) * 8.0,
            ] {
                sounds.push(heard(encoder.name(), &mut state, values, frame, mel)?);
            }
        }
        None => sounds.push(vec![0.0; values]),
    }
    Ok(sounds)
}

/// An audio input whose every feature frame is what the encoder makes of `mel`.
fn heard(
    network: &str,
    state: &mut NetworkState,
    values: usize,
    frame: u32,
    mel: impl Fn(usize) -> f32,
) -> Result<Vec<f32>, ModelError> {
    for (at, value) in state.input_mut(0).iter_mut().enumerate() {
        *value = mel(at);
    }
    state.execute()?;
    let features = state.output(0);
    if let Some(&value) = features.iter().find(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite {
            network: network.to_owned(),
            tensor: "features".to_owned(),
            channel: 0,
            frame,
            value,
        });
    }
    Ok(features.iter().copied().cycle().take(values).collect())
}

/// The least and the largest value of one picture `[3, S, S]`.
fn look(package: &Package, frame: u32, output: &[f32]) -> Result<[f32; 2], ModelError> {
    let network = || package.unet().name().to_owned();
    if let Some(at) = output.iter().position(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite {
            network: network(),
            tensor: package.manifest().unet.output.clone(),
            channel: at / (output.len() / 3).max(1),
            frame,
            value: output[at],
        });
    }
    let low = output.iter().copied().fold(f32::INFINITY, f32::min);
    let high = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if low < -RANGE_TOLERANCE || high > 1.0 + RANGE_TOLERANCE {
        return Err(ModelError::OutOfRange {
            network: network(),
            frame,
            low,
            high,
        });
    }
    Ok([low, high])
}

/// Whether two pictures differ by a grey level somewhere.
fn differ(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > VISIBLE)
}
