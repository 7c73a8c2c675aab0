//! WebSockets over real sockets, with an echo for a session: the loop, its limits and its closes.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lipsyncd::base::limits::Limits;
use tungstenite::Message;

use crate::support::{
    Client, close_code, connect, echo_server, eventually, next, try_websocket, websocket,
};

/// A handshake as bytes, for clients that are no clients.
const HANDSHAKE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// A masked frame; the mask is zero.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut bytes = vec![head, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends the handshake and `bytes` in one piece; returns what comes behind the response's head.
fn raw(server: &lipsyncd::transport::Server, bytes: &[u8], wanted: usize) -> Vec<u8> {
    let mut stream = connect(server.address());
    stream.write_all(&[HANDSHAKE, bytes].concat()).unwrap();
    let mut got = Vec::new();
    let mut chunk = [0; 256];
    loop {
        let end = got
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| at + 4);
        if let Some(end) = end.filter(|end| got.len() >= end + wanted) {
            return got.split_off(end);
        }
        match stream.read(&mut chunk).unwrap() {
            0 => return got.split_off(end.unwrap_or(got.len())),
            count => got.extend_from_slice(&chunk[..count]),
        }
    }
}

#[test]
fn messages_come_back_whatever_their_size() {
    let server = echo_server(&Limits::default());
    let mut client = websocket(server.address(), "echo");
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let text = "ü".repeat(size / 2);
        client.send(Message::text(text.clone())).unwrap();
        assert_eq!(next(&mut client).into_text().unwrap().as_str(), text);
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        client.send(Message::binary(bytes.clone())).unwrap();
        assert_eq!(next(&mut client).into_data(), bytes);
    }
    client.close(None).unwrap();
    while client.read().is_ok() {}
}

#[test]
fn frames_behind_the_handshake_in_pieces_and_with_pings_between() {
    let server = echo_server(&Limits::default());
    let bytes = [frame(0x01, b"he"), frame(0x89, b"p"), frame(0x80, b"llo")].concat();
    let got = raw(&server, &bytes, 10);
    // The pong first, then the message.
    assert_eq!(got, b"\x8a\x01p\x81\x05hello");
}

#[test]
fn wrong_handshakes_are_refused() {
    let server = echo_server(&Limits::default());
    let answer = |change: (&str, &str)| {
        let request = String::from_utf8(HANDSHAKE.to_vec())
            .unwrap()
            .replace(change.0, change.1);
        crate::support::exchange(server.address(), request.as_bytes())
    };
    for change in [
        ("Version: 13", "Version: 8"),
        ("AAAA==", "AA=="),
        ("Connection: Upgrade\r\n", ""),
        ("Sec-WebSocket-Key", "X"),
    ] {
        let response = answer(change);
        assert!(
            response.starts_with("HTTP/1.1 400 "),
            "{change:?}: {response}"
        );
    }
    assert!(answer(("/ws", "/socket")).starts_with("HTTP/1.1 404 "));
    assert!(
        try_websocket(server.address(), "refuse", &[])
            .unwrap_err()
            .contains("400")
    );
    assert!(try_websocket(server.address(), "", &[]).is_ok());
}

#[test]
fn faults_of_a_client_are_closes_that_say_so() {
    let limits = Limits {
        max_message_bytes: 2000,
        max_frame_bytes: 2000,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut client = websocket(server.address(), "");
    client.send(Message::binary(vec![1; 3000])).unwrap();
    assert_eq!(close_code(&mut client), 1009);
    let code = |bytes: &[u8]| {
        let got = raw(&server, bytes, usize::MAX / 2);
        assert_eq!(got[0], 0x88, "{got:?}");
        u16::from_be_bytes([got[2], got[3]])
    };
    assert_eq!(code(&frame(0x81, b"\xff\xfe")), 1007);
    assert_eq!(code(b"\x81\x01x"), 1002, "a frame without a mask");
    assert_eq!(
        code(&frame(0x83, b"")),
        1002,
        "an opcode that does not exist"
    );
    // A length that is only claimed: refused before anything is allocated or awaited.
    assert_eq!(
        code(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"),
        1009
    );
}

#[test]
fn a_flood_of_pings_does_not_tear_large_replies() {
    let server = echo_server(&Limits::default());
    let mut client = websocket(server.address(), "");
    let message: Vec<u8> = (0..500_000u32).map(|i| (i % 251) as u8).collect();
    let (mut pongs, mut replies) = (0, 0);
    for _ in 0..10 {
        client.send(Message::binary(message.clone())).unwrap();
        for ping in 0..50u8 {
            client.write(Message::Ping(vec![ping; 100].into())).unwrap();
        }
        client.flush().unwrap();
    }
    while replies < 10 {
        match client.read().unwrap() {
            Message::Binary(bytes) => {
                assert_eq!(bytes, message);
                replies += 1;
            }
            Message::Pong(bytes) => {
                assert_eq!(bytes.len(), 100);
                pongs += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs > 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_others_do_not_notice() {
    let limits = Limits {
        write_ms: 500,
        max_outbox_bytes: 65_536,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut deaf = websocket(server.address(), "");
    deaf.get_ref()
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let started = Instant::now();
    let mut other = websocket(server.address(), "");
    let mut slowest = Duration::ZERO;
    // It sends until the server stops reading, and then until the server has had enough.
    let message = vec![7; 1_000_000];
    while deaf
        .send(Message::binary(message.clone()))
        .is_ok_or_blocked()
    {
        let asked = Instant::now();
        other.send(Message::text("are you there?")).unwrap();
        next(&mut other);
        slowest = slowest.max(asked.elapsed());
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "it is never cut off"
        );
    }
    assert!(slowest < Duration::from_millis(400), "{slowest:?}");
}

trait Blocked {
    fn is_ok_or_blocked(&self) -> bool;
}

impl Blocked for Result<(), tungstenite::Error> {
    fn is_ok_or_blocked(&self) -> bool {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match self {
            Ok(()) => true,
            Err(tungstenite::Error::Io(e)) => matches!(e.kind(), TimedOut | WouldBlock),
            Err(tungstenite::Error::WriteBufferFull(_)) => true,
            Err(_) => false,
        }
    }
}

#[test]
fn silence_is_pinged_and_then_ended() {
    let limits = Limits {
        ping_ms: 150,
        idle_ms: 500,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut lively = websocket(server.address(), "");
    let started = Instant::now();
    let mut pings = 0;
    // Reading answers the pings, so this client stays.
    lively
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(900)))
        .unwrap();
    while started.elapsed() < Duration::from_millis(900) {
        if let Message::Ping(_) = lively.read().unwrap() {
            pings += 1;
        }
    }
    assert!(pings >= 3, "{pings}");
    // This one never answers.
    let started = Instant::now();
    let mut mute = connect(server.address());
    mute.write_all(HANDSHAKE).unwrap();
    let mut all = Vec::new();
    mute.read_to_end(&mut all).unwrap();
    assert!(started.elapsed() < Duration::from_secs(4));
    assert!(
        all.windows(2).any(|two| two == 1008u16.to_be_bytes()),
        "{all:?}"
    );
}

#[test]
fn stopping_closes_every_connection_in_time() {
    let server = echo_server(&Limits::default());
    let address = server.address();
    let mut client = websocket(address, "");
    client.send(Message::text("before")).unwrap();
    next(&mut client);
    let _idle_http = connect(address);
    let _half_a_request = {
        let mut stream = connect(address);
        stream.write_all(b"GET / HT").unwrap();
        stream
    };
    sleep(Duration::from_millis(50));
    let stopping = std::thread::spawn(move || {
        let started = Instant::now();
        server.stop();
        started.elapsed()
    });
    assert_eq!(close_code(&mut client), 1001);
    while client.read().is_ok() {}
    assert!(stopping.join().unwrap() < Duration::from_secs(4));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_vanishes_frees_its_place() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    for _ in 0..3 {
        let mut place: Option<Client> = None;
        eventually("a free place", || {
            place = try_websocket(server.address(), "", &[]).ok();
            place.is_some()
        });
        let mut client = place.unwrap();
        client.send(Message::text("x")).unwrap();
        next(&mut client);
        // Gone without a word.
        drop(client);
    }
}

#[test]
fn a_session_is_told_when_its_outbox_has_room_again() {
    let server = echo_server(&Limits::default());
    let mut client = websocket(server.address(), "");
    client.send(Message::text("fill")).unwrap();
    let room = Message::text("room");
    let mut filled = 0;
    while filled < 100 {
        match next(&mut client) {
            Message::Binary(_) => filled += 1,
            message => {
                assert_eq!(message, room);
                break;
            }
        }
    }
    assert!((1..100).contains(&filled), "{filled}");
    // And only once.
    client.send(Message::text("after")).unwrap();
    assert_eq!(next(&mut client), Message::text("after"));
}

#[test]
fn a_slow_client_is_not_taken_for_silent_while_the_server_does_not_read_it() {
    let limits = Limits {
        ping_ms: 100,
        idle_ms: 300,
        write_ms: 20_000,
        max_outbox_bytes: 65_536,
        max_message_bytes: 8 << 20,
        max_frame_bytes: 8 << 20,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut client = websocket(server.address(), "");
    // More than the socket's buffers hold, so that the server waits for the client with its outbox full.
    let message = vec![7; 8 << 20];
    client.send(Message::binary(message.clone())).unwrap();
    client.send(Message::text("last")).unwrap();
    sleep(Duration::from_millis(1200));
    assert_eq!(next(&mut client).into_data().len(), message.len());
    // Whatever the echo says of its outbox, the message that waited is answered.
    while next(&mut client) != Message::text("last") {}
}

#[test]
fn a_goodbye_is_answered_although_replies_wait() {
    let limits = Limits {
        max_outbox_bytes: 64 << 20,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut client = websocket(server.address(), "");
    for _ in 0..4 {
        client.send(Message::binary(vec![7; 4_000_000])).unwrap();
    }
    let goodbye = tungstenite::protocol::CloseFrame {
        code: 1000.into(),
        reason: "done".into(),
    };
    client.close(Some(goodbye)).unwrap();
    // The server reads it while its replies are blocked.
    sleep(Duration::from_millis(300));
    assert_eq!(close_code(&mut client), 1000);
    while client.read().is_ok() {}
}

#[test]
fn a_stop_ends_a_client_that_takes_its_replies_slowly() {
    let limits = Limits {
        drain_ms: 300,
        close_ms: 200,
        write_ms: 60_000,
        ..Limits::default()
    };
    let server = echo_server(&limits);
    let mut client = websocket(server.address(), "");
    for _ in 0..4 {
        client.send(Message::binary(vec![7; 4_000_000])).unwrap();
    }
    sleep(Duration::from_millis(100));
    let started = Instant::now();
    server.stop();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
