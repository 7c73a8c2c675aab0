//! What a request costs beside the networks: `cargo bench --bench request`.
//!
//! A binary version 1 request of 640 ms at 24 kHz, as a steady client sends it: of its encoder rows one is new. The
//! pictures are a smooth face-like shading with fine noise, which costs the JPEG encoder what a face does.

use std::hash::RandomState;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lipsyncd::audio::{FrontEndSpec, RequestFrontEnd, RequestPlan, decode_pcm16};
use lipsyncd::base::padded::PaddedBytes;
use lipsyncd::frame::{
    BgrImage, Composer, Crop, Geometry, JpegEncoder, cut_crop, decode_jpeg, fill_input,
};
use lipsyncd::protocol::{
    ClientMessage, Decoder, FrameReply, InferenceRequest, Protocol, RequestId, encode_request,
};
use lipsyncd::recording::read_recording;

const FULL: usize = 720;
const BOUNDS: [f32; 4] = [236.4, 301.7, 483.1, 548.4];

/// Families by their inner square and front end.
const FAMILIES: [(&str, usize, FrontEndSpec); 2] = [
    ("default_160", 160, FrontEndSpec::DEFAULT_FACE),
    ("ave_320", 320, FrontEndSpec::AVE),
];

fn geometry(inner: usize) -> Geometry {
    let mask = [5, 5, inner - 10, inner - 15].into();
    Geometry {
        crop_size: inner + 8,
        inner_size: inner,
        border: 4,
        mask,
    }
}

/// A shaded ellipse on a gradient, with noise of a few grey levels.
fn picture(width: usize, height: usize) -> BgrImage {
    let mut image = BgrImage::new(width, height);
    for (i, pixel) in image.data.chunks_exact_mut(3).enumerate() {
        let (x, y) = (
            (i % width) as f32 / width as f32,
            (i / width) as f32 / height as f32,
        );
        let distance = ((x - 0.5) * 1.3).hypot(y - 0.5);
        let skin = if distance < 0.35 {
            150.0 - 160.0 * distance
        } else {
            40.0 + 60.0 * y
        };
        let noise = ((i as u32).wrapping_mul(2_654_435_761) >> 29) as f32 - 3.5;
        for (value, tint) in pixel.iter_mut().zip([0.8, 0.95, 1.2]) {
            *value = (skin * tint + noise) as u8;
        }
    }
    image
}

/// The picture as a network would return it: planes of 0..1.
fn planes(crop: &Crop) -> Vec<f32> {
    let plane = |c| {
        crop.bgr
            .iter()
            .skip(c)
            .step_by(3)
            .map(|&v| f32::from(v) / 255.0)
    };
    (0..3).flat_map(plane).collect()
}

/// The message of a client whose window's middle is frame 20 of the fixture's sound.
fn request(name: &str) -> Bytes {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/audio/speech_like_24k.wav"
    );
    let wav = read_recording(std::fs::File::open(path).expect("the fixture is in the repository"));
    let samples = wav.expect("the fixture is a WAV file").samples;
    let window = samples.iter().cycle().skip(4_000).take(640 * 24);
    let pcm: Vec<u8> = window.flat_map(|sample| sample.to_le_bytes()).collect();
    let mut message = Vec::new();
    let request = InferenceRequest {
        model_name: name.into(),
        frame_id: 20,
        audio: Some(pcm.into()),
        sample_rate_hz: None,
        request_id: None,
    };
    encode_request(&request, &mut message);
    message.into()
}

fn reply(jpeg: PaddedBytes, side: u32) -> FrameReply {
    FrameReply {
        request_id: RequestId::Serial(20),
        model_name: "default_model".into(),
        frame_id: 20,
        avatar_frame: 20,
        bounds: BOUNDS,
        image_size: (side, side),
        jpeg,
        processing_us: 12_345,
        own_audio: false,
    }
}

/// Everything from the message's bytes to the reply's, but for the two networks' passes.
fn whole(criterion: &mut Criterion) {
    let full = picture(FULL, FULL);
    for (name, inner, spec) in FAMILIES {
        let message = request(name);
        let crop = cut_crop(&full, BOUNDS, inner).expect("the rectangle is inside");
        let prediction = planes(&crop);
        let geometry = geometry(inner);
        let decoder = Decoder::default();
        let mut front_end = RequestFrontEnd::new(spec, RandomState::new()).expect("a valid spec");
        let (mut samples, mut plan) = (Vec::new(), RequestPlan::default());
        let mut encoder_input = vec![0.0; spec.input_len()];
        let mut unet_input = vec![0.0; geometry.input_len()];
        let mut encoder = JpegEncoder::new(90);
        criterion.bench_function(&format!("request without the networks/{name}"), |bencher| {
            bencher.iter(|| {
                let decoded = decoder.binary(Protocol::Binary, message.clone());
                let Ok(ClientMessage::Inference(request)) = decoded else {
                    panic!("a request")
                };
                let pcm = request.audio.expect("has sound");
                decode_pcm16(&pcm, &mut samples).expect("an even length");
                front_end
                    .plan(&samples, 24_000, request.frame_id, &mut plan)
                    .expect("a good rate");
                let newest = *plan.rows().last().expect("has rows");
                front_end
                    .input(&samples, &plan, &newest, &mut encoder_input)
                    .expect("planned");
                fill_input(&crop, &geometry, &mut unet_input).expect("fits");
                let mut jpeg = PaddedBytes::with_room(64, 32 << 10);
                encoder
                    .encode_bgr_planes(&prediction, inner, inner, jpeg.writer())
                    .expect("a picture");
                let message = reply(jpeg, inner as u32).encode(Protocol::Binary);
                black_box((&encoder_input, &unet_input, message));
            });
        });
    }
}

/// The parts that are about pictures, one by one.
fn pictures(criterion: &mut Criterion) {
    let full = picture(FULL, FULL);
    let mut full_jpeg = Vec::new();
    JpegEncoder::new(90)
        .encode_bgr(&full.data, FULL, FULL, &mut full_jpeg)
        .expect("a picture");
    criterion.bench_function("frame/decode 720x720", |bencher| {
        bencher.iter(|| decode_jpeg(black_box(&full_jpeg), FULL, FULL));
    });
    criterion.bench_function("frame/JPEG of 720x720", |bencher| {
        let (mut encoder, mut out) = (JpegEncoder::new(90), Vec::new());
        bencher.iter(|| {
            out.clear();
            encoder
                .encode_bgr(black_box(&full.data), FULL, FULL, &mut out)
                .expect("a picture");
        });
    });
    for (_, inner, _) in FAMILIES {
        let geometry = geometry(inner);
        let crop = cut_crop(&full, BOUNDS, inner).expect("the rectangle is inside");
        let prediction = planes(&crop);
        criterion.bench_function(&format!("frame/cut the crop {inner}"), |bencher| {
            bencher.iter(|| cut_crop(black_box(&full), BOUNDS, inner));
        });
        let mut input = vec![0.0; geometry.input_len()];
        criterion.bench_function(&format!("frame/fill the input {inner}"), |bencher| {
            bencher.iter(|| fill_input(black_box(&crop), &geometry, &mut input));
        });
        let (mut encoder, mut out) = (JpegEncoder::new(90), Vec::new());
        criterion.bench_function(
            &format!("frame/JPEG of the prediction {inner}"),
            |bencher| {
                bencher.iter(|| {
                    out.clear();
                    encoder
                        .encode_bgr_planes(black_box(&prediction), inner, inner, &mut out)
                        .expect("a picture");
                });
            },
        );
        let mut composer = Composer::new();
        criterion.bench_function(&format!("frame/compose {inner} into 720x720"), |bencher| {
            bencher.iter_batched_ref(
                || full.clone(),
                |full| composer.compose(full, &prediction, inner, BOUNDS, 5.0),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, whole, pictures);
criterion_main!(benches);
