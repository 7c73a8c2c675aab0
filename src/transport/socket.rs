//! The loop of one WebSocket: one thread, one non-blocking socket, one poll.
//!
//! The thread owns the whole state of the protocol, so replies, pongs and closes go out in an order
//! that cannot be wrong, and waits for the socket, for finished work and for the nearest deadline at
//! once. Two `WebSocket`s on one stream corrupt the wire, a lock with short read timeouts delays every
//! reply, and two threads cost twice: see docs of the design.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::Instant;

use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::base::event_queue::{EventQueue, event_queue};
use crate::base::ids::ConnectionId;
use crate::base::limits::Limits;
use crate::base::poll::{Interest, until, wait};
use crate::base::shutdown::Shutdown;

use super::accept::Shared;
use super::http::{Head, Response};
use super::session::{Incoming, Outbox, Outgoing, Service, Session};

/// Messages taken before replies and deadlines get their turn again.
const READS_PER_TURN: usize = 16;
/// Why a WebSocket ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both sides said goodbye, or the client just went.
    Gone,
    /// The server closed, with this code.
    Closed(u16, String),
    /// The client did not take a message in time.
    Stalled,
    /// The socket failed.
    Io(io::Error),
    /// The server has no descriptor left.
    Resources(io::Error),
}

impl End {
    /// Whether the client may still be reading what was sent.
    pub(super) fn lingers(&self) -> bool {
        matches!(self, End::Closed(..))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone => write!(f, "the client has left"),
            End::Closed(code, reason) => write!(f, "closed with {code} ({reason})"),
            End::Stalled => write!(f, "cut off: it took no data within the write limit"),
            End::Io(error) => write!(f, "connection lost: {error}"),
            End::Resources(error) => write!(f, "no descriptor left: {error}"),
        }
    }
}

/// The 101 response to a right handshake, or the refusal of a wrong one.
pub(super) fn accept_key(
    head: &Head,
    subprotocol: Option<&'static str>,
) -> Result<Vec<u8>, Response> {
    let bad = |error: &dyn fmt::Display| {
        Response::text(400, format!("not a WebSocket handshake: {error}"))
            .with("Sec-WebSocket-Version", "13")
    };
    let mut request = http::Request::builder().method("GET").uri(&head.target);
    if head.minor == 0 {
        request = request.version(http::Version::HTTP_10);
    }
    for (name, value) in head.headers() {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(|error| bad(&error))?;
    let mut response = create_response(&request).map_err(|error| bad(&error))?;
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(
            "Sec-WebSocket-Protocol",
            http::HeaderValue::from_static(subprotocol),
        );
    }
    let mut bytes = Vec::with_capacity(256);
    write_response(&mut bytes, &response).map_err(|error| bad(&error))?;
    Ok(bytes)
}

/// Serves a session over a socket whose handshake is done. `leftover` came behind the handshake.
pub(super) fn serve<S: Service>(
    stream: TcpStream,
    leftover: Vec<u8>,
    subprotocol: Option<&'static str>,
    id: ConnectionId,
    shared: &Shared<S>,
) -> End {
    let limits = &shared.limits;
    let (sender, events) = match event_queue(shared.service.event_capacity()) {
        Ok(both) => both,
        Err(error) => return End::Resources(error),
    };
    let session = shared.service.open(subprotocol, id, sender);
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer_bytes as usize)
        // Every message is written at once: the outbox does the queueing.
        .write_buffer_size(0)
        .max_write_buffer_size(limits.max_write_buffer_bytes as usize)
        .max_message_size(Some(limits.max_message_bytes as usize))
        .max_frame_size(Some(limits.max_frame_bytes as usize));
    let now = Instant::now();
    let mut socket = Socket {
        socket: WebSocket::from_partially_read(stream, leftover, Role::Server, Some(config)),
        session,
        events,
        outbox: Outbox::new(limits.max_outbox_bytes as usize),
        was_over: false,
        limits,
        stop: &shared.stop,
        unflushed_since: None,
        heard: now,
        pinged: None,
        drain_by: None,
        closing: None,
    };
    match socket.run() {
        Ok(end) | Err(end) => end,
    }
}

struct Socket<'a, S: Session> {
    socket: WebSocket<TcpStream>,
    session: S,
    events: EventQueue<S::Event>,
    outbox: Outbox,
    /// Whether the outbox has been over its limit and the session was not told of room since.
    was_over: bool,
    limits: &'a Limits,
    stop: &'a Shutdown,
    /// Since when bytes wait for the client to take them.
    unflushed_since: Option<Instant>,
    /// When anything last came from the client.
    heard: Instant,
    /// When the client was pinged, if it has been silent since.
    pinged: Option<Instant>,
    /// Set while the server is stopping: when this connection closes at the latest.
    drain_by: Option<Instant>,
    /// Set once the server has sent a close: until when its answer is awaited, and what was said.
    closing: Option<(Instant, u16, String)>,
}

/// How the reading of one turn ended.
#[derive(PartialEq, Eq)]
enum Read {
    /// The socket has nothing more.
    Dry,
    /// There may be more at once.
    More,
    /// Nothing is read for now.
    Paused,
}

impl<S: Session> Socket<'_, S> {
    fn run(&mut self) -> Result<End, End> {
        self.session.on_open(Instant::now(), &mut self.outbox);
        loop {
            let now = Instant::now();
            self.deadlines(now)?;
            self.take_events(now);
            self.write()?;
            let mut read = self.read()?;
            self.write()?;
            self.tell_room()?;
            if read == Read::Paused && !self.holds_back() {
                // What it paused for was sent meanwhile.
                read = Read::More;
            }
            if self.closing.is_none()
                && let Some(close) = self.outbox.closing()
                && self.unflushed_since.is_none()
            {
                let (code, reason) = (close.code, close.reason.clone());
                self.close(code, reason)?;
            }
            self.wait(read == Read::Dry, read == Read::More)?;
        }
    }

    /// Everything that is due. A stalled write is looked at before it is tried again: a client that
    /// takes a byte now and then would otherwise never be late.
    fn deadlines(&mut self, now: Instant) -> Result<(), End> {
        if let Some(since) = self.unflushed_since
            && now >= since + self.limits.write()
        {
            return Err(End::Stalled);
        }
        if let Some((deadline, code, reason)) = &self.closing {
            if now >= *deadline {
                return Err(End::Closed(*code, reason.clone()));
            }
            return Ok(());
        }
        if self.stop.is_triggered() && self.drain_by.is_none() {
            self.drain_by = Some(now + self.limits.drain());
            self.session.on_drain(now, &mut self.outbox);
        }
        if let Some(deadline) = self.drain_by
            && (now >= deadline || self.session.in_flight() == 0)
        {
            self.outbox
                .close(CloseCode::Away.into(), "the server is shutting down");
        }
        if self
            .session
            .next_deadline()
            .is_some_and(|deadline| now >= deadline)
        {
            self.session.on_deadline(now, &mut self.outbox);
        }
        if now >= self.heard + self.limits.idle() {
            let reason = format!("nothing heard for {} ms", self.limits.idle_ms);
            self.outbox.close(CloseCode::Policy.into(), reason);
        } else if self.pinged.is_none() && now >= self.heard + self.limits.ping() {
            self.pinged = Some(now);
            self.send(Message::Ping(bytes::Bytes::new()))?;
        }
        Ok(())
    }

    fn take_events(&mut self, now: Instant) {
        self.events.clear_wakeup();
        while let Some(event) = self.events.take() {
            self.session.on_event(event, now, &mut self.outbox);
        }
    }

    /// Sends what waits, as far as the client takes it. One message at a time is given to the socket,
    /// so that its buffer holds no more than one.
    fn write(&mut self) -> Result<(), End> {
        self.was_over |= self.outbox.is_over();
        loop {
            if self.unflushed_since.is_some() {
                match self.socket.flush() {
                    Ok(()) => self.unflushed_since = None,
                    Err(error) if would_block(&error) => return Ok(()),
                    Err(error) => return self.fail(error),
                }
            }
            if self.closing.is_some() {
                return Ok(());
            }
            match self.outbox.pop() {
                Some(Outgoing::Text(text)) => self.send(Message::text(text))?,
                Some(Outgoing::Binary(bytes)) => self.send(Message::Binary(bytes))?,
                None => return Ok(()),
            }
        }
    }

    /// Tells the session once the outbox has room again, and sends what it then says.
    fn tell_room(&mut self) -> Result<(), End> {
        while self.was_over && !self.outbox.is_over() {
            self.was_over = false;
            self.session.on_writable(Instant::now(), &mut self.outbox);
            self.was_over = self.outbox.is_over();
            self.write()?;
        }
        Ok(())
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.unflushed_since.get_or_insert_with(Instant::now);
        match self.socket.write(message) {
            Ok(()) => Ok(()),
            // The message is in the socket's buffer all the same.
            Err(error) if would_block(&error) => Ok(()),
            Err(Error::WriteBufferFull(_)) => {
                let limit = self.limits.max_write_buffer_bytes;
                self.close(
                    CloseCode::Error.into(),
                    format!("a reply is larger than {limit} bytes"),
                )
            }
            Err(error) => self.fail(error),
        }
    }

    fn read(&mut self) -> Result<Read, End> {
        for _ in 0..READS_PER_TURN {
            if self.holds_back() {
                return Ok(Read::Paused);
            }
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(error) if would_block(&error) => return Ok(Read::Dry),
                Err(error) => {
                    self.fail(error)?;
                    return Ok(Read::More);
                }
            };
            let now = Instant::now();
            self.heard = now;
            self.pinged = None;
            let incoming = match &message {
                Message::Text(text) => Incoming::Text(text.as_str()),
                Message::Binary(bytes) => Incoming::Binary(bytes.clone()),
                Message::Ping(_) | Message::Close(_) => {
                    // tungstenite has queued the answer.
                    self.unflushed_since.get_or_insert(now);
                    continue;
                }
                Message::Pong(_) | Message::Frame(_) => continue,
            };
            if self.closing.is_none() {
                self.session.on_message(incoming, now, &mut self.outbox);
            }
        }
        Ok(Read::More)
    }

    /// Whether nothing is read for now: the client does not take what it is sent, or is said goodbye to.
    fn holds_back(&self) -> bool {
        self.closing.is_none() && (self.outbox.is_over() || self.outbox.closing().is_some())
    }

    /// Begins the closing handshake.
    fn close(&mut self, code: u16, reason: String) -> Result<(), End> {
        let now = Instant::now();
        self.closing = Some((now + self.limits.close(), code, reason.clone()));
        self.unflushed_since.get_or_insert(now);
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        match self.socket.close(Some(frame)) {
            Ok(()) => Ok(()),
            Err(error) if would_block(&error) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// What an error means: the end, or a close with the code that tells the client its fault.
    fn fail(&mut self, error: Error) -> Result<(), End> {
        let code = match &error {
            Error::ConnectionClosed | Error::AlreadyClosed => {
                return Err(match self.closing.take() {
                    Some((_, code, reason)) => End::Closed(code, reason),
                    None => End::Gone,
                });
            }
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                return Err(End::Gone);
            }
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) | Error::AttackAttempt => CloseCode::Protocol,
            Error::Io(_) => {
                let Error::Io(error) = error else {
                    unreachable!("matched above")
                };
                return Err(End::Io(error));
            }
            _ => CloseCode::Error,
        };
        if let Some((_, code, reason)) = self.closing.take() {
            return Err(End::Closed(code, reason));
        }
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(120));
        self.close(code.into(), reason.clone())?;
        // After a broken frame nothing that comes can be understood: send the close, and end.
        let deadline = Instant::now() + self.limits.close();
        while self.unflushed_since.is_some() && Instant::now() < deadline {
            self.write()?;
            if self.unflushed_since.is_some() {
                let limit = until([Some(deadline)], Instant::now());
                wait([Interest::new(self.socket.get_ref(), false, true)], limit)
                    .map_err(End::Io)?;
            }
        }
        Err(End::Closed(code.into(), reason))
    }

    /// Waits for the socket, the event queue, the stop and the nearest deadline.
    fn wait(&mut self, reading: bool, at_once: bool) -> Result<(), End> {
        let writing = self.unflushed_since.is_some();
        let now = Instant::now();
        let limit = if at_once {
            Some(std::time::Duration::ZERO)
        } else if let Some((deadline, ..)) = &self.closing {
            let write = self
                .unflushed_since
                .map(|since| since + self.limits.write());
            until([Some(*deadline), write], now)
        } else {
            let quiet = match self.pinged {
                Some(_) => self.limits.idle(),
                None => self.limits.ping(),
            };
            let write = self
                .unflushed_since
                .map(|since| since + self.limits.write());
            if self.outbox.is_closing() {
                // Nothing else matters any more, and deadlines that have passed must not spin.
                until([write], now)
            } else {
                let session = self.session.next_deadline();
                until(
                    [write, session, Some(self.heard + quiet), self.drain_by],
                    now,
                )
            }
        };
        let socket = Interest::new(self.socket.get_ref(), reading, writing);
        let events = Interest::read(&self.events);
        let [socket, ..] = if self.drain_by.is_none() && self.closing.is_none() {
            wait([socket, events, Interest::read(self.stop)], limit).map_err(End::Io)?
        } else {
            let [socket, events] = wait([socket, events], limit).map_err(End::Io)?;
            [socket, events, events]
        };
        if socket.broken && !reading {
            return Err(End::Gone);
        }
        Ok(())
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
}
