//! What happens while a stream is paused, and where the idle walk goes on.

use super::*;

/// An interrupt during a pause: the next epoch begins when the stream goes on, and its frames are due from then on.
#[test]
fn an_interrupt_during_a_pause_does_not_shift_the_clock() {
    let mut world = World::new(open_message());
    world.live(0, &speech(1_000), 20);
    world.control(StreamControl::Pause);
    world.wait(9_000 * MS);
    world.control(StreamControl::Interrupt { epoch: 1 });
    world.control(StreamControl::Resume);
    let start = world.now;
    world.live(1, &speech(2_000), 20);
    world.check();
    let look_ahead = Micros::from(SPEC.look_ahead_samples()) * 1_000_000 / Micros::from(RATE);
    let frames = world.frames.iter().filter(|(_, frame)| frame.epoch == 1);
    assert!(frames.clone().count() > 40);
    for (at, frame) in frames {
        let due = start + 20 * MS + Micros::from(frame.sequence) * 40 * MS;
        // The look-ahead is that of the worst frame of five.
        let delay = at - due - look_ahead;
        assert!((-20 * MS..=35 * MS).contains(&delay), "{delay} us");
    }
    let lag = world.stream.stats(world.now).lag_ms;
    assert!((-20.0..40.0).contains(&lag), "{lag} ms");
    // What comes late is late by this clock: nothing is shown that is of no use any more.
    world.control(StreamControl::Credit { frames: 1_000 });
    world.compute = 5_000 * MS;
    world.audio(1, 32_000, &speech(400));
    world.wait(1_600 * MS);
    assert!(world.dropped(DropReason::Late) > 0);
}

/// An interrupt, then a pause: the same.
#[test]
fn audio_that_comes_during_a_pause_is_heard_from_its_end_on() {
    let mut world = World::new(open_message());
    world.control(StreamControl::Pause);
    world.wait(5_000 * MS);
    world.audio(0, 0, &speech(1_000));
    world.control(StreamControl::End { epoch: 0 });
    world.wait(5_000 * MS);
    assert!(world.frames.is_empty());
    world.control(StreamControl::Resume);
    world.wait(1_500 * MS);
    world.check();
    assert_eq!(world.frames.len(), 30);
    assert!(world.stream.stats(world.now).lag_ms < 0.0);
}

/// Jobs that finish while the stream is paused are in time however long the pause is: the concurrency limit is not
/// halved, and after the pause as many jobs run as before.
#[test]
fn what_is_done_during_a_pause_is_not_late() {
    let mut world = World::new(open_message());
    world.workers = 4;
    world.compute = 2_000 * MS;
    world.audio(0, 0, &speech(4_000));
    let before = world.jobs.len();
    assert_eq!(before, 4);
    world.wait(10 * MS);
    world.control(StreamControl::Pause);
    world.wait(10_000 * MS);
    assert!(world.jobs.is_empty() && world.frames.is_empty());
    world.compute = 10 * MS;
    world.control(StreamControl::Resume);
    assert_eq!(world.frames.len(), 4);
    assert_eq!(world.jobs.len(), before);
}

/// The idle walk goes on after the newest frame that was sent, also where the rest of an ended utterance still waited.
#[test]
fn an_interrupt_goes_on_with_the_idle_walk_after_what_was_sent() {
    let mut world = World::new(Open {
        credits: 5,
        ..open_message()
    });
    world.audio(0, 0, &speech(400));
    world.control(StreamControl::End { epoch: 0 });
    world.wait(300 * MS);
    assert_eq!(world.frames.len(), 5);
    assert!(world.jobs.is_empty(), "all of it is decided");
    // Of the second utterance some frames are decided, too.
    world.audio(1, 0, &speech(400));
    world.wait(300 * MS);
    world.control(StreamControl::Interrupt { epoch: 2 });
    world.control(StreamControl::Credit { frames: 100 });
    world.audio(2, 0, &speech(400));
    world.wait(300 * MS);
    world.check();
    let first = world.frames.iter().find(|(_, frame)| frame.epoch == 2);
    assert_eq!(first.unwrap().1.avatar_frame, ping_pong(5, 10));
}

/// The same for a connection that breaks.
#[test]
fn a_stream_taken_up_goes_on_with_the_idle_walk_after_what_was_sent() {
    let mut world = World::new(Open {
        credits: 5,
        ..open_message()
    });
    world.audio(0, 0, &speech(400));
    world.control(StreamControl::End { epoch: 0 });
    world.wait(300 * MS);
    let detached = world.stream.detach().unwrap();
    world.stream = Stream::resume(detached, &open_message(), params(), world.now).unwrap();
    world.drain();
    world.audio(1, 0, &speech(400));
    world.wait(300 * MS);
    let first = world.frames.iter().find(|(_, frame)| frame.epoch == 1);
    assert_eq!(first.unwrap().1.avatar_frame, ping_pong(5, 10));
}

/// A stream is admitted for one kind of picture: it is not taken up as another.
#[test]
fn a_stream_is_taken_up_as_what_it_was_or_not_at_all() {
    let mut world = World::new(open_message());
    let detached = world.stream.detach().unwrap();
    let full = Open {
        image: ImageKind::Full,
        ..open_message()
    };
    let other_rate = Open {
        frame_rate: Some(30),
        ..open_message()
    };
    for (open, code) in [
        (full, ErrorCode::BadValue),
        (other_rate, ErrorCode::Unsupported),
    ] {
        let refused = Stream::<_, ()>::resume(detached.clone(), &open, params(), world.now);
        assert_eq!(refused.err().unwrap().code(), code);
    }
    let error = detached.facts().check(&Open {
        image: ImageKind::Full,
        ..open_message()
    });
    let text = "the stream to be taken up is of face1 at 16000 Hz, image mouth; resume it so, or open another without a token";
    assert_eq!(error.unwrap_err().to_string(), text);
}
