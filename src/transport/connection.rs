//! One connection: HTTP requests one after another, until one of them becomes a WebSocket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use crate::base::ids::ConnectionId;
use crate::base::poll::{Interest, until, wait};

use super::accept::Shared;
use super::http::{Head, HeadError, Method, Response};
use super::routes::Route;
use super::session::{Negotiated, Service};
use super::socket;

/// Most bytes read and thrown away after the last response.
const LINGER_BYTES: usize = 64 * 1024;

/// Serves one connection to its end. Never panics because of what the client sends.
pub(super) fn serve<S: Service>(
    stream: TcpStream,
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
    let mut http = Http {
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

struct Http<'a, S> {
    stream: TcpStream,
    peer: SocketAddr,
    shared: &'a Shared<S>,
    /// Bytes that came and were not used yet.
    buffer: Vec<u8>,
}

impl<S: Service> Http<'_, S> {
    /// Answers requests until a handshake comes (it is returned) or the connection is to be closed.
    fn run(&mut self) -> io::Result<Option<Head>> {
        let limits = &self.shared.limits;
        let mut first_byte_by = Instant::now() + limits.handshake();
        loop {
            let head = match self.read_head(first_byte_by)? {
                Incoming::Head(head) => head,
                Incoming::Bad(error) => {
                    let status = match error {
                        HeadError::TooLong(_) | HeadError::TooManyLines(_) => 431,
                        HeadError::Syntax(_) | HeadError::Body => 400,
                    };
                    self.respond(&Response::text(status, error), false, false)?;
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
            let route = Route::of(head.path());
            if head.is_upgrade() {
                if matches!(&route, Route::WebSocket)
                    || matches!(&route, Route::Asset(path) if path == "index.html")
                {
                    return Ok(Some(head));
                }
                let wrong = Response::text(404, "WebSocket connections are taken at / and /ws");
                self.respond(&wrong, false, false)?;
                return Ok(None);
            }
            let keep_alive = head.keeps_alive()
                && head.method != Method::Other
                && !self.shared.stop.is_triggered();
            let response = match (head.method, &route) {
                (Method::Other, _) => Response::text(405, "only GET and HEAD are answered here")
                    .with("Allow", "GET, HEAD"),
                (_, Route::WebSocket) => {
                    Response::text(426, "this path takes WebSocket connections only")
                        .with("Upgrade", "websocket")
                }
                _ => self.shared.service.get(&route, &head),
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
            if self.shared.stop.is_triggered() {
                return Ok(Incoming::Nothing);
            }
            let interests = [
                Interest::read(&self.stream),
                Interest::read(&self.shared.stop),
            ];
            wait(interests, until([Some(deadline)], now))?;
            let mut chunk = [0; 2048];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Incoming::Nothing),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if would_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn respond(
        &mut self,
        response: &Response,
        keep_alive: bool,
        only_head: bool,
    ) -> io::Result<()> {
        let head = response.head(keep_alive, SystemTime::now());
        let end = Instant::now() + self.shared.limits.response();
        let stall = self.shared.limits.write();
        write_all(&mut self.stream, &head, stall, end)?;
        if !only_head {
            write_all(&mut self.stream, &response.body, stall, end)?;
        }
        Ok(())
    }

    /// Answers a handshake, and serves the WebSocket if it was a right one.
    fn upgrade(mut self, head: &Head, id: ConnectionId) {
        let refused = self.check_origin(head).or_else(|| {
            let offered = head.list("sec-websocket-protocol");
            match self.shared.service.negotiate(head, &offered) {
                Negotiated::Refuse(response) => Some(response),
                Negotiated::Accept(subprotocol) => match socket::accept_key(head, subprotocol) {
                    Err(response) => Some(response),
                    Ok(bytes) => {
                        self.run_socket(&bytes, subprotocol, id);
                        None
                    }
                },
            }
        });
        if let Some(response) = refused
            && self.respond(&response, false, false).is_ok()
        {
            self.linger();
        }
    }

    fn run_socket(&mut self, response: &[u8], subprotocol: Option<&'static str>, id: ConnectionId) {
        let limits = &self.shared.limits;
        let end = Instant::now() + limits.handshake();
        if write_all(&mut self.stream, response, limits.write(), end).is_err() {
            return;
        }
        let stream = match self.stream.try_clone() {
            Ok(stream) => stream,
            Err(error) => return log::warn!("{}: {error}", self.peer),
        };
        let leftover = std::mem::take(&mut self.buffer);
        let ended = socket::serve(stream, leftover, subprotocol, id, self.shared);
        log::debug!("{}: {ended}", self.peer);
        if ended.lingers() {
            self.linger();
        }
    }

    fn check_origin(&self, head: &Head) -> Option<Response> {
        let allowed = &self.shared.origins;
        // Programs send no Origin; browsers always do, and cannot be made to lie.
        let origin = head.header("origin")?;
        if allowed.is_empty() || allowed.iter().any(|a| a.eq_ignore_ascii_case(origin)) {
            return None;
        }
        let text = format!("pages of {origin:.200} may not connect here (--allow-origin)");
        Some(Response::text(403, text))
    }

    /// Says that nothing more will come, and takes what the client still sends for a moment: a socket
    /// that is closed with unread bytes resets the connection, and the client may lose our last words.
    fn linger(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + self.shared.limits.close();
        let mut taken = 0;
        while taken < LINGER_BYTES {
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            if wait([Interest::read(&self.stream)], until([Some(deadline)], now)).is_err() {
                return;
            }
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(count) => taken += count,
                Err(error) if would_wait(&error) => {}
                Err(_) => return,
            }
        }
    }
}

enum Incoming {
    Head(Head),
    Bad(HeadError),
    /// A request began and did not end in time.
    Late,
    /// The client has gone, or has nothing to ask.
    Nothing,
}

/// Writes everything. `stall` is how long it may take without progress, `end` when it must be done.
fn write_all(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    stall: Duration,
    end: Instant,
) -> io::Result<()> {
    let mut deadline = end.min(Instant::now() + stall);
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                deadline = end.min(Instant::now() + stall);
            }
            Err(error) if would_wait(&error) => {
                let now = Instant::now();
                if now >= deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                wait(
                    [Interest::new(stream, false, true)],
                    until([Some(deadline)], now),
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
