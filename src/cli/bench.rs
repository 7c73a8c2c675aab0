//! `lipsyncd bench`: forward-pass times of a network.

use super::CliError;
use super::print::{PrintError, say};
use crate::kernels::Kernels;
use crate::model::{Calibration, KeptFrames, LoadLimits, Network, NetworkState};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes that the measurement of kept frames may keep of its frame.
const KEPT_BYTES: u64 = 8 << 20;

/// Measure a network's forward passes on this machine
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// The network: any ONNX file of fixed shapes
    #[arg(long, value_name = "FILE.onnx")]
    unet: PathBuf,
    /// Workers that run the network at the same time, each with a state of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Measured passes per worker; one more goes before, unmeasured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    iterations: u32,
    /// Threads that share one forward pass
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    frame_threads: u32,
    /// Show every step: time, speed, share of the core's peak
    #[arg(long)]
    steps: bool,
    /// Input whose half of the network is kept per frame, and measured with and without
    #[arg(long, default_value = "input", value_name = "NAME")]
    image_input: String,
    /// Compute in bytes, with the scales of this calibration (see `quantize --unet`)
    #[arg(long, value_name = "FILE.json")]
    int8: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> Result<(), CliError> {
        let started = Instant::now();
        let network = self.load()?;
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        let times = self.measure(&network, None)?;
        let fused = Fused::measure(&self, &network)?;
        if self.json {
            let object = serde_json::json!({
                "network": network.name(),
                "threads": self.threads,
                "iterations": self.iterations,
                "load_ms": load_ms,
                "first_ms": times.first_ms,
                "median_ms": times.median_ms(),
                "min_ms": times.sorted_ms[0],
                "p99_ms": times.quantile_ms(0.99),
                "passes_per_second": times.passes_per_second,
                "simd": network.report().simd,
                "int8": network.report().int8,
                "kept_median_ms": fused.kept.as_ref().map(|(_, times)| times.median_ms()),
                "kept_min_ms": fused.kept.as_ref().map(|(_, times)| times.sorted_ms[0]),
                "kept_frame_bytes": fused.kept.as_ref().map(|(bytes, _)| *bytes),
                "arena_bytes": network.report().arena_bytes,
                "activation_bytes": network.report().activation_bytes,
                "left_to_tract": network.report().left.len(),
                "peak_gflops": fused.peak * 1e-9,
            });
            say!("{object}")?;
            return Ok(());
        }
        say!("network     {}", network.name())?;
        for (kind, specs) in [("input", network.inputs()), ("output", network.outputs())] {
            for spec in specs {
                say!("{kind:<11} {} {:?}", spec.name, spec.shape)?;
            }
        }
        say!("load        {load_ms:.0} ms")?;
        say!("first pass  {:.2} ms", times.first_ms)?;
        say!("median      {:.2} ms", times.median_ms())?;
        say!("min         {:.2} ms", times.sorted_ms[0])?;
        say!("p99         {:.2} ms", times.quantile_ms(0.99))?;
        say!(
            "throughput  {:.2} passes a second with {} worker(s)",
            times.passes_per_second,
            self.threads
        )?;
        Ok(fused.print(&network, &times)?)
    }

    fn load(&self) -> Result<Network, CliError> {
        let limits = LoadLimits::default();
        let Some(file) = &self.int8 else {
            return Ok(Network::load(&self.unet, &limits)?);
        };
        let calibration = Calibration::load(file, &limits)?;
        Ok(Network::load_quantised(&self.unet, &calibration, &limits)?)
    }

    fn measure(&self, network: &Network, kept: Option<&KeptFrames>) -> Result<Times, CliError> {
        let (workers, frame_threads) = (self.threads as usize, self.frame_threads as usize);
        Times::measure(
            network,
            workers,
            self.iterations as usize,
            frame_threads,
            kept,
        )
    }
}

/// Forward-pass times of all workers together.
struct Times {
    first_ms: f64,
    sorted_ms: Vec<f64>,
    passes_per_second: f64,
}

impl Times {
    fn measure(
        network: &Network,
        threads: usize,
        iterations: usize,
        frame_threads: usize,
        kept: Option<&KeptFrames>,
    ) -> Result<Times, CliError> {
        let ready = std::sync::Barrier::new(threads);
        let worker = || -> Result<(f64, Vec<f64>, f64), CliError> {
            let prepared = network.new_state().map(|mut state| {
                state.set_threads(frame_threads);
                fill(&mut state);
                state
            });
            let mut first_ms = 0.0;
            let warmed = prepared.and_then(|mut state| {
                first_ms = timed_ms(&mut state, kept)?;
                Ok(state)
            });
            // Reached by every worker, also by one that failed, or the others would wait without end.
            ready.wait();
            let mut state = warmed?;
            let started = Instant::now();
            let times = (0..iterations)
                .map(|_| timed_ms(&mut state, kept))
                .collect::<Result<Vec<f64>, _>>()?;
            Ok((first_ms, times, started.elapsed().as_secs_f64()))
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .map_err(|_| CliError::from("a worker panicked"))
                })
                .collect()
        });
        let (mut first_ms, mut sorted_ms, mut passes_per_second) = (0.0f64, Vec::new(), 0.0);
        for result in results {
            let (first, times, seconds) = result??;
            first_ms = first_ms.max(first);
            passes_per_second += times.len() as f64 / seconds;
            sorted_ms.extend(times);
        }
        sorted_ms.sort_by(f64::total_cmp);
        Ok(Times {
            first_ms,
            sorted_ms,
            passes_per_second,
        })
    }

    fn median_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        let last = self.sorted_ms.len() - 1;
        self.sorted_ms[(last as f64 * quantile).round() as usize]
    }
}

/// Values that are like a picture's: none is zero or denormal, which would be quicker or slower than real ones.
fn fill(state: &mut NetworkState) {
    for index in 0..state.network().inputs().len() {
        fill_input(state.input_mut(index));
    }
}

pub(super) fn fill_input(values: &mut [f32]) {
    for (i, value) in values.iter_mut().enumerate() {
        *value = ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
    }
}

fn timed_ms(
    state: &mut NetworkState,
    kept: Option<&KeptFrames>,
) -> Result<f64, crate::model::ModelError> {
    let started = Instant::now();
    match kept {
        Some(kept) => state.execute_frame(kept, 0)?,
        None => state.execute()?,
    }
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// What the kernels make of the network.
struct Fused {
    /// Operations a second of one core, at most.
    peak: f64,
    /// Bytes kept of one frame, and times with them.
    kept: Option<(usize, Times)>,
    /// The shortest time of each step.
    steps: Vec<Duration>,
}

impl Fused {
    fn measure(bench: &Bench, network: &Network) -> Result<Fused, CliError> {
        let simd = Kernels::choose(Some(network.report().simd)).ok();
        let peak = simd.map_or(0.0, |kernels| kernels.peak(Duration::from_millis(50)));
        let mut fused = Fused {
            peak,
            kept: None,
            steps: Vec::new(),
        };
        if bench.steps {
            let mut state = network.new_state()?;
            fill(&mut state);
            fused.steps = state.profile(bench.iterations as usize);
        }
        if let Ok(input) = network.input_index(&bench.image_input) {
            // Frames of a few MiB: the largest images, which save the least per byte, are computed anew.
            let kept = network.keep_frames(input, 1, KEPT_BYTES);
            if kept.frame_bytes() > 0 && network.inputs().len() > 1 {
                let times = bench.measure(network, Some(&kept))?;
                fused.kept = Some((kept.frame_bytes(), times));
            }
        }
        Ok(fused)
    }

    fn print(&self, network: &Network, times: &Times) -> Result<(), PrintError> {
        let report = network.report();
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        say!(
            "fused       {} nodes by {}{} kernels, {} left to tract {:?}",
            report.replaced,
            report.simd,
            report
                .int8
                .map_or(String::new(), |int8| format!(" and int8 {int8}")),
            report.left.len(),
            report.left.iter().take(8).collect::<Vec<_>>()
        )?;
        if self.peak == 0.0 {
            return Ok(());
        }
        say!(
            "memory      {:.1} MiB of activations in {:.1} MiB a state, {:.1} MiB of weights",
            mib(report.activation_bytes),
            mib(report.arena_bytes),
            mib(report.weight_bytes)
        )?;
        let operations = 2.0 * report.steps.iter().map(|step| step.2).sum::<usize>() as f64;
        let share = |operations: f64, seconds: f64| 100.0 * operations / seconds / self.peak;
        say!(
            "peak        {:.0} GFLOP/s a core in f32, of which a pass reaches {:.0} %",
            self.peak * 1e-9,
            share(operations, times.median_ms() * 1e-3)
        )?;
        if let Some((bytes, times)) = &self.kept {
            say!(
                "kept        {:.2} ms (min {:.2}) with {:.1} MiB of the frame kept",
                times.median_ms(),
                times.sorted_ms[0],
                mib(*bytes)
            )?;
        }
        for (time, (name, kind, count)) in self.steps.iter().zip(&report.steps) {
            say!(
                "{:9.3} ms {:5.1} GFLOP/s {:4.0} %  {kind:<12} {name}",
                time.as_secs_f64() * 1e3,
                *count as f64 * 2e-9 / time.as_secs_f64(),
                share(*count as f64 * 2.0, time.as_secs_f64())
            )?;
        }
        Ok(())
    }
}
