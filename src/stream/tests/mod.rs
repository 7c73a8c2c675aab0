//! Whole sessions, with a clock that is told the time and an engine that only waits.

use std::collections::VecDeque;

use bytes::Bytes;

mod chaos;
mod pauses;
mod sessions;
mod stalls;
mod timing;

use super::*;
use crate::base::ping_pong::ping_pong;
use crate::protocol::ErrorCode;
use crate::protocol::stream::{
    AudioChunk, DropReason, FLAG_HELD, FLAG_IDLE, FLAG_LAST, Interrupted, Open, StreamBody,
    StreamControl,
};

const RATE: u32 = 16_000;
const MS: Micros = 1_000;

const SPEC: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

fn package(handle: u8, spec: FrontEndSpec) -> StreamPackage<u8> {
    StreamPackage {
        handle,
        name: format!("face{handle}"),
        spec,
        frame_count: 10,
        frame_size: [720, 720],
        image_size: [160, 160],
    }
}

fn open_message() -> Open {
    Open {
        model_name: "face1".into(),
        sample_rate_hz: RATE,
        image: ImageKind::Mouth,
        quality: None,
        frame_rate: None,
        credits: 1_000,
        avatar_frame: 0,
        max_delay_ms: None,
        token: None,
    }
}

fn params() -> StreamParams {
    StreamParams {
        stream: 7,
        token: "token".into(),
        quality: 90,
        config: StreamConfig::default(),
    }
}

/// Speech, as far as a detector of level can tell.
fn speech(ms: u32) -> Vec<i16> {
    let mut state = 9u32;
    (0..ms * RATE / 1_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 / 8
        })
        .collect()
}

fn silence(ms: u32) -> Vec<i16> {
    vec![0; (ms * RATE / 1_000) as usize]
}

/// A client, a stream and an engine with `workers` workers that take `compute` a frame.
struct World {
    stream: Stream<u8, ()>,
    now: Micros,
    compute: Micros,
    workers: usize,
    /// Jobs in the engine, the first `workers` of them running; and when those finish.
    jobs: VecDeque<(FrameJob<u8, ()>, Option<Micros>)>,
    max_queue: usize,
    fails: bool,
    frames: Vec<(Micros, StreamFrame)>,
    updates: Vec<StreamBody>,
    errors: Vec<ErrorCode>,
    computed: u64,
    closed: bool,
}

impl World {
    fn new(open: Open) -> Self {
        Self::with(open, StreamConfig::default(), SPEC)
    }

    fn with(open: Open, config: StreamConfig, spec: FrontEndSpec) -> Self {
        let now = 1_000_000;
        let stream = Stream::open(
            &open,
            package(1, spec),
            StreamParams { config, ..params() },
            now,
        )
        .unwrap();
        let mut world = Self {
            stream,
            now,
            compute: 15 * MS,
            workers: 2,
            jobs: VecDeque::new(),
            max_queue: usize::MAX,
            fails: false,
            frames: Vec::new(),
            updates: Vec::new(),
            errors: Vec::new(),
            computed: 0,
            closed: false,
        };
        world.drain();
        world
    }

    fn drain(&mut self) {
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Frame(frame) => self.frames.push((self.now, frame)),
                Output::Update(update) => {
                    assert_eq!(update.stream, 7);
                    self.updates.push(update.body);
                }
                Output::Error(error) => self.errors.push(error.code()),
                Output::Compute(job) if self.jobs.len() >= self.max_queue => {
                    self.stream.on_refused(job.ticket, self.now);
                }
                Output::Compute(job) => {
                    assert!(!self.closed, "no work for a closed stream");
                    self.jobs.push_back((job, None));
                }
                Output::Cancel { ticket } => {
                    let at = self.jobs.iter().position(|(job, _)| job.ticket == ticket);
                    self.jobs.remove(at.expect("only what runs is cancelled"));
                }
                Output::Closed => self.closed = true,
            }
        }
        for (_, done) in self.jobs.iter_mut().take(self.workers) {
            done.get_or_insert(self.now + self.compute);
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Stream<u8, ()>, Micros)) {
        act(&mut self.stream, self.now);
        self.drain();
    }

    fn control(&mut self, control: StreamControl) {
        self.act(|stream, now| stream.on_control(&control, now));
    }

    fn audio(&mut self, epoch: u32, first_sample: u64, samples: &[i16]) {
        let pcm: Vec<u8> = samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        let chunk = AudioChunk {
            stream: 7,
            epoch,
            first_sample,
            pcm: Bytes::from(pcm),
        };
        self.act(|stream, now| stream.on_audio(&chunk, now));
    }

    /// Lets time pass: jobs finish and deadlines come, each at its time.
    fn wait(&mut self, time: Micros) {
        let end = self.now + time;
        loop {
            let finishing = self.jobs.iter().filter_map(|(_, done)| *done).min();
            let deadline = self.stream.next_deadline();
            let next = [finishing, deadline]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end)
                .max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            if finishing.is_some_and(|at| at <= next) {
                let at = self
                    .jobs
                    .iter()
                    .position(|(_, done)| *done == finishing)
                    .unwrap();
                let (job, _) = self.jobs.remove(at).unwrap();
                self.computed += 1;
                let picture = StreamPicture {
                    jpeg: b"jpeg".to_vec().into(),
                    bounds: [1.0; 4],
                    avatar_frame: ping_pong(job.frame_id, 10),
                };
                let result = if self.fails {
                    Err("broken".to_owned())
                } else {
                    Ok(picture)
                };
                let compute = self.compute as u32;
                self.act(|stream, now| stream.on_done(job.ticket, result, compute, now));
            } else {
                self.act(|stream, now| stream.on_deadline(now));
                let again = self.stream.next_deadline();
                assert!(
                    again.is_none_or(|at| at > self.now),
                    "a deadline that does not pass: {again:?}"
                );
            }
            if self.closed && self.jobs.is_empty() {
                break;
            }
        }
        self.now = end;
    }

    /// Sends `samples` as a microphone does, in chunks of `ms`.
    fn live(&mut self, epoch: u32, samples: &[i16], ms: u32) {
        let size = (ms * RATE / 1_000) as usize;
        for (index, chunk) in samples.chunks(size).enumerate() {
            self.wait(chunk.len() as Micros * 1_000_000 / Micros::from(RATE));
            self.audio(epoch, (index * size) as u64, chunk);
        }
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.updates
            .iter()
            .map(|body| match body {
                StreamBody::Dropped(dropped) if dropped.reason == reason => dropped.count,
                _ => 0,
            })
            .sum()
    }

    fn interrupted(&self) -> &Interrupted {
        let found = self.updates.iter().rev().find_map(|body| match body {
            StreamBody::Interrupted(interrupted) => Some(interrupted),
            _ => None,
        });
        found.expect("an interrupt is answered")
    }

    /// What must hold of any session.
    fn check(&self) {
        let order: Vec<_> = self
            .frames
            .iter()
            .map(|(_, frame)| (frame.epoch, frame.sequence))
            .collect();
        assert!(
            order.windows(2).all(|pair| pair[0] < pair[1]),
            "in order: {order:?}"
        );
        for (_, frame) in &self.frames {
            assert_eq!(
                frame.sample,
                u64::from(frame.sequence) * u64::from(RATE) / 25
            );
            assert_eq!(
                frame.jpeg.is_empty(),
                frame.flags & (FLAG_IDLE | FLAG_HELD) != 0
            );
        }
        let stats = self.stream.stats(self.now);
        assert_eq!(stats.frames_sent, self.frames.len() as u64);
        assert_eq!(stats.dropped_late, self.dropped(DropReason::Late));
        assert_eq!(stats.dropped_no_credit, self.dropped(DropReason::NoCredit));
    }
}
