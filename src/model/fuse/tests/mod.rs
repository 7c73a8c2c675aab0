//! Fused networks against tract's own operators, on small networks that hold every block.

mod builder;
mod differential;
mod random;

use super::*;
use crate::model::{Calibration, Calibrator, LoadLimits, Network, NetworkState};

const KNOWN: &[u8] = include_bytes!("../../../../tests/data/networks/small_unet.onnx");
const WITH_ELU: &[u8] = include_bytes!("../../../../tests/data/networks/small_unet_with_elu.onnx");

fn decluttered(onnx: &[u8]) -> TypedModel {
    let model = tract_onnx::onnx().model_for_read(&mut &*onnx);
    model
        .and_then(|model| model.into_typed())
        .and_then(declutter)
        .expect("a known network")
}

/// Numbers between 0 and 1 that change from place to place.
fn values(length: usize, seed: f32) -> Vec<f32> {
    (0..length)
        .map(|at| ((at as f32 + 1.0) * seed).sin().abs())
        .collect()
}

fn run(model: TypedModel) -> Vec<f32> {
    let inputs: TVec<TValue> = model
        .input_outlets()
        .expect("inputs")
        .iter()
        .map(|outlet| {
            let shape = model
                .outlet_fact(*outlet)
                .expect("a fact")
                .shape
                .as_concrete()
                .expect("fixed")
                .to_vec();
            let values = values(shape.iter().product(), 12.9898);
            Tensor::from_shape(&shape, &values)
                .expect("as many values")
                .into_tvalue()
        })
        .collect();
    let plan = model
        .into_optimized()
        .and_then(TypedSimplePlan::new)
        .expect("a plan");
    let mut state = plan.spawn().expect("a state");
    // Twice: nothing may be left over from one run to the next.
    state.run(inputs.clone()).expect("a first run");
    let outputs = state.run(inputs).expect("a second run");
    outputs[0]
        .view()
        .as_slice::<f32>()
        .expect("floats")
        .to_vec()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_known_network_becomes_one_program_with_the_same_output() {
    let expected = run(decluttered(KNOWN));
    for kernels in Kernels::available() {
        let (model, report) =
            fuse_with(decluttered(KNOWN), kernels, &Precision::Floats).expect("fused");
        assert!(report.left.is_empty(), "{:?}", report.left);
        assert!(report.arena_bytes < report.activation_bytes);
        assert!(whole(&model).is_some());
        let error = worst(&run(model), &expected);
        assert!(error < 1e-5, "{}: {error}", kernels.name);
    }
}

#[test]
fn what_is_not_known_stays_tracts() {
    let expected = run(decluttered(WITH_ELU));
    for kernels in Kernels::available() {
        let (model, report) =
            fuse_with(decluttered(WITH_ELU), kernels, &Precision::Floats).expect("fused");
        let elus = report
            .left
            .iter()
            .filter(|name| name.contains("elu_"))
            .count();
        assert!(elus >= 4, "{:?}", report.left);
        assert!(whole(&model).is_none());
        assert!(report.replaced > 40, "{}", report.replaced);
        let error = worst(&run(model), &expected);
        assert!(error < 1e-5, "{}: {error}", kernels.name);
    }
}

fn network() -> Network {
    Network::from_onnx("small_unet", KNOWN, &[], &LoadLimits::default()).expect("a network")
}

#[test]
fn threads_change_nothing() {
    let network = network();
    let mut state = network.new_state().expect("a state");
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .expect("threads");
    let mut outputs = Vec::new();
    for threads in [1, 2, 3] {
        state.set_threads(threads);
        for input in 0..2 {
            let length = network.inputs()[input].values();
            state
                .input_mut(input)
                .copy_from_slice(&values(length, 78.233));
        }
        pool.install(|| state.execute()).expect("a run");
        outputs.push(state.output(0).to_vec());
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn kept_frames_change_nothing_but_the_work() {
    let network = network();
    let (image, audio) = (
        network.input_index("input").expect("there"),
        network.input_index("audio").expect("there"),
    );
    let mut saved = Vec::new();
    for bytes in [1 << 20, 60_000, 20_000, 100] {
        let kept = network.keep_frames(image, 2, 2 * bytes);
        assert!(kept.frame_bytes() as u64 <= bytes);
        saved.push(kept.spared_multiplications());
        let (mut first, mut second) = (
            network.new_state().expect("a state"),
            network.new_state().expect("a state"),
        );
        for frame in [0, 1, 0, 1, 5] {
            for state in [&mut first, &mut second] {
                let seed = 3.7 + frame as f32;
                let length = network.inputs()[image].values();
                state
                    .input_mut(image)
                    .copy_from_slice(&values(length, seed));
                let length = network.inputs()[audio].values();
                state.input_mut(audio).copy_from_slice(&values(length, 1.1));
            }
            first.execute_frame(&kept, frame).expect("a run");
            second.execute().expect("a run");
            assert_eq!(
                first.output(0),
                second.output(0),
                "frame {frame} in {bytes} bytes"
            );
        }
        assert_eq!(kept.kept(), if kept.frame_bytes() > 0 { 2 } else { 0 });
    }
    assert!(
        saved.is_sorted_by(|a, b| a >= b) && saved[0] > saved[3],
        "{saved:?}"
    );
    assert_eq!(saved[3], 0);
}

#[test]
fn the_default_face_is_one_program_with_the_same_output() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default_model/unet.onnx");
    let onnx = std::fs::read(file).expect("the default face's network");
    let expected = run(decluttered(&onnx));
    let (model, report) = fuse_with(
        decluttered(&onnx),
        Kernels::choose(None).expect("kernels"),
        &Precision::Floats,
    )
    .expect("fused");
    assert!(report.left.is_empty(), "{:?}", report.left);
    let error = worst(&run(model), &expected);
    assert!(error < 1e-5, "{error}");
}

/// The small network in bytes, calibrated with the inputs that the tests use.
fn quantised(onnx: &[u8]) -> Network {
    let limits = LoadLimits::default();
    let calibrator = Calibrator::new("small_unet", onnx, &[], &limits).expect("a network");
    let mut state = calibrator.network().new_state().expect("a state");
    fill(&mut state, 4.7);
    state.execute().expect("a run");
    let calibration = calibrator.calibration();
    let json = calibration.to_json();
    let read = Calibration::parse(json.as_bytes(), "c.json".as_ref()).expect("what was written");
    Network::quantised("small_unet", onnx, &[], &read, &limits).expect("a network in bytes")
}

fn fill(state: &mut NetworkState, seed: f32) {
    for input in 0..2 {
        let length = state.network().inputs()[input].values();
        state
            .input_mut(input)
            .copy_from_slice(&values(length, seed + input as f32));
    }
}

#[test]
fn networks_in_bytes_are_near_those_in_floats() {
    // With and without nodes of tract's own in between.
    for onnx in [KNOWN, WITH_ELU] {
        let limits = LoadLimits::default();
        let floats = Network::from_onnx("small_unet", onnx, &[], &limits).expect("a network");
        let bytes = quantised(onnx);
        assert!(bytes.report().int8.is_some());
        assert!(bytes.report().arena_bytes < floats.report().arena_bytes);
        let in_bytes = |(_, kind, _): &&(String, &str, usize)| kind.ends_with("int8");
        assert!(bytes.report().steps.iter().filter(in_bytes).count() > 5);
        let (mut exact, mut found) = (
            floats.new_state().expect("a state"),
            bytes.new_state().expect("a state"),
        );
        for state in [&mut exact, &mut found] {
            fill(state, 4.7);
            state.execute().expect("a run");
        }
        let error = worst(exact.output(0), found.output(0));
        assert!(error > 0.0 && error < 0.05, "{error}");
    }
}

#[test]
fn threads_and_kept_frames_change_nothing_in_bytes() {
    let network = quantised(KNOWN);
    let image = network.input_index("input").expect("there");
    let mut state = network.new_state().expect("a state");
    fill(&mut state, 4.7);
    state.execute().expect("a run");
    let expected = state.output(0).to_vec();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    state.set_threads(3);
    pool.expect("threads")
        .install(|| state.execute())
        .expect("a run");
    assert_eq!(state.output(0), expected);
    state.set_threads(1);
    for bytes in [1 << 20, 20_000, 5_000] {
        let kept = network.keep_frames(image, 1, bytes);
        assert!(kept.spared_multiplications() > 0);
        for run in 0..2 {
            state
                .execute_frame(&kept, 0)
                .expect("a run that keeps, or uses what was kept");
            assert_eq!(state.output(0), expected, "run {run} with {bytes} bytes");
        }
    }
}

#[test]
fn a_calibration_of_another_graph_is_refused() {
    let observed = |names: &[&str]| {
        let operator = |name: &&str| Observed {
            name: (*name).to_owned(),
            channels: vec![Span {
                least: 0.0,
                most: 1.0,
            }],
        };
        Precision::Bytes(Arc::new(names.iter().map(operator).collect()))
    };
    for (names, words) in [
        (&[][..], "has 0 `operators`"),
        (&["x"; 200], "`operators[0]` of the calibration is `x`"),
    ] {
        let kernels = Kernels::choose(None).expect("kernels");
        let error = fuse_with(decluttered(KNOWN), kernels, &observed(names)).expect_err("refused");
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
}
