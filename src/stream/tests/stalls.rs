//! A source that falls silent without saying so, or says so late (a speech service whose "done" comes seconds after its
//! last piece of audio).

use super::*;

/// Speech of a second and a half at real time, then nothing.
fn stalled(stall_ms: u32, open: Open, spec: FrontEndSpec) -> World {
    let config = StreamConfig {
        stall_ms,
        ..StreamConfig::default()
    };
    let mut world = World::with(open, config, spec);
    world.live(0, &speech(1_500), 20);
    world.wait(world.compute);
    world
}

fn sequences(world: &World) -> Vec<u32> {
    let frames = world.frames.iter();
    frames.map(|(_, frame)| frame.sequence).collect()
}

/// Frames that come when an end comes late: with the clock set anew, nothing of the last syllable is lost.
#[test]
fn a_late_end_shows_the_rest_and_closes_the_mouth() {
    for spec in [SPEC, FrontEndSpec::AVE] {
        for wait in [100, 600, 1_000, 2_000, 5_000, 60_000] {
            let mut world = stalled(0, open_message(), spec);
            let before = world.frames.len();
            assert!(before < 38);
            world.wait(wait * MS);
            assert_eq!(world.frames.len(), before, "nothing comes before its end");
            let end = world.now;
            world.control(StreamControl::End { epoch: 0 });
            world.wait(1_000 * MS);
            world.check();
            assert_eq!(sequences(&world), (0..43).collect::<Vec<_>>(), "{wait} ms");
            let (images, last) = (&world.frames[before..42], &world.frames[42].1);
            assert!(images.iter().all(|(_, frame)| !frame.jpeg.is_empty()));
            assert_eq!(last.flags, FLAG_IDLE | FLAG_LAST);
            // As soon as they are computed, and not in a burst that is useless.
            assert!(world.frames[42].0 - end < 500 * MS);
        }
    }
}

/// The next epoch ends the one before: when it comes late it is a late end, too, and is itself heard from its coming on.
#[test]
fn a_late_next_epoch_shows_the_rest_of_the_one_before() {
    let mut world = stalled(0, open_message(), SPEC);
    world.wait(3_000 * MS);
    let begun = world.now;
    world.live(1, &speech(400), 20);
    world.control(StreamControl::End { epoch: 1 });
    world.wait(1_000 * MS);
    world.check();
    let of = |epoch| world.frames.iter().filter(move |(_, f)| f.epoch == epoch);
    assert_eq!((of(0).count(), of(1).count()), (43, 15));
    assert_eq!(world.dropped(DropReason::Late), 0);
    let first = of(1).next().unwrap().0;
    assert!(first - begun < 300 * MS, "{} us", first - begun);
}

/// Without any end the mouth closes by itself, within the frames that waited for more sound, and a frame is left for the
/// end.
#[test]
fn the_mouth_closes_when_no_sound_comes() {
    for (spec, max_delay_ms) in [
        (SPEC, None),
        (SPEC, Some(0)),
        (FrontEndSpec::AVE, None),
        (FrontEndSpec::AVE, Some(60_000)),
    ] {
        let open = Open {
            max_delay_ms,
            ..open_message()
        };
        let mut world = stalled(500, open, spec);
        let (before, silent_since) = (world.frames.len(), world.now);
        world.wait(465 * MS);
        assert_eq!(world.frames.len(), before);
        world.wait(1_000 * MS);
        world.check();
        assert_eq!(sequences(&world), (0..38).collect::<Vec<_>>());
        let (at, last) = &world.frames[37];
        assert!(at - silent_since < 700 * MS, "{} us", at - silent_since);
        assert_eq!(last.flags, FLAG_IDLE, "at rest, and not the last");
        assert!(world.frames[before..37].iter().all(|(_, f)| f.flags == 0));
        // Nothing more is to be shown, and the server is at rest.
        world.wait(5_000 * MS);
        assert_eq!(world.frames.len(), 38);
        world.control(StreamControl::End { epoch: 0 });
        world.wait(100 * MS);
        let (_, last) = world.frames.last().unwrap();
        assert_eq!((last.sequence, last.flags), (38, FLAG_IDLE | FLAG_LAST));
        assert_eq!(world.frames.len(), 39);
        assert_eq!(world.dropped(DropReason::Late), 0);
    }
}

/// Sound that comes again after that goes on where it was: no frame is lost, none comes twice.
#[test]
fn after_a_stall_the_sound_goes_on_where_it_was() {
    for spec in [SPEC, FrontEndSpec::AVE] {
        let mut world = stalled(500, open_message(), spec);
        for stall in [520, 900, 4_000] {
            let from = world.stream.received_and_waiting().0;
            world.wait(stall * MS);
            let samples = speech(600);
            for (index, chunk) in samples.chunks(320).enumerate() {
                world.audio(0, from + 320 * index as u64, chunk);
                world.wait(20 * MS);
            }
        }
        world.control(StreamControl::End { epoch: 0 });
        world.wait(1_000 * MS);
        world.check();
        let frames = (1_500 + 3 * 600) / 40 + 1 + 5;
        assert_eq!(sequences(&world), (0..frames).collect::<Vec<_>>());
        assert_eq!(world.dropped(DropReason::Late), 0);
    }
}

/// What is no stall: sound far ahead, a pause, a client with a slow clock that sends a second at a time, silence that is
/// sent, and an end that was told.
#[test]
fn the_mouth_is_not_closed_while_there_is_sound_to_be_heard() {
    let images = |world: &World| {
        let frames = world.frames.iter();
        frames.filter(|(_, frame)| !frame.jpeg.is_empty()).count()
    };
    let mut world = World::new(open_message());
    world.audio(0, 0, &speech(3_000));
    world.wait(3_400 * MS);
    let ahead = images(&world);
    assert_eq!(ahead, world.frames.len());
    world.control(StreamControl::Pause);
    world.wait(20_000 * MS);
    world.control(StreamControl::Resume);
    world.wait(50 * MS);
    assert_eq!((images(&world), world.frames.len()), (ahead, ahead));
    world.audio(0, 48_000, &speech(1_000));
    world.wait(100 * MS);
    assert_eq!(images(&world), world.frames.len());
    let mut world = World::new(open_message());
    for second in 0..30u64 {
        world.audio(0, second * 16_000, &speech(1_000));
        world.wait(1_050 * MS);
    }
    assert_eq!(images(&world), world.frames.len());
}
