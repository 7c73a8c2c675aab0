//! Packages that clients load and unload where an administrator allows it, and what their streams are told.

use std::path::Path;
use std::time::Instant;

use lipsyncd::transport::Outgoing;
use serde_json::{Value, json};

use crate::memory_server::Memory;
use crate::support::{PATIENCE, app, config, next_json, websocket};

fn text(message: Option<Outgoing>) -> Value {
    match message {
        Some(Outgoing::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("a text message is due: {other:?}"),
    }
}

#[test]
fn packages_are_loaded_and_unloaded_where_it_is_allowed() {
    let mut config = config();
    config.allow_load = true;
    config.checker = Some(env!("CARGO_BIN_EXE_lipsyncd").into());
    let memory = Memory::new(&config);
    let mut client = memory.connect("");
    let mut ask = |message: &str| {
        client.send_text(message);
        text(client.wait(PATIENCE))
    };
    assert_eq!(
        ask(r#"{"type":"unload_model","model_name":"tiny"}"#)["type"],
        "model_unloaded"
    );
    assert_eq!(
        ask(r#"{"model_name":"tiny","frame_id":1}"#)["code"],
        "unknown_model"
    );
    assert_eq!(
        ask(r#"{"type":"load_model","model_name":"tiny"}"#)["type"],
        "model_loaded"
    );
    assert_eq!(
        ask(r#"{"model_name":"tiny","frame_id":1}"#)["success"],
        true
    );
    for name in ["../packages/tiny", "none", "/etc", "tiny/.."] {
        let reply = ask(&json!({"type": "load_model", "model_name": name}).to_string());
        assert_eq!(reply["success"], false, "{reply}");
    }
}

/// Streams of a package that an administrator takes out of service are closed, whosever they are.
#[test]
fn a_stream_is_closed_when_its_package_is_unloaded() {
    let mut config = config();
    config.allow_load = true;
    let memory = Memory::new(&config);
    let mut client = memory.connect("lipsync.v2");
    for stream in [1, 2] {
        let model_name = if stream == 1 { "tiny" } else { "tiny_ave" };
        let open = json!({"type": "open", "stream": stream, "model_name": model_name, "sample_rate": 16000, "credits": 5});
        client.send_text(&open.to_string());
        text(client.wait(PATIENCE));
    }
    let mut other = memory.connect("");
    other.send_text(r#"{"type": "unload_model", "model_name": "tiny"}"#);
    assert_eq!(text(other.wait(PATIENCE))["type"], "model_unloaded");
    let closed = text(client.wait(PATIENCE));
    assert_eq!(
        (&closed["type"], &closed["stream"]),
        (&"closed".into(), &1.into())
    );
    assert_eq!(closed["reason"], "model_unloaded");
    client.send_text(r#"{"type": "stats", "stream": 1}"#);
    assert_eq!(text(client.wait(PATIENCE))["code"], "unknown_stream");
}

/// A stop waited for the check of a package, up to a minute, while systemd waits for 20 s.
#[test]
fn a_stop_gives_up_the_check_of_a_package() {
    let mut config = config();
    config.allow_load = true;
    config.checker =
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/commands/never_ends"));
    config.limits.drain_ms = 100;
    let app = app(&config);
    let load = json!({"type": "load_model", "model_name": "tiny"}).to_string();
    let mut client = websocket(app.address(), "");
    // The second is refused while the first is being checked.
    for _ in 0..2 {
        client.send(load.clone().into()).unwrap();
    }
    let refused = next_json(&mut client);
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("another package is being loaded"), "{error}");
    let started = Instant::now();
    app.stop();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
