//! HTTP over real sockets: dribbled, endless, oversized and wrong requests, and the paths of the server.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lipsyncd::base::limits::Limits;

use crate::support::{app, config, connect, echo_server, exchange, get, read_to_end};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = echo_server(&Limits::default());
    let mut stream = connect(server.address());
    for byte in GET {
        stream.write_all(&[*byte]).unwrap();
        sleep(Duration::from_millis(1));
    }
    let response = read_to_end(&mut stream);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("/healthz\n"), "{response}");
}

#[test]
fn a_request_has_a_total_deadline_however_it_dribbles() {
    let limits = Limits {
        handshake_ms: 300,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut stream = connect(server.address());
    let started = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nX-Endless: yesyesyesyesyesyesyesyesyesyesyes" {
        if stream.write_all(&[*byte]).is_err() || started.elapsed() > Duration::from_secs(2) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 408 "));
    // A connection that says nothing at all is just closed.
    let started = Instant::now();
    assert_eq!(read_to_end(&mut connect(server.address())), "");
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[test]
fn wrong_requests_get_their_status() {
    let server = echo_server(&Limits::default());
    let many_lines = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
    let long_line = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(17_000));
    for (request, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..], "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "400"),
        (
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "405"),
        (b"BREW / HTTP/1.1\r\n\r\n", "405"),
        (many_lines.as_bytes(), "431"),
        (long_line.as_bytes(), "431"),
    ] {
        let mut stream = connect(server.address());
        stream.write_all(request).unwrap();
        let response = read_to_end(&mut stream);
        assert_eq!(response.get(9..12), Some(status), "{request:?}: {response}");
    }
}

#[test]
fn a_connection_serves_several_requests_even_at_once() {
    let server = echo_server(&Limits::default());
    let keep = b"GET /stats HTTP/1.1\r\n\r\n";
    let response = exchange(server.address(), &[&keep[..], keep, GET].concat());
    assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 3, "{response}");
    let head = exchange(server.address(), b"HEAD /stats HTTP/1.0\r\n\r\n");
    assert!(
        head.contains("Content-Length: 7\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn too_many_connections_are_told_so_and_room_is_found_again() {
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let first = connect(server.address());
    let _second = connect(server.address());
    let refused = exchange(server.address(), GET);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("Retry-After"), "{refused}");
    drop(first);
    crate::support::eventually("room for another connection", || {
        exchange(server.address(), GET).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn the_paths_of_the_server() {
    let app = app(&config());
    let address = app.address();
    let (status, head, body) = get(address, "/", "");
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/html") && head.contains("Content-Security-Policy"));
    assert!(!body.is_empty());
    let ready = get(address, "/readyz", "");
    assert_eq!(ready.0, 200);
    assert!(String::from_utf8(ready.2).unwrap().contains("tiny"));
    assert_eq!(get(address, "/healthz", "").2, b"ok\n");
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&get(address, path, "").2).unwrap()
    };
    assert_eq!(json("/models")["count"], 3);
    let metadata = json("/models/tiny/metadata");
    assert_eq!(
        metadata["bounds"].as_array().unwrap().len(),
        metadata["frame_count"]
    );
    assert_eq!(json("/models/none/metadata")["code"], "unknown_model");
    assert!(json("/stats")["uptime_s"].as_f64().unwrap() > 0.0);
    let metrics = String::from_utf8(get(address, "/metrics", "").2).unwrap();
    assert!(metrics.contains("lipsyncd_ready 1\n"), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').unwrap();
        let family = name.split('{').next().unwrap();
        assert!(metrics.contains(&format!("# HELP {family} ")), "{line}");
        assert!(metrics.contains(&format!("# TYPE {family} ")), "{line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
    app.stop();
}

#[test]
fn frames_are_cached_by_their_tag() {
    let app = app(&config());
    let path = "/models/tiny/frames/1.jpg";
    let (status, head, body) = get(app.address(), path, "");
    assert_eq!((status, &body[..2]), (200, &b"\xff\xd8"[..]));
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .unwrap();
    let (status, _, body) = get(app.address(), path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((status, body.len()), (304, 0));
    let other = "/models/tiny/frames/2.jpg";
    assert_eq!(
        get(app.address(), other, &format!("If-None-Match: {tag}\r\n")).0,
        200
    );
    assert_eq!(get(app.address(), "/models/tiny/frames/6.jpg", "").0, 404);
    app.stop();
}

#[test]
fn no_path_leaves_the_folder_of_the_page() {
    let outer = tempfile::tempdir().unwrap();
    let page = outer.path().join("page");
    std::fs::create_dir(&page).unwrap();
    std::fs::write(page.join("index.html"), "the page").unwrap();
    std::fs::write(outer.path().join("secret"), "the secret").unwrap();
    std::os::unix::fs::symlink("../secret", page.join("link")).unwrap();
    let mut config = config();
    config.static_dir = Some(page);
    let app = app(&config);
    assert_eq!(get(app.address(), "/index.html?query", "").2, b"the page");
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/x/../../secret",
        "//secret",
        "/link",
        "/models/../secret",
        "/etc/passwd",
        "//etc/passwd",
        "/models/..%2f..%2fsecret/metadata",
    ] {
        let (status, _, body) = get(app.address(), path, "");
        assert_eq!(status, 404, "{path}");
        assert!(!body.windows(10).any(|ten| ten == b"the secret"), "{path}");
    }
    app.stop();
}

/// Behind a proxy that goes by another of them, the body would be the next request (request smuggling).
#[test]
fn every_content_length_is_looked_at() {
    let server = echo_server(&Limits::default());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: 1234567\r\n\r\n";
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let response = exchange(server.address(), request.as_bytes());
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
}

/// Case net/50: plain proxies and some clients send the target in full.
#[test]
fn an_absolute_target_is_served_as_its_path() {
    let app = app(&config());
    for target in ["http://kiosk:8765/healthz", "HTTP://kiosk/healthz?x"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: kiosk\r\nConnection: close\r\n\r\n");
        let response = exchange(app.address(), request.as_bytes());
        assert!(
            response.starts_with("HTTP/1.1 200 "),
            "{target}: {response}"
        );
        assert!(response.ends_with("\r\n\r\nok\n"), "{response}");
    }
    let handshake = b"GET ws://kiosk/ws HTTP/1.1\r\nHost: kiosk\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut stream = connect(app.address());
    stream.write_all(handshake).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    app.stop();
}

/// Case net/44: browsers send the cookies of every program on localhost, whatever its port.
#[test]
fn many_cookies_are_served_and_too_many_are_told() {
    let app = app(&config());
    let cookies = |bytes: usize| format!("Cookie: a={}\r\n", "y".repeat(bytes));
    assert_eq!(get(app.address(), "/", &cookies(15_000)).0, 200);
    let (status, _, body) = get(app.address(), "/", &cookies(20_000));
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 431, "{text}");
    assert!(
        text.contains("ookies") && text.contains("--max-head-bytes"),
        "{text}"
    );
    app.stop();
}

#[test]
fn a_stop_ends_responses_that_are_read_slowly_and_waits_for_those_that_are_read() {
    let limits = Limits {
        drain_ms: 1000,
        close_ms: 200,
        write_ms: 60_000,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let ask = || {
        let mut stream = connect(server.address());
        stream
            .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        stream
    };
    let (_not_read, mut slow, mut quick) = (ask(), ask(), ask());
    let slow = std::thread::spawn(move || {
        // Without a pause of its own that a limit could find.
        while slow.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
            sleep(Duration::from_millis(20));
        }
    });
    let whole = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        quick.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    let started = Instant::now();
    server.stop();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert!(whole.join().unwrap() > 64 << 20);
    slow.join().unwrap();
}

#[test]
fn the_websocket_path_tells_others_what_it_is_for() {
    let app = app(&config());
    let (status, head, _) = get(app.address(), "/ws", "");
    assert_eq!(status, 426);
    assert!(head.contains("Upgrade: websocket"), "{head}");
    app.stop();
}
