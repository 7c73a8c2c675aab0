//! `lipsyncd render`: a recording spoken by a package's face, as pictures or as a film.

use super::CliError;
use super::offline::{progress_bar, read_recording};
use crate::audio::Wav;
use crate::frame::{DEFAULT_QUALITY, JpegEncoder};
use crate::model::{LoadLimits, Package};
use crate::render::{AviFormat, AviWriter, FaceRenderer, SpeechFeatures};
use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Frames that one worker renders before they are written: bounds what is held in memory.
const FRAMES_AT_A_TIME: u32 = 8;

/// Render a recording as full frames: numbered JPEGs, or an AVI file with sound
#[derive(Debug, clap::Args)]
pub struct Render {
    /// Package to render
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Folder of packages
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Recording: 8 to 48 kHz, any number of channels
    #[arg(long, value_name = "FILE.wav")]
    audio: PathBuf,
    /// A name that ends in .avi: Motion JPEG with sound. Any other: a folder of numbered JPEGs
    #[arg(long, value_name = "DIR|FILE.avi")]
    output: PathBuf,
    /// Idle frame to begin with
    #[arg(long, default_value_t = 0)]
    first_frame: u32,
    /// JPEG quality
    #[arg(long, default_value_t = DEFAULT_QUALITY, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Frames rendered at the same time [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
}

impl Render {
    pub fn run(self) -> Result<(), CliError> {
        let wav = read_recording(&self.audio)?;
        let package = Package::load(&self.models.join(&self.model), &LoadLimits::default())?;
        let (Some(spec), Some(encoder)) = (package.front_end(), package.encoder()) else {
            return Err(format!(
                "package {} has no audio encoder: it cannot speak a recording",
                package.name()
            )
            .into());
        };
        let bar = progress_bar(0, "encoder rows");
        let features = SpeechFeatures::compute(spec, encoder, &wav, |rows| bar.set_position(rows))?;
        bar.finish_and_clear();
        let mut output = Output::create(&self.output, &package, &wav)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(cores, |threads| threads as usize);
        self.frames(&package, &features, threads, &mut output)?;
        output.finish()?;
        println!("{}: {} frames", self.output.display(), features.frames());
        Ok(())
    }

    /// Renders all frames with several workers and writes them in order.
    fn frames(
        &self,
        package: &Package,
        features: &SpeechFeatures,
        threads: usize,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let mut workers = (0..threads)
            .map(|_| self.worker(package, features))
            .collect::<Result<Vec<_>, _>>()?;
        let bar = progress_bar(u64::from(features.frames()), "frames");
        let mut next = 0;
        while next < features.frames() {
            let rendered: Vec<Result<Vec<Vec<u8>>, CliError>> = std::thread::scope(|scope| {
                let mut running = Vec::new();
                for worker in &mut workers {
                    let range = next..(next + FRAMES_AT_A_TIME).min(features.frames());
                    next = range.end;
                    let bar = &bar;
                    running.push(scope.spawn(move || worker.render(range, bar)));
                }
                let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err("a worker panicked".into()))
                };
                running.into_iter().map(join).collect()
            });
            for frames in rendered {
                for jpeg in frames? {
                    output.write(&jpeg)?;
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn worker<'a>(
        &self,
        package: &'a Package,
        features: &'a SpeechFeatures,
    ) -> Result<Worker<'a>, CliError> {
        Ok(Worker {
            face: FaceRenderer::new(package)?,
            encoder: JpegEncoder::new(self.quality),
            audio: vec![0.0; package.manifest().audio.rows * package.manifest().audio.width],
            features,
            first_frame: self.first_frame,
        })
    }
}

struct Worker<'a> {
    face: FaceRenderer<'a>,
    encoder: JpegEncoder,
    audio: Vec<f32>,
    features: &'a SpeechFeatures,
    first_frame: u32,
}

impl Worker<'_> {
    fn render(
        &mut self,
        frames: Range<u32>,
        bar: &indicatif::ProgressBar,
    ) -> Result<Vec<Vec<u8>>, CliError> {
        let mut jpegs = Vec::with_capacity(frames.len());
        for frame in frames {
            self.features.window(frame, &mut self.audio);
            let full = self
                .face
                .render(self.first_frame.wrapping_add(frame), &self.audio)?;
            let mut jpeg = Vec::new();
            self.encoder
                .encode_bgr(&full.data, full.width, full.height, &mut jpeg)?;
            jpegs.push(jpeg);
            bar.inc(1);
        }
        Ok(jpegs)
    }
}

/// Where the frames go.
enum Output<'a> {
    Folder {
        folder: PathBuf,
        written: u32,
    },
    Avi {
        file: PathBuf,
        writer: AviWriter<BufWriter<File>>,
        sound: &'a Wav,
        written: u32,
    },
}

impl<'a> Output<'a> {
    fn create(path: &Path, package: &Package, sound: &'a Wav) -> Result<Output<'a>, CliError> {
        let in_words = |error: std::io::Error| format!("{}: {error}", path.display());
        if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("avi"))
        {
            let (width, height) = package.frame_size();
            let format = AviFormat {
                width: width as u32,
                height: height as u32,
                frames_per_second: package.manifest().frame_rate,
                sample_rate_hz: sound.rate_hz,
            };
            let file = File::create(path).map_err(in_words)?;
            let writer = AviWriter::new(BufWriter::new(file), format).map_err(in_words)?;
            return Ok(Output::Avi {
                file: path.to_owned(),
                writer,
                sound,
                written: 0,
            });
        }
        fs::create_dir_all(path).map_err(in_words)?;
        // Frames of an earlier, longer recording would stay behind these.
        if fs::read_dir(path).map_err(in_words)?.next().is_some() {
            return Err(format!(
                "{}: is not empty; name a new folder, or one without files",
                path.display()
            )
            .into());
        }
        Ok(Output::Folder {
            folder: path.to_owned(),
            written: 0,
        })
    }

    fn write(&mut self, jpeg: &[u8]) -> Result<(), CliError> {
        match self {
            Output::Folder { folder, written } => {
                let file = folder.join(format!("frame_{written:06}.jpg"));
                *written += 1;
                fs::write(&file, jpeg).map_err(|error| format!("{}: {error}", file.display()))?;
            }
            Output::Avi {
                file,
                writer,
                sound,
                written,
            } => {
                let sample = |frame: u32| {
                    let sample = u64::from(frame) * u64::from(sound.rate_hz)
                        / u64::from(crate::audio::FRAMES_PER_SECOND);
                    (sample as usize).min(sound.samples.len())
                };
                let sound = &sound.samples[sample(*written)..sample(*written + 1)];
                *written += 1;
                writer
                    .write_frame(jpeg, sound)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), CliError> {
        if let Output::Avi { file, writer, .. } = self {
            writer
                .finish()
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }
}
