//! Every bound of the server, in one table: name, unit, default, range and reason.
//!
//! The command line, `docs/CONFIGURATION.md` and the checks are all made from that table.

use std::time::Duration;

use clap::Args;

/// One limit as the table describes it.
#[derive(Clone, Copy, Debug)]
pub struct LimitSpec {
    /// Field and flag name, with underscores (`max_connections` is the flag `--max-connections`).
    pub name: &'static str,
    /// Unit of the value, for people.
    pub unit: &'static str,
    /// Value when the flag is absent.
    pub default: u64,
    /// Smallest value that is accepted.
    pub min: u64,
    /// Largest value that is accepted.
    pub max: u64,
    /// Why the limit exists and why the default is what it is.
    pub reason: &'static str,
}

/// Largest size that this machine can have in memory: limits become sizes, so none is above it.
const ADDRESSABLE: u64 = usize::MAX as u64;

/// A default where at most `addressable` bytes can be had.
const fn default_on(value: u64, addressable: u64) -> u64 {
    if value > addressable {
        addressable
    } else {
        value
    }
}

impl LimitSpec {
    fn check(&self, value: u64, addressable: u64) -> Result<(), LimitError> {
        let max = default_on(self.max, addressable);
        if (self.min..=max).contains(&value) {
            return Ok(());
        }
        Err(LimitError {
            spec: LimitSpec { max, ..*self },
            value,
        })
    }
}

macro_rules! limits {
    ($($name:ident : $default:expr, $min:expr => $max:expr, $unit:literal, $reason:literal;)+) => {
        /// Every bound of the server, validated. Units are in the names or in [`LIMITS`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $reason] pub $name: u64,)+
        }

        /// The limits as they came from the command line.
        #[derive(Args, Clone, Debug, Default)]
        #[command(next_help_heading = "Limits")]
        pub struct LimitArgs {
            $(
                #[doc = concat!($reason, " [", $unit, "; default ", stringify!($default), "]")]
                #[arg(long, value_name = "N", hide_short_help = true)]
                pub $name: Option<u64>,
            )+
        }

        /// The table that everything about limits is made from.
        pub const LIMITS: &[LimitSpec] = &[
            $(LimitSpec {
                name: stringify!($name), unit: $unit, default: $default,
                min: $min, max: $max, reason: $reason,
            },)+
        ];

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: default_on($default, ADDRESSABLE),)+ }
            }
        }

        impl Limits {
            /// Takes the given values, and the defaults for the rest. They may be out of range until [`Limits::check`].
            pub fn from_args(args: &LimitArgs) -> Limits {
                let defaults = Limits::default();
                Limits { $($name: args.$name.unwrap_or(defaults.$name),)+ }
            }

            /// Whether every value is in its range, and fits this machine's addresses.
            ///
            /// # Errors
            /// [`LimitError`] names the first flag whose value is not accepted.
            pub fn check(&self) -> Result<(), LimitError> {
                for (spec, value) in LIMITS.iter().zip([$(self.$name,)+]) {
                    spec.check(value, ADDRESSABLE)?;
                }
                Ok(())
            }
        }
    };
}

limits! {
    max_connections: 256, 1 => 1024, "connections",
        "Open connections; each costs a thread, two descriptors and about 40 KiB, and a kernel's memory-map limit aborts the process near 16,000 threads. Lowered at the start where the process may not open as many descriptors";
    max_head_bytes: 16384, 512 => 65536, "bytes",
        "Size of one HTTP request head, which is all that a client can make the server keep before it is known; cookies of other programs on the same host come in it, and other servers take 16 KiB, too";
    max_head_lines: 64, 8 => 256, "lines",
        "Header lines of one HTTP request; browsers send about 20";
    handshake_ms: 5000, 100 => 60000, "ms",
        "Total time for one request head: a limit per read would never end a client that sends a byte a second";
    keep_alive_ms: 15000, 100 => 600000, "ms",
        "How long an HTTP connection may wait for its next request";
    max_message_bytes: 4194304, 1024 => 67108864, "bytes",
        "Size of one WebSocket message; 10 s of 48 kHz speech as base64 are 1.3 MB";
    max_frame_bytes: 4194304, 1024 => 67108864, "bytes",
        "Size of one WebSocket frame (a message may come in several)";
    read_buffer_bytes: 4096, 1024 => 1048576, "bytes",
        "Read buffer of a connection, allocated at once: it decides what an idle connection costs";
    max_write_buffer_bytes: 33554432, 1048576 => 268435456, "bytes",
        "Largest reply message, and so what one slow client can make the server keep";
    max_outbox_bytes: 1048576, 65536 => 67108864, "bytes",
        "Replies that wait for a slow client before the server stops reading its requests";
    write_ms: 5000, 100 => 60000, "ms",
        "How long one message may take to be taken by the client's side before it is given up";
    response_ms: 60000, 1000 => 600000, "ms",
        "How long one HTTP response may take in all, so that a client cannot hold a connection by reading a byte a second";
    ping_ms: 20000, 100 => 600000, "ms",
        "Silence of a client after which it is pinged";
    idle_ms: 60000, 200 => 3600000, "ms",
        "Silence of a client, pongs included, after which it is taken for gone";
    close_ms: 1000, 50 => 10000, "ms",
        "Time for a client to answer a close, and to take what was sent before it";
    drain_ms: 5000, 0 => 60000, "ms",
        "At shutdown: time for what is in flight to finish, responses included; `--close-ms` more is for saying goodbye";
    max_in_flight: 16, 1 => 1024, "requests",
        "Requests of one connection that wait or are computed; one more is answered `busy`";
    max_queue: 128, 1 => 65536, "jobs",
        "Jobs that wait for a worker, of all connections; at 40 ms a frame these are seconds already";
    max_batch: 64, 1 => 1024, "frames",
        "Frames of one batch request";
    max_audio_ms: 10000, 640 => 60000, "ms",
        "Audio of one request; a window needs 640 ms";
    max_row_cache_bytes: 16777216, 65536 => 1073741824, "bytes",
        "Encoder rows kept for neighbouring requests (2 KiB a row of 512 values)";
    max_crop_cache_bytes: 268435456, 1048576 => 17179869184, "bytes",
        "Decoded crops kept, of all packages (77 KB a frame at 160 pixels, 307 KB at 320)";
    max_kept_frames_bytes: 268435456, 0 => 17179869184, "bytes",
        "What one package may keep of its network's work on the idle frames alone, which saves a fifth of each frame; 0 keeps nothing";
    max_package_bytes: 536870912, 1048576 => 17179869184, "bytes",
        "Files of one package, together";
    max_frames: 20000, 1 => 1000000, "frames",
        "Frames of one package's idle video";
    max_packages: 32, 1 => 1024, "packages",
        "Packages served at once";
    check_ms: 60000, 1000 => 600000, "ms",
        "Time for the child process that checks a package before a client's load_model loads it";
    max_check_bytes: 4294967296, 268435456 => 68719476736, "bytes",
        "Address space of that child process: a crafted network can ask for any amount";
    max_streams: 4, 1 => 64, "streams",
        "Streams of one connection (protocol v2)";
    resume_ms: 15000, 0 => 600000, "ms",
        "How long the stream of a broken connection is kept for its client";
    max_resumable: 64, 0 => 4096, "streams",
        "Streams kept for clients whose connection broke";
    max_credits: 1000, 1 => 100000, "frames",
        "Credits that a stream may save up: what it may be sent ahead of time";
    max_held_frames: 50, 2 => 1000, "frames",
        "Frames of a stream that wait for credit before the oldest makes room";
    max_ahead_ms: 60000, 1000 => 600000, "ms",
        "Audio of a stream that waits for its frames (48 KB a second at 24 kHz)";
    max_gap_ms: 1000, 0 => 10000, "ms",
        "Longest hole in a stream's audio that is filled with silence";
    max_delay_ms: 1000, 0 => 60000, "ms",
        "How long after its instant a stream's frame is still of use, where the client does not say";
    stall_ms: 500, 0 => 60000, "ms",
        "How long after its last sound a stream whose end was not told closes the mouth; 0: never";
    max_utterances: 16, 1 => 1000, "epochs",
        "Epochs of a stream that wait for the one before them";
    stream_idle_ms: 300000, 1000 => 86400000, "ms",
        "How long a stream stays open though its client sends nothing for it";
    stats_ms: 5000, 100 => 600000, "ms",
        "Time between two statistics messages to a client that asked for them";
}

impl Limits {
    /// [`Limits::handshake_ms`] as a duration.
    pub fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }
    /// [`Limits::keep_alive_ms`] as a duration.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }
    /// [`Limits::write_ms`] as a duration.
    pub fn write(&self) -> Duration {
        Duration::from_millis(self.write_ms)
    }
    /// [`Limits::response_ms`] as a duration.
    pub fn response(&self) -> Duration {
        Duration::from_millis(self.response_ms)
    }
    /// [`Limits::ping_ms`] as a duration.
    pub fn ping(&self) -> Duration {
        Duration::from_millis(self.ping_ms)
    }
    /// [`Limits::idle_ms`] as a duration.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
    /// [`Limits::close_ms`] as a duration.
    pub fn close(&self) -> Duration {
        Duration::from_millis(self.close_ms)
    }
    /// [`Limits::drain_ms`] as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
    /// How long after the shutdown began the last connection has ended: the drain, and the time to close.
    pub fn stop_budget(&self) -> Duration {
        self.drain() + self.close()
    }
    /// [`Limits::resume_ms`] as a duration.
    pub fn resume(&self) -> Duration {
        Duration::from_millis(self.resume_ms)
    }
    /// [`Limits::stats_ms`] as a duration.
    pub fn stats(&self) -> Duration {
        Duration::from_millis(self.stats_ms)
    }
}

/// A limit outside its range. The fault is the operator's, the text says what to change.
#[derive(Clone, Debug, thiserror::Error)]
#[error("--{} {value}: give a value from {} to {} {}", spec.name.replace('_', "-"), spec.min, spec.max, spec.unit)]
pub struct LimitError {
    /// The limit.
    pub spec: LimitSpec,
    /// What was asked for.
    pub value: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_its_range() {
        Limits::from_args(&LimitArgs::default()).check().unwrap();
    }

    #[test]
    fn a_value_out_of_range_names_its_flag() {
        let args = LimitArgs {
            max_connections: Some(5000),
            ..LimitArgs::default()
        };
        let error = Limits::from_args(&args).check().unwrap_err().to_string();
        assert!(error.contains("--max-connections 5000"), "{error}");
        assert!(error.contains("1024"), "{error}");
    }

    #[test]
    fn no_limit_is_above_what_a_32_bit_machine_can_address() {
        let addressable = u64::from(u32::MAX);
        for spec in LIMITS {
            let default = default_on(spec.default, addressable);
            assert!(spec.check(default, addressable).is_ok(), "{}", spec.name);
            let error = spec.check(addressable + 1, addressable);
            assert!(error.is_err(), "{}", spec.name);
        }
        let memory = LIMITS
            .iter()
            .find(|spec| spec.name == "max_crop_cache_bytes");
        let error = memory.unwrap().check(1 << 33, addressable).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
