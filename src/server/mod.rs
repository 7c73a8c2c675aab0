//! The whole server, put together: engine, packages, sessions, HTTP and the listener.

mod assets;
mod metrics;
mod site;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::base::shutdown::Shutdown;
use crate::config::Config;
use crate::engine::{Engine, PoolError};
use crate::model::{ModelError, Registry};
use crate::observe::Stats;
use crate::session::Context;
use crate::transport::{self, TransportError};

pub use assets::{Assets, AssetsError};
pub use site::Site;

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Workers.
    Pool(PoolError),
    /// Listener thread.
    Transport(TransportError),
    /// The folder of the page.
    Assets(AssetsError),
    /// The folder of packages cannot be read.
    Models(ModelError),
    /// There is no thread or descriptor to load packages with.
    Resources(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen { address, source } => {
                write!(f, "cannot listen on {address}: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(f, "; another program has this port, choose one with --port")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(
                            f,
                            "; ports below 1024 need privileges, choose one with --port"
                        )
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(
                            f,
                            "; this machine has no such address, choose one with --host"
                        )
                    }
                    _ => Ok(()),
                }
            }
            StartError::Pool(error) => error.fmt(f),
            StartError::Transport(error) => error.fmt(f),
            StartError::Assets(error) => error.fmt(f),
            StartError::Models(error) => error.fmt(f),
            StartError::Resources(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

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
    stop: Shutdown,
    loader: Option<JoinHandle<()>>,
}

impl App {
    /// Listens, and loads every package meanwhile. `on_loaded` is called on the loading thread, once.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        config: &Config,
        stop: Shutdown,
        on_loaded: impl FnOnce(&Loaded) + Send + 'static,
    ) -> Result<App, StartError> {
        let folders = Registry::folders(&config.models_dir).map_err(StartError::Models)?;
        let assets = Assets::open(config.static_dir.as_deref()).map_err(StartError::Assets)?;
        let listener = TcpListener::bind(config.listen).map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let engine = Engine::start(config, Arc::new(Stats::default())).map_err(StartError::Pool)?;
        let context = Arc::new(Context::new(config, engine));
        let site = Arc::new(Site::new(
            context.clone(),
            assets,
            !config.origins.is_empty(),
        ));
        let server = transport::Server::start(
            listener,
            site,
            &config.limits,
            &config.origins,
            stop.clone(),
        )
        .map_err(StartError::Transport)?;
        let loading = (context.clone(), stop.clone());
        let loader = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let (context, stop) = loading;
                let loaded = load(&context, &folders, &stop);
                context.set_ready();
                on_loaded(&loaded);
            })
            .map_err(StartError::Resources)?;
        Ok(App {
            context,
            server,
            stop,
            loader: Some(loader),
        })
    }

    /// Where it listens.
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

    /// Stops: no further connection, what is in flight is finished within the drain limit, every
    /// connection is closed, every thread has ended.
    pub fn stop(mut self) {
        self.stop.trigger();
        self.wait_loaded();
        self.server.stop();
        self.context.engine.stop();
    }
}

/// Loads and measures the packages, one after another. One that fails is told in the log, and the others
/// are served.
fn load(context: &Context, folders: &[std::path::PathBuf], stop: &Shutdown) -> Loaded {
    let mut loaded = Loaded::default();
    let limit = context.limits.max_packages as usize;
    for (count, folder) in folders.iter().enumerate() {
        if stop.is_triggered() {
            break;
        }
        if count == limit {
            let left = folders.len() - limit;
            log::error!("{left} packages are not loaded: {limit} are (--max-packages)");
            loaded.failed += left;
            break;
        }
        match context.engine.load_folder(folder) {
            Ok(package) => loaded.served.push(package.name().to_owned()),
            Err(error) => {
                log::error!("the package in {} is not served: {error}", folder.display());
                loaded.failed += 1;
            }
        }
    }
    loaded
}
