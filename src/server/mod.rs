//! The whole server, put together: engine, packages, sessions, HTTP and the listeners.

mod assets;
mod descriptors;
mod http_service;
mod listen;
mod metrics;
mod origin_policy;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::base::limits::Limits;
use crate::base::panic::catch_panic;
use crate::base::shutdown::Shutdown;
use crate::config::Config;
use crate::engine::{Engine, PoolError};
use crate::model::{ModelError, Registry};
use crate::observe::Stats;
use crate::session::Context;
use crate::transport::{self, TransportError};

pub use assets::{Assets, AssetsError};
pub use http_service::HttpService;
pub use listen::ListenError;
pub use origin_policy::{OriginPolicy, OriginRefused};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no threads to compute with.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The system gives nothing to listen with.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The folder of the page.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// The folder of packages cannot be read.
    #[error(transparent)]
    Models(#[from] ModelError),
    /// There is no thread to load packages with.
    #[error("cannot start: {0}")]
    Resources(#[source] io::Error),
}

/// How the loading of all packages went.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Names of the packages that are served.
    pub served: Vec<String>,
    /// Packages that could not be loaded.
    pub failed: usize,
}

/// A running server.
pub struct App {
    context: Arc<Context>,
    server: transport::Server,
    shutdown: Shutdown,
    loader: Option<JoinHandle<()>>,
}

impl App {
    /// Listens, and loads every package meanwhile. `on_loaded` is called on the loading thread, once.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        config: &Config,
        shutdown: Shutdown,
        on_loaded: impl FnOnce(&Loaded) + Send + 'static,
    ) -> Result<App, StartError> {
        let folders = Registry::folders(config.models_dir())?;
        let assets = Assets::open(config.static_dir())?;
        let listeners = listen::listen_on(config.listen())?;
        let port = listeners[0].local_addr().map_or(0, |own| own.port());
        let engine = Engine::start(config, Arc::new(Stats::default()))?;
        let context = Arc::new(Context::new(config, engine));
        let origins = OriginPolicy::new(config, port);
        let service = Arc::new(HttpService::new(context.clone(), assets, origins));
        let limits = Limits {
            max_connections: descriptors::connection_cap(config.limits(), listeners.len()),
            ..config.limits().clone()
        };
        let server = transport::Server::start(listeners, service, &limits, shutdown.clone())?;
        let loading = (context.clone(), shutdown.clone());
        let loader = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let (context, shutdown) = loading;
                let loaded = load(&context, &folders, &shutdown);
                context.set_ready();
                on_loaded(&loaded);
            })
            .map_err(StartError::Resources)?;
        Ok(App {
            context,
            server,
            shutdown,
            loader: Some(loader),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// The first of [`App::addresses`].
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What its sessions share.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Waits until every package is loaded (or has failed).
    pub fn wait_loaded(&mut self) {
        if let Some(loader) = self.loader.take() {
            let _ = loader.join();
        }
    }

    /// Shuts down, in this order:
    ///
    /// 1. no further connection, and no further package of those that are still to be loaded;
    /// 2. connections: requests in flight are finished, goodbyes are said, the threads have ended; at most
    ///    [`Limits::stop_budget`] after the trigger, whatever clients do;
    /// 3. the engine: jobs that wait are given up, the workers finish the frames that they have begun;
    /// 4. the package that is being loaded.
    pub fn stop(mut self) {
        self.shutdown.trigger();
        self.server.stop();
        self.context.engine.stop();
        if let Some(loader) = self.loader.take() {
            let _ = loader.join();
        }
    }
}

/// Loads and measures the packages, one after another. One that fails is told in the log, and the others
/// are served.
fn load(context: &Context, folders: &[std::path::PathBuf], shutdown: &Shutdown) -> Loaded {
    let mut loaded = Loaded::default();
    let limit = context.limits.max_packages as usize;
    for (count, folder) in folders.iter().enumerate() {
        if shutdown.is_triggered() {
            break;
        }
        if count == limit {
            let left = folders.len() - limit;
            log::error!("{left} packages are not loaded: {limit} are (--max-packages)");
            loaded.failed += left;
            break;
        }
        // A panic costs its package: the server would never be ready.
        let result = catch_panic(|| context.engine.load_folder(folder));
        match result.map_err(|panic| format!("loading it panicked: {panic}")) {
            Ok(Ok(package)) => loaded.served.push(package.name().to_owned()),
            Ok(Err(error)) => {
                log::error!("the package in {} is not served: {error}", folder.display());
                loaded.failed += 1;
            }
            Err(error) => {
                log::error!("the package in {} is not served: {error}", folder.display());
                loaded.failed += 1;
            }
        }
    }
    loaded
}
