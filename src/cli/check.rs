//! `lipsyncd check`: validates a package.

use super::CliError;
use super::print::{print_error, say};
use crate::audio::DEFAULT_INPUT_HZ;
use crate::base::limits::Limits;
use crate::model::{
    CheckLimits, Examination, LoadLimits, Package, check_in_child, confine_this_process, examine,
};
use std::fmt::{Display, Write};
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
    /// Files of a package, together, in bytes: as the server's flag
    #[arg(long, default_value_t = Limits::default().max_package_bytes, value_name = "N")]
    max_package_bytes: u64,
    /// Frames of a package's idle video: as the server's flag
    #[arg(long, default_value_t = Limits::default().max_frames, value_name = "N")]
    max_frames: u64,
    /// Check in this process, after limiting it: what the parent runs
    #[arg(long, hide = true)]
    child: bool,
}

impl Check {
    pub fn run(self) -> Result<(), CliError> {
        let server = Limits {
            max_package_bytes: self.max_package_bytes,
            max_frames: self.max_frames,
            ..Limits::default()
        };
        let limits = CheckLimits {
            memory_bytes: self.memory_mib << 20,
            time: Duration::from_secs(self.seconds),
            load: LoadLimits::from(&server),
        };
        if self.child {
            confine_this_process(limits)
                .map_err(|error| format!("limits cannot be set: {error}"))?;
            for folder in &self.packages {
                say!("{}", report(folder, &limits.load)?.trim_end())?;
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

/// Loads the package, decodes every frame, looks at what its networks compute, and tells what it is.
fn report(folder: &Path, limits: &LoadLimits) -> Result<String, CliError> {
    let started = Instant::now();
    let package = Package::load(folder, limits)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    for frame in 0..package.frame_count() {
        package.check_frame(frame)?;
    }
    let golden = package.check_golden()?;
    let seen = examine(&package)?;
    let mut report = Report::default();
    report.identity(&package);
    report.audio(&package);
    report.networks(&package, &seen);
    report.golden(&package, golden);
    report.line("load", format!("{load_ms:.0} ms"));
    Ok(format!("{}: good\n{}", package.name(), report.text))
}

/// What `check` prints of one package: lines of a label and what it says.
#[derive(Default)]
struct Report {
    text: String,
}

impl Report {
    fn line(&mut self, label: &str, text: impl Display) {
        let _ = writeln!(self.text, "  {label:<12}{text}");
    }

    fn identity(&mut self, package: &Package) {
        let manifest = package.manifest();
        let (width, height) = package.frame_size();
        let (count, rate) = (package.frame_count(), manifest.frame_rate);
        self.line("title", &manifest.title);
        self.line("family", format!("{:?}", manifest.family).to_lowercase());
        self.line("licence", &manifest.license);
        self.line(
            "frames",
            format!("{count} of {width}x{height} at {rate} fps, all decoded"),
        );
        let geometry = &manifest.geometry;
        self.line(
            "prediction",
            format!(
                "{0}x{0} of a crop of {1}",
                geometry.inner_size, geometry.crop_size
            ),
        );
        let memory = package.memory();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (frames, weights) = (mib(memory.frames_bytes as u64), mib(memory.networks_bytes));
        self.line(
            "memory",
            format!("{frames:.1} MiB of frames, {weights:.1} MiB of weights"),
        );
    }

    fn audio(&mut self, package: &Package) {
        match package.front_end() {
            Some(spec) => self.line(
                "audio",
                format!(
                    "mel, {} encoder row(s) a frame, look-ahead {:.1} ms at {} kHz",
                    spec.rows,
                    spec.look_ahead_ms(DEFAULT_INPUT_HZ),
                    DEFAULT_INPUT_HZ / 1000
                ),
            ),
            None => self.line(
                "audio",
                "own features only: it cannot speak sound that is sent",
            ),
        }
        let (rows, rate) = (package.own_rows(), package.manifest().frame_rate);
        match rows {
            0 => self.line(
                "note",
                "no own features: a request without audio is refused",
            ),
            rows => self.line(
                "features",
                format!(
                    "{rows} rows, {rate} a second: {:.1} s of its own sound",
                    f64::from(rows) / f64::from(rate)
                ),
            ),
        }
    }

    fn networks(&mut self, package: &Package, seen: &Examination) {
        for network in [Some(package.unet()), package.encoder()]
            .into_iter()
            .flatten()
        {
            for note in network.notes() {
                self.line("note", format!("{} {note}", network.name()));
            }
        }
        if package.manifest().unet.calibration.is_some() {
            let report = package.unet().report();
            self.line(
                "precision",
                match report.int8 {
                    Some(kernels) => format!("int8, {kernels} kernels"),
                    None => format!("f32 here, though it is quantised: {}", report.why_floats()),
                },
            );
        }
        let [low, high] = seen.range;
        self.line(
            "values",
            format!("{low:.3} to {high:.3} in {} passes", seen.passes),
        );
        let pass_ms = seen.pass.as_secs_f64() * 1e3;
        let period_ms = 1e3 / f64::from(package.manifest().frame_rate);
        self.line("time", format!("{pass_ms:.1} ms of one core a frame"));
        if pass_ms > period_ms {
            self.line(
                "note",
                format!("a frame takes longer than the {period_ms:.0} ms that it is shown: one core cannot serve it live"),
            );
        }
        if !seen.hears {
            self.line(
                "note",
                "sound changes nothing in the pictures: is its audio input used?",
            );
        }
    }

    fn golden(&mut self, package: &Package, golden: Option<f32>) {
        match (golden, &package.manifest().golden) {
            (Some(error), Some(golden)) => {
                self.line(
                    "golden",
                    format!("differs by {error:.5} (allowed {})", golden.max_abs_error),
                );
            }
            _ if package.is_left_in_floats() => {
                self.line(
                    "note",
                    "its golden output is of int8: not compared with f32",
                );
            }
            _ => self.line(
                "note",
                "no golden output: nothing shows that the networks compute what they should",
            ),
        }
    }
}
