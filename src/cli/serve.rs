//! `lipsyncd [serve]`: the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use log::LevelFilter;
use sd_notify::NotifyState;

use crate::base::limits::{LimitArgs, Limits};
use crate::base::shutdown::Shutdown;
use crate::config::{Config, ConfigError, DEFAULT_HOST, DEFAULT_PORT, Options};
use crate::observe::start_log;
use crate::protocol::ProtocolSet;
use crate::server::{App, Loaded};

use super::CliError;
use super::signals::SignalWatch;

/// Serve the packages of the models folder
#[derive(Clone, Debug, clap::Args)]
pub struct Serve {
    /// Port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Address or name to listen on, separated by commas or given several times: 0.0.0.0 or :: lets other machines
    /// connect, localhost stands for 127.0.0.1 and ::1
    #[arg(long = "host", default_value = DEFAULT_HOST, value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Folder of packages, one sub-folder each
    #[arg(long, default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// Serve the page from this folder and not from the binary, to work on it
    #[arg(long = "static", value_name = "DIR")]
    static_dir: Option<PathBuf>,
    /// Protocols that are on, separated by commas: json, binary, protobuf, stream
    #[arg(long, default_value_t = ProtocolSet::ALL, value_name = "LIST")]
    protocols: ProtocolSet,
    /// Let clients load and unload packages of the models folder
    #[arg(long)]
    allow_load: bool,
    /// Let pages of this other site open a WebSocket, besides the server's own: https://shop.example,
    /// https://*.shop.example, null, file://, or * for all; separated by commas or given several times
    #[arg(long = "allow-origin", value_name = "ORIGIN", value_delimiter = ',')]
    allow_origins: Vec<String>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// JPEG quality of replies, 1 to 100
    #[arg(long, default_value_t = 90, value_name = "Q")]
    quality: u8,
    /// What is logged: off, error, warn, info, debug
    #[arg(long, default_value_t = LevelFilter::Info, value_name = "LEVEL")]
    log: LevelFilter,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Serve {
    /// Checks everything that was given.
    ///
    /// # Errors
    /// [`ConfigError`] names the first option that cannot be.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let defaults = Options::default();
        Config::new(Options {
            hosts: self.hosts.clone(),
            port: self.port,
            models_dir: self.models.clone(),
            static_dir: self.static_dir.clone(),
            protocols: self.protocols,
            allow_load: self.allow_load,
            checker: std::env::current_exe().ok(),
            origins: self.allow_origins.clone(),
            workers: self.workers.unwrap_or(defaults.workers),
            jpeg_quality: self.quality,
            limits: Limits::from_args(&self.limits),
        })
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// Whatever keeps the server from starting, in words.
    pub fn run(self) -> Result<(), CliError> {
        let config = self.config()?;
        let _log = start_log(self.log)?;
        let shutdown = Shutdown::new()?;
        let _signals = SignalWatch::start(shutdown.clone())?;
        let outcome = Arc::new(Mutex::new(Ok(())));
        let app = {
            let (shutdown, outcome) = (shutdown.clone(), outcome.clone());
            let allow_load = config.allow_load();
            App::start(&config, shutdown.clone(), move |loaded| {
                if loaded.served.is_empty() && !allow_load && !shutdown.is_triggered() {
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(nothing(loaded));
                    shutdown.trigger();
                } else {
                    log::info!("ready: {} packages", loaded.served.len());
                    notify(NotifyState::Ready);
                }
            })?
        };
        log::info!(
            "listening on {} with {} workers",
            urls(app.addresses()),
            config.workers()
        );
        if config.is_loopback() {
            log::info!("only this machine can connect; --host 0.0.0.0 lets others, too");
        }
        shutdown.wait(None);
        notify(NotifyState::Stopping);
        log::info!("stopping: finishing what is in flight (a second signal ends at once)");
        app.stop();
        log::info!("stopped");
        let outcome = std::mem::replace(
            &mut *outcome.lock().unwrap_or_else(PoisonError::into_inner),
            Ok(()),
        );
        outcome.map_err(CliError::from)
    }
}

/// Where people may point their browsers.
fn urls(addresses: &[SocketAddr]) -> String {
    let urls: Vec<String> = addresses.iter().map(|a| format!("http://{a}/")).collect();
    urls.join(" and ")
}

fn nothing(loaded: &Loaded) -> String {
    match loaded.failed {
        0 => "there is no package to serve: a package is a folder with a manifest.json in the models folder (--models)".to_owned(),
        failed => format!("none of the {failed} packages could be loaded; the lines above say why, and `lipsyncd check DIR` tells more"),
    }
}

/// Tells systemd, where it listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("systemd could not be told: {error}");
    }
}
