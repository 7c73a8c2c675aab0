//! What decoding a request and encoding a reply cost, in every protocol, with an image and audio of real size.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lipsyncd::base::padded::PaddedBytes;
use lipsyncd::protocol::stream::StreamFrame;
use lipsyncd::protocol::{
    Decoder, FrameReply, InferenceRequest, Protocol, RequestId, encode_request,
};

/// 640 ms at 24 kHz.
const AUDIO_BYTES: usize = 30_720;
/// A 160×160 prediction at quality 90 is 6 to 9 KB, one of 320×320 20 to 30 KB.
const IMAGE_BYTES: usize = 24_000;

fn noise(length: usize) -> Bytes {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Replies that are made at a time: few, so that they lie in the cache as one that was just computed does.
const INPUTS: BatchSize = BatchSize::NumIterations(8);

/// An image as the engine gives it: with room for what stands around it in a message.
fn image() -> PaddedBytes {
    let mut image = PaddedBytes::with_room(64, IMAGE_BYTES + 32);
    image.writer().extend_from_slice(&noise(IMAGE_BYTES));
    image
}

fn frame_reply() -> FrameReply {
    FrameReply {
        request_id: RequestId::Serial(1234),
        model_name: "default_model".into(),
        frame_id: 7,
        avatar_frame: 7,
        bounds: [231.5, 340.25, 489.5, 598.25],
        image_size: (320, 320),
        jpeg: image(),
        processing_us: 21_300,
        own_audio: false,
    }
}

fn stream_frame() -> StreamFrame {
    StreamFrame {
        stream: 1,
        flags: 0,
        epoch: 2,
        sequence: 3,
        avatar_frame: 9,
        sample: 2880,
        sample_rate_hz: 24_000,
        compute_us: 17_500,
        bounds: [231.5, 340.25, 489.5, 598.25],
        jpeg: image(),
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a reply");
    group.throughput(Throughput::Bytes(IMAGE_BYTES as u64));
    for (name, protocol) in [
        ("binary", Protocol::Binary),
        ("timed", Protocol::BinaryTimed),
        ("protobuf", Protocol::Protobuf),
        ("json", Protocol::Json),
    ] {
        group.bench_function(name, |bencher| {
            let encode = |reply: FrameReply| black_box(reply).encode(protocol);
            bencher.iter_batched(frame_reply, encode, INPUTS);
        });
    }
    group.bench_function("stream", |bencher| {
        let encode = |frame: StreamFrame| black_box(frame).encode();
        bencher.iter_batched(stream_frame, encode, INPUTS);
    });
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let decoder = Decoder::default();
    let request = InferenceRequest {
        model_name: "default_model".into(),
        frame_id: 7,
        audio: Some(noise(AUDIO_BYTES)),
        sample_rate_hz: None,
        request_id: None,
    };
    let mut binary = Vec::new();
    encode_request(&request, &mut binary);
    let binary = Bytes::from(binary);
    let json = {
        use base64::Engine;
        let audio = base64::engine::general_purpose::STANDARD.encode(noise(AUDIO_BYTES));
        format!(r#"{{"model_name":"default_model","frame_id":7,"audio_override":"{audio}"}}"#)
    };

    let mut group = criterion.benchmark_group("decode a request");
    group.throughput(Throughput::Bytes(AUDIO_BYTES as u64));
    group.bench_function("binary", |bencher| {
        bencher.iter(|| decoder.binary(Protocol::Binary, black_box(binary.clone())));
    });
    group.bench_function("json", |bencher| {
        bencher.iter(|| decoder.text(Protocol::Binary, black_box(&json)));
    });
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
