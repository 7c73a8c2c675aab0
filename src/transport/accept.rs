//! The listener's thread: accepts, caps, and joins the threads of the connections.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{self, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::base::event_queue::{EventQueue, EventSender, event_queue};
use crate::base::ids::ConnectionId;
use crate::base::limits::Limits;
use crate::base::poll::{Interest, until, wait};
use crate::base::shutdown::Shutdown;

use super::connection;
use super::http::Response;
use super::session::Service;

/// Pause after a failed accept: "out of descriptors" would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a refused connection is kept, so that its client can read why.
const REFUSED_FOR: Duration = Duration::from_millis(500);
/// Most refused connections that are kept; beyond it the oldest is cut.
const MAX_REFUSED: usize = 16;
/// Stack of a connection's thread. Only the pages that it touches become resident.
const STACK_BYTES: usize = 512 * 1024;

/// What all threads of the transport share.
pub(super) struct Shared<S> {
    pub(super) service: Arc<S>,
    pub(super) limits: Limits,
    /// Origins that may open a WebSocket; empty: all.
    pub(super) origins: Vec<String>,
    pub(super) stop: Shutdown,
}

/// Why the transport could not start.
#[derive(Debug)]
pub enum TransportError {
    /// The listener's address or mode.
    Listener(io::Error),
    /// No thread or descriptor for the listener.
    Resources(io::Error),
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransportError::Listener(error) => write!(f, "cannot listen: {error}"),
            TransportError::Resources(error) => {
                write!(f, "no thread or descriptor left to listen with: {error}")
            }
        }
    }
}

impl std::error::Error for TransportError {}

/// A server that accepts connections until it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `service` to whoever connects to `listener`.
    ///
    /// # Errors
    /// [`TransportError`]
    pub fn start<S: Service>(
        listener: TcpListener,
        service: Arc<S>,
        limits: &Limits,
        origins: &[String],
        stop: Shutdown,
    ) -> Result<Server, TransportError> {
        listener
            .set_nonblocking(true)
            .map_err(TransportError::Listener)?;
        let address = listener.local_addr().map_err(TransportError::Listener)?;
        let (ended, endings) =
            event_queue(limits.max_connections as usize).map_err(TransportError::Resources)?;
        let acceptor = Acceptor {
            shared: Arc::new(Shared {
                service,
                limits: limits.clone(),
                origins: origins.to_vec(),
                stop: stop.clone(),
            }),
            threads: HashMap::new(),
            refused: VecDeque::new(),
            ended,
            next_id: 0,
        };
        let thread = thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || acceptor.run(&listener, &endings))
            .map_err(TransportError::Resources)?;
        Ok(Server {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets every connection finish within its limits, and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

struct Acceptor<S> {
    shared: Arc<Shared<S>>,
    threads: HashMap<ConnectionId, JoinHandle<()>>,
    refused: VecDeque<(Instant, TcpStream)>,
    ended: EventSender<ConnectionId>,
    next_id: u64,
}

/// Tells the acceptor that a connection's thread is about to end, however it ends.
struct Ending(EventSender<ConnectionId>, ConnectionId);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl<S: Service> Acceptor<S> {
    fn run(mut self, listener: &TcpListener, endings: &EventQueue<ConnectionId>) {
        let stop = self.shared.stop.clone();
        while !stop.is_triggered() {
            let oldest = self.refused.front().map(|(at, _)| *at + REFUSED_FOR);
            let interests = [
                Interest::read(listener),
                Interest::read(endings),
                Interest::read(&stop),
            ];
            if let Err(error) = wait(interests, until([oldest], Instant::now())) {
                log::error!("the listener cannot wait: {error}");
                thread::sleep(ACCEPT_PAUSE);
            }
            self.reap(endings);
            self.forget_refused(Instant::now());
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::warn!("a connection could not be accepted: {error}");
                    stop.wait(Some(ACCEPT_PAUSE));
                }
            }
        }
        // Connections end by themselves: they wait for the same stop, and all their times are limited.
        for (_, thread) in self.threads.drain() {
            let _ = thread.join();
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let limit = self.shared.limits.max_connections as usize;
        if self.threads.len() >= limit {
            log::warn!("{peer} refused: {limit} connections are open (--max-connections)");
            return self.refuse(stream, "the server has as many connections as it may");
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let spare = stream.try_clone();
        let shared = self.shared.clone();
        let ending = Ending(self.ended.clone(), id);
        let thread = thread::Builder::new()
            .name(format!("connection {}", id.0))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _ending = ending;
                connection::serve(stream, peer, id, &shared);
            });
        match (thread, spare) {
            (Ok(thread), _) => {
                self.threads.insert(id, thread);
            }
            (Err(error), Ok(stream)) => {
                log::error!("no thread for {peer}: {error}");
                self.refuse(stream, "the server has no thread left");
            }
            (Err(error), Err(_)) => log::error!("no thread for {peer}: {error}"),
        }
    }

    /// Says 503 without ever waiting, and keeps the socket for a moment: closing it while the request
    /// is unread would reset the connection before the client has seen the answer.
    fn refuse(&mut self, mut stream: TcpStream, why: &str) {
        self.shared.service.on_refused();
        let response = Response::text(503, why).with("Retry-After", "1");
        let mut bytes = response.head(false, SystemTime::now());
        bytes.extend_from_slice(&response.body);
        let sent = stream
            .set_nonblocking(true)
            .and_then(|()| stream.write_all(&bytes))
            .and_then(|()| stream.shutdown(net::Shutdown::Write));
        if sent.is_ok() {
            if self.refused.len() == MAX_REFUSED {
                self.refused.pop_front();
            }
            self.refused.push_back((Instant::now(), stream));
        }
    }

    fn forget_refused(&mut self, now: Instant) {
        while let Some((at, _)) = self.refused.front() {
            if now < *at + REFUSED_FOR {
                break;
            }
            if let Some((_, mut stream)) = self.refused.pop_front() {
                let _ = stream.read(&mut [0; 4096]);
            }
        }
    }

    fn reap(&mut self, endings: &EventQueue<ConnectionId>) {
        endings.clear_wakeup();
        while let Some(id) = endings.take() {
            if let Some(thread) = self.threads.remove(&id) {
                let _ = thread.join();
            }
        }
    }
}
