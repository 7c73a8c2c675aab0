//! Which pages may open a WebSocket, over real sockets: the `Origin` that browsers and programs send.

use std::net::SocketAddr;

use crate::support::{app, config, exchange, get};

/// A handshake by this `Host` and `Origin` line ("" for none): the whole response.
fn handshake(address: SocketAddr, host: &str, origin: &str) -> String {
    let origin = if origin.is_empty() {
        String::new()
    } else {
        format!("Origin: {origin}\r\n")
    };
    // The close that follows ends the connection, so that the response can be read to its end.
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{origin}\r\n"
    );
    let goodbye = [0x88, 0x80, 0, 0, 0, 0];
    exchange(address, &[request.as_bytes(), &goodbye].concat())
}

fn status(address: SocketAddr, host: &str, origin: &str) -> u16 {
    let response = handshake(address, host, origin);
    response[9..12].parse().unwrap()
}

/// Case net/16: `--allow-origin` names the shop, whose page frames embed.html. That page is the server's own.
#[test]
fn the_own_page_is_let_in_whatever_the_list_says() {
    let mut options = config();
    options.origins = vec!["https://shop.example".into()];
    let app = app(&options);
    let own = app.address().to_string();
    let port = app.address().port();
    for (host, origin, expected) in [
        (&*own, format!("http://{own}"), 101),
        (
            &*format!("localhost:{port}"),
            format!("http://localhost:{port}"),
            101,
        ),
        // Behind a proxy that passes the page's host on.
        ("kiosk.example", "https://kiosk.example".to_owned(), 101),
        // A page that is being worked on, on this machine.
        (&*own, "http://localhost:5173".to_owned(), 101),
        (&*own, "https://shop.example".to_owned(), 101),
        (&*own, "https://other.example".to_owned(), 403),
    ] {
        assert_eq!(
            status(app.address(), host, &origin),
            expected,
            "{host} {origin}"
        );
    }
    app.stop();
}

/// Case net/17: programs send no origin, the server's own (websocket-client), or `file://` (on microcontrollers); a page
/// from a file sends `null`.
#[test]
fn programs_are_let_in_and_null_and_file_can_be_allowed() {
    let mut options = config();
    options.origins = vec!["https://shop.example:443".into()];
    let strict = app(&options);
    options.origins = [
        "null",
        "file://",
        "HTTPS://Shop.Example",
        "https://*.shop.example",
    ]
    .map(String::from)
    .to_vec();
    let lenient = app(&options);
    for (origin, on_strict, on_lenient) in [
        ("", 101, 101),
        ("null", 403, 101),
        ("file://", 403, 101),
        ("https://shop.example", 101, 101),
        ("https://a.shop.example", 403, 101),
        ("https://shop.example.evil.test", 403, 403),
    ] {
        assert_eq!(
            status(strict.address(), "127.0.0.1", origin),
            on_strict,
            "{origin}"
        );
        assert_eq!(
            status(lenient.address(), "127.0.0.1", origin),
            on_lenient,
            "{origin}"
        );
    }
    let own = lenient.address().to_string();
    assert_eq!(
        status(lenient.address(), &own, &format!("http://{own}")),
        101
    );
    strict.stop();
    lenient.stop();
}

#[test]
fn other_sites_are_refused_in_words_that_name_the_flag() {
    let app = app(&config());
    let response = handshake(app.address(), "127.0.0.1:8765", "https://kiosk.example");
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    for words in [
        "--allow-origin https://kiosk.example",
        "asked for as 127.0.0.1:8765",
        "proxy_set_header Host",
    ] {
        assert!(response.contains(words), "{response}");
    }
    app.stop();
}

/// Scripts and pictures may be embedded anywhere; what tells of the server is for those that may connect.
#[test]
fn other_sites_may_read_files_and_frames_only() {
    let mut options = config();
    options.origins = vec!["https://shop.example".into()];
    let app = app(&options);
    let allowed = |path: &str, origin: &str| {
        let (_, head, _) = get(app.address(), path, &format!("Origin: {origin}\r\n"));
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("Access-Control-Allow-Origin: "));
        line.map(str::to_owned)
    };
    let (shop, other) = ("https://shop.example", "https://other.example");
    for path in ["/lipsync/lipsync.js", "/models/tiny/frames/1.jpg", "/"] {
        assert_eq!(allowed(path, other).as_deref(), Some("*"), "{path}");
    }
    for path in ["/models", "/models/tiny/metadata", "/stats", "/metrics"] {
        assert_eq!(allowed(path, other), None, "{path}");
        assert_eq!(allowed(path, shop).as_deref(), Some(shop), "{path}");
    }
    app.stop();
}
