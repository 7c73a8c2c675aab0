//! Whole sessions, with a clock that is told the time and an engine that only waits.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::audio::Outside;
use crate::protocol::stream::{
    AudioChunk, DropReason, FLAG_HELD, FLAG_IDLE, FLAG_LAST, Interrupted, Open, StreamBody,
    StreamControl,
};

const RATE: u32 = 16_000;
const MS: Micros = 1_000;

const SPEC: FrontEndSpec = FrontEndSpec {
    mel_rows: 36,
    mel_offset: -22,
    width: 10,
    first_row: 0,
    rows: 1,
    edge_rows: 0,
    outside: Outside::Silence,
};

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

fn terms() -> Terms {
    Terms {
        stream: 7,
        token: "token".into(),
        quality: 90,
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
    errors: Vec<Code>,
    computed: u64,
    closed: bool,
}

impl World {
    fn new(open: Open) -> Self {
        Self::with(open, StreamConfig::default(), SPEC)
    }

    fn with(open: Open, config: StreamConfig, spec: FrontEndSpec) -> Self {
        let now = 1_000_000;
        let stream = Stream::open(&open, package(1, spec), config, terms(), now).unwrap();
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
                Output::Error { code, .. } => self.errors.push(code),
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
                    jpeg: Bytes::from_static(b"jpeg"),
                    bounds: [1.0; 4],
                    avatar_frame: idle_frame(job.frame_id, 10),
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

#[test]
fn an_utterance_sent_at_once_comes_back_whole_and_ahead_of_time() {
    let mut world = World::new(open_message());
    let sound = [silence(1_000), speech(1_000), silence(1_000)].concat();
    world.audio(0, 0, &sound);
    world.control(StreamControl::End { epoch: 0 });
    world.wait(1_000 * MS);
    world.check();
    assert_eq!(world.frames.len(), 75);
    let last = &world.frames[74].1;
    assert_eq!(last.flags, FLAG_IDLE | FLAG_LAST);
    assert!(
        world
            .frames
            .iter()
            .take(74)
            .all(|(_, frame)| frame.flags & FLAG_LAST == 0)
    );
    let with_image = world
        .frames
        .iter()
        .filter(|(_, frame)| !frame.jpeg.is_empty())
        .count();
    assert_eq!(world.computed, with_image as u64);
    assert_eq!(with_image, 37, "frames of silence cost no inference");
    // The idle walk goes on from frame to frame, to and fro.
    assert!(
        world
            .frames
            .iter()
            .all(|(_, frame)| frame.avatar_frame == idle_frame(frame.sequence, 10))
    );
    assert!(world.stream.stats(world.now).lag_ms < 0.0);
}

#[test]
fn live_speech_is_seen_after_the_look_ahead_and_one_computation() {
    for spec in [SPEC, FrontEndSpec::AVE] {
        let mut world = World::with(open_message(), StreamConfig::default(), spec);
        let start = world.now;
        world.live(0, &speech(4_000), 20);
        world.check();
        let look_ahead = Micros::from(spec.look_ahead_samples()) * 1_000_000 / Micros::from(RATE);
        for (at, frame) in &world.frames {
            let due = start + 20 * MS + Micros::from(frame.sequence) * 40 * MS;
            let delay = at - due - look_ahead;
            assert!(
                delay <= world.compute + 20 * MS,
                "frame {}: {delay} us",
                frame.sequence
            );
        }
        assert!(world.frames.len() > 85);
        assert_eq!(world.dropped(DropReason::Late), 0);
    }
}

#[test]
fn an_interrupt_voids_all_that_was_and_the_next_epoch_is_prompt() {
    let mut world = World::new(open_message());
    world.audio(0, 0, &speech(3_000));
    world.wait(100 * MS);
    let shown = world.frames.last().unwrap().1.sequence;
    assert!(!world.jobs.is_empty());
    world.control(StreamControl::Interrupt { epoch: 1 });
    assert!(
        world.jobs.is_empty(),
        "queued and running work is given up at once"
    );
    let interrupted = world.interrupted();
    assert_eq!(
        (
            interrupted.epoch,
            interrupted.last_epoch,
            interrupted.last_sequence
        ),
        (1, 0, Some(shown))
    );
    assert_eq!(interrupted.dropped, 75 - shown - 1);
    let before = world.frames.len();
    let at = world.now;
    world.audio(0, 48_000, &speech(100));
    assert_eq!(world.dropped(DropReason::OldEpoch), 1_600);
    world.audio(1, 0, &speech(400));
    world.wait(world.compute);
    let (when, first) = &world.frames[before];
    assert_eq!((first.epoch, first.sequence), (1, 0));
    assert_eq!(
        when - at,
        world.compute,
        "the look-ahead was there, so only the computation is waited for"
    );
    assert_eq!(
        first.avatar_frame,
        idle_frame(shown + 1, 10),
        "the idle walk goes on"
    );
    world.control(StreamControl::Interrupt { epoch: 1 });
    assert_eq!(world.errors, [Code::BadSequence]);
    world.check();
}

#[test]
fn without_credit_frames_are_held_and_the_oldest_dropped_by_deadline() {
    let mut world = World::new(Open {
        credits: 3,
        ..open_message()
    });
    world.live(0, &speech(4_000), 20);
    world.check();
    assert_eq!(world.frames.len(), 3);
    let stats = world.stream.stats(world.now);
    let late = world.dropped(DropReason::NoCredit);
    assert!(stats.held_now <= 26 && late > 60, "{stats:?}");
    // What is held is what is still of use, and goes out at once.
    world.control(StreamControl::Credit { frames: 10 });
    assert_eq!(world.frames.len(), 13);
    let first = &world.frames[3].1;
    assert_eq!(u64::from(first.sequence), 3 + late);
    assert_eq!(world.dropped(DropReason::Late), 0);
}

#[test]
fn speech_far_ahead_waits_for_credit_and_loses_nothing() {
    let config = StreamConfig::default();
    let held = config.limits.max_held_frames as usize;
    let mut world = World::new(Open {
        credits: 0,
        max_delay_ms: Some(60_000),
        ..open_message()
    });
    world.audio(0, 0, &speech(10_000));
    world.control(StreamControl::End { epoch: 0 });
    world.wait(900 * MS);
    assert_eq!(
        world.computed as usize, held,
        "no more is computed than may be held"
    );
    for _ in 0..60 {
        world.control(StreamControl::Credit { frames: 5 });
        world.wait(150 * MS);
    }
    world.check();
    assert_eq!(world.frames.len(), 250 + 5);
    assert_eq!(world.stream.stats(world.now).dropped_no_credit, 0);
}

#[test]
fn an_engine_too_slow_costs_frames_but_never_shows_a_late_one() {
    let mut world = World::new(open_message());
    world.compute = 130 * MS; // Two workers: 15 frames a second of 25.
    let start = world.now + 20 * MS;
    world.live(0, &speech(10_000), 20);
    world.check();
    let sent = world.frames.len();
    assert!((100..180).contains(&sent), "{sent} frames");
    for (at, frame) in &world.frames {
        assert!(at - start - Micros::from(frame.sequence) * 40 * MS <= 1_000 * MS);
    }
    // Hardly any work is done for nothing.
    let wasted = world.computed as usize - sent;
    assert!(
        wasted * 20 <= sent,
        "{wasted} of {} computed in vain",
        world.computed
    );
    // And when the overload is over, every frame comes again.
    world.compute = 10 * MS;
    world.wait(500 * MS);
    let dropped = world.dropped(DropReason::Late);
    let more = speech(4_000);
    world.control(StreamControl::Interrupt { epoch: 1 });
    world.live(1, &more, 20);
    assert_eq!(world.dropped(DropReason::Late), dropped);
}

#[test]
fn a_full_engine_is_asked_again() {
    let mut world = World::new(open_message());
    world.max_queue = 1;
    world.audio(0, 0, &speech(1_000));
    world.control(StreamControl::End { epoch: 0 });
    world.wait(1_500 * MS);
    world.check();
    assert_eq!(world.frames.len(), 30);
}

#[test]
fn overlaps_are_ignored_gaps_filled_and_holes_refused() {
    let sound = speech(2_000);
    let mut plain = World::new(open_message());
    plain.audio(0, 0, &sound);
    plain.control(StreamControl::End { epoch: 0 });
    plain.wait(2_000 * MS);
    let mut world = World::new(open_message());
    world.audio(0, 0, &sound[..10_000]);
    world.audio(0, 5_000, &sound[5_000..12_000]);
    world.audio(0, 0, &sound[..12_000]);
    world.audio(0, 100_000, &sound[..100]);
    assert_eq!(world.errors, [Code::BadSequence]);
    world.audio(0, u64::MAX, &sound[..100]);
    world.audio(0, 12_000, &sound[12_000..]);
    world.control(StreamControl::End { epoch: 0 });
    world.audio(0, 32_000, &sound[..10]);
    assert_eq!(world.errors, [Code::BadSequence; 3]);
    world.wait(2_000 * MS);
    world.check();
    let frames = |world: &World| {
        world
            .frames
            .iter()
            .map(|(_, frame)| frame.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(frames(&world), frames(&plain));
    assert_eq!(world.dropped(DropReason::Duplicate), 5_000 + 12_000);
    // A gap within bounds is silence.
    let mut world = World::new(open_message());
    world.audio(0, 0, &sound[..16_000]);
    world.audio(0, 24_000, &sound[..8_000]);
    assert_eq!(world.stream.stats(world.now).filled_samples, 8_000);
    world.control(StreamControl::End { epoch: 0 });
    world.wait(2_000 * MS);
    assert_eq!(world.frames.len(), 55);
}

#[test]
fn too_much_audio_at_once_is_refused_whole() {
    let mut config = StreamConfig::default();
    config.limits.max_ahead_ms = 2_000;
    config.limits.max_chunk_bytes = 64_000;
    let mut world = World::with(
        Open {
            credits: 0,
            ..open_message()
        },
        config,
        SPEC,
    );
    world.audio(0, 0, &speech(2_001));
    assert_eq!(world.errors, [Code::TooLarge]);
    world.audio(0, 0, &speech(1_900));
    world.audio(0, 30_400, &speech(1_900));
    world.audio(0, 60_800, &speech(1_900));
    assert_eq!(
        world.errors,
        [Code::TooLarge, Code::TooLarge, Code::BadSequence]
    );
}

#[test]
fn epochs_follow_one_another_without_a_pause_between_their_clocks() {
    let mut world = World::new(open_message());
    for epoch in 0..4 {
        world.audio(epoch, 0, &speech(1_000));
    }
    world.control(StreamControl::End { epoch: 3 });
    world.wait(5_000 * MS);
    world.check();
    assert_eq!(world.frames.len(), 4 * 30);
    assert_eq!(world.dropped(DropReason::Late), 0);
    let lasts: Vec<_> = world
        .frames
        .iter()
        .filter(|(_, f)| f.flags & FLAG_LAST != 0)
        .map(|(_, f)| f.epoch)
        .collect();
    assert_eq!(lasts, [0, 1, 2, 3]);
    for _ in 0..20 {
        let epoch = world.stream.epoch + 1;
        world.control(StreamControl::Pause);
        world.audio(epoch, 0, &speech(100));
    }
    assert_eq!(
        world.errors,
        [Code::TooLarge; 4],
        "epochs that wait are bounded"
    );
}

#[test]
fn a_pause_stops_the_clock() {
    let mut world = World::new(open_message());
    world.live(0, &speech(1_000), 20);
    world.control(StreamControl::Pause);
    let before = world.frames.len();
    world.audio(0, 16_000, &speech(1_000));
    world.wait(30_000 * MS);
    assert_eq!(world.frames.len(), before);
    world.control(StreamControl::Resume);
    world.control(StreamControl::End { epoch: 0 });
    world.wait(1_500 * MS);
    world.check();
    assert_eq!(world.frames.len(), 55);
    assert_eq!(
        world.dropped(DropReason::Late) + world.dropped(DropReason::NoCredit),
        0
    );
}

#[test]
fn a_start_and_a_change_take_effect_with_the_next_epoch() {
    let mut world = World::new(Open {
        avatar_frame: 4,
        ..open_message()
    });
    world.audio(0, 0, &speech(400));
    world.act(|stream, now| stream.change(package(2, FrontEndSpec::AVE), now));
    world.control(StreamControl::Start {
        epoch: 1,
        avatar_frame: 8,
    });
    world.audio(1, 0, &speech(400));
    assert!(
        world
            .jobs
            .iter()
            .all(|(job, _)| job.package == 1 && job.rows.len() == 1)
    );
    world.control(StreamControl::End { epoch: 1 });
    let mut packages = Vec::new();
    for _ in 0..200 {
        packages.extend(
            world
                .jobs
                .iter()
                .map(|(job, _)| (job.package, job.rows.len())),
        );
        world.wait(5 * MS);
    }
    packages.sort_unstable();
    packages.dedup();
    assert_eq!(packages, [(1, 1), (2, 16)]);
    let first_of = |epoch| {
        &world
            .frames
            .iter()
            .find(|(_, frame)| frame.epoch == epoch)
            .unwrap()
            .1
    };
    assert_eq!((first_of(0).avatar_frame, first_of(1).avatar_frame), (4, 8));
    let changed = world
        .updates
        .iter()
        .any(|body| matches!(body, StreamBody::Changed(changed) if changed.epoch == 1));
    assert!(changed);
}

#[test]
fn a_frame_that_fails_holds_the_picture_before_and_is_told_once() {
    let mut world = World::new(open_message());
    world.audio(0, 0, &speech(1_000));
    world.wait(120 * MS);
    world.fails = true;
    world.control(StreamControl::End { epoch: 0 });
    world.wait(1_000 * MS);
    world.check();
    assert_eq!(world.frames.len(), 30);
    let held = world
        .frames
        .iter()
        .filter(|(_, frame)| frame.flags & FLAG_HELD != 0)
        .count();
    assert!(held > 10);
    assert_eq!(world.errors, [Code::Internal]);
    assert_eq!(world.stream.stats(world.now).dropped_failed, held as u64);
}

#[test]
fn a_broken_connection_is_taken_up_without_old_frames() {
    let mut world = World::new(open_message());
    world.audio(0, 0, &speech(2_000));
    world.wait(100 * MS);
    let sent = world.frames.len() as u32;
    let detached = world.stream.detach().unwrap();
    world.drain();
    assert!(world.jobs.is_empty());
    assert!(world.stream.detach().is_none() && world.stream.next_deadline().is_none());
    assert_eq!(detached.token(), "token");
    let wrong = Open {
        sample_rate_hz: 24_000,
        ..open_message()
    };
    assert_eq!(detached.check(&wrong).unwrap_err().0, Code::BadValue);
    detached.check(&open_message()).unwrap();
    world.stream = Stream::resume(
        detached,
        &open_message(),
        StreamConfig::default(),
        terms(),
        world.now,
    )
    .unwrap();
    world.drain();
    let opened = world
        .updates
        .iter()
        .any(|b| matches!(b, StreamBody::Opened(o) if o.resumed && o.epoch == 1));
    assert!(opened);
    world.audio(1, 0, &speech(400));
    world.wait(100 * MS);
    world.check();
    let next = &world.frames[sent as usize].1;
    assert_eq!(
        (next.epoch, next.sequence, next.avatar_frame),
        (1, 0, idle_frame(sent, 10))
    );
}

#[test]
fn a_silent_client_is_closed_in_the_end() {
    let mut world = World::new(open_message());
    world.audio(0, 0, &silence(1_000));
    world.wait(299_000 * MS);
    assert!(!world.closed);
    world.wait(2_000 * MS);
    assert!(world.closed && matches!(world.updates.last(), Some(StreamBody::Closed(_))));
    world.audio(0, 16_000, &speech(100));
    assert!(world.jobs.is_empty() && world.stream.next_deadline().is_none());
}

#[test]
fn a_client_whose_clock_runs_slow_keeps_its_face() {
    let mut world = World::new(open_message());
    // A second of audio every 1.05 s: after a minute it is 3 s behind the server's clock.
    for second in 0..60u64 {
        world.audio(0, second * 16_000, &speech(1_000));
        world.wait(1_050 * MS);
        world.control(StreamControl::Credit { frames: 25 });
    }
    world.check();
    assert_eq!(world.dropped(DropReason::Late), 0);
    assert!(world.frames.len() > 59 * 25);
}

#[test]
fn the_idle_walk_goes_to_and_fro() {
    let walk = |count| (0..7).map(move |frame| idle_frame(frame, count));
    assert!(walk(4).eq([0, 1, 2, 3, 2, 1, 0]));
    assert!(walk(1).chain(walk(0)).all(|frame| frame == 0));
}

#[derive(Debug, Clone)]
enum Step {
    Audio {
        epoch: u32,
        offset: i64,
        ms: u32,
        loud: bool,
    },
    Wait(u32),
    End(u32),
    Interrupt(u32),
    Start(u32),
    Credit(u32),
    Pause,
    Resume,
    Stats,
    Change,
    Reconnect,
    Slow(u32),
    Fail(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..3, prop_oneof![6 => Just(0i64), 1 => -3_000i64..3_000, 1 => any::<i64>()], 0u32..700, any::<bool>())
            .prop_map(|(epoch, offset, ms, loud)| Step::Audio { epoch, offset, ms, loud }),
        6 => (0u32..600).prop_map(Step::Wait),
        1 => (0u32..3).prop_map(Step::End),
        1 => (0u32..3).prop_map(Step::Interrupt),
        1 => any::<u32>().prop_map(Step::Start),
        3 => (0u32..60).prop_map(Step::Credit),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Stats),
        1 => Just(Step::Change),
        1 => Just(Step::Reconnect),
        1 => (1u32..300).prop_map(Step::Slow),
        1 => any::<bool>().prop_map(Step::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn chaos_breaks_no_promise(steps in proptest::collection::vec(step(), 1..50), credits in 0u32..80, ave: bool) {
        let spec = if ave { FrontEndSpec::AVE } else { SPEC };
        let mut world = World::with(Open { credits, ..open_message() }, StreamConfig::default(), spec);
        let mut allowed = u64::from(credits);
        let mut void = 0;
        for step in steps {
            let epoch = world.stream.epoch;
            let frames = world.frames.len();
            match step {
                Step::Audio { epoch: up, offset, ms, loud } => {
                    let at = world.stream.utterances.back().map_or(0, |utterance| utterance.received);
                    let first = (if up == 0 { at } else { 0 }).saturating_add_signed(offset);
                    let samples = if loud { speech(ms) } else { silence(ms) };
                    world.audio(epoch + up, first, &samples);
                }
                Step::Wait(ms) => world.wait(Micros::from(ms) * MS),
                Step::End(up) => world.control(StreamControl::End { epoch: epoch + up }),
                Step::Interrupt(up) => {
                    let before = world.updates.len();
                    world.control(StreamControl::Interrupt { epoch: epoch + up });
                    if up > 0 {
                        let told = matches!(world.updates[before], StreamBody::Interrupted(_));
                        prop_assert!(told && world.jobs.is_empty());
                        void = epoch + up;
                        let interrupted = world.interrupted();
                        let last = world.frames.iter().rev().map(|(_, f)| f).find(|f| f.epoch == interrupted.last_epoch);
                        prop_assert_eq!(interrupted.last_sequence, last.map(|frame| frame.sequence));
                    }
                }
                Step::Start(frame) => world.control(StreamControl::Start { epoch: epoch + 1, avatar_frame: frame }),
                Step::Credit(frames) => {
                    allowed += u64::from(frames);
                    world.control(StreamControl::Credit { frames });
                }
                Step::Pause => world.control(StreamControl::Pause),
                Step::Resume => world.control(StreamControl::Resume),
                Step::Stats => world.control(StreamControl::Stats),
                Step::Change => world.act(|stream, now| stream.change(package(2, SPEC), now)),
                Step::Reconnect => {
                    let detached = world.stream.detach().unwrap();
                    world.drain();
                    prop_assert!(world.jobs.is_empty());
                    let open = Open { credits: 0, ..open_message() };
                    allowed = world.frames.len() as u64;
                    world.stream = Stream::resume(detached, &open, StreamConfig::default(), terms(), world.now).unwrap();
                    world.drain();
                    void = world.stream.epoch;
                }
                Step::Slow(ms) => world.compute = Micros::from(ms) * MS,
                Step::Fail(fails) => world.fails = fails,
            }
            prop_assert!(world.frames[frames..].iter().all(|(_, frame)| frame.epoch >= void));
            prop_assert!(world.frames.len() as u64 <= allowed);
            let waiting: usize = world.stream.utterances.iter().map(|utterance| utterance.waiting.len()).sum();
            prop_assert!(waiting <= 60 * RATE as usize);
            prop_assert!(world.stream.items.len() <= 50);
            prop_assert!(world.jobs.len() <= 4);
            prop_assert_eq!(world.jobs.len(), world.stream.in_flight);
        }
        world.check();
        // Whatever happened: the next utterance is seen to its end.
        world.control(StreamControl::Resume);
        world.compute = 10 * MS;
        world.fails = false;
        let epoch = world.stream.epoch + 1;
        world.control(StreamControl::Interrupt { epoch });
        world.control(StreamControl::Credit { frames: 1_000 });
        world.audio(epoch, 0, &speech(1_000));
        world.control(StreamControl::End { epoch });
        world.wait(3_000 * MS);
        let last = &world.frames.last().unwrap().1;
        prop_assert_eq!((last.epoch, last.flags & FLAG_LAST), (epoch, FLAG_LAST));
        prop_assert!(world.jobs.is_empty());
    }
}
