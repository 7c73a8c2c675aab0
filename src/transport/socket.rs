//! The loop of one WebSocket: one thread, one non-blocking socket, one poll.
//!
//! The thread owns the whole state of the protocol, so replies, pongs and closes go out in an order that cannot be wrong,
//! and waits for the socket, for finished work and for the nearest deadline at once.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::base::event_queue::{EventQueue, EventSender};
use crate::base::ids::ConnectionId;
use crate::base::limits::Limits;
use crate::base::poll::{Interest, is_retry, until, wait};
use crate::base::shutdown::Shutdown;

use super::http::{Head, Response};
use super::outbound::WriteDeadline;
use super::outbox::{Outbox, Outgoing};
use super::service::{EventOf, Service};
use super::session::{Incoming, Session};
use super::shared::Shared;

/// Messages taken before replies and deadlines get their turn again: small, so that a flood of requests delays no
/// finished frame.
const READS_PER_TURN: usize = 16;

/// Longest reason of a close, in bytes: a control frame holds 125, two of them the code.
const MAX_REASON_BYTES: usize = 120;

/// Why a WebSocket ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client said goodbye, or just went.
    Gone,
    /// The server closed, with this code.
    Closed(u16, String),
    /// The client did not take a message in time.
    Stalled,
    /// The socket failed.
    Io(io::Error),
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
        }
    }
}

/// The 101 response to a right handshake, or the refusal of a wrong one.
pub(super) fn handshake_response(
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
    stream: &TcpStream,
    leftover: Vec<u8>,
    subprotocol: Option<&'static str>,
    id: ConnectionId,
    (sender, events): (EventSender<EventOf<S>>, EventQueue<EventOf<S>>),
    shared: &Shared<S>,
) -> End {
    let Shared {
        limits, shutdown, ..
    } = shared;
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer_bytes as usize)
        // Every message is written at once: the outbox does the queueing.
        .write_buffer_size(0)
        .max_write_buffer_size(limits.max_write_buffer_bytes as usize)
        .max_message_size(Some(limits.max_message_bytes as usize))
        .max_frame_size(Some(limits.max_frame_bytes as usize));
    let mut connection = Connection {
        socket: WebSocket::from_partially_read(stream, leftover, Role::Server, Some(config)),
        session: shared.service.open(subprotocol, id, sender),
        events,
        outbox: Outbox::new(limits.max_outbox_bytes as usize),
        was_over: false,
        limits,
        shutdown,
        write: WriteDeadline::new(limits, shutdown),
        last_heard: Instant::now(),
        pinged: false,
        draining: false,
        closing: None,
    };
    match connection.run() {
        Ok(end) | Err(end) => end,
    }
}

struct Connection<'a, S: Session> {
    socket: WebSocket<&'a TcpStream>,
    session: S,
    events: EventQueue<S::Event>,
    outbox: Outbox,
    /// Whether the outbox has been over its limit and the session was not told of room since.
    was_over: bool,
    limits: &'a Limits,
    shutdown: &'a Shutdown,
    /// By when the client must have taken what was given to the socket.
    write: WriteDeadline<'a>,
    /// When anything last came from the client, or reading was paused.
    last_heard: Instant,
    /// Whether the client was pinged and has been silent since.
    pinged: bool,
    /// Whether the session knows that the server is shutting down.
    draining: bool,
    /// Set once either side has begun the closing handshake.
    closing: Option<Closing>,
}

/// The closing handshake.
struct Closing {
    /// Until when the other side is waited for.
    deadline: Instant,
    /// What the server has said; `None` where the client began.
    said: Option<(u16, String)>,
}

impl Closing {
    fn end(self) -> End {
        match self.said {
            Some((code, reason)) => End::Closed(code, reason),
            None => End::Gone,
        }
    }
}

/// How the reading of one turn ended.
#[derive(PartialEq, Eq)]
enum ReadOutcome {
    /// The socket has nothing more.
    Dry,
    /// There may be more at once.
    More,
    /// Nothing is read for now.
    Paused,
}

impl<S: Session> Connection<'_, S> {
    fn run(&mut self) -> Result<End, End> {
        self.session.on_open(Instant::now(), &mut self.outbox);
        loop {
            let now = Instant::now();
            self.serve_deadlines(now)?;
            self.take_events(now);
            self.send_outbox()?;
            let mut read = self.read()?;
            self.send_outbox()?;
            self.tell_room()?;
            if (read == ReadOutcome::Paused && !self.reading_paused()) || self.has_room_again() {
                // What it paused for was sent meanwhile, or what the session said of it.
                read = ReadOutcome::More;
            }
            if self.closing.is_none()
                && let Some(close) = self.outbox.closing()
                && !self.write.is_pending()
            {
                let (code, reason) = (close.code, close.reason.clone());
                self.close(code, reason)?;
            }
            self.wait(&read)?;
        }
    }

    /// Everything that is due. A stalled write is looked at before it is tried again: a client that
    /// takes a byte now and then would otherwise never be late.
    fn serve_deadlines(&mut self, now: Instant) -> Result<(), End> {
        if self.write.deadline().is_some_and(|by| now >= by) {
            return Err(self.closing.take().map_or(End::Stalled, Closing::end));
        }
        if let Some(closing) = self.closing.take_if(|closing| now >= closing.deadline) {
            return Err(closing.end());
        }
        if self.closing.is_some() {
            return Ok(());
        }
        if let Some(drain_by) = self.write.drain_by() {
            if !self.draining {
                self.draining = true;
                self.session.on_drain(now, &mut self.outbox);
            }
            if now >= drain_by || self.session.in_flight() == 0 {
                self.outbox
                    .close(CloseCode::Away.into(), "the server is shutting down");
            }
        }
        if self.session.next_deadline().is_some_and(|by| now >= by) {
            self.session.on_deadline(now, &mut self.outbox);
        }
        if self.reading_paused() {
            // What a client says meanwhile is not read, so its silence means nothing. That it takes nothing does:
            // see the write deadline.
            self.heard(now);
        } else if now >= self.last_heard + self.limits.idle() {
            let reason = format!("nothing heard for {} ms", self.limits.idle_ms);
            self.outbox.close(CloseCode::Policy.into(), reason);
        } else if !self.pinged && now >= self.last_heard + self.limits.ping() {
            self.pinged = true;
            self.send(Message::Ping(bytes::Bytes::new()))?;
        }
        Ok(())
    }

    fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.pinged = false;
    }

    fn take_events(&mut self, now: Instant) {
        self.events.clear_wakeup();
        while let Some(event) = self.events.take() {
            self.session.on_event(event, now, &mut self.outbox);
        }
    }

    /// Sends what waits, as far as the client takes it. One message at a time is given to the socket,
    /// so that its buffer holds no more than one.
    fn send_outbox(&mut self) -> Result<(), End> {
        self.was_over |= self.outbox.is_over();
        loop {
            if self.write.is_pending() {
                match self.socket.flush() {
                    Ok(()) => self.write.finish(),
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
        if self.has_room_again() {
            self.was_over = false;
            self.session.on_writable(Instant::now(), &mut self.outbox);
            self.send_outbox()?;
        }
        Ok(())
    }

    fn has_room_again(&self) -> bool {
        self.was_over && !self.outbox.is_over()
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.write.begin(Instant::now());
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

    fn read(&mut self) -> Result<ReadOutcome, End> {
        for _ in 0..READS_PER_TURN {
            if self.reading_paused() {
                return Ok(ReadOutcome::Paused);
            }
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(error) if would_block(&error) => return Ok(ReadOutcome::Dry),
                Err(error) => {
                    self.fail(error)?;
                    return Ok(ReadOutcome::More);
                }
            };
            let now = Instant::now();
            self.heard(now);
            let incoming = match &message {
                Message::Text(text) => Incoming::Text(text.as_str()),
                Message::Binary(bytes) => Incoming::Binary(bytes.clone()),
                Message::Ping(_) => {
                    // tungstenite has queued the answer.
                    self.write.begin(now);
                    continue;
                }
                Message::Close(_) => {
                    self.write.begin(now);
                    // Nothing is sent to a client that has said goodbye: its answer follows the message in the
                    // socket's buffer.
                    let deadline = self.write.deadline().unwrap_or(now);
                    self.closing.get_or_insert(Closing {
                        deadline,
                        said: None,
                    });
                    continue;
                }
                Message::Pong(_) | Message::Frame(_) => continue,
            };
            if self.closing.is_none() {
                self.session.on_message(incoming, now, &mut self.outbox);
            }
        }
        Ok(ReadOutcome::More)
    }

    /// Whether nothing is read for now: the client does not take what it is sent, or is said goodbye to.
    fn reading_paused(&self) -> bool {
        self.closing.is_none() && (self.outbox.is_over() || self.outbox.closing().is_some())
    }

    /// Begins the closing handshake.
    fn close(&mut self, code: u16, reason: String) -> Result<(), End> {
        let now = Instant::now();
        self.closing = Some(Closing {
            deadline: self.write.close_by(now),
            said: Some((code, reason.clone())),
        });
        self.write.begin(now);
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
        let code = match error {
            Error::ConnectionClosed | Error::AlreadyClosed => {
                return Err(self.closing.take().map_or(End::Gone, Closing::end));
            }
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Err(End::Gone),
            Error::Io(error) => return Err(End::Io(error)),
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) | Error::AttackAttempt => CloseCode::Protocol,
            _ => CloseCode::Error,
        };
        if let Some(closing) = self.closing.take() {
            return Err(closing.end());
        }
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        self.close(code.into(), reason.clone())?;
        // After a broken frame nothing that comes can be understood: send the close, and end.
        let deadline = self.write.close_by(Instant::now());
        while self.write.is_pending() && Instant::now() < deadline {
            self.send_outbox()?;
            if self.write.is_pending() {
                let limit = until([Some(deadline)], Instant::now());
                let writable = Interest::new(*self.socket.get_ref(), false, true);
                wait([writable], limit).map_err(End::Io)?;
            }
        }
        Err(End::Closed(code.into(), reason))
    }

    /// Waits for the socket, the event queue, the shutdown and the nearest deadline.
    fn wait(&mut self, read: &ReadOutcome) -> Result<(), End> {
        let now = Instant::now();
        let limit = match read {
            ReadOutcome::More => Some(Duration::ZERO),
            ReadOutcome::Dry | ReadOutcome::Paused => until(self.next_deadlines(), now),
        };
        let reading = *read == ReadOutcome::Dry;
        let socket = Interest::new(*self.socket.get_ref(), reading, self.write.is_pending());
        let events = Interest::read(&self.events);
        let [socket, ..] = if self.shutdown.is_triggered() {
            let [socket, events] = wait([socket, events], limit).map_err(End::Io)?;
            [socket, events, events]
        } else {
            wait([socket, events, Interest::read(self.shutdown)], limit).map_err(End::Io)?
        };
        if socket.broken && !reading {
            return Err(End::Gone);
        }
        Ok(())
    }

    /// When something is due though nothing happens.
    fn next_deadlines(&self) -> [Option<Instant>; 4] {
        let write = self.write.deadline();
        if let Some(closing) = &self.closing {
            return [Some(closing.deadline), write, None, None];
        }
        if self.outbox.is_closing() {
            // Nothing else matters any more, and deadlines that have passed must not spin.
            return [write, None, None, None];
        }
        let quiet = if self.pinged {
            self.limits.idle()
        } else {
            self.limits.ping()
        };
        let idle = (!self.reading_paused()).then(|| self.last_heard + quiet);
        [
            write,
            self.session.next_deadline(),
            idle,
            self.write.drain_by(),
        ]
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if is_retry(error))
}
