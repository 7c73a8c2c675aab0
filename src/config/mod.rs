//! What the server is told: raw [`Options`] become a [`Config`], which holds every check and cannot be wrong.

mod hosts;
mod origins;

use std::path::{Path, PathBuf};

use crate::base::limits::{LimitError, Limits};
use crate::protocol::ProtocolSet;

pub use hosts::{HostError, ListenHost};
pub(crate) use origins::is_loopback_host;
pub use origins::{Origin, OriginError, OriginPattern};

/// Most threads that may compute.
pub const MAX_WORKERS: usize = 256;

/// The port that is listened on where no other is named.
pub const DEFAULT_PORT: u16 = 8765;

/// The address that is listened on where no other is named.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// What was asked for, unchecked. The defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses and names to listen on.
    pub hosts: Vec<String>,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The folder of packages, one sub-folder each.
    pub models_dir: PathBuf,
    /// Serve the page from this folder and not from the binary.
    pub static_dir: Option<PathBuf>,
    /// Wire protocols that are on.
    pub protocols: ProtocolSet,
    /// Whether clients may load and unload packages of `models_dir`.
    pub allow_load: bool,
    /// The program that checks a package in a child process before a client's `load_model` loads it: this binary.
    /// `None`: no check.
    pub checker: Option<PathBuf>,
    /// Origins of other sites whose pages may open a WebSocket.
    pub origins: Vec<String>,
    /// Threads that compute.
    pub workers: usize,
    /// JPEG quality of replies, 1..=100.
    pub jpeg_quality: u8,
    /// Every bound.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            hosts: vec![DEFAULT_HOST.to_owned()],
            port: DEFAULT_PORT,
            models_dir: PathBuf::from("models"),
            static_dir: None,
            protocols: ProtocolSet::ALL,
            allow_load: false,
            checker: None,
            origins: Vec::new(),
            workers: cores.min(MAX_WORKERS),
            jpeg_quality: 90,
            limits: Limits::default(),
        }
    }
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    listen: Vec<ListenHost>,
    origins: Vec<OriginPattern>,
    /// Whose other fields were checked.
    options: Options,
}

impl Config {
    /// Checks everything that was asked for, and looks up the names to listen on.
    ///
    /// # Errors
    /// [`ConfigError`] names the first option that cannot be.
    pub fn new(options: Options) -> Result<Config, ConfigError> {
        let limits = &options.limits;
        limits.check()?;
        let (ping_ms, idle_ms) = (limits.ping_ms, limits.idle_ms);
        if ping_ms >= idle_ms {
            return Err(ConfigError::PingAfterIdle { ping_ms, idle_ms });
        }
        if !(1..=100).contains(&options.jpeg_quality) {
            return Err(ConfigError::Quality(options.jpeg_quality));
        }
        if !(1..=MAX_WORKERS).contains(&options.workers) {
            return Err(ConfigError::Workers(options.workers));
        }
        let folders = [
            ("models", Some(&options.models_dir)),
            ("static", options.static_dir.as_ref()),
        ];
        for (flag, path) in folders {
            if let Some(path) = path.filter(|path| !path.is_dir()) {
                let path = path.clone();
                return Err(ConfigError::NoFolder { flag, path });
            }
        }
        let origins = options.origins.iter().map(|text| text.parse());
        let origins: Vec<OriginPattern> = origins.collect::<Result<_, _>>()?;
        let listen = hosts::resolve(&options.hosts, options.port)?;
        if options.allow_load {
            if origins.contains(&OriginPattern::Any) {
                return Err(ConfigError::LoadFromEveryPage);
            }
            if origins.is_empty() && !listen.iter().all(ListenHost::is_loopback) {
                return Err(ConfigError::LoadUnguarded);
            }
        }
        Ok(Config {
            listen,
            origins,
            options,
        })
    }

    /// What to listen on.
    pub fn listen(&self) -> &[ListenHost] {
        &self.listen
    }

    /// Whether only programs and pages of this machine can connect.
    pub fn is_loopback(&self) -> bool {
        self.listen.iter().all(ListenHost::is_loopback)
    }

    /// The folder of packages.
    pub fn models_dir(&self) -> &Path {
        &self.options.models_dir
    }

    /// The folder that the page is served from, where it is not the one in the binary.
    pub fn static_dir(&self) -> Option<&Path> {
        self.options.static_dir.as_deref()
    }

    /// Wire protocols that are on.
    pub fn protocols(&self) -> ProtocolSet {
        self.options.protocols
    }

    /// Whether clients may load and unload packages.
    pub fn allow_load(&self) -> bool {
        self.options.allow_load
    }

    /// The program that checks a package in a child process, if packages are to be checked.
    pub fn checker(&self) -> Option<&Path> {
        self.options.checker.as_deref()
    }

    /// Pages of other sites that may open a WebSocket.
    pub fn origins(&self) -> &[OriginPattern] {
        &self.origins
    }

    /// Threads that compute, 1..=[`MAX_WORKERS`].
    pub fn workers(&self) -> usize {
        self.options.workers
    }

    /// JPEG quality of replies, 1..=100.
    pub fn jpeg_quality(&self) -> u8 {
        self.options.jpeg_quality
    }

    /// Every bound.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }
}

/// Why a configuration was refused. The fault is the operator's, the text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A limit outside its range.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// `--quality` outside 1..=100.
    #[error("--quality {0}: give a value from 1 to 100")]
    Quality(u8),
    /// `--workers` of 0 or above [`MAX_WORKERS`].
    #[error("--workers {0}: give a value from 1 to {MAX_WORKERS}")]
    Workers(usize),
    /// A folder that does not exist.
    #[error("--{flag} {}: there is no such folder; start the server where it is, or name it with --{flag}", path.display())]
    NoFolder {
        /// The flag that named it.
        flag: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Pings rarer than the idle limit would close every quiet client.
    #[error(
        "--ping-ms {ping_ms} must be below --idle-ms {idle_ms}, or quiet clients are closed before they are asked"
    )]
    PingAfterIdle {
        /// `--ping-ms`.
        ping_ms: u64,
        /// `--idle-ms`.
        idle_ms: u64,
    },
    /// An origin that no page can have.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A host that cannot be listened on.
    #[error(transparent)]
    Host(#[from] HostError),
    /// `--allow-load` where other machines can connect, and no list of pages.
    #[error(
        "--allow-load lets clients load and unload packages, and --host lets other machines connect: name the pages that may, with --allow-origin, or listen on 127.0.0.1 alone"
    )]
    LoadUnguarded,
    /// `--allow-load` with `--allow-origin '*'`.
    #[error(
        "--allow-load with --allow-origin '*' would let any page that is open in a browser unload packages: name the pages that may"
    )]
    LoadFromEveryPage,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            models_dir: "src".into(),
            ..Options::default()
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_flag() {
        type Change = fn(&mut Options);
        let cases: [(&str, Change); 8] = [
            ("--quality 101", |o| o.jpeg_quality = 101),
            ("--workers 0", |o| o.workers = 0),
            ("--models none", |o| o.models_dir = "none".into()),
            ("--static none", |o| o.static_dir = Some("none".into())),
            ("--ping-ms 60000", |o| o.limits.ping_ms = 60_000),
            ("--max-queue 0", |o| o.limits.max_queue = 0),
            ("--allow-origin shop.example", |o| {
                o.origins = vec!["shop.example".into()];
            }),
            ("--host 127.0.0.1:9000", |o| {
                o.hosts = vec!["127.0.0.1:9000".into()];
            }),
        ];
        Config::new(options()).unwrap();
        for (flag, change) in cases {
            let mut options = options();
            change(&mut options);
            let error = Config::new(options).unwrap_err().to_string();
            assert!(error.contains(flag), "{flag}: {error}");
        }
    }

    #[test]
    fn loading_needs_a_list_of_origins_or_a_loopback_address() {
        let refused = |host: &str, origins: &[&str]| {
            let options = Options {
                allow_load: true,
                hosts: vec![host.to_owned()],
                origins: origins.iter().map(|&origin| origin.into()).collect(),
                ..options()
            };
            Config::new(options).err().map(|error| error.to_string())
        };
        assert_eq!(refused("127.0.0.1", &[]), None);
        assert_eq!(refused("localhost", &[]), None);
        assert_eq!(refused("0.0.0.0", &["https://kiosk.example"]), None);
        let unguarded = refused("0.0.0.0", &[]).unwrap();
        assert!(unguarded.contains("--allow-origin"), "{unguarded}");
        let every_page = refused("127.0.0.1", &["*"]).unwrap();
        assert!(every_page.contains("any page"), "{every_page}");
    }
}
