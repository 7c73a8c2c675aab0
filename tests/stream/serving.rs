//! Streams on a machine and a connection with bounds: what is admitted, what waits, and whole pictures.

use lipsyncd::frame::decode_jpeg;

use super::*;

#[test]
fn a_machine_that_is_full_says_so_with_numbers() {
    let memory = Memory::new(&config());
    // Two workers with a third of their time kept back: two streams of 25 ms a frame.
    let cost = Cost {
        mouth: Duration::from_millis(25),
        full: Duration::from_millis(25),
    };
    memory.context.engine.admission().set_cost("tiny", cost);
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    assert_eq!(talk.until("opened")["limits"]["capacity"], 2);
    talk.say(&open(1, "tiny"));
    talk.until("opened");
    talk.say(&open(2, "tiny"));
    let busy = talk.until("busy");
    assert_eq!(
        (&busy["capacity"], &busy["active"], &busy["code"]),
        (&json!(2), &json!(2), &json!("busy"))
    );
    talk.say(&json!({"type": "close", "stream": 0}));
    talk.until("closed");
    talk.say(&open(2, "tiny"));
    talk.until("opened");
    // Streams that were left behind make room for a client that is there.
    drop(talk);
    assert_eq!(memory.context.streams.len(), 2);
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    talk.until("opened");
    assert_eq!(memory.context.streams.len(), 2);
}

/// A change for which there is no room leaves the stream with its package, and with its share of the machine.
#[test]
fn a_change_that_is_refused_costs_nothing() {
    let memory = Memory::new(&config());
    let cost = |ms| Cost {
        mouth: Duration::from_millis(ms),
        full: Duration::from_millis(ms),
    };
    let admission = memory.context.engine.admission();
    // Of 1.3 cores a stream fills 0.625 and 1.25.
    admission.set_cost("tiny", cost(25));
    admission.set_cost("tiny_ave", cost(50));
    let mut talk = Talk::new(&memory);
    for stream in 0..2 {
        talk.say(&open(stream, "tiny"));
        talk.until("opened");
    }
    let change = json!({"type": "change", "stream": 0, "model_name": "tiny_ave"});
    talk.say(&change);
    let error = talk.until("error");
    assert_eq!(
        (&error["code"], &error["stream"]),
        (&json!("busy"), &json!(0))
    );
    talk.say(&open(2, "tiny"));
    assert_eq!(talk.until("busy")["active"], 2);
    talk.audio(0, 0, 0, &speech(RATE / 2, 1));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    talk.until_last(0);
    // Alone it may be changed; then nothing fits beside it.
    talk.say(&json!({"type": "close", "stream": 1}));
    talk.until("closed");
    talk.say(&change);
    talk.until("changed");
    talk.say(&open(1, "tiny"));
    assert_eq!(talk.until("busy")["active"], 1);
}

/// `"image": "full"`: the whole frame, which is the idle frame outside the predicted square.
#[test]
fn a_stream_of_full_frames_shows_the_whole_picture() {
    let memory = memory();
    let package = memory.context.find("tiny").unwrap();
    let (width, height) = package.frame_size();
    let mut talk = Talk::new(&memory);
    let mut message = open(0, "tiny");
    message["image"] = json!("full");
    talk.say(&message);
    let opened = talk.until("opened");
    assert_eq!(
        (&opened["image"], &opened["image_size"]),
        (&json!("full"), &json!([width, height]))
    );
    talk.audio(0, 0, 0, &speech(RATE, 1));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    talk.until_last(0);
    assert_eq!(talk.frames.len(), 30);
    for frame in &talk.frames[..29] {
        let image = decode_jpeg(&frame.jpeg, width, height).unwrap();
        let idle = package.frame_image(frame.avatar_frame).unwrap();
        let [x1, y1, x2, y2] = frame.bounds;
        let (mut inside, mut outside) = (0, 0);
        for (at, (a, b)) in image.data.chunks(3).zip(idle.data.chunks(3)).enumerate() {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            let difference = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // A JPEG's blocks reach 16 pixels beyond the square.
            if (x1..x2).contains(&x) && (y1..y2).contains(&y) {
                inside = inside.max(difference);
            } else if x < x1 - 16.0 || x > x2 + 16.0 || y < y1 - 16.0 || y > y2 + 16.0 {
                outside = outside.max(difference);
            }
        }
        assert!(
            outside < 40 && inside > outside,
            "{inside} inside, {outside} outside"
        );
    }
}

/// A client that does not read: frames wait in the stream, and come as soon as it reads again.
#[test]
fn a_stream_waits_for_a_client_that_does_not_read() {
    let mut config = config();
    // The least that can be configured; ten seconds of frames are several times as much.
    config.limits.max_outbox_bytes = 65_536;
    let memory = Memory::new(&config);
    make_room(&memory.context);
    let mut talk = Talk::new(&memory);
    let mut message = open(0, "tiny");
    message["max_delay_ms"] = json!(60_000);
    talk.say(&message);
    talk.audio(0, 0, 0, &speech(10 * RATE, 1));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    eventually("the engine is idle", || {
        memory.context.engine.queue().0 == 0
    });
    // Its clock stands still meanwhile: nothing is polled, only room is told.
    talk.until_last(0);
    let sequence: Vec<u32> = talk.frames.iter().map(|frame| frame.sequence).collect();
    assert_eq!(sequence, (0..255).collect::<Vec<_>>());
    assert!(talk.texts.iter().all(|text| text["type"] == "opened"));
}

/// A speech service whose "done" never comes: after half a second without audio the frames that waited for more are sent,
/// and the mouth is closed. When it comes after all, the epoch gets its last frame.
#[test]
fn a_source_that_falls_silent_has_its_mouth_closed() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    talk.audio(0, 0, 0, &speech(RATE, 1));
    while talk.take() {}
    let before = talk.frames.len();
    assert!((15..24).contains(&before), "{before} frames");
    talk.connection.advance(Duration::from_millis(1_490));
    while talk.take() {}
    assert_eq!(talk.frames.len(), before);
    talk.connection.advance(Duration::from_millis(20));
    talk.until_frames(25);
    assert!(talk.frames[..24].iter().all(|frame| frame.flags == 0));
    assert_eq!(talk.frames[24].flags, FLAG_IDLE);
    talk.connection.advance(Duration::from_secs(5));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    talk.until_last(0);
    assert_eq!((talk.frames.len(), talk.frames[25].sequence), (26, 25));
    assert!(talk.texts.iter().all(|text| text["type"] == "opened"));
}
