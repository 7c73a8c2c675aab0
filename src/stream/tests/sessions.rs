//! What a client says, and what it is answered.

use super::*;

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
            .all(|(_, frame)| frame.avatar_frame == ping_pong(frame.sequence, 10))
    );
    assert!(world.stream.stats(world.now).lag_ms < 0.0);
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
        ping_pong(shown + 1, 10),
        "the idle walk goes on"
    );
    world.control(StreamControl::Interrupt { epoch: 1 });
    assert_eq!(world.errors, [ErrorCode::BadSequence]);
    world.check();
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
    assert_eq!(world.errors, [ErrorCode::BadSequence]);
    world.audio(0, u64::MAX, &sound[..100]);
    world.audio(0, 12_000, &sound[12_000..]);
    world.control(StreamControl::End { epoch: 0 });
    world.audio(0, 32_000, &sound[..10]);
    assert_eq!(world.errors, [ErrorCode::BadSequence; 3]);
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
    assert_eq!(world.errors, [ErrorCode::TooLarge]);
    world.audio(0, 0, &speech(1_900));
    world.audio(0, 30_400, &speech(1_900));
    world.audio(0, 60_800, &speech(1_900));
    assert_eq!(
        world.errors,
        [
            ErrorCode::TooLarge,
            ErrorCode::TooLarge,
            ErrorCode::BadSequence
        ]
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
            .all(|(job, _)| job.package == 1 && job.window.len() == 1)
    );
    world.control(StreamControl::End { epoch: 1 });
    let mut packages = Vec::new();
    for _ in 0..200 {
        packages.extend(
            world
                .jobs
                .iter()
                .map(|(job, _)| (job.package, job.window.len())),
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
    assert_eq!(world.errors, [ErrorCode::Internal]);
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
    let wrong = Open {
        sample_rate_hz: 24_000,
        ..open_message()
    };
    assert_eq!(
        detached.facts().check(&wrong).unwrap_err().code(),
        ErrorCode::BadValue
    );
    detached.facts().check(&open_message()).unwrap();
    world.stream = Stream::resume(detached, &open_message(), params(), world.now).unwrap();
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
        (1, 0, ping_pong(sent, 10))
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
fn the_idle_walk_goes_to_and_fro() {
    let walk = |count| (0..7).map(move |frame| ping_pong(frame, count));
    assert!(walk(4).eq([0, 1, 2, 3, 2, 1, 0]));
    assert!(walk(1).chain(walk(0)).all(|frame| frame == 0));
}
