//! What the tests of the server share: servers on free ports, an echo session, and clients that behave
//! as badly as they are told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lipsyncd::base::event_queue::EventSender;
use lipsyncd::base::ids::ConnectionId;
use lipsyncd::base::limits::Limits;
use lipsyncd::base::shutdown::Shutdown;
use lipsyncd::config::{Config, Options};
use lipsyncd::server::App;
use lipsyncd::transport::http::{Head, Response};
use lipsyncd::transport::{HandshakeDecision, Incoming, Outbox, Server, Service, Session};
use tungstenite::{Message, WebSocket};

/// Longer than anything here takes on a busy machine: a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Sends every message back. `fill` is answered with more than the outbox may hold, and with `room` when it was sent.
pub struct Echo;

/// Length of the body at `/large`: more than all socket buffers of a connection.
const LARGE: usize = 64 << 20;

impl Service for Echo {
    type Session = Echo;

    fn respond(&self, head: &Head) -> Response {
        match head.path() {
            "/large" => Response::new(200, "text/plain", vec![b'x'; LARGE]),
            path => Response::text(200, path),
        }
    }

    fn handshake(&self, head: &Head) -> HandshakeDecision {
        let offered = head.list("sec-websocket-protocol");
        match (head.path(), &offered[..]) {
            (_, ["refuse"]) => HandshakeDecision::Refuse(Response::text(400, "as you wish")),
            ("/ws", _) => HandshakeDecision::Accept(offered.contains(&"echo").then_some("echo")),
            _ => HandshakeDecision::Refuse(Response::text(404, "not there")),
        }
    }

    fn open(&self, _: Option<&'static str>, _: ConnectionId, _: EventSender<()>) -> Echo {
        Echo
    }
}

impl Session for Echo {
    type Event = ();

    fn on_message(&mut self, message: Incoming<'_>, _now: Instant, out: &mut Outbox) {
        match message {
            Incoming::Text("fill") => {
                while !out.is_over() {
                    out.binary(vec![0; 1 << 20]);
                }
            }
            Incoming::Text(text) => out.text(text.to_owned()),
            Incoming::Binary(bytes) => out.binary(bytes),
        }
    }

    fn on_event(&mut self, (): (), _: Instant, _: &mut Outbox) {}

    fn on_writable(&mut self, _: Instant, out: &mut Outbox) {
        out.text("room".to_owned());
    }
}

/// An echo server with these limits.
pub fn echo_server(limits: &Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shutdown = Shutdown::new().unwrap();
    Server::start(vec![listener], Arc::new(Echo), limits, shutdown).unwrap()
}

/// The options of a whole server over the small packages, on a free port of the loopback.
pub fn config() -> Options {
    Options {
        port: 0,
        models_dir: crate::packages::packages_folder(),
        workers: 2,
        ..Options::default()
    }
}

/// The whole server, loaded.
pub fn app(options: &Options) -> App {
    let config = Config::new(options.clone()).unwrap();
    let mut app = App::start(&config, Shutdown::new().unwrap(), |_| {}).unwrap();
    app.wait_loaded();
    app
}

/// A connection whose reads fail rather than hang.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `request` and reads until the server closes.
pub fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_to_end(&mut stream)
}

/// Everything until the server closes.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// GET on a connection of its own: status, head, body.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let mut stream = connect(address);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, bytes[end + 4..].to_vec())
}

/// A client with this subprotocol ("" for none).
pub type Client = WebSocket<TcpStream>;

/// Opens a WebSocket.
pub fn websocket(address: SocketAddr, subprotocol: &str) -> Client {
    try_websocket(address, subprotocol, &[]).expect("the handshake succeeds")
}

/// Opens a WebSocket with further headers.
pub fn try_websocket(
    address: SocketAddr,
    subprotocol: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, String> {
    use tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    let mut add = |name: &'static str, value: &str| {
        request.headers_mut().insert(name, value.parse().unwrap());
    };
    if !subprotocol.is_empty() {
        add("sec-websocket-protocol", subprotocol);
    }
    for (name, value) in headers {
        add(name, value);
    }
    match tungstenite::client(request, connect(address)) {
        Ok((client, _)) => Ok(client),
        Err(error) => Err(error.to_string()),
    }
}

/// The next text or binary message.
pub fn next(client: &mut Client) -> Message {
    loop {
        match client.read().expect("a message") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

/// The next message, which is JSON.
pub fn next_json(client: &mut Client) -> serde_json::Value {
    let message = next(client);
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}

/// Reads until the connection is closed; the code of the close.
pub fn close_code(client: &mut Client) -> u16 {
    loop {
        match client.read() {
            Ok(Message::Close(Some(frame))) => return frame.code.into(),
            Ok(Message::Close(None)) => panic!("a close without a code"),
            Ok(_) => {}
            Err(error) => panic!("no close: {error}"),
        }
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
