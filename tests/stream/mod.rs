//! Stream mode, from audio to frames: through the whole server, in memory and over sockets.

mod serving;
mod takeover;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lipsyncd::base::ping_pong::ping_pong;
use lipsyncd::engine::Cost;
use lipsyncd::protocol::stream::{AudioChunk, FLAG_IDLE, FLAG_LAST, StreamFrame};
use lipsyncd::server::App;
use lipsyncd::session::{ClientSession, Context};
use lipsyncd::transport::Outgoing;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::memory::MemoryConnection;
use crate::memory_server::Memory;
use crate::support::{Client, PATIENCE, app, config, eventually, next_json, websocket};
use crate::v1::{binary_reply, binary_request};

const RATE: usize = 24_000;

/// What a detector of level takes for speech.
fn speech(samples: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let samples = (0..samples).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 / 8
    });
    samples.flat_map(i16::to_le_bytes).collect()
}

fn silence(samples: usize) -> Vec<u8> {
    vec![0; 2 * samples]
}

fn audio(stream: u16, epoch: u32, first_sample: u64, pcm: &[u8]) -> Vec<u8> {
    let chunk = AudioChunk {
        stream,
        epoch,
        first_sample,
        pcm: Bytes::copy_from_slice(pcm),
    };
    let mut message = Vec::new();
    chunk.encode(&mut message);
    message
}

fn open(stream: u16, model: &str) -> Value {
    json!({"type": "open", "stream": stream, "model_name": model, "sample_rate": RATE, "credits": 500})
}

/// A server whose machine is said to carry 20 streams, whatever it was measured to do on a busy day.
fn memory() -> Memory {
    let memory = Memory::new(&config());
    make_room(&memory.context);
    memory
}

fn make_room(context: &Context) {
    let time = Duration::from_millis(3);
    let cost = Cost {
        mouth: time,
        full: time,
    };
    for package in ["tiny", "tiny_ave"] {
        context.engine.admission().set_cost(package, cost);
    }
}

/// A client in memory.
struct Talk {
    connection: MemoryConnection<ClientSession>,
    frames: Vec<StreamFrame>,
    texts: Vec<Value>,
}

impl Talk {
    fn new(memory: &Memory) -> Talk {
        Talk {
            connection: memory.connect("lipsync.v2"),
            frames: Vec::new(),
            texts: Vec::new(),
        }
    }

    fn say(&mut self, message: &Value) {
        self.connection.send_text(&message.to_string());
    }

    fn audio(&mut self, stream: u16, epoch: u32, first: u64, pcm: &[u8]) {
        self.connection
            .send_binary(audio(stream, epoch, first, pcm));
    }

    /// Takes one message.
    fn take(&mut self) -> bool {
        let Some(message) = self.connection.wait(Duration::from_millis(200)) else {
            return false;
        };
        self.keep(message);
        true
    }

    /// Lets the connection do all that it has to do, as its thread would.
    fn run(&mut self) {
        while let Some(message) = self.connection.poll() {
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Outgoing) {
        match message {
            Outgoing::Binary(bytes) => self.frames.push(StreamFrame::decode(bytes).unwrap()),
            Outgoing::Text(text) => self.texts.push(serde_json::from_str(&text).unwrap()),
        }
    }

    /// Takes messages until there are `count` frames.
    fn until_frames(&mut self, count: usize) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.frames.len() < count {
            self.take();
            assert!(
                std::time::Instant::now() < deadline,
                "no frames: {:?}",
                self.texts
            );
        }
    }

    /// Takes messages until the last frame of `epoch`.
    fn until_last(&mut self, epoch: u32) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let is_last = |frame: &StreamFrame| frame.epoch == epoch && frame.flags & FLAG_LAST != 0;
        while !self.frames.last().is_some_and(is_last) {
            self.take();
            assert!(
                std::time::Instant::now() < deadline,
                "no last frame: {:?}",
                self.texts
            );
        }
    }

    /// Takes messages until a text of this `type`.
    fn until(&mut self, kind: &str) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let found = self.texts.iter().position(|text| text["type"] == kind);
            if let Some(at) = found {
                return self.texts.remove(at);
            }
            self.take();
            assert!(
                std::time::Instant::now() < deadline,
                "no {kind}: {:?}",
                self.texts
            );
        }
    }
}

#[test]
fn an_utterance_comes_back_as_frames_that_equal_those_of_requests() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(3, "tiny"));
    let opened = talk.until("opened");
    assert_eq!(
        (&opened["stream"], &opened["resumed"], &opened["epoch"]),
        (&json!(3), &json!(false), &json!(0))
    );
    assert!(opened["look_ahead_ms"].as_f64().unwrap() < 195.0);
    assert_eq!(opened["image_size"], json!([32, 32]));
    let sound = speech(2 * RATE, 1);
    for (index, chunk) in sound.chunks(2 * 700).enumerate() {
        talk.audio(3, 0, index as u64 * 700, chunk);
    }
    talk.say(&json!({"type": "end", "stream": 3, "epoch": 0}));
    talk.until_last(0);
    let sequence: Vec<u32> = talk.frames.iter().map(|frame| frame.sequence).collect();
    assert_eq!(sequence, (0..55).collect::<Vec<_>>());
    assert!(
        talk.frames
            .iter()
            .all(|frame| frame.sample == u64::from(frame.sequence) * 960)
    );
    assert!(
        talk.frames[..54]
            .iter()
            .all(|frame| frame.flags == 0 && !frame.jpeg.is_empty())
    );

    // The same picture as a request of version 1 for the same frame, whose window holds all that it hears.
    let mut single = memory.connect("lipsync.v1");
    for frame in [10, 23, 40] {
        let middle = frame * 960 * 2;
        let window = &sound[middle - 15_360..middle + 15_360];
        single.send_binary(binary_request("tiny", frame as u32, window));
        let Some(Outgoing::Binary(reply)) = single.wait(PATIENCE) else {
            panic!("a reply")
        };
        let (ok, _, image, bounds) = binary_reply(&reply, false);
        assert!(ok);
        assert_eq!(image[..], talk.frames[frame].jpeg[..], "frame {frame}");
        assert_eq!(bounds, talk.frames[frame].bounds);
    }
    talk.say(&json!({"type": "stats", "stream": 3}));
    assert_eq!(talk.until("stream_stats")["frames_sent"], 55);
    talk.say(&json!({"type": "close", "stream": 3}));
    assert_eq!(talk.until("closed")["reason"], "client");
    assert!(memory.context.streams.is_empty());
}

#[test]
fn silence_is_sent_as_references_and_costs_no_inference() {
    let memory = memory();
    for model in ["tiny", "tiny_ave"] {
        let mut talk = Talk::new(&memory);
        talk.say(&open(0, model));
        talk.audio(0, 0, 0, &silence(3 * RATE));
        talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
        talk.until_last(0);
        assert_eq!(talk.frames.len(), 75);
        let count = memory.context.find(model).unwrap().frame_count();
        for frame in &talk.frames {
            assert_eq!(frame.avatar_frame, ping_pong(frame.sequence, count));
        }
        assert!(
            talk.frames
                .iter()
                .all(|frame| frame.flags & FLAG_IDLE != 0 && frame.compute_us == 0)
        );
    }
    let stats = memory.context.stats.compute_times();
    assert_eq!(stats.p50_ms, 0.0, "nothing was computed");
}

#[test]
fn an_interrupt_stops_the_old_and_shows_the_new() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny_ave"));
    talk.audio(0, 0, 0, &speech(8 * RATE, 1));
    talk.until_frames(5);
    talk.say(&json!({"type": "interrupt", "stream": 0, "epoch": 1}));
    talk.audio(0, 1, 0, &speech(RATE, 2));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 1}));
    talk.until_last(1);
    let interrupted = talk.until("interrupted");
    let of_old = talk.frames.iter().filter(|frame| frame.epoch == 0);
    assert_eq!(
        interrupted["last_sequence"],
        json!(of_old.clone().next_back().unwrap().sequence)
    );
    assert_eq!(interrupted["dropped"], json!(200 - of_old.count()));
    assert_eq!(
        talk.frames.iter().filter(|frame| frame.epoch == 1).count(),
        30
    );
    // What was given up is given up in the engine, too, and nobody is surprised by its results.
    eventually("the engine is idle", || {
        memory.context.engine.queue().0 == 0
    });
    talk.say(&json!({"type": "close", "stream": 0}));
    talk.until("closed");
}

#[test]
fn faults_are_told_with_their_stream_and_cost_nothing_else() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    let code = |talk: &mut Talk, message: Value| {
        talk.say(&message);
        let error = talk.until("error");
        assert_eq!(error["stream"], message["stream"], "{error}");
        error["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(&mut talk, open(1, "nobody")), "unknown_model");
    assert_eq!(code(&mut talk, open(1, "tiny_own")), "unsupported");
    let mut message = open(1, "tiny");
    message["frame_rate"] = json!(30);
    assert_eq!(code(&mut talk, message), "unsupported");
    assert_eq!(
        code(&mut talk, json!({"type": "pause", "stream": 1})),
        "unknown_stream"
    );
    talk.audio(1, 0, 0, &silence(10));
    assert_eq!(talk.until("error")["code"], "unknown_stream");
    for stream in 0..4 {
        talk.say(&open(stream, "tiny"));
        talk.until("opened");
    }
    assert_eq!(code(&mut talk, open(0, "tiny")), "stream_exists");
    assert_eq!(code(&mut talk, open(4, "tiny")), "too_large");
    assert_eq!(
        code(
            &mut talk,
            json!({"type": "change", "stream": 0, "model_name": "nobody"})
        ),
        "unknown_model"
    );
    assert_eq!(
        code(
            &mut talk,
            json!({"type": "interrupt", "stream": 0, "epoch": 0})
        ),
        "bad_sequence"
    );
    talk.say(&json!({"type": "change", "stream": 0, "model_name": "tiny_ave"}));
    assert_eq!(talk.until("changed")["model_name"], "tiny_ave");
    talk.audio(0, 0, 0, &speech(RATE / 2, 1));
    talk.say(&json!({"type": "end", "stream": 0, "epoch": 0}));
    talk.until_last(0);
}

#[test]
fn a_server_that_stops_closes_its_streams() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    talk.audio(0, 0, 0, &speech(RATE, 1));
    talk.connection.drain();
    assert_eq!(talk.until("closed")["reason"], "shutting_down");
    assert_eq!(talk.connection.in_flight(), 0);
    talk.say(&open(0, "tiny"));
    assert_eq!(talk.until("error")["code"], "shutting_down");
}

#[test]
fn streams_end_with_their_time() {
    let memory = memory();
    let mut talk = Talk::new(&memory);
    talk.say(&open(0, "tiny"));
    talk.until("opened");
    talk.connection.advance(Duration::from_secs(299));
    talk.say(&json!({"type": "credit", "stream": 0, "frames": 1}));
    talk.connection.advance(Duration::from_secs(301));
    assert_eq!(talk.until("closed")["reason"], "timeout");
}

/// A random number below `bound`, of a sequence.
fn below(state: &mut u64, bound: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

fn chaos(server: &App, seed: u64) {
    let mut state = seed;
    let mut client: Client = websocket(server.address(), "lipsync.v2");
    client
        .send(Message::text(open(0, "tiny").to_string()))
        .unwrap();
    assert_eq!(next_json(&mut client)["type"], "opened");
    let (mut epoch, mut sample) = (0u32, 0u64);
    for _ in 0..below(&mut state, 40) {
        let message = match below(&mut state, 12) {
            0 => json!({"type": "interrupt", "stream": 0, "epoch": epoch + 1}),
            1 => json!({"type": "end", "stream": 0, "epoch": epoch}),
            2 => json!({"type": "pause", "stream": 0}),
            3 => json!({"type": "resume", "stream": 0}),
            4 => json!({"type": "stats", "stream": 0}),
            _ => {
                let jump = below(&mut state, 3_000) as i64 - 1_500;
                let first =
                    sample.saturating_add_signed(if below(&mut state, 3) == 0 { jump } else { 0 });
                let count = below(&mut state, 9_000) as usize;
                client
                    .send(Message::binary(audio(0, epoch, first, &speech(count, 5))))
                    .unwrap();
                sample = sample.max(first + count as u64);
                continue;
            }
        };
        if message["type"] == "interrupt" {
            (epoch, sample) = (epoch + 1, 0);
        }
        client.send(Message::text(message.to_string())).unwrap();
        std::thread::sleep(Duration::from_millis(below(&mut state, 4)));
    }
    // The connection is cut in the middle of a message.
    let mut bytes = vec![0x82, 0xfe, 0x10, 0x00, 0, 0, 0, 0];
    bytes.extend(audio(0, epoch, sample, &speech(2_000, 1)));
    let cut = below(&mut state, bytes.len() as u64) as usize;
    std::io::Write::write_all(client.get_mut(), &bytes[..cut]).unwrap();
    drop(client);
}

#[test]
fn chaos_over_sockets_leaves_nothing_behind() {
    let mut config = config();
    config.limits.resume_ms = 200;
    let server = app(&config);
    make_room(server.context());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || (0..4).for_each(|round| chaos(server, thread * 100 + round)));
        }
    });
    let streams = &server.context().stats.streams;
    let count =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    eventually("no stream is open", || count(&streams.open) == 0);
    assert_eq!(count(&streams.opened), 16);
    eventually("the engine is idle", || {
        server.context().engine.queue().0 == 0
    });
    // The next client gets all it asks for, which also clears out what could be resumed.
    std::thread::sleep(Duration::from_millis(300));
    let mut client = websocket(server.address(), "lipsync.v2");
    client
        .send(Message::text(open(0, "tiny").to_string()))
        .unwrap();
    assert_eq!(next_json(&mut client)["type"], "opened");
    assert_eq!(server.context().streams.len(), 1);
    client.close(None).unwrap();
    server.stop();
}
