//! The work of one job, on one worker: window → encoder rows → crop and mask → U-Net → JPEG.

use std::hash::RandomState;
use std::sync::{Arc, Weak};

use crate::audio::{FeatureFrame, FeatureSlot, RequestFrontEnd, RequestPlan, decode_pcm16};
use crate::base::padded::PaddedBytes;
use crate::frame::{Composer, JpegEncoder};
use crate::model::{ModelError, NetworkState, Package};

use super::job::{Job, JobAudio, JobError, Picture, PictureKind};
use super::rows::{Row, RowCache};

/// Room in front of a picture's JPEG, so that a reply's head is written there and the picture is not copied: the longest, of
/// a version 2 frame, has 48 bytes.
const REPLY_HEAD_BYTES: usize = 64;

/// What all workers share.
pub(super) struct Common {
    pub(super) rows: RowCache,
    /// The secret of the row cache's keys.
    pub(super) secret: RandomState,
    pub(super) quality: u8,
}

/// One worker's own: a state of every network that it has run, and buffers that are used again.
#[derive(Default)]
pub(super) struct Worker {
    bench: Vec<Station>,
    samples: Vec<i16>,
    plan: RequestPlan,
    composer: Composer,
}

/// What a worker keeps for one package.
struct Station {
    package: Weak<Package>,
    unet: NetworkState,
    /// Encoder for one row, and the front end that makes its input from a request's sound.
    encoder: Option<NetworkState>,
    front_end: Option<RequestFrontEnd>,
    jpeg: JpegEncoder,
    /// The U-Net's audio input.
    audio: Vec<f32>,
    /// Length of the last JPEG: what to reserve for the next.
    jpeg_bytes: usize,
}

impl Worker {
    /// Does one job, its U-Net on `threads` threads of the pool.
    pub(super) fn run(
        &mut self,
        job: &Job,
        threads: usize,
        common: &Common,
    ) -> Result<Picture, JobError> {
        check(job)?;
        let mut station = self.station(&job.package, common)?;
        station.unet.set_threads(threads);
        let result = self.run_at(&mut station, job, common);
        self.bench.push(station);
        result
    }

    /// Builds what the jobs of a package will need.
    pub(super) fn prepare(
        &mut self,
        package: &Arc<Package>,
        common: &Common,
    ) -> Result<(), JobError> {
        let station = self.station(package, common)?;
        self.bench.push(station);
        Ok(())
    }

    fn run_at(
        &mut self,
        station: &mut Station,
        job: &Job,
        common: &Common,
    ) -> Result<Picture, JobError> {
        let package = &*job.package;
        self.hear(station, job, common)?;
        check(job)?;
        let frame = package.idle_frame(job.frame_id);
        package.predict(&mut station.unet, frame, &station.audio)?;
        check(job)?;
        let prediction = station.unet.output(package.unet_tensors().output);
        station
            .jpeg
            .set_quality(job.quality.unwrap_or(common.quality));
        let geometry = &package.manifest().geometry;
        let room = station.jpeg_bytes + station.jpeg_bytes / 8 + 1024;
        let mut jpeg = PaddedBytes::with_room(REPLY_HEAD_BYTES, room);
        let size = match job.picture {
            PictureKind::Mouth => {
                let side = geometry.inner_size;
                station
                    .jpeg
                    .encode_bgr_planes(prediction, side, side, jpeg.writer())?;
                (side, side)
            }
            PictureKind::Full => {
                let mut full = package.frame_image(frame)?;
                let (side, feather) = (geometry.inner_size, geometry.feather_px());
                let bounds = package.bounds(frame);
                self.composer
                    .compose(&mut full, prediction, side, bounds, feather)?;
                station
                    .jpeg
                    .encode_bgr(&full.data, full.width, full.height, jpeg.writer())?;
                (full.width, full.height)
            }
        };
        station.jpeg_bytes = jpeg.len();
        Ok(Picture {
            jpeg,
            size: (size.0 as u32, size.1 as u32),
            avatar_frame: frame,
            bounds: package.bounds(frame),
        })
    }

    /// Fills the station's audio input.
    fn hear(&mut self, station: &mut Station, job: &Job, common: &Common) -> Result<(), JobError> {
        let package = &*job.package;
        station.audio.clear();
        match &job.audio {
            JobAudio::Own => {
                let own = package
                    .own_features(job.frame_id)
                    .ok_or(JobError::NoAudio)?;
                station.audio.extend_from_slice(own);
            }
            JobAudio::Window { pcm, rate_hz } => {
                decode_pcm16(pcm, &mut self.samples)?;
                self.hear_window(station, job, *rate_hz, common)?;
            }
            JobAudio::Features(window) => {
                let width = package.manifest().audio.width;
                let encoder = station.encoder.as_mut().ok_or(JobError::NoEncoder)?;
                for slot in window {
                    check(job)?;
                    match slot {
                        FeatureSlot::Zero => {
                            station.audio.resize(station.audio.len() + width, 0.0);
                        }
                        FeatureSlot::Frame(FeatureFrame {
                            input: mel,
                            features,
                        }) => {
                            let values = features.get(|| {
                                encode(encoder, |input| {
                                    if input.len() == mel.len() {
                                        input.copy_from_slice(mel);
                                    }
                                    Ok(())
                                })
                            })?;
                            station.audio.extend_from_slice(&values);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn hear_window(
        &mut self,
        station: &mut Station,
        job: &Job,
        rate_hz: u32,
        common: &Common,
    ) -> Result<(), JobError> {
        let (Some(encoder), Some(front_end)) = (&mut station.encoder, &mut station.front_end)
        else {
            return Err(JobError::NoEncoder);
        };
        front_end.plan(&self.samples, rate_hz, job.frame_id, &mut self.plan)?;
        let width = front_end.spec().width;
        let owner = job.package.serial();
        let rows: Vec<Arc<Row>> = self
            .plan
            .rows()
            .iter()
            .map(|row| common.rows.find(owner, row.key, width))
            .collect();
        let mut features = Vec::with_capacity(rows.len());
        for (planned, row) in self.plan.rows().iter().zip(&rows) {
            check(job)?;
            features.push(row.get(|| {
                encode(encoder, |input| {
                    front_end
                        .input(&self.samples, &self.plan, planned, input)
                        .map_err(JobError::from)
                })
            })?);
        }
        for slot in self.plan.slots() {
            match slot.and_then(|index| features.get(index)) {
                Some(values) => station.audio.extend_from_slice(values),
                None => station.audio.resize(station.audio.len() + width, 0.0),
            }
        }
        Ok(())
    }

    /// Takes the station of a package from the bench, or makes one. Stations of packages that are gone
    /// are cleared away.
    fn station(&mut self, package: &Arc<Package>, common: &Common) -> Result<Station, JobError> {
        let ours = |s: &Station| std::ptr::eq(s.package.as_ptr(), Arc::as_ptr(package));
        if let Some(at) = self.bench.iter().position(ours) {
            return Ok(self.bench.swap_remove(at));
        }
        self.bench
            .retain(|station| station.package.strong_count() > 0);
        let encoder = package
            .encoder()
            .map(|encoder| encoder.new_state())
            .transpose()?;
        let front_end = package
            .front_end()
            .map(|spec| RequestFrontEnd::new(spec, common.secret.clone()))
            .transpose()?;
        Ok(Station {
            package: Arc::downgrade(package),
            unet: package.unet().new_state()?,
            encoder,
            front_end,
            jpeg: JpegEncoder::new(common.quality),
            audio: Vec::new(),
            jpeg_bytes: 0,
        })
    }
}

/// Runs the encoder on the row that `fill` writes.
fn encode(
    encoder: &mut NetworkState,
    fill: impl FnOnce(&mut [f32]) -> Result<(), JobError>,
) -> Result<Arc<[f32]>, JobError> {
    fill(encoder.input_mut(0))?;
    encoder
        .execute()
        .map_err(|error: ModelError| JobError::from(error))?;
    Ok(Arc::from(encoder.output(0)))
}

/// Ends a job that nobody wants any more.
fn check(job: &Job) -> Result<(), JobError> {
    let unwanted = job.reply.is_gone() || job.cancel.as_ref().is_some_and(|c| c.is_cancelled());
    if unwanted {
        Err(JobError::Cancelled)
    } else {
        Ok(())
    }
}
