//! Allocations of a version 1 frame, from the message to the reply, on the connection's thread and on the worker's.
//!
//! A test binary of its own: it counts with the global allocator. What mozjpeg's C code allocates is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lipsyncd::base::ids::ConnectionId;
use lipsyncd::config::{Config, Options};
use lipsyncd::engine::Engine;
use lipsyncd::model::Registry;
use lipsyncd::observe::Stats;
use lipsyncd::protocol::{InferenceRequest, encode_request};
use lipsyncd::server::{Assets, HttpService, OriginPolicy};
use lipsyncd::session::Context;
use lipsyncd::transport::Outgoing;

#[allow(dead_code, reason = "the other tests use more of it")]
mod memory;

use memory::MemoryConnection;

/// The most allocations of a frame in the steady state, on the average: from the message to the job, and from the
/// result to the reply.
const MOST_OF_CONNECTION: f64 = 6.0;
/// The same, of everything between the two.
const MOST_OF_WORKER: f64 = 36.0;

/// The system's allocator, counting.
struct Counting;

/// Allocations of the thread that plays the connection's, and of all others.
static OF_CONNECTION: AtomicU64 = AtomicU64::new(0);
static OF_OTHERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_CONNECTION: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    match IS_CONNECTION.try_with(Cell::get) {
        Ok(true) => OF_CONNECTION.fetch_add(1, Ordering::Relaxed),
        _ => OF_OTHERS.fetch_add(1, Ordering::Relaxed),
    };
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages as a steady client sends them: windows of 640 ms, each 40 ms on. They are shared before they are sent, as
/// those are that come from a socket.
fn messages(count: u32) -> Vec<Bytes> {
    let sample = |n: u32| (f64::from(n) / 40.0).sin() * 8000.0 + f64::from(n % 97);
    let pcm: Vec<u8> = (0..15_360 + 960 * count)
        .flat_map(|n| (sample(n) as i16).to_le_bytes())
        .collect();
    let message = |frame: u32| {
        let start = frame as usize * 1920;
        let request = InferenceRequest {
            model_name: "tiny".into(),
            frame_id: frame,
            audio: Some(Bytes::copy_from_slice(&pcm[start..start + 30_720])),
            sample_rate_hz: None,
            request_id: None,
        };
        let mut message = Vec::new();
        encode_request(&request, &mut message);
        let message = Bytes::from(message);
        let _shared = message.clone();
        message
    };
    (0..count).map(message).collect()
}

#[test]
fn a_version_1_frame_allocates_little() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages");
    let config = Config::new(Options {
        models_dir: models,
        workers: 2,
        ..Options::default()
    });
    let config = config.unwrap();
    let engine = Engine::start(&config, Arc::new(Stats::default())).unwrap();
    for folder in Registry::folders(config.models_dir()).unwrap() {
        engine.load_folder(&folder).unwrap();
    }
    let context = Arc::new(Context::new(&config, engine));
    context.set_ready();
    let origins = OriginPolicy::new(&config, 0);
    let service = HttpService::new(context.clone(), Assets::open(None).unwrap(), origins);
    let limits = &context.limits;
    let mut client =
        MemoryConnection::open(&service, Some("lipsync.v1"), ConnectionId(1), limits).unwrap();

    let (warm, counted) = (60, 200);
    let counts = || [&OF_CONNECTION, &OF_OTHERS].map(|count| count.load(Ordering::Relaxed));
    let mut total = [0; 2];
    for (index, message) in messages(warm + counted).into_iter().enumerate() {
        let before = counts();
        let deadline = Instant::now() + Duration::from_secs(20);
        IS_CONNECTION.set(true);
        client.send_binary(message);
        // Waiting allocates; a connection's thread waits in poll, which does not.
        let reply = loop {
            let reply = client.poll();
            if reply.is_some() || Instant::now() > deadline {
                break reply;
            }
            std::thread::yield_now();
        };
        IS_CONNECTION.set(false);
        let after = counts();
        let Some(Outgoing::Binary(reply)) = reply else {
            panic!("a binary reply is due: {reply:?}");
        };
        assert_eq!(reply[0], 1, "a frame");
        if index >= warm as usize {
            for (total, (after, before)) in total.iter_mut().zip(after.into_iter().zip(before)) {
                *total += after - before;
            }
        }
    }
    let [connection, worker] = total.map(|total| total as f64 / f64::from(counted));
    println!("allocations a frame: {connection:.2} of the connection, {worker:.2} of the worker");
    assert!(connection <= MOST_OF_CONNECTION, "{connection:.2}");
    assert!(worker <= MOST_OF_WORKER, "{worker:.2}");
    context.engine.stop();
}
