//! What the server is told: raw options (the command line) become a [`Config`] that cannot be wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::limits::{LimitError, Limits};
use crate::protocol::ProtocolSet;

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The folder of packages, one sub-folder each.
    pub models_dir: PathBuf,
    /// Serve assets from this folder and not from the binary.
    pub static_dir: Option<PathBuf>,
    /// Wire protocols that are on.
    pub protocols: ProtocolSet,
    /// Whether clients may load and unload packages of `models_dir`.
    pub allow_load: bool,
    /// The program that checks a package in a child process before a client's `load_model` loads it:
    /// this binary. `None`: no check.
    pub checker: Option<PathBuf>,
    /// Origins of pages that may open a WebSocket; empty: all.
    pub origins: Vec<String>,
    /// Threads that compute.
    pub workers: usize,
    /// JPEG quality of replies, 1..=100.
    pub jpeg_quality: u8,
    /// Every bound.
    pub limits: Limits,
}

impl Config {
    /// Defaults, listening on a free port of the loopback: what tests start from.
    pub fn for_tests(models_dir: impl Into<PathBuf>) -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            models_dir: models_dir.into(),
            static_dir: None,
            protocols: ProtocolSet::ALL,
            allow_load: false,
            checker: None,
            origins: Vec::new(),
            workers: 2,
            jpeg_quality: 90,
            limits: Limits::default(),
        }
    }
}

/// Why a configuration was refused. The fault is the operator's, the text says what to change.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// A limit outside its range.
    Limit(LimitError),
    /// `--quality` outside 1..=100.
    Quality(u8),
    /// `--workers` of 0 or above [`MAX_WORKERS`].
    Workers(usize),
    /// A folder that does not exist.
    NoFolder {
        /// The flag that named it.
        flag: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Pings rarer than the idle limit would close every quiet client.
    PingAfterIdle {
        /// `--ping-ms`.
        ping_ms: u64,
        /// `--idle-ms`.
        idle_ms: u64,
    },
    /// An origin that is not `scheme://host[:port]`.
    Origin(String),
}

/// Most threads that may compute.
pub const MAX_WORKERS: usize = 256;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Limit(error) => error.fmt(f),
            ConfigError::Quality(value) => {
                write!(f, "--quality {value}: give a value from 1 to 100")
            }
            ConfigError::Workers(value) => {
                write!(f, "--workers {value}: give a value from 1 to {MAX_WORKERS}")
            }
            ConfigError::NoFolder { flag, path } => write!(
                f,
                "--{flag} {}: there is no such folder; start the server where it is, or name it with --{flag}",
                path.display()
            ),
            ConfigError::PingAfterIdle { ping_ms, idle_ms } => write!(
                f,
                "--ping-ms {ping_ms} must be below --idle-ms {idle_ms}, or quiet clients are closed before they are asked"
            ),
            ConfigError::Origin(origin) => write!(
                f,
                "--allow-origin {origin}: give scheme://host or scheme://host:port, such as https://kiosk.example"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<LimitError> for ConfigError {
    fn from(error: LimitError) -> Self {
        ConfigError::Limit(error)
    }
}
