//! One connection: HTTP requests one after another, until one of them becomes a WebSocket.

use std::io::{self, Read};
use std::net::{self, SocketAddr, TcpStream};
use std::time::{Instant, SystemTime};

use crate::base::event_queue::event_queue;
use crate::base::ids::ConnectionId;
use crate::base::poll::{Interest, is_retry, until, wait};

use super::http::{Head, HeadError, Method, Response};
use super::outbound::{WriteDeadline, send_all};
use super::service::{HandshakeDecision, Service};
use super::shared::{Notice, Shared};
use super::socket;

/// Bytes read and thrown away after the last response: enough for what a client sends before it has read the answer,
/// and no way to keep a closed connection busy.
const LINGER_BYTES: usize = 64 * 1024;

/// Bytes read at once while a request's head comes in. Most heads fit.
const HEAD_READ_BYTES: usize = 2048;

/// Serves one connection to its end. Never panics because of what the client sends.
pub(super) fn serve<S: Service>(
    stream: &TcpStream,
    peer: SocketAddr,
    id: ConnectionId,
    shared: &Shared<S>,
) {
    let prepared = stream
        .set_nonblocking(true)
        .and_then(|()| stream.set_nodelay(true));
    if let Err(error) = prepared {
        log::warn!("{peer}: {error}");
        return;
    }
    let mut http = HttpConnection {
        stream,
        peer,
        shared,
        buffer: Vec::new(),
    };
    match http.run() {
        Ok(Some(head)) => http.upgrade(&head, id),
        Ok(None) => http.linger(),
        Err(error) => log::debug!("{peer}: {error}"),
    }
}

struct HttpConnection<'a, S> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    shared: &'a Shared<S>,
    /// Bytes that came and were not used yet.
    buffer: Vec<u8>,
}

impl<S: Service> HttpConnection<'_, S> {
    /// Answers requests until a handshake comes (it is returned) or the connection is to be closed.
    fn run(&mut self) -> io::Result<Option<Head>> {
        let limits = &self.shared.limits;
        let mut first_byte_by = Instant::now() + limits.handshake();
        loop {
            let head = match self.read_head(first_byte_by)? {
                Incoming::Head(head) => head,
                Incoming::Bad(error) => {
                    self.respond(&refusal(error), false, false)?;
                    return Ok(None);
                }
                Incoming::Late => {
                    let limit = limits.handshake_ms;
                    let late = format!("the request did not arrive within {limit} ms");
                    self.respond(&Response::text(408, late), false, false)?;
                    return Ok(None);
                }
                Incoming::Nothing => return Ok(None),
            };
            if head.is_upgrade() {
                return Ok(Some(head));
            }
            let keep_alive = head.keeps_alive()
                && head.method != Method::Other
                && !self.shared.shutdown.is_triggered();
            let response = match head.method {
                Method::Other => Response::text(405, "only GET and HEAD are answered here")
                    .with("Allow", "GET, HEAD"),
                Method::Get | Method::Head => self.shared.service.respond(&head),
            };
            self.respond(&response, keep_alive, head.method == Method::Head)?;
            if !keep_alive {
                return Ok(None);
            }
            first_byte_by = Instant::now() + limits.keep_alive();
        }
    }

    fn read_head(&mut self, first_byte_by: Instant) -> io::Result<Incoming> {
        let limits = &self.shared.limits;
        let mut deadline = first_byte_by;
        let mut started = false;
        loop {
            if !self.buffer.is_empty() {
                if !started {
                    started = true;
                    deadline = Instant::now() + limits.handshake();
                }
                let (lines, bytes) = (limits.max_head_lines, limits.max_head_bytes);
                match Head::parse(&self.buffer, lines as usize, bytes as usize) {
                    Ok(Some((length, head))) => {
                        self.buffer.drain(..length);
                        return Ok(Incoming::Head(head));
                    }
                    Ok(None) => {}
                    Err(error) => return Ok(Incoming::Bad(error)),
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(if started {
                    Incoming::Late
                } else {
                    Incoming::Nothing
                });
            }
            // A request that is not whole when the server stops is not begun.
            if self.shared.shutdown.is_triggered() {
                return Ok(Incoming::Nothing);
            }
            let interests = [
                Interest::read(self.stream),
                Interest::read(&self.shared.shutdown),
            ];
            wait(interests, until([Some(deadline)], now))?;
            let mut chunk = [0; HEAD_READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Incoming::Nothing),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if is_retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn respond(&self, response: &Response, keep_alive: bool, only_head: bool) -> io::Result<()> {
        let Shared {
            limits, shutdown, ..
        } = self.shared;
        let started = Instant::now();
        let head = response.head(keep_alive, SystemTime::now());
        send_all(self.stream, &head, limits.response(), limits, shutdown)?;
        if only_head {
            return Ok(());
        }
        let left = limits.response().saturating_sub(started.elapsed());
        send_all(self.stream, &response.body, left, limits, shutdown)
    }

    /// Answers a handshake, and serves the WebSocket if it was a right one.
    fn upgrade(&mut self, head: &Head, id: ConnectionId) {
        if let Err(refused) = self.open_socket(head, id)
            && self.respond(&refused, false, false).is_ok()
        {
            self.linger();
        }
    }

    /// Everything that may fail comes before the 101.
    fn open_socket(&mut self, head: &Head, id: ConnectionId) -> Result<(), Response> {
        let Shared {
            service,
            limits,
            shutdown,
            ..
        } = self.shared;
        let subprotocol = match service.handshake(head) {
            HandshakeDecision::Accept(subprotocol) => subprotocol,
            HandshakeDecision::Refuse(response) => return Err(response),
        };
        let response = socket::handshake_response(head, subprotocol)?;
        let queue = event_queue(service.event_capacity()).map_err(|error| {
            let text = "the server has no descriptor left; try again in a moment";
            if let Some(more) = self.shared.notice(Notice::Descriptors) {
                log::error!("a WebSocket was refused: no descriptor left: {error}{more}");
            }
            service.on_refused();
            Response::text(503, text).with("Retry-After", "1")
        })?;
        let sent = send_all(self.stream, &response, limits.handshake(), limits, shutdown);
        if let Err(error) = sent {
            log::debug!("{}: {error}", self.peer);
            return Ok(());
        }
        let leftover = std::mem::take(&mut self.buffer);
        let ended = socket::serve(self.stream, leftover, subprotocol, id, queue, self.shared);
        log::debug!("{}: {ended}", self.peer);
        if ended.lingers() {
            self.linger();
        }
        Ok(())
    }

    /// Says that nothing more will come, and takes what the client still sends for a moment: a socket
    /// that is closed with unread bytes resets the connection, and the client may lose our last words.
    fn linger(&mut self) {
        if self.stream.shutdown(net::Shutdown::Write).is_err() {
            return;
        }
        let limits = WriteDeadline::new(&self.shared.limits, &self.shared.shutdown);
        let began = Instant::now();
        let mut taken = 0;
        while taken < LINGER_BYTES {
            let now = Instant::now();
            let deadline = limits.close_by(began);
            if now >= deadline {
                return;
            }
            if wait([Interest::read(self.stream)], until([Some(deadline)], now)).is_err() {
                return;
            }
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(count) => taken += count,
                Err(error) if is_retry(&error) => {}
                Err(_) => return,
            }
        }
    }
}

/// The answer to a request that is none.
fn refusal(error: HeadError) -> Response {
    let status = match error {
        HeadError::TooLong(_) | HeadError::TooManyLines(_) => 431,
        HeadError::Syntax(_) | HeadError::Body | HeadError::ContentLength | HeadError::Hosts => 400,
    };
    Response::text(status, error)
}

enum Incoming {
    Head(Head),
    Bad(HeadError),
    /// A request began and did not end in time.
    Late,
    /// The client has gone, or has nothing to ask.
    Nothing,
}
