//! The figures for Prometheus.

use std::fmt::Write;

use crate::protocol::StatsSnapshot;

/// The exposition text: names begin with `lipsyncd_`, times are in seconds.
pub(super) fn text(stats: &StatsSnapshot, ready: bool) -> String {
    let mut out = String::with_capacity(4096);
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        let _ = writeln!(
            out,
            "# HELP lipsyncd_{name} {help}\n# TYPE lipsyncd_{name} {kind}"
        );
        for (labels, value) in values {
            let _ = writeln!(out, "lipsyncd_{name}{labels} {value}");
        }
    };
    let streams = &stats.streams;
    metric(
        "ready",
        "gauge",
        "Whether every package is loaded.",
        &[("", f64::from(u8::from(ready)))],
    );
    metric(
        "uptime_seconds",
        "gauge",
        "Time since the start.",
        &[("", stats.uptime_s)],
    );
    metric(
        "frames_requested_total",
        "counter",
        "Frames asked for, by protocol.",
        &[
            ("{protocol=\"binary\"}", stats.binary_requests as f64),
            ("{protocol=\"json\"}", stats.json_requests as f64),
            ("{protocol=\"protobuf\"}", stats.protobuf_requests as f64),
        ],
    );
    metric(
        "request_seconds",
        "gauge",
        "From a request to its answer, since the start.",
        &[
            ("{quantile=\"0.5\"}", stats.p50_time_ms / 1000.0),
            ("{quantile=\"0.99\"}", stats.p99_time_ms / 1000.0),
        ],
    );
    metric(
        "compute_seconds",
        "gauge",
        "The computing of a frame, since the start.",
        &[
            ("{quantile=\"0.5\"}", stats.compute_p50_ms / 1000.0),
            ("{quantile=\"0.99\"}", stats.compute_p99_ms / 1000.0),
        ],
    );
    metric(
        "connections",
        "gauge",
        "Clients connected.",
        &[("", stats.connected_clients as f64)],
    );
    metric(
        "connections_total",
        "counter",
        "Clients since the start.",
        &[("", stats.total_connections as f64)],
    );
    metric(
        "connections_refused_total",
        "counter",
        "Connections refused because there were too many.",
        &[("", stats.refused_connections as f64)],
    );
    metric(
        "queue_jobs",
        "gauge",
        "Jobs that wait for a worker.",
        &[("", stats.queue_depth as f64)],
    );
    metric(
        "busy_total",
        "counter",
        "Requests refused as busy.",
        &[("", stats.busy_replies as f64)],
    );
    metric(
        "errors_total",
        "counter",
        "Requests answered with an error.",
        &[("", stats.error_replies as f64)],
    );
    metric(
        "jobs_abandoned_total",
        "counter",
        "Jobs that nobody wanted any more.",
        &[("", stats.abandoned_jobs as f64)],
    );
    metric(
        "rows_total",
        "counter",
        "Audio encoder rows of requests.",
        &[
            ("{cache=\"hit\"}", stats.row_cache_hits as f64),
            ("{cache=\"miss\"}", stats.row_cache_misses as f64),
        ],
    );
    metric(
        "message_bytes_total",
        "counter",
        "Payload of WebSocket messages.",
        &[
            ("{direction=\"in\"}", stats.bytes_received as f64),
            ("{direction=\"out\"}", stats.bytes_sent as f64),
        ],
    );
    metric(
        "streams",
        "gauge",
        "Streams open.",
        &[("", streams.open as f64)],
    );
    metric(
        "streams_capacity",
        "gauge",
        "Streams that this machine carries.",
        &[("", streams.capacity as f64)],
    );
    metric(
        "stream_frames_total",
        "counter",
        "Frames sent in streams.",
        &[("", streams.frames_sent as f64)],
    );
    metric(
        "stream_frames_dropped_total",
        "counter",
        "Frames of streams that were dropped.",
        &[
            ("{reason=\"late\"}", streams.dropped_late as f64),
            ("{reason=\"no_credit\"}", streams.dropped_no_credit as f64),
            (
                "{reason=\"interrupted\"}",
                streams.dropped_interrupted as f64,
            ),
        ],
    );
    out
}
