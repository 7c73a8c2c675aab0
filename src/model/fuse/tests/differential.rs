//! Random graphs: the kernels of every instruction set against tract alone, and tract against recorded values of
//! onnxruntime.

use super::super::*;
use super::random::{RandomGraph, graph};
use crate::model::onnx::{Prepared, in_one_sentence, prepare};
use crate::model::{NpyTensor, parse_npy};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers may differ by this much, times their size where it is above one.
const TOLERANCE: f32 = 1e-3;

/// The graphs of a run begin at this seed, unless `LIPSYNCD_RANDOM_SEED` names another.
const FIRST_SEED: u64 = 1_000_000;

/// Graphs of a run, unless `LIPSYNCD_RANDOM_GRAPHS` asks for more.
const GRAPHS: u64 = 2_000;

/// Graphs of which onnxruntime's values are recorded: seeds 0 to this.
const RECORDED_GRAPHS: u64 = 300;

/// Values recorded of each graph, after a number that tells whether the graph is still the same.
const RECORDED_VALUES: usize = 32;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

fn typed(graph: &RandomGraph) -> TractResult<TypedModel> {
    let Prepared { proto, reader, .. } = prepare(&graph.onnx)?;
    declutter(reader.model_for_proto_model(&proto)?.into_typed()?)
}

/// The values of all outputs, one after another.
fn run(model: TypedModel, graph: &RandomGraph) -> TractResult<Vec<f32>> {
    let inputs = graph.inputs.iter();
    let inputs = inputs.map(|(shape, values)| Ok(Tensor::from_shape(shape, values)?.into_tvalue()));
    let inputs = inputs.collect::<TractResult<TVec<TValue>>>()?;
    let mut state = TypedSimplePlan::new(model.into_optimized()?)?.spawn()?;
    // Twice: nothing may be left over from one run to the next.
    state.run(inputs.clone())?;
    let outputs = state.run(inputs)?;
    let mut all = Vec::new();
    for output in outputs {
        all.extend_from_slice(output.view().as_slice::<f32>()?);
    }
    Ok(all)
}

/// The first value that is not as expected.
fn difference(found: &[f32], expected: &[f32]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} values, not {}", found.len(), expected.len()));
    }
    let differs = |(found, expected): (&f32, &f32)| {
        let allowed = TOLERANCE * expected.abs().max(1.0);
        let difference = (found - expected).abs();
        difference.is_nan() || difference > allowed
    };
    let at = found.iter().zip(expected).position(differs)?;
    Some(format!(
        "value {at} of {} is {}, not {}",
        found.len(),
        found[at],
        expected[at]
    ))
}

/// How many operators of the graph of a seed the kernels took over; `None` if tract refuses the graph.
///
/// # Errors
/// What is wrong with it.
fn compare(seed: u64, kernels: &[Kernels]) -> Result<Option<usize>, String> {
    let graph = graph(seed);
    let told = |what: &str, reason: String| {
        Err(format!(
            "seed {seed} ({:?}): {what}: {reason}",
            graph.operators
        ))
    };
    let expected = match typed(&graph).and_then(|model| run(model, &graph)) {
        Ok(expected) => expected,
        Err(error) => {
            let words = in_one_sentence(&error);
            println!("seed {seed} is refused: {words}");
            return match words.contains('\n') || words.len() > 500 {
                true => told("refused in more than a sentence", words),
                false => Ok(None),
            };
        }
    };
    let mut replaced = 0;
    for kernels in kernels {
        let fused = typed(&graph)
            .and_then(|model| fuse_with(model, *kernels, &Precision::Floats))
            .and_then(|(model, report)| {
                replaced = report.replaced;
                run(model, &graph)
            });
        match fused {
            Ok(found) => {
                if let Some(difference) = difference(&found, &expected) {
                    return told(kernels.name, difference);
                }
            }
            Err(error) => return told(kernels.name, format!("{error:#}")),
        }
    }
    Ok(Some(replaced))
}

/// Every graph by the best instruction set and by one other in turn. `LIPSYNCD_RANDOM_GRAPHS=100000` runs more of them.
#[test]
fn random_graphs_mean_the_same_with_and_without_kernels() {
    let first = from_environment("LIPSYNCD_RANDOM_SEED", FIRST_SEED);
    let count = from_environment("LIPSYNCD_RANDOM_GRAPHS", GRAPHS);
    let available = Kernels::available();
    let [next, replaced, refused] = [const { AtomicU64::new(0) }; 3];
    let worker = || {
        let mut wrong = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || wrong.len() >= 20 {
                return wrong;
            }
            let other = available[number as usize % available.len()];
            let kernels = [available[0], other];
            let kernels = &kernels[..1 + usize::from(other.name != available[0].name)];
            match compare(first + number, kernels) {
                Ok(None) => _ = refused.fetch_add(1, Ordering::Relaxed),
                Ok(Some(nodes)) => _ = replaced.fetch_add(nodes as u64, Ordering::Relaxed),
                Err(words) => wrong.push(words),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results.flat_map(|wrong| wrong.expect("no panic")).collect()
    });
    let (replaced, refused) = (replaced.into_inner(), refused.into_inner());
    println!(
        "{count} graphs from seed {first}: {} differ, {refused} refused, {replaced} nodes replaced",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // tract simplifies a few to pieces: those are told, which is not wrong.
    assert!(refused <= 2 + count / 1000, "{refused} are refused");
    assert!(
        replaced > 3 * count,
        "only {replaced} nodes of {count} graphs were fused"
    );
}

/// The values recorded of the graphs from seed 0 on; `LIPSYNCD_RECORDED` may name a file of more of them.
fn recorded_file() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/networks/random_graphs.npy");
    std::env::var_os("LIPSYNCD_RECORDED").map_or(own, PathBuf::from)
}

/// A number of 24 bits that tells a graph from another.
fn fingerprint(graph: &RandomGraph) -> f32 {
    let inputs = graph.inputs.iter().flat_map(|(_, values)| values);
    let inputs = inputs.flat_map(|value| value.to_le_bytes());
    let bytes = graph.onnx.iter().copied().chain(inputs);
    let hash = bytes.fold(0x811C_9DC5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 8) as f32
}

/// The values at places spread over all outputs.
fn sample(values: &[f32]) -> Vec<f32> {
    let at = |number: usize| values[number * values.len() / RECORDED_VALUES];
    (0..RECORDED_VALUES).map(at).collect()
}

/// tools/golden/random_graphs.py recorded them.
#[test]
fn random_graphs_mean_what_onnxruntime_computes() {
    let file = recorded_file();
    let NpyTensor { shape, values } =
        parse_npy(&fs::read(&file).expect("recorded values"), &file).expect("a tensor");
    assert!(shape[0] as u64 >= RECORDED_GRAPHS && shape[1] == 1 + RECORDED_VALUES);
    let mut wrong = Vec::new();
    for (seed, recorded) in values.chunks_exact(1 + RECORDED_VALUES).enumerate() {
        let graph = graph(seed as u64);
        assert_eq!(
            recorded[0],
            fingerprint(&graph),
            "seed {seed}: the graph has changed, record it again (tools/golden/random_graphs.py)"
        );
        let kernels = Kernels::choose(None).expect("kernels");
        let all = typed(&graph).and_then(|model| {
            let (fused, _) = fuse_with(model.clone(), kernels, &Precision::Floats)?;
            Ok([run(model, &graph)?, run(fused, &graph)?])
        });
        match all {
            Ok(all) => {
                for (found, who) in all.iter().zip(["tract", "the kernels"]) {
                    if let Some(difference) = difference(&sample(found), &recorded[1..]) {
                        wrong.push(format!(
                            "seed {seed} ({:?}), {who}: {difference}",
                            graph.operators
                        ));
                    }
                }
            }
            Err(error) => wrong.push(format!("seed {seed}: {error:#}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes the graphs for tools/golden/random_graphs.py into the folder that `LIPSYNCD_GRAPHS_FOLDER` names.
#[test]
#[ignore = "writes the graphs whose values onnxruntime records"]
fn write_random_graphs() {
    let folder = std::env::var("LIPSYNCD_GRAPHS_FOLDER").expect("LIPSYNCD_GRAPHS_FOLDER");
    let folder = Path::new(&folder);
    for seed in 0..from_environment("LIPSYNCD_RANDOM_GRAPHS", RECORDED_GRAPHS) {
        let graph = graph(seed);
        fs::write(folder.join(format!("{seed}.onnx")), &graph.onnx).expect("written");
        let inputs = graph.inputs.iter().flat_map(|(_, values)| values);
        let bytes: Vec<u8> = inputs.flat_map(|value| value.to_le_bytes()).collect();
        fs::write(folder.join(format!("{seed}.inputs")), bytes).expect("written");
        let name = folder.join(format!("{seed}.fingerprint"));
        fs::write(name, fingerprint(&graph).to_string()).expect("written");
    }
}
