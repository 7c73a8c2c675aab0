//! `lipsyncd render`: a recording spoken by a package's face, as pictures or as a film.

mod output;

use super::CliError;
use super::offline::{RECORDING, SpeakError, progress_bar, read_file, speak};
use super::print::say;
use crate::base::panic::catch_panic;
use crate::frame::{DEFAULT_QUALITY, FrameError, JpegEncoder};
use crate::model::{LoadLimits, ModelError, Package};
use crate::render::{AviFormat, FaceRenderer, SpeechFeatures};
use output::{Output, OutputError, Target};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames that one worker renders before they are written: bounds what is held in memory.
const FRAMES_AT_A_TIME: u32 = 8;

/// Render a recording as full frames: numbered JPEGs, or a film with sound
///
/// Ctrl-C ends the film early; what is there by then can be played.
#[derive(Debug, clap::Args)]
pub struct Render {
    /// Package to render
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Folder of packages
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Recording: WAV of any kind, FLAC, MP3 or Ogg Vorbis; 1 to 384 kHz, any number of channels
    #[arg(long, value_name = RECORDING)]
    audio: PathBuf,
    /// A name that ends in .avi: Motion JPEG with sound, of any length; in .mp4, .m4v, .mov, .mkv or .webm: the same,
    /// encoded by the program ffmpeg, which must be installed; any other name: a folder of numbered JPEGs
    #[arg(long, value_name = "DIR|FILM")]
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

/// Why frames are not rendered.
#[derive(Debug, thiserror::Error)]
enum RenderError {
    #[error(transparent)]
    Speak(#[from] SpeakError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("a worker panicked: {0}")]
    Panic(String),
    #[error("Ctrl-C cannot be watched for")]
    Signal(#[from] ctrlc::Error),
    /// Because of the source, or by Ctrl-C where there is none. What is written is whole.
    #[error("stopped: {} holds {written} of {frames} frames", output.display())]
    Stopped {
        output: PathBuf,
        written: u64,
        frames: u32,
        source: Option<Box<RenderError>>,
    },
}

impl Render {
    pub fn run(self) -> Result<(), CliError> {
        let written = self.render()?;
        Ok(say!("{}: {written} frames", self.output.display())?)
    }

    /// How many frames have been written: all.
    fn render(&self) -> Result<u64, RenderError> {
        // What is wrong with the output is told before the work begins.
        let target = Target::of(&self.output)?;
        let sound = read_file(&self.audio)?;
        let package = Package::load(&self.models.join(&self.model), &LoadLimits::default())?;
        let features = speak(&package, &sound, "it cannot speak a recording")?;
        let (width, height) = package.frame_size();
        let format = AviFormat {
            width: width as u32,
            height: height as u32,
            frames_per_second: package.manifest().frame_rate,
            sample_rate_hz: sound.rate_hz,
        };
        let stop = stop_at_signal()?;
        let mut output = Output::create(target, format, &sound)?;
        let result = self.frames(&package, &features, &stop, &mut output);
        // Whatever has happened, what was written is made whole.
        let (written, frames) = (output.finish()?, features.frames());
        let source = result.err().map(Box::new);
        match source.is_some() || written < u64::from(frames) {
            true => Err(RenderError::Stopped {
                output: self.output.clone(),
                written,
                frames,
                source,
            }),
            false => Ok(written),
        }
    }

    /// Renders all frames with several workers and writes them in order, until it is to stop.
    fn frames(
        &self,
        package: &Package,
        features: &SpeechFeatures,
        stop: &AtomicBool,
        output: &mut Output,
    ) -> Result<(), RenderError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(cores, |threads| threads as usize);
        let mut workers = (0..threads)
            .map(|_| self.worker(package, features))
            .collect::<Result<Vec<_>, _>>()?;
        let bar = progress_bar(u64::from(features.frames()), "frames");
        let mut next = 0;
        while next < features.frames() && !stop.load(Ordering::Relaxed) {
            let rendered: Vec<Result<Vec<Vec<u8>>, RenderError>> = std::thread::scope(|scope| {
                let mut running = Vec::new();
                for worker in &mut workers {
                    let range = next..(next + FRAMES_AT_A_TIME).min(features.frames());
                    next = range.end;
                    let bar = &bar;
                    let work = move || catch_panic(|| worker.render(range, bar));
                    running.push(scope.spawn(work));
                }
                let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                    let result = thread.join().unwrap_or_else(|_| Err(String::new()));
                    result.map_err(RenderError::Panic).flatten()
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
    ) -> Result<Worker<'a>, ModelError> {
        Ok(Worker {
            face: FaceRenderer::new(package)?,
            encoder: JpegEncoder::new(self.quality),
            audio: vec![0.0; package.manifest().audio.rows * package.manifest().audio.width],
            features,
            first_frame: self.first_frame,
        })
    }
}

/// Becomes true at the first Ctrl-C; at the second the process ends.
fn stop_at_signal() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    /// 128 and the number of SIGINT, as shells tell it.
    const INTERRUPTED_STATUS: i32 = 128 + 2;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED_STATUS);
        }
    })?;
    Ok(stop)
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
    ) -> Result<Vec<Vec<u8>>, RenderError> {
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
