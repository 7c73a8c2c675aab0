//! What a network's images hold while it runs: the file that makes a package a quantised one.
//!
//! The network's own file stays as it is. Its weights are quantised when it is loaded, with scales for the spans in this
//! file, which names the network by its SHA-256.

use super::files::{read_limited, sha256_hex};
use super::fuse::{Observed, Observer, Precision, Span};
use super::{LoadLimits, ModelError, Network};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The only format that exists.
const FORMAT: u32 = 1;

/// The spans of what every operator of a network made during calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// For messages.
    file: PathBuf,
    network_sha256: String,
    operators: Arc<Vec<Observed>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCalibration {
    format: u32,
    /// Of the network's file.
    network_sha256: String,
    operators: Vec<RawOperator>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawOperator {
    name: String,
    /// One value for each channel, or one for all; so has `most`.
    least: Vec<f32>,
    most: Vec<f32>,
}

impl Calibration {
    /// Reads a calibration file of at most `limits.json_bytes`.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Calibration::parse`].
    pub fn load(file: &Path, limits: &LoadLimits) -> Result<Calibration, ModelError> {
        Calibration::parse(&read_limited(file, limits.json_bytes)?, file)
    }

    /// Reads a calibration file's JSON. `file` is for messages.
    ///
    /// # Errors
    /// [`ModelError::Malformed`] for text that is not JSON or has unknown, missing or mistyped fields,
    /// [`ModelError::BadField`] for a value that cannot be.
    pub fn parse(json: &[u8], file: &Path) -> Result<Calibration, ModelError> {
        let raw: RawCalibration =
            serde_json::from_slice(json).map_err(|error| ModelError::Malformed {
                file: file.to_owned(),
                reason: error.to_string(),
            })?;
        let wrong = |field: String, reason: String| {
            Err(ModelError::BadField {
                file: file.to_owned(),
                field,
                reason,
            })
        };
        if raw.format != FORMAT {
            let reason = format!("is {}, only {FORMAT} is known", raw.format);
            return wrong("format".into(), reason);
        }
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if raw.network_sha256.len() != 64 || !raw.network_sha256.chars().all(hex) {
            let reason = "must be 64 digits of lower-case hexadecimal".into();
            return wrong("network_sha256".into(), reason);
        }
        let mut operators = Vec::with_capacity(raw.operators.len());
        for (number, operator) in raw.operators.into_iter().enumerate() {
            let field = |name: &str| format!("operators[{number}].{name}");
            let (least, most) = (operator.least, operator.most);
            if least.is_empty() || least.len() != most.len() {
                let reason = format!(
                    "has {} values and `least` has {}; both must have one for each channel, or one",
                    most.len(),
                    least.len()
                );
                return wrong(field("most"), reason);
            }
            let channels = least.into_iter().zip(most);
            let channels: Vec<Span> = channels.map(|(least, most)| Span { least, most }).collect();
            let possible = |span: &Span| {
                span.least.is_finite() && span.most.is_finite() && span.least <= span.most
            };
            if let Some(channel) = channels.iter().position(|span| !possible(span)) {
                let Span { least, most } = channels[channel];
                let reason = format!("{least} to {most} in channel {channel} is no span");
                return wrong(field("least"), reason);
            }
            operators.push(Observed {
                name: operator.name,
                channels,
            });
        }
        Ok(Calibration {
            file: file.to_owned(),
            network_sha256: raw.network_sha256,
            operators: Arc::new(operators),
        })
    }

    /// The file's JSON.
    pub fn to_json(&self) -> String {
        let operators = self.operators.iter().map(|operator| RawOperator {
            name: operator.name.clone(),
            least: operator.channels.iter().map(|span| span.least).collect(),
            most: operator.channels.iter().map(|span| span.most).collect(),
        });
        let raw = RawCalibration {
            format: FORMAT,
            network_sha256: self.network_sha256.clone(),
            operators: operators.collect(),
        };
        serde_json::to_string(&raw).expect("numbers and text can be written")
    }

    /// Operators of the network that it knows.
    pub fn len(&self) -> usize {
        self.operators.len()
    }

    /// Whether the network has no operator that could be quantised.
    pub fn is_empty(&self) -> bool {
        self.operators.is_empty()
    }

    pub(super) fn operators(&self) -> Arc<Vec<Observed>> {
        self.operators.clone()
    }

    /// Whether it is that of this network.
    pub(super) fn check(&self, name: &str, onnx: &[u8]) -> Result<(), ModelError> {
        let found = sha256_hex(onnx);
        if found == self.network_sha256 {
            return Ok(());
        }
        let reason = format!("is not that of {name}, which is {found}: quantise it again");
        Err(ModelError::BadField {
            file: self.file.clone(),
            field: "network_sha256".into(),
            reason,
        })
    }
}

/// A network that runs in floats while somebody notes what its images hold.
pub struct Calibrator {
    network: Network,
    observer: Observer,
    network_sha256: String,
}

impl Calibrator {
    /// Loads a network as [`Network::from_onnx`] does, to be watched.
    ///
    /// # Errors
    /// As [`Network::from_onnx`].
    pub fn new(
        name: &str,
        onnx: &[u8],
        shapes: &[(&str, &[usize])],
        limits: &LoadLimits,
    ) -> Result<Calibrator, ModelError> {
        let observer = Observer::new();
        let precision = Precision::Observed(observer.clone());
        Ok(Calibrator {
            network: Network::with_precision(name, onnx, shapes, &precision, limits)?,
            observer,
            network_sha256: sha256_hex(onnx),
        })
    }

    /// The network: whatever its states compute is noted.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What was seen so far. Without a single run, there is nothing to see.
    pub fn calibration(&self) -> Calibration {
        Calibration {
            file: PathBuf::new(),
            network_sha256: self.network_sha256.clone(),
            operators: Arc::new(self.observer.seen()),
        }
    }
}
