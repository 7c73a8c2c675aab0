//! The figures for Prometheus.

use std::fmt::Write;

use crate::protocol::StatsSnapshot;

/// The exposition text: names begin with `lipsyncd_`, times are in seconds.
pub(super) fn text(stats: &StatsSnapshot, ready: bool) -> String {
    let mut page = Page(String::with_capacity(4096));
    page.gauge(
        "ready",
        "Whether every package is loaded.",
        u64::from(ready),
    );
    page.gauge("uptime_seconds", "Time since the start.", stats.uptime_s);
    requests(&mut page, stats);
    connections(&mut page, stats);
    streams(&mut page, stats);
    page.0
}

fn seconds(ms: f64) -> f64 {
    ms / 1000.0
}

fn requests(page: &mut Page, stats: &StatsSnapshot) {
    page.counters(
        "frames_requested_total",
        "Frames asked for, by protocol.",
        "protocol",
        &[
            ("binary", stats.binary_requests),
            ("json", stats.json_requests),
            ("protobuf", stats.protobuf_requests),
        ],
    );
    page.quantiles(
        "request_seconds",
        "From a request to its answer, since the start.",
        [seconds(stats.p50_time_ms), seconds(stats.p99_time_ms)],
    );
    page.quantiles(
        "compute_seconds",
        "The computing of a frame, since the start.",
        [seconds(stats.compute_p50_ms), seconds(stats.compute_p99_ms)],
    );
    page.gauge(
        "queue_jobs",
        "Jobs that wait for a worker.",
        stats.queue_depth,
    );
    page.counter(
        "busy_total",
        "Requests refused as busy.",
        stats.busy_replies,
    );
    page.counter(
        "errors_total",
        "Requests answered with an error.",
        stats.error_replies,
    );
    page.counter(
        "jobs_abandoned_total",
        "Jobs that nobody wanted any more.",
        stats.abandoned_jobs,
    );
    page.counters(
        "rows_total",
        "Audio encoder rows of requests.",
        "cache",
        &[
            ("hit", stats.row_cache_hits),
            ("miss", stats.row_cache_misses),
        ],
    );
}

fn connections(page: &mut Page, stats: &StatsSnapshot) {
    page.gauge("connections", "Clients connected.", stats.connected_clients);
    page.counter(
        "connections_total",
        "Clients since the start.",
        stats.total_connections,
    );
    page.counter(
        "connections_refused_total",
        "Connections refused because there were too many.",
        stats.refused_connections,
    );
    page.counters(
        "message_bytes_total",
        "Payload of WebSocket messages.",
        "direction",
        &[("in", stats.bytes_received), ("out", stats.bytes_sent)],
    );
}

fn streams(page: &mut Page, stats: &StatsSnapshot) {
    let streams = &stats.streams;
    page.gauge("streams", "Streams open.", streams.open);
    page.gauge(
        "streams_capacity",
        "Streams that this machine carries.",
        streams.capacity,
    );
    page.gauge(
        "stream_lag_seconds",
        "How late the stream furthest behind is; negative: ahead of time.",
        seconds(streams.lag_ms),
    );
    page.counter(
        "stream_frames_total",
        "Frames sent in streams.",
        streams.frames_sent,
    );
    page.counters(
        "stream_frames_dropped_total",
        "Frames of streams that were dropped.",
        "reason",
        &[
            ("late", streams.dropped_late),
            ("no_credit", streams.dropped_no_credit),
            ("interrupted", streams.dropped_interrupted),
        ],
    );
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.0,
            "# HELP lipsyncd_{name} {help}\n# TYPE lipsyncd_{name} {kind}"
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "lipsyncd_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "lipsyncd_{name} {value}");
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, "counter", help);
        for (which, value) in values {
            let _ = writeln!(self.0, "lipsyncd_{name}{{{label}=\"{which}\"}} {value}");
        }
    }

    fn quantiles(&mut self, name: &str, help: &str, [median, p99]: [f64; 2]) {
        self.head(name, "gauge", help);
        for (quantile, value) in [("0.5", median), ("0.99", p99)] {
            let _ = writeln!(self.0, "lipsyncd_{name}{{quantile=\"{quantile}\"}} {value}");
        }
    }
}
