//! `lipsyncd bench`: forward-pass times of a network.

use super::CliError;
use crate::model::{LoadLimits, Network, NetworkState};
use std::path::PathBuf;
use std::time::Instant;

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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> Result<(), CliError> {
        let started = Instant::now();
        let network = Network::load(&self.unet, &LoadLimits::default())?;
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        let times = Times::measure(&network, self.threads as usize, self.iterations as usize)?;
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
            });
            println!("{object}");
            return Ok(());
        }
        println!("network     {}", network.name());
        for (kind, specs) in [("input", network.inputs()), ("output", network.outputs())] {
            for spec in specs {
                println!("{kind:<11} {} {:?}", spec.name, spec.shape);
            }
        }
        println!("load        {load_ms:.0} ms");
        println!("first pass  {:.2} ms", times.first_ms);
        println!("median      {:.2} ms", times.median_ms());
        println!("min         {:.2} ms", times.sorted_ms[0]);
        println!("p99         {:.2} ms", times.quantile_ms(0.99));
        println!(
            "throughput  {:.2} passes a second with {} worker(s)",
            times.passes_per_second, self.threads
        );
        Ok(())
    }
}

/// Forward-pass times of all workers together.
struct Times {
    first_ms: f64,
    sorted_ms: Vec<f64>,
    passes_per_second: f64,
}

impl Times {
    fn measure(network: &Network, threads: usize, iterations: usize) -> Result<Times, CliError> {
        let ready = std::sync::Barrier::new(threads);
        let worker = || -> Result<(f64, Vec<f64>, f64), CliError> {
            let prepared = network.new_state().map(|mut state| {
                fill(&mut state);
                state
            });
            let mut first_ms = 0.0;
            let warmed = prepared.and_then(|mut state| {
                first_ms = timed_ms(&mut state)?;
                Ok(state)
            });
            // Reached by every worker, also by one that failed, or the others would wait without end.
            ready.wait();
            let mut state = warmed?;
            let started = Instant::now();
            let times = (0..iterations)
                .map(|_| timed_ms(&mut state))
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
        for (i, value) in state.input_mut(index).iter_mut().enumerate() {
            *value = ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
        }
    }
}

fn timed_ms(state: &mut NetworkState) -> Result<f64, crate::model::ModelError> {
    let started = Instant::now();
    state.execute()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
