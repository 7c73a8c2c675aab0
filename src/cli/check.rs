//! `lipsyncd check`: validates a package.

use super::CliError;
use super::print::{print_error, say};
use crate::audio::DEFAULT_INPUT_HZ;
use crate::model::{CheckLimits, LoadLimits, Package, check_in_child, confine_this_process};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Validate packages: manifest, checksums, frames, networks, and the golden output
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Packages: folders with a manifest.json
    #[arg(required = true, value_name = "DIR")]
    packages: Vec<PathBuf>,
    /// Address space that the check of one package may use, MiB
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    memory_mib: u64,
    /// Time that the check of one package may take
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Check in this process, after limiting it: what the parent runs
    #[arg(long, hide = true)]
    child: bool,
}

impl Check {
    pub fn run(self) -> Result<(), CliError> {
        let limits = CheckLimits {
            memory_bytes: self.memory_mib << 20,
            time: Duration::from_secs(self.seconds),
        };
        if self.child {
            confine_this_process(limits)
                .map_err(|error| format!("limits cannot be set: {error}"))?;
            for folder in &self.packages {
                say!("{}", report(folder)?.trim_end())?;
            }
            return Ok(());
        }
        let program = std::env::current_exe()?;
        let mut failed = 0;
        for folder in &self.packages {
            match check_in_child(&program, folder, limits) {
                Ok(report) => say!("{}", report.trim_end())?,
                Err(error) => {
                    failed += 1;
                    print_error(error);
                }
            }
        }
        match failed {
            0 => Ok(()),
            failed => Err(format!(
                "{failed} of {} packages cannot be served",
                self.packages.len()
            )
            .into()),
        }
    }
}

/// Loads the package, computes its golden output, decodes every frame, and tells what it is.
fn report(folder: &Path) -> Result<String, CliError> {
    let started = Instant::now();
    let package = Package::load(folder, &LoadLimits::default())?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let golden = package.check_golden()?;
    for frame in 0..package.frame_count() {
        package.crop(frame)?;
    }
    let manifest = package.manifest();
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "  {label:<12}{text}");
    };
    let (width, height) = package.frame_size();
    line("title", manifest.title.clone());
    line("family", format!("{:?}", manifest.family).to_lowercase());
    line("licence", manifest.license.clone());
    line(
        "frames",
        format!(
            "{} of {width}x{height} at {} fps",
            package.frame_count(),
            manifest.frame_rate
        ),
    );
    line(
        "prediction",
        format!(
            "{0}x{0} of a crop of {1}",
            manifest.geometry.inner_size, manifest.geometry.crop_size
        ),
    );
    match package.front_end() {
        Some(spec) => line(
            "audio",
            format!(
                "mel, {} encoder row(s) a frame, look-ahead {:.1} ms at {} kHz",
                spec.rows,
                spec.look_ahead_ms(DEFAULT_INPUT_HZ),
                DEFAULT_INPUT_HZ / 1000
            ),
        ),
        None => line(
            "audio",
            "own features only: it cannot speak sound that is sent".into(),
        ),
    }
    if package.own_features(0).is_none() {
        line(
            "note",
            "no own features: a request without audio is refused".into(),
        );
    }
    let memory = package.memory();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    line(
        "memory",
        format!(
            "{:.1} MiB of frames, {:.1} MiB of weights",
            mib(memory.frames_bytes as u64),
            mib(memory.networks_bytes)
        ),
    );
    if manifest.unet.calibration.is_some() {
        line(
            "precision",
            match package.unet().report().int8 {
                Some(kernels) => format!("int8, {kernels} kernels"),
                None => format!(
                    "f32 here, though it is quantised: {}",
                    package.unet().report().why_floats()
                ),
            },
        );
    }
    match golden {
        Some(error) => line(
            "golden",
            format!(
                "differs by {error:.5} (allowed {})",
                manifest
                    .golden
                    .as_ref()
                    .map_or(0.0, |golden| golden.max_abs_error)
            ),
        ),
        None if package.is_left_in_floats() => line(
            "note",
            "its golden output is of int8: not compared with f32".into(),
        ),
        None => line(
            "note",
            "no golden output: nothing shows that the networks compute what they should".into(),
        ),
    }
    line("load", format!("{load_ms:.0} ms"));
    Ok(format!("{}: good\n{out}", package.name()))
}
