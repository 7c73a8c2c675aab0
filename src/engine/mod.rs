//! Jobs in, pictures out: a bounded, fair queue, a pool of workers, and what they share.
//!
//! A job names its connection; connections take turns. Its result is given to the connection's [`Deliver`],
//! which wakes the connection's thread. Whatever goes wrong in a job, a panic included, is one error there
//! and nothing else.

mod admission;
mod job;
mod load;
mod pool;
mod queue;
mod rows;
mod worker;

use std::hash::RandomState;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::audio::{FeatureFrame, FeatureSlot};
use crate::base::event_queue::SendError;
use crate::base::ids::ConnectionId;
use crate::base::panic::catch_panic;
use crate::base::shutdown::Shutdown;
use crate::config::Config;
use crate::model::{
    CheckLimits, LoadLimits, ModelError, Package, Registry, check_in_child_until, is_model_name,
};
use crate::observe::Stats;

pub use admission::{Admission, Cost, Overloaded, Permit};
pub use job::{Cancel, Deliver, Done, Job, JobAudio, JobError, Picture, PictureKind};
pub use pool::PoolError;
pub use queue::{FairQueue, Full};
pub use rows::{Row, RowCache};

use load::Load;
use pool::Pool;
use worker::{Common, Worker};

/// Frames of each kind that are computed to find out what a package costs.
const MEASURED_FRAMES: u32 = 3;

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many jobs wait as may.
    Busy {
        /// How many that are.
        limit: usize,
    },
    /// The server is stopping.
    Stopping,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Busy { limit } => write!(
                f,
                "the server is busy: {limit} frames wait already; send fewer frames a second, or try again later"
            ),
            Refused::Stopping => JobError::Stopping.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

/// A package is being loaded; the next must wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading;

impl std::fmt::Display for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "another package is being loaded; try again when it is")
    }
}

impl std::error::Error for Loading {}

/// Told how the loading of a package went, and how long it took, on the loading thread.
pub type OnLoaded = Box<dyn FnOnce(Result<Duration, ModelError>) + Send>;

/// Takes no result: for jobs that the engine runs itself.
struct NoReply;

impl Deliver for NoReply {
    fn deliver(&self, _: Done) -> Result<(), SendError> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

struct Shared {
    registry: Registry,
    models_dir: PathBuf,
    checker: Option<PathBuf>,
    check_limits: CheckLimits,
    loader: Mutex<Option<JoinHandle<()>>>,
    queue: FairQueue<ConnectionId, (Instant, Job)>,
    workers: Vec<Mutex<Worker>>,
    common: Common,
    admission: Admission,
    stats: Arc<Stats>,
    /// Triggered by [`Engine::stop`]: ends the check of a package in a child process.
    stopping: Shutdown,
    abandoned: AtomicU64,
    load: Load,
}

impl Engine {
    /// Starts the workers. No package is loaded yet.
    ///
    /// # Errors
    /// [`PoolError`]: the system gives no threads.
    pub fn start(config: &Config, stats: Arc<Stats>) -> Result<Engine, PoolError> {
        let limits = config.limits();
        let load_limits = LoadLimits::from(limits);
        let shared = Arc::new(Shared {
            registry: Registry::new(load_limits),
            models_dir: config.models_dir().to_owned(),
            checker: config.checker().map(Path::to_owned),
            check_limits: CheckLimits {
                memory_bytes: limits.max_check_bytes,
                time: Duration::from_millis(limits.check_ms),
                load: load_limits,
            },
            loader: Mutex::new(None),
            queue: FairQueue::new(limits.max_queue as usize),
            workers: (0..config.workers()).map(|_| Mutex::default()).collect(),
            common: Common {
                rows: RowCache::new(limits.max_row_cache_bytes as usize),
                secret: RandomState::new(),
                quality: config.jpeg_quality(),
            },
            admission: Admission::new(config.workers()),
            stats,
            stopping: Shutdown::new()?,
            abandoned: AtomicU64::new(0),
            load: Load::default(),
        });
        let pool = Arc::new(Pool::start(config.workers())?);
        Ok(Engine { shared, pool })
    }

    /// Takes a job, or refuses it at once. Its result comes to the job's [`Deliver`].
    ///
    /// # Errors
    /// [`Refused`]
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        let shared = &self.shared;
        if shared.stopping.is_triggered() {
            return Err(Refused::Stopping);
        }
        let owner = job.connection;
        shared
            .queue
            .push(owner, (Instant::now(), job))
            .map_err(|(full, _)| Refused::Busy { limit: full.limit })?;
        // Every job that is queued brings one turn of a worker. Whose job that turn takes is the queue's
        // to say.
        let shared = shared.clone();
        self.pool.spawn(move |worker| shared.turn(worker));
        Ok(())
    }

    /// Loads a package of the models folder for a client, on a thread of its own, which calls `on_result`
    /// with the time it took. Where a checker is configured the package is first loaded and run in a child process,
    /// so that a crafted network can harm nothing but the child.
    ///
    /// # Errors
    /// [`Loading`]: one package is loaded at a time.
    pub fn load(&self, name: String, on_result: OnLoaded) -> Result<(), Loading> {
        let mut loader = self
            .shared
            .loader
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if loader.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(Loading);
        }
        if let Some(finished) = loader.take() {
            let _ = finished.join();
        }
        let engine = self.clone();
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let started = Instant::now();
                let loaded = catch_panic(|| engine.load_named(&name));
                let result = match loaded {
                    Ok(result) => result.map(|_| started.elapsed()),
                    Err(_) => Err(ModelError::Network {
                        network: name,
                        reason: "loading it panicked; the log says how".to_owned(),
                    }),
                };
                on_result(result);
            });
        *loader = Some(thread.map_err(|_| Loading)?);
        Ok(())
    }

    fn load_named(&self, name: &str) -> Result<Arc<Package>, ModelError> {
        if !is_model_name(name) {
            return Err(ModelError::Unknown {
                name: name.to_owned(),
                loaded: self.registry().names(),
            });
        }
        let folder = self.shared.models_dir.join(name);
        if let Some(checker) = &self.shared.checker {
            let stopping = Some(self.shared.stopping.as_fd());
            check_in_child_until(checker, &folder, self.shared.check_limits, stopping)?;
        }
        self.load_folder(&folder)
    }

    /// Loads a package here and now: reads and checks it, measures what its frames cost, prepares every
    /// worker for it, and then serves it.
    ///
    /// # Errors
    /// [`ModelError`] names the file and the field.
    pub fn load_folder(&self, folder: &Path) -> Result<Arc<Package>, ModelError> {
        let started = Instant::now();
        let package = self.shared.registry.read(folder)?;
        let loaded = started.elapsed();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        match self.measure(&package) {
            Ok(cost) => {
                self.shared.admission.set_cost(package.name(), cost);
                log::info!(
                    "package {}: {} frames, loaded in {:.0} ms; a frame costs {:.1} ms of one core, composed {:.1} ms",
                    package.name(),
                    package.frame_count(),
                    ms(loaded),
                    ms(cost.mouth),
                    ms(cost.full),
                );
            }
            Err(error) => log::error!(
                "package {}: no frame could be made: {error}",
                package.name()
            ),
        }
        self.pool
            .everywhere(|worker| self.shared.prepare(worker, &package));
        self.shared.registry.insert(package.clone());
        Ok(package)
    }

    /// The packages that are served.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// The statistics that jobs are counted in.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// Threads that compute.
    pub fn workers(&self) -> usize {
        self.shared.workers.len()
    }

    /// Jobs that wait, and how many may.
    pub fn queue(&self) -> (usize, usize) {
        (self.shared.queue.len(), self.shared.queue.limit())
    }

    /// Jobs that were not computed because nobody wanted them any more.
    pub fn abandoned(&self) -> u64 {
        self.shared.abandoned.load(Ordering::Relaxed)
    }

    /// Encoder rows found again, and rows computed for requests.
    pub fn row_counts(&self) -> (u64, u64) {
        self.shared.common.rows.counts()
    }

    /// Takes no further job, answers those that wait with [`JobError::Stopping`], gives up the check of a package, and
    /// waits for the workers to finish what they have begun.
    pub fn stop(&self) {
        self.shared.stopping.trigger();
        while let Some((queued, job)) = self.shared.queue.pop() {
            finish(
                &job,
                queued.elapsed(),
                Duration::ZERO,
                Err(JobError::Stopping),
            );
        }
        let loader = self
            .shared
            .loader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(loader) = loader {
            let _ = loader.join();
        }
        self.pool.stop();
    }

    /// The budget that streams are admitted against.
    pub fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    /// What one frame of `package` costs on one core of this machine: encoder row, U-Net, JPEG, computed
    /// on the calling thread.
    fn measure(&self, package: &Arc<Package>) -> Result<Cost, JobError> {
        let mut worker = Worker::default();
        // Time of this thread on a core, and the shortest of a few: whatever else the machine does while the
        // packages are loaded (at boot, much) must not make it refuse streams ever after.
        let mut shortest = |picture| {
            let mut shortest = Duration::MAX;
            // The first builds states and fills caches; it is not counted.
            for round in 0..=MEASURED_FRAMES {
                let started = thread_time();
                // Always the same frame: in a steady stream it was decoded and cropped before.
                self.measure_frame(&mut worker, package, picture)?;
                if round > 0 {
                    shortest = shortest.min(thread_time().saturating_sub(started));
                }
            }
            Ok::<_, JobError>(shortest)
        };
        Ok(Cost {
            mouth: shortest(PictureKind::Mouth)?,
            full: shortest(PictureKind::Full)?,
        })
    }

    fn measure_frame(
        &self,
        worker: &mut Worker,
        package: &Arc<Package>,
        picture: PictureKind,
    ) -> Result<(), JobError> {
        let audio = match package.front_end() {
            // In a steady stream one row of a window is new, and the others were computed before.
            Some(spec) => {
                let new = FeatureFrame::new(vec![0.1; spec.input_len()]);
                let mut window = vec![FeatureSlot::Zero; spec.rows - 1];
                window.push(FeatureSlot::Frame(new));
                JobAudio::Features(window)
            }
            None => JobAudio::Own,
        };
        let job = Job {
            connection: ConnectionId(u64::MAX),
            ticket: 0,
            package: package.clone(),
            frame_id: 0,
            audio,
            picture,
            quality: None,
            cancel: None,
            reply: Arc::new(NoReply),
        };
        worker.run(&job, 1, &self.shared.common).map(drop)
    }
}

/// How long the calling thread has been on a core.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

impl Shared {
    /// One turn of a worker: the next job of the queue, if it is still wanted.
    fn turn(&self, worker: usize) {
        let Some((queued, job)) = self.queue.pop() else {
            return;
        };
        let waited = queued.elapsed();
        let started = Instant::now();
        let busy = self.load.begin(self.queue.is_empty());
        let threads = busy.threads(self.workers.len());
        let result = self.fenced(worker, |own| own.run(&job, threads, &self.common));
        drop(busy);
        if matches!(result, Err(JobError::Cancelled)) {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        let compute = started.elapsed();
        if result.is_ok() {
            self.stats.computed(compute, waited);
        }
        finish(&job, waited, compute, result);
    }

    /// Does `work` with what a worker owns. A panic costs this work alone, and what the worker kept.
    fn fenced<T>(
        &self,
        worker: usize,
        work: impl FnOnce(&mut Worker) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let done = catch_panic(|| {
            // Taken out while it works: what a panic leaves half-done is dropped with it, and a worker that
            // waits for its helpers (rayon may give it another job meanwhile) holds no lock.
            let mut own = std::mem::take(&mut *self.slot(worker));
            let result = work(&mut own);
            *self.slot(worker) = own;
            result
        });
        done.unwrap_or(Err(JobError::Panicked))
    }

    fn slot(&self, worker: usize) -> MutexGuard<'_, Worker> {
        self.workers[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds what a worker needs for a package, so that no client waits for it.
    fn prepare(&self, worker: usize, package: &Arc<Package>) {
        if let Err(error) = self.fenced(worker, |own| own.prepare(package, &self.common)) {
            log::error!("package {}: {error}", package.name());
        }
    }
}

fn finish(job: &Job, queued: Duration, compute: Duration, result: Result<Picture, JobError>) {
    let done = Done {
        ticket: job.ticket,
        result,
        queued,
        compute,
        finished: Instant::now(),
    };
    if job.reply.deliver(done) == Err(SendError::Full) {
        // The queue has room for all that its connection may have in flight.
        log::error!("a connection's event queue is full: a result is lost");
    }
}

#[cfg(test)]
mod tests;
