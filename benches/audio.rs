//! What hearing costs: `cargo bench --bench audio`.
//!
//! The input is the project's own fixture, speech-like sound at 24 kHz, repeated.

use std::hash::RandomState;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lipsyncd::audio::{
    BANDS, FFT_LEN, FrontEndSpec, MelKernel, RequestFrontEnd, RequestPlan, Resampler,
    RollingFrontEnd, VadParams, VoiceActivityDetector,
};
use lipsyncd::recording::read_recording;

const SHORT: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

/// A second at 24 kHz.
fn speech() -> Vec<i16> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/audio/speech_like_24k.wav"
    );
    let file = std::fs::File::open(path).expect("the fixture is in the repository");
    read_recording(file)
        .expect("the fixture is a WAV file")
        .samples
}

fn stages(criterion: &mut Criterion) {
    let speech = speech();
    let unit: Vec<f32> = speech
        .iter()
        .map(|sample| f32::from(*sample) / 32_768.0)
        .collect();
    let mut group = criterion.benchmark_group("stage");

    let frame: Vec<f64> = unit[8_000..8_000 + FFT_LEN]
        .iter()
        .map(|sample| f64::from(*sample))
        .collect();
    let mut kernel = MelKernel::new();
    let mut row = [0.0; BANDS];
    group.bench_function("one mel row", |bench| {
        bench.iter(|| kernel.row(black_box(&frame), &mut row))
    });

    let mut out = Vec::new();
    for (name, rate) in [("24", 24_000), ("44.1", 44_100), ("48", 48_000)] {
        let mut resampler = Resampler::new(rate).expect("a usual rate");
        let second: Vec<f32> = unit.iter().copied().cycle().take(rate as usize).collect();
        group.bench_function(format!("resample 1 s of {name} kHz"), |bench| {
            bench.iter(|| {
                for piece in second.chunks(480) {
                    out.clear();
                    resampler.process(black_box(piece), &mut out);
                }
            })
        });
    }

    let mut detector =
        VoiceActivityDetector::new(24_000, VadParams::default()).expect("a usual rate");
    group.bench_function("find silence in 1 s", |bench| {
        bench.iter(|| detector.push(black_box(&speech), |_, speech| _ = black_box(speech)))
    });
    group.finish();
}

fn paths(criterion: &mut Criterion) {
    let speech = speech();
    for (name, spec) in [("default", SHORT), ("ave", FrontEndSpec::AVE)] {
        let mut group = criterion.benchmark_group(name);

        group.throughput(Throughput::Elements(25));
        let mut rolling = RollingFrontEnd::new(spec, 24_000).expect("a valid front end");
        group.bench_function("stream, 1 s in pieces of 20 ms", |bench| {
            bench.iter(|| {
                speech
                    .chunks(480)
                    .for_each(|piece| rolling.push(piece, |_, input| _ = black_box(input)))
            })
        });

        group.throughput(Throughput::Elements(1));
        let mut front_end =
            RequestFrontEnd::new(spec, RandomState::new()).expect("a valid front end");
        let window = &speech[2_000..2_000 + 15_360];
        let mut plan = RequestPlan::default();
        group.bench_function("request, finding its rows", |bench| {
            bench.iter(|| front_end.plan(black_box(window), 24_000, 8, &mut plan))
        });
        let mut input = vec![0.0; spec.input_len()];
        let row = plan.rows()[0];
        group.bench_function("request, computing one row", |bench| {
            bench.iter(|| front_end.input(black_box(window), &plan, &row, &mut input))
        });
        group.finish();
    }
}

criterion_group!(benches, stages, paths);
criterion_main!(benches);
