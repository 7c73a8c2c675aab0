//! Version 1 of the wire, from message to picture: in memory on a clock that the test sets, and over
//! sockets where the network matters.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lipsyncd::frame::decode_jpeg;
use lipsyncd::protocol::protobuf::wire;
use lipsyncd::transport::Outgoing;
use prost::Message as _;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::memory_server::Memory;
use crate::support::{PATIENCE, app, config, eventually, next, next_json, websocket};

pub fn binary_request(model: &str, frame_id: u32, audio: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend((model.len() as u32).to_le_bytes());
    message.extend(model.as_bytes());
    message.extend(frame_id.to_le_bytes());
    message.extend((audio.len() as u32).to_le_bytes());
    message.extend(audio);
    message
}

/// The fields of a binary reply: success, frame, image or error, bounds.
pub fn binary_reply(bytes: &[u8], timed: bool) -> (bool, u32, Vec<u8>, Vec<f32>) {
    let skip = if timed { 4 } else { 0 };
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let length = u32_at(5 + skip) as usize;
    let body = bytes[9 + skip..9 + skip + length].to_vec();
    let rest = &bytes[9 + skip + length..];
    let bounds = rest.get(4..).unwrap_or(&[]).chunks_exact(4);
    let bounds = bounds
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    (bytes[0] == 1, u32_at(1), body, bounds)
}

/// 640 ms of something at 24 kHz.
fn speech(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let samples = (0..15_360).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 18) as i16
    });
    samples.flat_map(i16::to_le_bytes).collect()
}

fn binary(message: Option<Outgoing>) -> Vec<u8> {
    match message {
        Some(Outgoing::Binary(bytes)) => bytes.to_vec(),
        other => panic!("a binary message is due: {other:?}"),
    }
}

fn text(message: Option<Outgoing>) -> Value {
    match message {
        Some(Outgoing::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("a text message is due: {other:?}"),
    }
}

#[test]
fn every_protocol_gives_the_same_picture() {
    let memory = Memory::new(&config());
    let audio = speech(1);
    let request = binary_request("tiny", 8, &audio);
    let mut plain = memory.connect("lipsync.v1");
    plain.send_binary(request.clone());
    let (ok, frame, image, bounds) = binary_reply(&binary(plain.wait(PATIENCE)), false);
    assert!(ok);
    assert_eq!((frame, bounds.len()), (8, 4));
    decode_jpeg(&image, 32, 32).unwrap();

    let mut timed = memory.connect("lipsync.v1.timed");
    timed.send_binary(request);
    let same = binary_reply(&binary(timed.wait(PATIENCE)), true);
    assert_eq!(same, (true, 8, image.clone(), bounds.clone()));

    let encoded = STANDARD.encode(&audio);
    let message = json!({"model_name": "tiny", "frame_id": 8, "audio_override": encoded});
    plain.send_text(&message.to_string());
    let reply = text(plain.wait(PATIENCE));
    assert_eq!(reply["success"], true);
    assert_eq!(
        STANDARD
            .decode(reply["prediction_data"].as_str().unwrap())
            .unwrap(),
        image
    );

    let mut protobuf = memory.connect("lipsync.protobuf");
    let message = wire::InferenceRequest {
        model_name: "tiny".to_owned(),
        frame_id: 8,
        audio_override: Some(encoded),
        ..Default::default()
    };
    protobuf.send_binary(message.encode_to_vec());
    let reply = wire::InferenceResponse::decode(&*binary(protobuf.wait(PATIENCE))).unwrap();
    assert!(reply.success);
    assert_eq!(
        (reply.prediction_data.to_vec(), reply.bounds),
        (image.clone(), bounds)
    );

    // The sound counts: another one gives another picture, and so does the package's own.
    for other in [speech(2), Vec::new()] {
        plain.send_binary(binary_request("tiny", 8, &other));
        let reply = binary_reply(&binary(plain.wait(PATIENCE)), false);
        assert!(reply.0 && reply.2 != image);
    }
}

#[test]
fn requests_are_pipelined_and_replies_carry_their_frames() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    for frame_id in 0..12 {
        client.send_binary(binary_request("tiny", 1000 + frame_id, &speech(frame_id)));
    }
    assert_eq!(client.in_flight(), 12);
    // Everything else is answered meanwhile.
    client.send_text(r#"{"type":"list_models"}"#);
    let mut frames = Vec::new();
    let mut lists = 0;
    while frames.len() < 12 {
        match client.wait(PATIENCE).unwrap() {
            Outgoing::Binary(bytes) => frames.push(binary_reply(&bytes, false).1),
            Outgoing::Text(_) => lists += 1,
        }
    }
    frames.sort();
    assert_eq!(frames, (1000..1012).collect::<Vec<_>>());
    assert_eq!((lists, client.in_flight()), (1, 0));
}

#[test]
fn a_steady_client_pays_one_encoder_row_a_frame() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    let sound: Vec<u8> = (0..4).flat_map(speech).collect();
    // A frame every 40 ms, 960 samples, of 16 chunks each.
    for frame_id in 8..40 {
        let start = (frame_id - 8) * 960 * 2;
        let window = &sound[start..start + 15_360 * 2];
        client.send_binary(binary_request("tiny_ave", frame_id as u32, window));
        assert!(binary_reply(&binary(client.wait(PATIENCE)), false).0);
    }
    let (hits, misses) = memory.context.engine.row_counts();
    assert_eq!(
        (hits, misses),
        (31 * 9, 10 + 31),
        "ten rows a window, one of them new"
    );
}

#[test]
fn limits_are_answered_busy_with_the_frame() {
    let mut config = config();
    config.limits.max_in_flight = 3;
    let memory = Memory::new(&config);
    let mut client = memory.connect("");
    for frame_id in 0..4 {
        client.send_binary(binary_request("tiny", frame_id, &[]));
    }
    let (ok, frame, message, _) = binary_reply(&binary(client.poll()), false);
    assert_eq!((ok, frame), (false, 3));
    assert!(String::from_utf8(message).unwrap().contains("busy"));
    for _ in 0..3 {
        assert!(binary_reply(&binary(client.wait(PATIENCE)), false).0);
    }
    drop(memory);

    config.limits.max_in_flight = 64;
    config.limits.max_queue = 2;
    config.workers = 1;
    let memory = Memory::new(&config);
    let mut client = memory.connect("");
    for frame_id in 0..40 {
        client.send_binary(binary_request("tiny_ave", frame_id, &speech(frame_id)));
    }
    let replies: Vec<_> = (0..40)
        .map(|_| binary_reply(&binary(client.wait(PATIENCE)), false))
        .collect();
    let busy = replies.iter().filter(|reply| !reply.0).count();
    assert!(busy > 0 && busy < 40, "{busy}");
    let mut frames: Vec<u32> = replies.iter().map(|reply| reply.1).collect();
    frames.sort();
    assert_eq!(frames, (0..40).collect::<Vec<_>>());
    // A batch that was taken waits for room instead.
    let frames: Vec<Value> = (0..30)
        .map(|frame_id| json!({"frame_id": frame_id}))
        .collect();
    client.send_text(&json!({"model_name": "tiny", "batch_frames": frames}).to_string());
    client.advance(Duration::from_secs(1));
    let reply = text(client.wait(PATIENCE));
    assert_eq!(reply["frames"].as_array().unwrap().len(), 30);
    assert!(
        reply["frames"]
            .as_array()
            .unwrap()
            .iter()
            .all(|frame| frame["success"] == true)
    );
}

#[test]
fn faults_are_answered_and_the_connection_lives() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    let mut wrong_length = binary_request("tiny", 5, &[]);
    let at = wrong_length.len() - 4;
    wrong_length[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    for (message, frame, words) in [
        (binary_request("none", 7, &[]), 7, "tiny"),
        (binary_request("tiny", 7, &[0; 3]), 7, "two bytes a sample"),
        (binary_request("tiny_own", 9, &[0; 4]), 9, "send no audio"),
        (binary_request("../tiny", 2, &[]), 2, "loaded"),
        (wrong_length, 5, "bytes"),
        (vec![1, 2], 0, "bytes"),
        (
            binary_request("\u{fffd}", 1, &[])
                .into_iter()
                .map(|b| b | 0x80)
                .collect(),
            0,
            "",
        ),
    ] {
        client.send_binary(message.clone());
        let (ok, found, text, _) = binary_reply(&binary(client.wait(PATIENCE)), false);
        let text = String::from_utf8(text).unwrap();
        assert!(
            !ok && found == frame && text.contains(words),
            "{message:?}: {found} {text}"
        );
    }
    for (message, code) in [
        ("no JSON", "bad_json"),
        (r#"{"type":"dance"}"#, "unknown_type"),
        (r#"{"model_name":"none","frame_id":3}"#, "unknown_model"),
        (
            r#"{"model_name":"tiny","frame_id":3,"audio_override":"!"}"#,
            "bad_base64",
        ),
        (r#"{"type":"load_model","model_name":"tiny"}"#, "forbidden"),
        (
            r#"{"type":"get_metadata","model_name":"none"}"#,
            "unknown_model",
        ),
    ] {
        client.send_text(message);
        assert_eq!(text(client.wait(PATIENCE))["code"], code, "{message}");
    }
    client.send_binary(binary_request("tiny", 1, &[]));
    assert!(binary_reply(&binary(client.wait(PATIENCE)), false).0);
}

#[test]
fn control_messages() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    let mut ask = |message: &str| {
        client.send_text(message);
        text(client.wait(PATIENCE))
    };
    let reply = ask(r#"{"type":"list_models"}"#);
    assert_eq!(
        (&reply["type"], &reply["count"]),
        (&json!("model_list"), &json!(3))
    );
    let reply = ask(r#"{"type":"switch_to_binary"}"#);
    assert_eq!(reply["binary_supported"], true);
    let reply = ask(r#"{"type":"get_metadata","model_name":"tiny_ave"}"#);
    assert!(reply["look_ahead_ms"].as_f64().unwrap() > 450.0);
    let reply = ask(r#"{"type":"get_video_frame","model_name":"tiny","frame_id":7}"#);
    // Six frames, walked to and fro: 0 1 2 3 4 5 4 3.
    assert_eq!(reply["avatar_frame"], 3);
    let image = STANDARD
        .decode(reply["frame_data"].as_str().unwrap())
        .unwrap();
    assert_eq!(&image[..2], b"\xff\xd8");
    let reply = ask(r#"{"type":"configure","sample_rate":16000}"#);
    assert_eq!(reply["sample_rate"], 16_000);
    let reply = ask(r#"{"type":"get_stats"}"#);
    assert_eq!(reply["connected_clients"], 1);
}

#[test]
fn statistics_are_broadcast_every_five_seconds_to_those_who_asked() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    let mut other = memory.connect("");
    client.send_text(r#"{"type":"get_stats","subscribe":true}"#);
    assert_eq!(text(client.poll())["type"], "stats");
    client.advance(Duration::from_millis(4999));
    assert_eq!(client.poll(), None);
    client.advance(Duration::from_millis(1));
    assert_eq!(text(client.poll())["type"], "stats");
    client.advance(Duration::from_secs(10));
    assert_eq!(
        (
            text(client.poll())["type"].clone(),
            text(client.poll())["type"].clone()
        ),
        (json!("stats"), json!("stats"))
    );
    client.send_text(r#"{"type":"get_stats","subscribe":false}"#);
    client.poll();
    client.advance(Duration::from_secs(60));
    other.advance(Duration::from_secs(60));
    assert_eq!((client.poll(), other.poll()), (None, None));
}

#[test]
fn what_is_switched_off_says_so_and_json_goes_on() {
    let mut config = config();
    config.protocols = "json".parse().unwrap();
    let memory = Memory::new(&config);
    let mut client = memory.connect("lipsync.v1");
    assert_eq!(text(client.poll())["code"], "protocol_disabled");
    client.send_binary(binary_request("tiny", 1, &[]));
    let (ok, _, message, _) = binary_reply(&binary(client.poll()), false);
    assert!(!ok && String::from_utf8(message).unwrap().contains("switched off"));
    client.send_text(r#"{"model_name":"tiny","frame_id":1}"#);
    assert_eq!(text(client.wait(PATIENCE))["success"], true);
}

#[test]
fn a_session_that_drains_finishes_and_takes_nothing_new() {
    let memory = Memory::new(&config());
    let mut client = memory.connect("");
    client.send_binary(binary_request("tiny", 1, &speech(1)));
    client.drain();
    client.send_binary(binary_request("tiny", 2, &[]));
    let mut replies = [binary(client.wait(PATIENCE)), binary(client.wait(PATIENCE))]
        .map(|reply| binary_reply(&reply, false));
    replies.sort_by_key(|reply| reply.1);
    assert_eq!((replies[0].0, replies[1].0), (true, false));
    assert!(
        String::from_utf8(replies[1].2.clone())
            .unwrap()
            .contains("shutting")
    );
    assert_eq!(client.in_flight(), 0);
}

#[test]
fn connections_take_turns() {
    let mut config = config();
    config.workers = 1;
    config.limits.max_in_flight = 100;
    let app = app(&config);
    let mut flood = websocket(app.address(), "");
    let mut single = websocket(app.address(), "");
    for frame_id in 0..100 {
        let request = binary_request("tiny_ave", frame_id, &speech(frame_id));
        flood.send(Message::binary(request)).unwrap();
    }
    // The first reply of the flood shows that it is being worked on.
    next(&mut flood);
    single
        .send(Message::binary(binary_request("tiny", 1, &[])))
        .unwrap();
    assert!(binary_reply(&next(&mut single).into_data(), false).0);
    // The flood's jobs were there before; most of them are still waiting.
    let left = app.context().engine.queue().0;
    assert!(
        left > 50,
        "{left} of 100 were left when the other client was answered"
    );
    drop(flood);
    // Nobody wants the rest any more.
    eventually("the rest is given up", || {
        app.context().engine.queue().0 == 0
    });
    assert!(app.context().engine.abandoned() > 0);
    app.stop();
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    let mut config = config();
    config.limits.drain_ms = 60_000;
    let app = app(&config);
    let mut client = websocket(app.address(), "lipsync.v1.timed");
    for frame_id in 0..10 {
        let request = binary_request("tiny_ave", frame_id, &speech(frame_id));
        client.send(Message::binary(request)).unwrap();
    }
    client
        .send(Message::text(r#"{"type":"list_models"}"#))
        .unwrap();
    let mut seen = 0;
    loop {
        // Once the list is here, all ten were taken.
        match next(&mut client) {
            Message::Text(_) => break,
            _ => seen += 1,
        }
    }
    let stopping = std::thread::spawn(move || app.stop());
    let code = loop {
        match next(&mut client) {
            Message::Binary(reply) => {
                assert!(binary_reply(&reply, true).0);
                seen += 1;
            }
            Message::Close(Some(close)) => break u16::from(close.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((seen, code), (10, 1001));
    while client.read().is_ok() {}
    stopping.join().unwrap();
}

#[test]
fn one_connection_may_speak_binary_and_json() {
    let app = app(&config());
    let mut client = websocket(app.address(), "lipsync.protobuf, lipsync.v1");
    client
        .send(Message::binary(binary_request("tiny", 4, &[])))
        .unwrap();
    assert_eq!(binary_reply(&next(&mut client).into_data(), false).1, 4);
    client
        .send(Message::text(
            r#"{"model_name":"tiny","frame_id":5,"request_id":"mine"}"#,
        ))
        .unwrap();
    let reply = next_json(&mut client);
    assert_eq!(
        (&reply["frame_id"], &reply["request_id"]),
        (&json!(5), &json!("mine"))
    );
    app.stop();
}
