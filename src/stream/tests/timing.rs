//! When frames come, and which do not: credits, deadlines, clocks, overload.

use super::*;

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
fn under_any_overload_most_of_what_the_engine_can_do_is_seen() {
    for ms in [60, 200, 300, 475, 700] {
        let mut world = World::new(open_message());
        world.compute = ms * MS;
        world.live(0, &speech(20_000), 20);
        world.check();
        let (sent, possible) = (world.frames.len(), (2 * 20_000 / ms as usize).min(490));
        assert!(
            sent * 3 >= possible * 2,
            "{sent} of {possible} frames at {ms} ms a frame"
        );
    }
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
        let epoch = world.stream.epoch() + 1;
        world.control(StreamControl::Pause);
        world.audio(epoch, 0, &speech(100));
    }
    assert_eq!(
        world.errors,
        [ErrorCode::TooLarge; 4],
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
