//! `lipsyncd [serve]`: the server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use log::LevelFilter;
use sd_notify::NotifyState;

use crate::base::limits::{LimitArgs, Limits};
use crate::base::shutdown::Shutdown;
use crate::config::{Config, ConfigError, MAX_WORKERS};
use crate::observe::start_log;
use crate::protocol::ProtocolSet;
use crate::server::{App, Loaded};

use super::CliError;

/// Exit status after a second signal, as shells report a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Serve the packages of the models folder
#[derive(Clone, Debug, clap::Args)]
pub struct Serve {
    /// Port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = 8765)]
    port: u16,
    /// Address to listen on; 0.0.0.0 or :: lets other machines connect
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,
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
    /// Let only pages of this origin open a WebSocket; may be given several times [default: all]
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
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
        let limits = Limits::from_args(&self.limits)?;
        let (ping_ms, idle_ms) = (limits.ping_ms, limits.idle_ms);
        if ping_ms >= idle_ms {
            return Err(ConfigError::PingAfterIdle { ping_ms, idle_ms });
        }
        if !(1..=100).contains(&self.quality) {
            return Err(ConfigError::Quality(self.quality));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or(cores.min(MAX_WORKERS));
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(ConfigError::Workers(workers));
        }
        let folders = [
            ("models", Some(&self.models)),
            ("static", self.static_dir.as_ref()),
        ];
        for (flag, path) in folders {
            if let Some(path) = path.filter(|path| !path.is_dir()) {
                let path = path.clone();
                return Err(ConfigError::NoFolder { flag, path });
            }
        }
        for origin in &self.allow_origins {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            if host.is_empty() || host.contains('/') {
                return Err(ConfigError::Origin(origin.clone()));
            }
        }
        Ok(Config {
            listen: SocketAddr::new(self.host, self.port),
            models_dir: self.models.clone(),
            static_dir: self.static_dir.clone(),
            protocols: self.protocols,
            allow_load: self.allow_load,
            checker: std::env::current_exe().ok(),
            origins: self.allow_origins.clone(),
            workers,
            jpeg_quality: self.quality,
            limits,
        })
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// Whatever keeps the server from starting, in words.
    pub fn run(self) -> Result<(), CliError> {
        let config = self.config()?;
        start_log(self.log)?;
        let stop = Shutdown::new()?;
        stop_on_signal(stop.clone())?;
        let outcome = Arc::new(Mutex::new(Ok(())));
        let app = {
            let (stop, outcome, allow_load) = (stop.clone(), outcome.clone(), config.allow_load);
            App::start(&config, stop.clone(), move |loaded| {
                if loaded.served.is_empty() && !allow_load && !stop.is_triggered() {
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(nothing(loaded));
                    stop.trigger();
                } else {
                    log::info!("ready: {} packages", loaded.served.len());
                    notify(NotifyState::Ready);
                }
            })?
        };
        let address = app.address();
        log::info!(
            "listening on http://{address}/ with {} workers",
            config.workers
        );
        if address.ip().is_loopback() {
            log::info!("only this machine can connect; --host 0.0.0.0 lets others, too");
        }
        stop.wait(None);
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

fn nothing(loaded: &Loaded) -> String {
    match loaded.failed {
        0 => "there is no package to serve: a package is a folder with a manifest.json in the models folder (--models)".to_owned(),
        failed => format!("none of the {failed} packages could be loaded; the lines above say why, and `lipsyncd check DIR` tells more"),
    }
}

/// The first signal stops in order, the second ends the process.
fn stop_on_signal(stop: Shutdown) -> Result<(), CliError> {
    let signalled = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if signalled.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        stop.trigger();
    })?;
    Ok(())
}

/// Tells systemd, where it listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("systemd could not be told: {error}");
    }
}
