//! Packages and figures in the words of the protocol.

use std::sync::atomic::Ordering;

use crate::audio::DEFAULT_INPUT_HZ;
use crate::model::Package;
use crate::protocol::{Metadata, ModelList, ModelSummary, StatsSnapshot, StreamTotals};

use super::context::Context;

/// What a client must know of a package to show it.
pub fn metadata(package: &Package) -> Metadata {
    let manifest = package.manifest();
    let side = manifest.geometry.inner_size as u32;
    let (width, height) = package.frame_size();
    let front_end = package.front_end();
    Metadata {
        success: true,
        model_name: manifest.name.clone(),
        title: manifest.title.clone(),
        description: manifest.description.clone(),
        family: family(package),
        license: manifest.license.clone(),
        frame_count: package.frame_count(),
        frame_rate: manifest.frame_rate,
        frame_size: [width as u32, height as u32],
        image_size: [side, side],
        bounds: (0..package.frame_count())
            .map(|frame| package.bounds(frame))
            .collect(),
        look_ahead_ms: front_end.map_or(0.0, |spec| spec.look_ahead_ms(DEFAULT_INPUT_HZ)),
        accepts_audio: front_end.is_some(),
        default_sample_rate: DEFAULT_INPUT_HZ,
    }
}

/// The packages that are served.
pub fn model_list(context: &Context) -> ModelList {
    let summary = |package: &Package| {
        let manifest = package.manifest();
        ModelSummary {
            name: manifest.name.clone(),
            title: manifest.title.clone(),
            description: manifest.description.clone(),
            family: family(package),
            loaded: true,
            frame_count: package.frame_count(),
            frame_rate: manifest.frame_rate,
        }
    };
    let packages = context.engine.registry().packages();
    ModelList {
        count: packages.len(),
        models: packages.iter().map(|package| summary(package)).collect(),
    }
}

/// The figures now.
pub fn stats_snapshot(context: &Context) -> StatsSnapshot {
    let (engine, stats) = (&context.engine, &context.stats);
    let [binary, json, protobuf] = stats.request_counts();
    let total = binary + json + protobuf;
    let [connected, connections, refused] = stats.connection_counts();
    let [errors, busy] = stats.error_counts();
    let [received, sent] = stats.byte_counts();
    let (requests, compute) = (stats.request_times(), stats.compute_times());
    let (waiting, capacity) = engine.queue();
    let (hits, misses) = engine.row_counts();
    StatsSnapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: stats.uptime().as_secs_f64(),
        total_requests: total,
        binary_requests: binary,
        json_requests: json,
        protobuf_requests: protobuf,
        binary_percentage: if total == 0 {
            0.0
        } else {
            binary as f64 * 100.0 / total as f64
        },
        average_time_ms: requests.mean_ms,
        p50_time_ms: requests.p50_ms,
        p99_time_ms: requests.p99_ms,
        compute_p50_ms: compute.p50_ms,
        compute_p99_ms: compute.p99_ms,
        connected_clients: connected,
        total_connections: connections,
        refused_connections: refused,
        queue_depth: waiting as u64,
        queue_capacity: capacity as u64,
        busy_replies: busy,
        error_replies: errors,
        abandoned_jobs: engine.abandoned(),
        row_cache_hits: hits,
        row_cache_misses: misses,
        bytes_received: received,
        bytes_sent: sent,
        workers: engine.workers() as u64,
        models: engine.registry().names(),
        streams: stream_totals(context),
    }
}

fn stream_totals(context: &Context) -> StreamTotals {
    let figures = &context.stats.streams;
    let (queued, compute) = (context.stats.queue_times(), context.stats.compute_times());
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    StreamTotals {
        open: count(&figures.open),
        opened: count(&figures.opened),
        refused: count(&figures.refused),
        resumed: count(&figures.resumed),
        frames_sent: count(&figures.frames_sent),
        idle_frames: count(&figures.idle_frames),
        held_frames: count(&figures.held_frames),
        dropped_late: count(&figures.dropped_late),
        dropped_no_credit: count(&figures.dropped_no_credit),
        dropped_interrupted: count(&figures.dropped_interrupted),
        queue_age_ms: queued.p50_ms,
        compute_p50_ms: compute.p50_ms,
        compute_p99_ms: compute.p99_ms,
        capacity: u64::from(context.engine.admission().worst_capacity()),
        lag_ms: context.streams.worst_lag() as f64 / 1000.0,
    }
}

fn family(package: &Package) -> String {
    let name = serde_json::to_value(package.manifest().family);
    name.ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}
