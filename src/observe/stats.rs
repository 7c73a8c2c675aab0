//! Counters and distributions since the start. Counting never waits for reading: counters are atomic, and
//! a distribution's lock is held for one increment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How a frame was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Binary v1, timed or not.
    Binary,
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

/// Figures of all streams. The stream sessions count here.
#[derive(Debug, Default)]
pub struct StreamFigures {
    /// Open now.
    pub open: AtomicU64,
    /// Opened since the start.
    pub opened: AtomicU64,
    /// Refused for want of capacity.
    pub refused: AtomicU64,
    /// Taken up again after a broken connection.
    pub resumed: AtomicU64,
    /// Frames sent.
    pub frames_sent: AtomicU64,
    /// Of these, frames without an image.
    pub idle_frames: AtomicU64,
    /// Frames without an image because theirs could not be computed: the one before is shown once more.
    pub held_frames: AtomicU64,
    /// Frames dropped after their deadline.
    pub dropped_late: AtomicU64,
    /// Frames dropped for want of credit.
    pub dropped_no_credit: AtomicU64,
    /// Frames dropped by an interrupt.
    pub dropped_interrupted: AtomicU64,
}

/// A distribution of times, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// The figures of one server.
pub struct Stats {
    started: Instant,
    binary: AtomicU64,
    json: AtomicU64,
    protobuf: AtomicU64,
    errors: AtomicU64,
    busy: AtomicU64,
    connections: AtomicU64,
    connected: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    requests: Distribution,
    compute: Distribution,
    queued: Distribution,
    /// Figures of streams.
    pub streams: StreamFigures,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            started: Instant::now(),
            binary: AtomicU64::new(0),
            json: AtomicU64::new(0),
            protobuf: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            requests: Distribution::new(),
            compute: Distribution::new(),
            queued: Distribution::new(),
            streams: StreamFigures::default(),
        }
    }
}

impl Stats {
    /// A frame was asked for.
    pub fn count_request(&self, kind: RequestKind) {
        let counter = match kind {
            RequestKind::Binary => &self.binary,
            RequestKind::Json => &self.json,
            RequestKind::Protobuf => &self.protobuf,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame was answered, this long after it was asked for.
    pub fn answered(&self, took: Duration) {
        self.requests.add(took);
    }

    /// A frame was computed.
    pub fn computed(&self, took: Duration, queued: Duration) {
        self.compute.add(took);
        self.queued.add(queued);
    }

    /// A request was answered with an error.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused as busy.
    pub fn busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has connected.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has left.
    pub fn disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Payload bytes of a message from a client.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Payload bytes of a message to a client.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Frames asked for: binary, JSON, protobuf.
    pub fn request_counts(&self) -> [u64; 3] {
        [&self.binary, &self.json, &self.protobuf].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Clients connected now, connected since the start, refused.
    pub fn connection_counts(&self) -> [u64; 3] {
        [&self.connected, &self.connections, &self.refused].map(|c| c.load(Ordering::Relaxed))
    }

    /// Error replies, and busy replies among them.
    pub fn error_counts(&self) -> [u64; 2] {
        [&self.errors, &self.busy].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Payload bytes received, and sent.
    pub fn byte_counts(&self) -> [u64; 2] {
        [&self.received, &self.sent].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// From a request to its answer.
    pub fn request_times(&self) -> Times {
        self.requests.times()
    }

    /// The computing of a frame.
    pub fn compute_times(&self) -> Times {
        self.compute.times()
    }

    /// A frame's wait for a worker.
    pub fn queue_times(&self) -> Times {
        self.queued.times()
    }
}

/// A distribution in µs from 1 µs to 60 s, to two digits: 20 KiB whatever is counted.
struct Distribution(Mutex<Histogram<u32>>);

impl Distribution {
    fn new() -> Distribution {
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 2);
        Distribution(Mutex::new(
            histogram.expect("1 < 2 · 1 < 60,000,000 and 2 digits are allowed"),
        ))
    }

    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_record(micros);
    }

    fn times(&self) -> Times {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if histogram.is_empty() {
            return Times::default();
        }
        let ms = |micros: u64| micros as f64 / 1000.0;
        Times {
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_tell_their_middle_and_their_tail() {
        let stats = Stats::default();
        assert_eq!(stats.request_times(), Times::default());
        for ms in 1..=100 {
            stats.answered(Duration::from_millis(ms));
        }
        let times = stats.request_times();
        assert!((times.p50_ms - 50.0).abs() < 1.0, "{times:?}");
        assert!((times.p99_ms - 99.0).abs() < 1.5, "{times:?}");
        assert!((times.mean_ms - 50.5).abs() < 1.0, "{times:?}");
        stats.answered(Duration::from_secs(1 << 40));
    }
}
