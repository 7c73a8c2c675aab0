//! Streams taken up by their tokens: after a broken connection, away from one that hangs, and what is refused.

use super::*;

/// What a client says to take up the stream of `token`.
fn reopen(stream: u16, model: &str, token: &Value) -> Value {
    let mut message = open(stream, model);
    message["token"] = token.clone();
    message
}

/// A client with an open stream 0 of `tiny`, one frame of which has come; and its token.
fn with_stream(memory: &Memory) -> (Talk, Value) {
    let mut talk = Talk::new(memory);
    talk.say(&open(0, "tiny"));
    let token = talk.until("opened")["token"].clone();
    talk.audio(0, 0, 0, &speech(RATE, 1));
    talk.until_frames(1);
    (talk, token)
}

fn open_streams(memory: &Memory) -> u64 {
    memory.context.stats.streams.open.load(Ordering::Relaxed)
}

/// Opens that ask for the stream as something that it is not, and the code of each.
fn wrong_opens(token: &Value) -> Vec<(Value, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut message = reopen(5, "tiny", token);
        message[field] = value;
        message
    };
    vec![
        (with("sample_rate", json!(16_000)), "bad_value"),
        (with("image", json!("full")), "bad_value"),
        (with("model_name", json!("tiny_ave")), "bad_value"),
        (with("frame_rate", json!(30)), "unsupported"),
        (with("token", json!("0123")), "bad_token"),
    ]
}

/// A client resumes with a wrong rate (its configuration changed meanwhile), is told how to do it right, and does so.
#[test]
fn a_refused_open_with_a_token_leaves_the_kept_stream_where_it_is() {
    let memory = memory();
    let (talk, token) = with_stream(&memory);
    drop(talk);
    let mut talk = Talk::new(&memory);
    for (message, code) in wrong_opens(&token) {
        talk.say(&message);
        assert_eq!(talk.until("error")["code"], code, "{message}");
    }
    talk.say(&reopen(5, "tiny", &token));
    let opened = talk.until("opened");
    assert_eq!(
        (&opened["resumed"], &opened["epoch"]),
        (&json!(true), &json!(1))
    );
    assert_ne!(opened["token"], token);
    assert_eq!(open_streams(&memory), 1);
}

/// The same where the stream is on a connection: it is not told anything, and goes on.
#[test]
fn a_refused_open_with_a_token_does_not_touch_a_live_stream() {
    let memory = memory();
    let (mut owner, token) = with_stream(&memory);
    let mut talk = Talk::new(&memory);
    for (message, code) in wrong_opens(&token) {
        talk.say(&message);
        assert_eq!(talk.until("error")["code"], code, "{message}");
    }
    owner.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    owner.until_last(0);
    assert!(owner.texts.is_empty(), "{:?}", owner.texts);
    assert_eq!(owner.frames.len(), 30);
    // Nor does an open that is right and is refused for another reason.
    for stream in 0..4 {
        talk.say(&open(stream, "tiny"));
        talk.until("opened");
    }
    talk.say(&reopen(5, "tiny", &token));
    assert_eq!(talk.until("error")["code"], "too_large");
    owner.run();
    assert!(owner.texts.is_empty(), "{:?}", owner.texts);
}

/// While a takeover waits for the other connection, the number is in use and the stream not open yet.
#[test]
fn a_connection_that_does_not_hand_over_in_time_keeps_its_stream() {
    let memory = memory();
    let (mut owner, token) = with_stream(&memory);
    let mut talk = Talk::new(&memory);
    talk.say(&reopen(5, "tiny", &token));
    talk.audio(5, 1, 0, &silence(10));
    assert_eq!(talk.until("error")["code"], "unknown_stream");
    talk.say(&open(5, "tiny"));
    assert_eq!(talk.until("error")["code"], "stream_exists");
    let mut third = Talk::new(&memory);
    third.say(&reopen(0, "tiny", &token));
    assert_eq!(third.until("error")["code"], "bad_token");
    talk.connection.advance(Duration::from_secs(3));
    let error = talk.until("error");
    assert_eq!(
        (&error["code"], &error["stream"]),
        (&json!("bad_token"), &json!(5))
    );
    // The owner looks only now: nobody wants it any more.
    owner.run();
    owner.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    owner.until_last(0);
    assert!(owner.texts.is_empty(), "{:?}", owner.texts);
    // And it can be taken by who asks again.
    talk.say(&reopen(5, "tiny", &token));
    owner.run();
    assert_eq!(talk.until("opened")["resumed"], true);
    assert_eq!(owner.until("closed")["reason"], "taken_over");
    assert_eq!(
        (open_streams(&memory), memory.context.streams.len()),
        (1, 1)
    );
}

/// The connection breaks while another waits for its stream.
#[test]
fn a_connection_that_breaks_hands_over_what_is_waited_for() {
    let memory = memory();
    let (owner, token) = with_stream(&memory);
    let mut talk = Talk::new(&memory);
    talk.say(&reopen(5, "tiny", &token));
    drop(owner);
    let opened = talk.until("opened");
    assert_eq!(
        (&opened["resumed"], &opened["stream"]),
        (&json!(true), &json!(5))
    );
    assert_eq!(
        (open_streams(&memory), memory.context.streams.len()),
        (1, 1)
    );
}

/// Who asked for a stream goes away before it comes: it stays where it is, or is kept for the next.
#[test]
fn a_taker_that_goes_away_costs_no_stream() {
    let memory = memory();
    let (mut owner, token) = with_stream(&memory);
    let mut gone = Talk::new(&memory);
    gone.say(&reopen(5, "tiny", &token));
    drop(gone);
    owner.run();
    owner.say(&json!({"type": "stats", "stream": 0}));
    owner.until("stream_stats");
    // Handed over, and not collected any more.
    let mut gone = Talk::new(&memory);
    gone.say(&reopen(5, "tiny", &token));
    owner.run();
    assert_eq!(owner.until("closed")["reason"], "taken_over");
    drop(gone);
    assert_eq!(
        (open_streams(&memory), memory.context.streams.len()),
        (0, 1)
    );
    owner.say(&reopen(7, "tiny", &token));
    assert_eq!(owner.until("opened")["resumed"], true);
}

/// A stream that is closed while another connection waits for it.
#[test]
fn a_stream_that_is_closed_cannot_be_taken_up() {
    let memory = memory();
    let (mut owner, token) = with_stream(&memory);
    let mut talk = Talk::new(&memory);
    talk.say(&reopen(5, "tiny", &token));
    owner.say(&json!({"type": "close", "stream": 0}));
    owner.until("closed");
    assert_eq!(talk.until("error")["code"], "bad_token");
    assert!(memory.context.streams.is_empty());
    talk.say(&open(5, "tiny"));
    talk.until("opened");
}

/// A server that stops takes no stream over.
#[test]
fn a_takeover_ends_with_the_server() {
    let memory = memory();
    let (mut owner, token) = with_stream(&memory);
    let mut talk = Talk::new(&memory);
    talk.say(&reopen(5, "tiny", &token));
    talk.connection.drain();
    assert_eq!(talk.until("error")["code"], "shutting_down");
    owner.connection.drain();
    assert_eq!(owner.until("closed")["reason"], "shutting_down");
    assert!(memory.context.streams.is_empty());
    assert_eq!(open_streams(&memory), 0);
}

/// A client that takes its own stream up under another number of the same connection.
#[test]
fn a_stream_can_change_its_number() {
    let memory = memory();
    let (mut talk, token) = with_stream(&memory);
    talk.say(&reopen(9, "tiny", &token));
    let opened = talk.until("opened");
    assert_eq!(
        (&opened["stream"], &opened["resumed"]),
        (&json!(9), &json!(true))
    );
    assert_eq!(talk.until("closed")["stream"], 0);
    assert_eq!(
        (open_streams(&memory), memory.context.streams.len()),
        (1, 1)
    );
}

/// After a change the stream is resumed with the package that it was changed to.
#[test]
fn a_changed_stream_is_taken_up_as_what_it_became() {
    let memory = memory();
    let (mut talk, token) = with_stream(&memory);
    talk.say(&json!({"type": "change", "stream": 0, "model_name": "tiny_ave"}));
    talk.until("changed");
    drop(talk);
    let mut talk = Talk::new(&memory);
    talk.say(&reopen(0, "tiny", &token));
    assert_eq!(talk.until("error")["code"], "bad_value");
    talk.say(&reopen(0, "tiny_ave", &token));
    assert_eq!(talk.until("opened")["model_name"], "tiny_ave");
}

#[test]
fn a_stream_is_taken_up_by_its_token_after_a_break_or_away_from_a_connection_that_hangs() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    let mut token = talk.until("opened")["token"].clone();
    talk.audio(0, 0, 0, &speech(RATE, 1));
    talk.until_frames(1);
    drop(talk);
    assert_eq!(memory.context.streams.len(), 1);
    let mut hung: Vec<Talk> = Vec::new();
    for expected in [1, 2, 3] {
        let mut talk = Talk::new(&memory);
        let mut message = open(9, "tiny");
        message["token"] = token.clone();
        talk.say(&message);
        if let Some(owner) = hung.last_mut() {
            // Its client is dead, its thread is not.
            owner.run();
        }
        let opened = talk.until("opened");
        assert_eq!(
            (&opened["resumed"], &opened["epoch"]),
            (&json!(true), &json!(expected))
        );
        // Each token is good for once.
        talk.say(&message);
        assert_eq!(talk.until("error")["code"], "stream_exists");
        talk.audio(9, expected, 0, &speech(RATE, 2));
        talk.say(&json!({"type": "end", "stream": 9, "epoch": expected}));
        talk.until_last(expected);
        assert!(talk.frames.iter().all(|frame| frame.epoch == expected));
        token = opened["token"].clone();
        hung.push(talk);
    }
    assert_eq!(memory.context.streams.len(), 1);
    // A connection whose stream was taken away is told at once, and may open another.
    assert_eq!(hung[0].until("closed")["reason"], "taken_over");
    hung[0].audio(9, 1, 0, &silence(10));
    assert_eq!(hung[0].until("error")["code"], "unknown_stream");
    let mut message = open(9, "tiny");
    message["token"] = json!("0123");
    hung[0].say(&message);
    assert_eq!(hung[0].until("error")["code"], "bad_token");
    let wrong = json!({"type": "open", "stream": 9, "model_name": "tiny", "sample_rate": 16_000, "credits": 1});
    hung[0].say(&wrong);
    assert_eq!(hung[0].until("opened")["sample_rate"], 16_000);
    // However a stream ends, it is counted as open no longer: one of these never read that it was taken.
    drop(hung);
    let figures = &memory.context.stats.streams;
    assert_eq!(figures.open.load(Ordering::Relaxed), 0);
}
